//! Walks a tree along the shape of its kind: finds every structural problem, and makes the JSON that the types are read from.
//!
//! What is wrong becomes `null` in the JSON, so that indices stay as they are and whoever looks further can see that there is
//! nothing to look at. A document without problems holds no `null`.

use std::ops::Range;

use serde_json::{Map, Value as Json};

use super::{Code, Path, Problems, nearest::nearest, words};
use crate::{
    schema::{Field, ObjectShape, Pattern, Shape, ShapeKind},
    yaml::{
        Entry, Node, Value,
        scalar::{self, Plain},
    },
};

/// Walks one document.
pub(super) struct Walker<'p, 'a> {
    /// Where problems go.
    pub(super) problems: &'p mut Problems<'a>,
    /// The shape of the whole document, to say where a misplaced field belongs.
    pub(super) root: &'static Shape,
}

/// A node with what is needed to speak of it.
struct Place<'n> {
    node: &'n Node,
    path: &'n Path,
    /// What to point at where the node is not one word: its key.
    key: Option<&'n Range<usize>>,
}

impl Place<'_> {
    fn span(&self) -> Range<usize> {
        match (&self.node.value, self.key) {
            (Value::Scalar { .. }, _) if !self.node.span.is_empty() => self.node.span.clone(),
            (_, Some(key)) => key.clone(),
            _ => self.node.span.clone(),
        }
    }

    /// What to point at where something is not there: the key of the mapping, else the first key within it.
    fn opening(&self) -> Range<usize> {
        match (self.key, self.node.entries().and_then(<[Entry]>::first)) {
            (Some(key), _) => key.clone(),
            (None, Some(entry)) => entry.key_span.clone(),
            (None, None) => self.node.span.clone(),
        }
    }
}

impl Walker<'_, '_> {
    /// The JSON of a document, with the problems noted.
    pub(super) fn walk(&mut self, node: &Node, path: &Path) -> Json {
        let root = self.root;
        self.visit(&Place { node, path, key: None }, root)
    }

    fn visit(&mut self, place: &Place<'_>, shape: &Shape) -> Json {
        if let ShapeKind::Anything = shape.kind {
            return Json::Null;
        }
        if place.node.is_null() {
            return self.empty(place, shape);
        }
        match (&shape.kind, &place.node.value) {
            (ShapeKind::Object(object), Value::Mapping(entries)) => self.object(place, object, entries),
            (ShapeKind::Map { keys, most, value }, Value::Mapping(entries)) => {
                self.length(place, "entries", entries.len(), 0, *most);
                self.map(place, keys.as_ref(), value, entries)
            }
            (ShapeKind::List { item, least, most }, Value::Sequence(items)) => {
                self.length(place, "items", items.len(), *least, *most);
                Json::Array(items.iter().enumerate().map(|(index, node)| self.item(place, index, node, item)).collect())
            }
            (ShapeKind::Free, Value::Mapping(entries)) => self.free_map(place, entries),
            (kind, Value::Scalar { text, plain }) => self.scalar(place, kind, text, *plain),
            (kind, _) => self.wrong_type(place, kind),
        }
    }

    fn item(&mut self, list: &Place<'_>, index: usize, node: &Node, shape: &Shape) -> Json {
        self.visit(&Place { node, path: &list.path.index(index), key: None }, shape)
    }

    fn object(&mut self, place: &Place<'_>, object: &ObjectShape, entries: &[Entry]) -> Json {
        let mut json = Map::new();
        let mut meant = Vec::new();
        for entry in entries {
            let path = place.path.field(&entry.key);
            let Some(field) = object.field(&entry.key) else {
                meant.extend(self.unknown_field(entry, &path, object));
                continue;
            };
            let inner = Place { node: &entry.value, path: &path, key: Some(&entry.key_span) };
            let value = self.visit(&inner, &field.shape);
            if !field.read_only {
                json.insert(entry.key.clone(), value);
            }
        }
        let given =
            |name: &str| entries.iter().any(|entry| entry.key == name) || meant.iter().any(|meant| meant == name);
        for field in object.fields.iter().filter(|field| field.required && !given(&field.name)) {
            self.missing(place, field);
        }
        self.exactly_one(place, object, entries, &meant);
        Json::Object(json)
    }

