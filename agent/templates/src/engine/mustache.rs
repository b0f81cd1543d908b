//! Mustache, which Helios' packages are written in.
//!
//! The library is `mustache2`: of those with a permissive licence it is the one that is still worked on, follows all of the specification
//! (its tests run the specification's own), needs no other crate and knows the places of its errors. `mustache` rests since 2018,
//! `moostache` cannot set delimiters, `ramhorns` and `ribboncurls` are under the MPL, and `handlebars` is another language: it does not look
//! for a name in the maps around a section.
//!
//! Mustache has no functions. What Tera asks by functions stands below the name `helium` here: `{{#helium.services.db}}{{address}}{{/helium.services.db}}`,
//! with a tag as in Consul's DNS `helium.services.primary.db`, `{{helium.key.a/b}}`, `{{helium.leader.db}}`, `{{helium.address}}`, `{{helium.env.HOME}}`,
//! `{{helium.file./etc/hostname}}`.
//!
//! A section is how Mustache asks whether there is something, so a section of a name that is not there is no error, only a variable is.

use std::{borrow::Cow, collections::HashMap};

use mustache2::{
    Data,
    render::{RenderManager, SourceCache, provider::SourceProvider},
};
use serde_json::{Map, Value};

use super::{
    Engine, Failure, Job, Missing, Strictness,
    tags::{self, Kind, Tag},
};
use crate::{
    lookup::{Answer, Question, Recorder},
    snippet::{Place, Snippet},
    template::Template,
};

/// The name below which the world is asked.
const WORLD: &str = "helium";

pub(super) struct MustacheEngine;

impl Engine for MustacheEngine {
    fn render(&self, job: &Job<'_>) -> Result<String, Failure> {
        let Job { template, values, lookup, strictness, .. } = *job;
        let tags =
            tags::scan(&template.text).map_err(|(message, span)| wrong(template, message, Place::Bytes(span)))?;
        let mut json = values.to_json();
        for tag in &tags {
            ask(&mut json, &tag.name, lookup);
        }
        if strictness == Strictness::Strict {
            let mut missing = Vec::new();
            walk(template, &tags, &mut vec![&json], &mut missing);
            missing.sort();
            missing.dedup();
            if !missing.is_empty() {
                return Err(Failure::Missing(missing));
            }
        }
        let cache = SourceCache::default();
        let text = tags::plain_comments(&template.text, &tags);
        let rendered = RenderManager::new(One(text), &cache).render((), data(&json));
        rendered.map(|text| swap(&text, false)).map_err(|error| {
            let place = error.source.map_or(Place::Nowhere, |(_, span)| Place::Bytes(span.start..span.end));
            wrong(template, &error.message, place)
        })
    }
}

fn wrong(template: &Template, message: &str, place: Place) -> Failure {
    let name = template.name.display().to_string();
    Failure::Syntax(Snippet { name: &name, text: &template.text, message, place, help: None }.render())
}

/// The one template of a render; there are no partials.
struct One(String);

impl SourceProvider for One {
    type Key = ();

    fn get_src(&mut self, (): &()) -> Result<String, Cow<'static, str>> {
        Ok(std::mem::take(&mut self.0))
    }
    fn resolve_partial(&self, (): &(), _: &str) {}
    fn display_key((): &()) -> Cow<'_, str> {
        Cow::Borrowed("template")
    }
}

/// Asks the world for what a name below `helium` means, and puts the answer where the name finds it.
fn ask(json: &mut Value, name: &str, lookup: &Recorder) {
    let mut parts = name.splitn(3, '.');
    let (Some(WORLD), Some(what)) = (parts.next(), parts.next()) else { return };
    let rest = parts.next().unwrap_or_default();
    let found = match what {
        "services" => {
            let (tag, service) = rest.rsplit_once('.').map_or((None, rest), |(tag, service)| (Some(tag), service));
            lookup.services(service, tag).and_then(|found| serde_json::to_value(found).ok())
        }
        _ => match question(what, rest).map(|question| lookup.text(&question)) {
            Some(Answer::Known(found)) => found.map(Value::String),
            Some(Answer::NotYet) | None => None,
        },
    };
    // Values may hold a name `helium` of their own; what is asked stands above it.
    let Some(found) = found else { return };
    let mut at = json;
    for part in name.split('.') {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        let Value::Object(map) = at else { return };
        at = map.entry(part).or_insert(Value::Null);
    }
    *at = found;
}

fn question(what: &str, rest: &str) -> Option<Question> {
    Some(match what {
        "key" => Question::Key(rest.to_owned()),
        "leader" => Question::Leader(rest.to_owned()),
        "address" => Question::Address,
        "file" => Question::File(rest.into()),
        "env" => Question::Environment(rest.to_owned()),
        _ => return None,
    })
}

/// Follows the sections that would be rendered, and notes variables that are not there.
fn walk(template: &Template, tags: &[Tag], stack: &mut Vec<&Value>, missing: &mut Vec<Missing>) {
    let mut at = 0;
    while let Some(tag) = tags.get(at) {
        at += 1;
        match tag.kind {
            Kind::Variable => match find(stack, &tag.name) {
                None => missing.push(Missing::at(template, tag.span.start, tag.name.as_str())),
                Some(Value::Object(_) | Value::Array(_)) => {
                    let name = format!("{} (a map or a list: name one of its values)", tag.name);
                    missing.push(Missing::at(template, tag.span.start, name));
                }
                Some(_) => {}
            },
            Kind::Section | Kind::Inverted => {
                let end = at + closing(&tags[at..]);
                let inside = &tags[at..end];
                let found = find(stack, &tag.name);
                let is_true = found.is_some_and(truthy);
                match found {
                    Some(Value::Array(list)) if tag.kind == Kind::Section => {
                        for value in list {
                            within(template, inside, stack, value, missing);
                        }
                    }
                    Some(value) if tag.kind == Kind::Section && is_true => {
                        within(template, inside, stack, value, missing);
                    }
                    _ if tag.kind == Kind::Inverted && !is_true => walk(template, inside, stack, missing),
                    _ => {}
                }
                at = end + 1;
            }
            Kind::Close | Kind::Partial | Kind::Comment | Kind::Delimiters => {}
        }
    }
}

fn within<'a>(
    template: &Template,
    tags: &[Tag],
    stack: &mut Vec<&'a Value>,
    value: &'a Value,
    missing: &mut Vec<Missing>,
) {
    stack.push(value);
    walk(template, tags, stack, missing);
    stack.pop();
}

/// How many tags there are before the one that closes the section that was just opened.
fn closing(tags: &[Tag]) -> usize {
    let mut depth = 0_usize;
    let closes = |tag: &Tag| {
        match tag.kind {
            Kind::Section | Kind::Inverted => depth += 1,
            Kind::Close if depth == 0 => return true,
            Kind::Close => depth -= 1,
            _ => {}
        }
        false
    };
    tags.iter().position(closes).unwrap_or(tags.len())
}

fn find<'a>(stack: &[&'a Value], name: &str) -> Option<&'a Value> {
    if name == "." {
        return stack.last().copied();
    }
    let mut parts = name.split('.');
    let first = parts.next()?;
    let found = stack.iter().rev().find_map(|value| value.get(first))?;
    parts.try_fold(found, |value, part| value.get(part))
}

fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(is) => *is,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// Values in the library's types.
fn data(value: &Value) -> Data {
    match value {
        Value::Null => Data::Null,
        Value::Bool(is) => Data::Bool(*is),
        Value::Number(number) => number.as_i64().map_or_else(|| Data::String(number.to_string()), Data::Int),
        Value::String(text) => Data::String(swap(text, true)),
        Value::Array(list) => Data::List(list.iter().map(data).collect()),
        Value::Object(map) => {
            Data::Map(map.iter().map(|(name, value)| (name.clone(), data(value))).collect::<HashMap<_, _>>())
        }
    }
}

/// What is made is configuration, in which escapes of HTML would be faults, and the library cannot leave them out. So the four
/// characters that it escapes go through it as characters of a private plane of Unicode, and come back afterwards.
fn swap(text: &str, away: bool) -> String {
    const ESCAPED: [(char, char); 4] =
        [('&', '\u{10F026}'), ('"', '\u{10F022}'), ('<', '\u{10F03C}'), ('>', '\u{10F03E}')];
    let other = |c: char| {
        let pair = ESCAPED.iter().find(|(plain, private)| c == if away { *plain } else { *private });
        pair.map_or(c, |(plain, private)| if away { *private } else { *plain })
    };
    text.chars().map(other).collect()
}