    /// Notes an unknown field, and gives the name that was most likely meant.
    fn unknown_field(&mut self, entry: &Entry, path: &Path, object: &ObjectShape) -> Option<String> {
        let meant = nearest(&entry.key, object.names()).filter(|name| *name != entry.key);
        let elsewhere = || words::places_of(self.root, &entry.key);
        let names: Vec<&str> = object.names().collect();
        let help = match meant {
            Some(name) => format!("did you mean `{name}`?"),
            None => match elsewhere().as_slice() {
                [] if names.is_empty() => "there are no fields here; leave it out".to_owned(),
                [] => format!("known here: {}", words::list(&names)),
                places => format!("it belongs into {}", words::either(places)),
            },
        };
        let message = format!("there is no field `{}` here", entry.key);
        self.problems.add(entry.key_span.clone(), &path.to_string(), Code::UnknownField, message, Some(help));
        meant.map(str::to_owned)
    }

    fn missing(&mut self, place: &Place<'_>, field: &Field) {
        let message = if place.path.is_root() {
            format!("the document lacks `{}`", field.name)
        } else {
            format!("`{}` lacks `{}`", place.path.name(), field.name)
        };
        let help = words::what_to_write(field);
        let path = place.path.field(&field.name).to_string();
        self.problems.add(place.opening(), &path, Code::MissingField, message, help);
    }

    fn exactly_one(&mut self, place: &Place<'_>, object: &ObjectShape, entries: &[Entry], meant: &[String]) {
        let group = &object.exactly_one;
        let mut given: Vec<&Entry> = entries.iter().filter(|entry| group.contains(&entry.key)).collect();
        if given.len() > 1 {
            given.retain(|entry| object.beside.as_ref() != Some(&entry.key));
        }
        let mistyped = meant.iter().any(|name| group.contains(name));
        let choice = words::either(group);
        match given.as_slice() {
            [] if group.is_empty() || mistyped => {}
            [] => {
                let name = place.path.name();
                let (message, help) = match group.as_slice() {
                    [only] => (format!("`{name}` lacks {choice}"), words::meaning_of(object, only)),
                    _ => (format!("`{name}` lacks one of {choice}"), None),
                };
                self.problems.add(place.opening(), &place.path.to_string(), Code::NotExactlyOne, message, help);
            }
            [_] => {}
            [first, second, ..] => {
                let message = format!("`{}` and `{}` stand together; only one of {choice} may", first.key, second.key);
                let path = place.path.field(&second.key).to_string();
                let help = words::one_an_item(place.path, object, &first.key, &second.key);
                self.problems.add(second.key_span.clone(), &path, Code::NotExactlyOne, message, help);
            }
        }
    }

    fn map(&mut self, place: &Place<'_>, keys: Option<&Pattern>, shape: &Shape, entries: &[Entry]) -> Json {
        let mut json = Map::new();
        for entry in entries {
            let path = place.path.field(&entry.key);
            if let Some(misread) = scalar::misread(&entry.key).filter(|_| entry.plain) {
                self.ambiguous(entry.key_span.clone(), &path, "a name", &entry.key, &misread);
            } else if let Some(pattern) = keys.filter(|pattern| !pattern.fits(&entry.key)) {
                let message = format!("`{}` is not allowed as a name in `{}`", entry.key, place.path.name());
                let help = Some(format!("allowed: {}", pattern.allowed));
                self.problems.add(entry.key_span.clone(), &path.to_string(), Code::BadText, message, help);
            }
            let inner = Place { node: &entry.value, path: &path, key: Some(&entry.key_span) };
            json.insert(entry.key.clone(), self.visit(&inner, shape));
        }
        Json::Object(json)
    }

    /// Values of whatever type they are written as. A null says nothing, and a plain word that is not the same to every reader is refused.
    fn free(&mut self, place: &Place<'_>) -> Json {
        match &place.node.value {
            _ if place.node.is_null() => {
                let message = format!("`{}` has no value", place.path.name());
                let help = Some("give it one, or leave it out".to_owned());
                self.problems.add(place.span(), &place.path.to_string(), Code::EmptyValue, message, help);
                Json::Null
            }
            Value::Mapping(entries) => self.free_map(place, entries),
            Value::Sequence(items) => {
                let item = |(index, node)| self.free(&Place { node, path: &place.path.index(index), key: None });
                Json::Array(items.iter().enumerate().map(item).collect())
            }
            Value::Scalar { text, plain } => self.free_scalar(place, text, *plain),
        }
    }

    fn free_map(&mut self, place: &Place<'_>, entries: &[Entry]) -> Json {
        let mut json = Map::new();
        for entry in entries {
            let path = place.path.field(&entry.key);
            let inner = Place { node: &entry.value, path: &path, key: Some(&entry.key_span) };
            json.insert(entry.key.clone(), self.free(&inner));
        }
        Json::Object(json)
    }

    fn free_scalar(&mut self, place: &Place<'_>, text: &str, plain: bool) -> Json {
        match scalar::resolve(text) {
            Plain::Boolean(value) if plain => return Json::Bool(value),
            // A number is one only if it prints as it was written: `1.10` may be a version.
            Plain::Integer | Plain::Float if plain => {
                let number = serde_json::from_str::<Json>(text).ok();
                if number.as_ref().map(ToString::to_string).as_deref() == Some(text) {
                    return number.unwrap_or_default();
                }
            }
            _ => {}
        }
        match scalar::misread(text).filter(|_| plain) {
            Some(misread) => {
                let name = format!("`{}`", place.path.name());
                let message = format!("{name} is `{text}` without quotes, which some read as {}", misread.describe());
                let help = Some(format!("write it in quotes if it is text: \"{text}\""));
                self.problems.add(place.span(), &place.path.to_string(), Code::AmbiguousText, message, help);
                Json::Null
            }
            None => Json::String(text.to_owned()),
        }
    }

    fn scalar(&mut self, place: &Place<'_>, kind: &ShapeKind, text: &str, plain: bool) -> Json {
        match kind {
            ShapeKind::Text { pattern, shortest, longest } => {
                self.text(place, pattern.as_ref(), text, plain, (*shortest, *longest))
            }
            ShapeKind::Choice(choices) => self.choice(place, choices, text),
            ShapeKind::Period { min, max } => self.accept(place, words::period(text, *min, *max)),
            ShapeKind::Percent { min } => self.accept(place, words::percent(text, *min)),
            ShapeKind::Bytes { min } => self.accept(place, words::bytes(text, *min)),
            ShapeKind::Cores => self.accept(place, words::cores(text, plain)),
            ShapeKind::Integer { min, max } => self.accept(place, words::integer(text, plain, *min, *max)),
            ShapeKind::Number => self.accept(place, words::number(text, plain)),
            ShapeKind::Amount { max } => self.accept(place, words::amount(text, plain, *max)),
            ShapeKind::Boolean => match scalar::resolve(text) {
                Plain::Boolean(value) if plain => Json::Bool(value),
                _ => self.accept(place, Err(words::not_boolean(text))),
            },
            _ => self.wrong_type(place, kind),
        }
    }

    fn text(
        &mut self,
        place: &Place<'_>,
        pattern: Option<&Pattern>,
        text: &str,
        plain: bool,
        length: (usize, usize),
    ) -> Json {
        if let Some(misread) = scalar::misread(text).filter(|_| plain) {
            let name = format!("`{}`", place.path.name());
            self.ambiguous(place.span(), place.path, &name, text, &misread);
            return Json::Null;
        }
        if let Some(pattern) = pattern.filter(|pattern| !pattern.fits(text)) {
            let message = format!("{text:?} is not allowed as `{}`", place.path.name());
            let help = Some(format!("allowed: {}", pattern.allowed));
            self.problems.add(place.span(), &place.path.to_string(), Code::BadText, message, help);
            return Json::Null;
        }
        self.length(place, "characters", text.chars().count(), length.0, length.1);
        Json::String(text.to_owned())
    }

    fn ambiguous(&mut self, span: Range<usize>, path: &Path, what: &str, text: &str, misread: &scalar::Misread) {
        let whose = if scalar::resolve(text) == Plain::Text { " to other tools" } else { "" };
        let message = format!("{what} must be text, but `{text}` without quotes is {}{whose}", misread.describe());
        let help = Some(format!("write it in quotes: \"{text}\""));
        self.problems.add(span, &path.to_string(), Code::AmbiguousText, message, help);
    }

    fn choice(&mut self, place: &Place<'_>, choices: &[(String, String)], text: &str) -> Json {
        let words: Vec<&str> = choices.iter().map(|(word, _)| word.as_str()).collect();
        if words.contains(&text) {
            return Json::String(text.to_owned());
        }
        let (code, message) = match place.path.name().as_str() {
            "kind" => (Code::UnknownKind, format!("there is no kind `{text}`")),
            "apiVersion" => (Code::UnknownApiVersion, format!("there is no apiVersion `{text}`")),
            _ => (Code::UnknownChoice, format!("`{text}` is not known as `{}`", place.path.name())),
        };
        let help = match nearest(text.trim_start_matches("SIG"), words.iter().copied()) {
            Some(word) => format!("did you mean `{word}`?"),
            None => format!("known here: {}", words::list(&words)),
        };
        self.problems.add(place.span(), &place.path.to_string(), code, message, Some(help));
        Json::Null
    }

    /// The value, or its complaint noted.
    fn accept(&mut self, place: &Place<'_>, result: Result<Json, words::Complaint>) -> Json {
        result.unwrap_or_else(|complaint| {
            let message = format!("`{}` {}", place.path.name(), complaint.message);
            self.problems.add(place.span(), &place.path.to_string(), complaint.code, message, complaint.help);
            Json::Null
        })
    }

    fn length(&mut self, place: &Place<'_>, what: &str, length: usize, least: usize, most: usize) {
        let bound = match length {
            _ if length < least => format!("needs at least {least}"),
            _ if length > most => format!("may have at most {most}"),
            _ => return,
        };
        let message = format!("`{}` has {length} {what}, and {bound}", place.path.name());
        self.problems.add(place.opening(), &place.path.to_string(), Code::BadLength, message, None);
    }

    fn empty(&mut self, place: &Place<'_>, shape: &Shape) -> Json {
        let message = format!("`{}` has no value", place.path.name());
        let help = match &shape.kind {
            ShapeKind::Object(object) if object.fields.is_empty() => format!("write `{}: {{}}`", place.path.name()),
            ShapeKind::Object(object) if object.may_be_empty() => {
                format!("write `{}: {{}}`, or give it a mapping", place.path.name())
            }
            kind => format!("give it {}, or leave it out", words::wanted(kind)),
        };
        self.problems.add(place.span(), &place.path.to_string(), Code::EmptyValue, message, Some(help));
        Json::Null
    }

    fn wrong_type(&mut self, place: &Place<'_>, kind: &ShapeKind) -> Json {
        let wanted = words::wanted(kind);
        let message = format!("`{}` must be {wanted}, but is {}", place.path.name(), place.node.describe());
        let help = match (kind, &place.node.value) {
            (ShapeKind::List { .. }, Value::Scalar { text, .. }) => {
                Some(format!("write a list: {:?}", text.split_whitespace().collect::<Vec<_>>()))
            }
            (ShapeKind::List { .. }, _) => Some("begin every item of a list with `- `".to_owned()),
            (ShapeKind::Object(object), _) => {
                Some(format!("known here: {}", words::list(&object.names().collect::<Vec<_>>())))
            }
            _ => None,
        };
        self.problems.add(place.span(), &place.path.to_string(), Code::WrongType, message, help);
        Json::Null
    }
}
