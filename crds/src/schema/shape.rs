//! A schema in the form that validation walks: a tree of shapes, with references followed and patterns compiled.
//!
//! It is built from the JSON Schema itself, so that the two cannot say different things. A keyword that this file does not
//! know would be a rule that is published but not kept; a test therefore refuses it.

use std::sync::{Arc, LazyLock, OnceLock};

use regex_lite::Regex;
use serde_json::{Map, Value};

use super::schema;
use crate::{Kind, Percent, Period, size::Bytes};

/// What a place in a document must be.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// What it is, in the words of the schema.
    pub(crate) description: String,
    /// What is allowed.
    pub(crate) kind: ShapeKind,
}

/// What is allowed in one place.
#[derive(Clone, Debug)]
pub(crate) enum ShapeKind {
    /// A mapping with known fields.
    Object(ObjectShape),
    /// A mapping with free keys.
    Map { keys: Option<Pattern>, most: usize, value: Box<Shape> },
    /// A sequence.
    List { item: Box<Shape>, least: usize, most: usize },
    /// Any text that fits.
    Text { pattern: Option<Pattern>, shortest: usize, longest: usize },
    /// One of these words; each has its description.
    Choice(Vec<(String, String)>),
    /// A length of time.
    Period { min: Period, max: Period },
    /// A percentage.
    Percent { min: Percent },
    /// A size in bytes.
    Bytes { min: Bytes },
    /// A share of processors.
    Cores,
    /// A whole number.
    Integer { min: u64, max: u64 },
    /// Any number.
    Number,
    /// A whole number or a percentage.
    Amount { max: u64 },
    /// True or false.
    Boolean,
    /// A mapping of whatever JSON can say, but for null.
    Free,
    /// Not looked into.
    Anything,
}

/// A mapping with known fields.
#[derive(Clone, Debug)]
pub(crate) struct ObjectShape {
    /// The fields, in the order of their names.
    pub(crate) fields: Vec<Field>,
    /// Names of which exactly one must be given; empty if there is no such rule.
    pub(crate) exactly_one: Vec<String>,
    /// One of these that may also stand beside another of them.
    pub(crate) beside: Option<String>,
}

/// One field of a mapping.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    /// Its name.
    pub(crate) name: String,
    /// Whether it must be given.
    pub(crate) required: bool,
    /// Whether Helium keeps it, so that what is written is ignored.
    pub(crate) read_only: bool,
    /// What it is when it is left out.
    pub(crate) default: Option<Value>,
    /// The same in words, where it is not a plain value.
    pub(crate) default_text: Option<String>,
    /// What it must be.
    pub(crate) shape: Shape,
}

/// A pattern, with what it allows in words.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    /// What it allows in words.
    pub(crate) allowed: String,
    source: String,
    /// Compiled when a text is first held against it: all of them are half a megabyte, of which most processes need one or none.
    regex: Arc<OnceLock<Option<Regex>>>,
}

impl Pattern {
    /// Whether a text fits.
    pub(crate) fn fits(&self, text: &str) -> bool {
        let regex = self.regex.get_or_init(|| Regex::new(&self.source).ok());
        regex.as_ref().is_none_or(|regex| regex.is_match(text))
    }
}

impl ObjectShape {
    /// The field of a name.
    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The names that people may write.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().filter(|field| !field.read_only).map(|field| field.name.as_str())
    }

    /// Whether `{}` is one.
    pub(crate) fn may_be_empty(&self) -> bool {
        self.exactly_one.is_empty() && !self.fields.iter().any(|field| field.required)
    }
}

/// The shape of a whole object of a kind.
pub(crate) fn shape(kind: Kind) -> &'static Shape {
    static DEPLOYMENT: LazyLock<Shape> = LazyLock::new(|| build(Kind::Deployment));
    static CANARY: LazyLock<Shape> = LazyLock::new(|| build(Kind::Canary));
    static HYDRA_JOB: LazyLock<Shape> = LazyLock::new(|| build(Kind::HydraJob));
    match kind {
        Kind::Deployment => &DEPLOYMENT,
        Kind::Canary => &CANARY,
        Kind::HydraJob => &HYDRA_JOB,
    }
}

fn build(kind: Kind) -> Shape {
    shape_of(&schema(kind))
}

/// The shape of what a schema describes.
pub(crate) fn shape_of(root: &Value) -> Shape {
    Builder { root }.shape(root)
}

/// Reads schemas, with the root at hand for its definitions. The schemas have no cycles.
struct Builder<'a> {
    root: &'a Value,
}

impl Builder<'_> {
    fn shape(&self, schema: &Value) -> Shape {
        let schema = self.resolve(schema);
        Shape { description: text(&schema, "description").unwrap_or_default(), kind: self.kind(&schema) }
    }

    /// The schema with its reference followed; what stands beside the reference wins.
    fn resolve(&self, schema: &Value) -> Map<String, Value> {
        let mut own = schema.as_object().cloned().unwrap_or_default();
        let Some(Value::String(reference)) = own.remove("$ref") else { return own };
        let target = reference.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
        let mut resolved = target.map(|target| self.resolve(target)).unwrap_or_default();
        resolved.extend(own);
        resolved
    }

    fn kind(&self, schema: &Map<String, Value>) -> ShapeKind {
        if schema.contains_key("readOnly") {
            return ShapeKind::Anything;
        }
        if text(schema, "format").as_deref() == Some("cores") {
            return ShapeKind::Cores;
        }
        if let Some(word) = text(schema, "const") {
            return ShapeKind::Choice(vec![(word, String::new())]);
        }
        match text(schema, "type").as_deref() {
            Some("object") => self.mapping(schema),
            Some("array") => ShapeKind::List {
                item: Box::new(self.shape(&schema["items"])),
                least: size(schema, "minItems", 0),
                most: size(schema, "maxItems", usize::MAX),
            },
            Some("string") => string(schema),
            Some("integer") => {
                ShapeKind::Integer { min: number(schema, "minimum", 0), max: number(schema, "maximum", u64::MAX) }
            }
            Some("number") => ShapeKind::Number,
            Some("boolean") => ShapeKind::Boolean,
            _ => choice(schema),
        }
    }

    fn mapping(&self, schema: &Map<String, Value>) -> ShapeKind {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
            return match schema.get("additionalProperties") {
                Some(value @ Value::Object(_)) => ShapeKind::Map {
                    keys: schema.get("propertyNames").and_then(Value::as_object).and_then(pattern),
                    most: size(schema, "maxProperties", usize::MAX),
                    value: Box::new(self.shape(value)),
                },
                Some(Value::Bool(true)) => ShapeKind::Free,
                _ => ShapeKind::Object(ObjectShape { fields: Vec::new(), exactly_one: Vec::new(), beside: None }),
            };
        };
        let required: Vec<&str> = strings(schema.get("required"));
        let fields: Vec<Field> = properties.iter().map(|(name, schema)| self.field(name, schema, &required)).collect();
        let exactly_one = match schema.get("oneOf").and_then(Value::as_array) {
            Some(groups) => groups.iter().flat_map(|group| strings(group.get("required"))).map(str::to_owned).collect(),
            None if schema.contains_key("maxProperties") => fields.iter().map(|field| field.name.clone()).collect(),
            None => Vec::new(),
        };
        let groups = schema.get("oneOf").and_then(Value::as_array);
        // The group that names what it excludes: without the others it is enough by itself.
        let beside = groups.into_iter().flatten().find(|group| group.get("properties").is_some());
        let beside = beside.and_then(|group| strings(group.get("required")).first().map(|name| (*name).to_owned()));
        ShapeKind::Object(ObjectShape { fields, exactly_one, beside })
    }

    fn field(&self, name: &str, schema: &Value, required: &[&str]) -> Field {
        let resolved = self.resolve(schema);
        Field {
            name: name.to_owned(),
            required: required.contains(&name),
            read_only: resolved.contains_key("readOnly"),
            default: resolved.get("default").cloned(),
            default_text: text(&resolved, "x-default"),
            shape: self.shape(schema),
        }
    }
}

fn string(schema: &Map<String, Value>) -> ShapeKind {
    match text(schema, "format").as_deref() {
        Some("period") => ShapeKind::Period {
            min: bound(schema, "x-min").unwrap_or_default(),
            max: bound(schema, "x-max").unwrap_or(Period::MAX),
        },
        Some("percent") => ShapeKind::Percent { min: bound(schema, "x-min").unwrap_or(Percent::ZERO) },
        Some("bytes") => ShapeKind::Bytes { min: bound(schema, "x-min").unwrap_or_default() },
        _ => ShapeKind::Text {
            pattern: pattern(schema),
            shortest: size(schema, "minLength", 0),
            longest: size(schema, "maxLength", usize::MAX),
        },
    }
}

/// Words to choose from, or "a number or a percentage": the only two choices that the kinds have.
fn choice(schema: &Map<String, Value>) -> ShapeKind {
    let Some(choices) = schema.get("oneOf").and_then(Value::as_array) else { return ShapeKind::Anything };
    let words = choices.iter().map(|choice| {
        let word = choice.get("const")?.as_str()?;
        Some((word.to_owned(), choice.get("description").and_then(Value::as_str).unwrap_or_default().to_owned()))
    });
    if let Some(words) = words.collect::<Option<Vec<_>>>() {
        return ShapeKind::Choice(words);
    }
    let whole = choices.iter().find(|choice| choice["type"] == "integer").and_then(Value::as_object);
    ShapeKind::Amount { max: whole.map_or(u64::MAX, |whole| number(whole, "maximum", u64::MAX)) }
}

fn pattern(schema: &Map<String, Value>) -> Option<Pattern> {
    let allowed = text(schema, "x-allowed").unwrap_or_default();
    Some(Pattern { allowed, source: text(schema, "pattern")?, regex: Arc::default() })
}

fn bound<T: std::str::FromStr>(schema: &Map<String, Value>, keyword: &str) -> Option<T> {
    text(schema, keyword)?.parse().ok()
}

fn text(schema: &Map<String, Value>, keyword: &str) -> Option<String> {
    schema.get(keyword).and_then(Value::as_str).map(str::to_owned)
}

fn number(schema: &Map<String, Value>, keyword: &str, or: u64) -> u64 {
    schema.get(keyword).and_then(Value::as_u64).unwrap_or(or)
}

fn size(schema: &Map<String, Value>, keyword: &str, or: usize) -> usize {
    schema.get(keyword).and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok()).unwrap_or(or)
}

fn strings(value: Option<&Value>) -> Vec<&str> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every keyword that a shape honours, or that needs no honouring.
    const KNOWN: &[&str] = &[
        "$defs",
        "$ref",
        "$schema",
        "additionalProperties",
        "const",
        "default",
        "description",
        // Who says the version: `diagnose::rules::version_from` keeps that.
        "else",
        "format",
        "if",
        "items",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
        "oneOf",
        "pattern",
        "properties",
        "propertyNames",
        "readOnly",
        "required",
        "then",
        "title",
        "type",
        "x-allowed",
        "x-default",
        "x-max",
        "x-min",
    ];

    /// Every schema that a shape is made of.
    fn all() -> Vec<Value> {
        let settings = crate::schema::settings_schema::<crate::notification::Notifications>();
        Kind::ALL.into_iter().map(schema).chain([settings]).collect()
    }

    fn visit(schema: &Value, see: &mut impl FnMut(&Map<String, Value>)) {
        let Some(map) = schema.as_object() else { return };
        see(map);
        for (keyword, inner) in map {
            match (keyword.as_str(), inner) {
                ("properties" | "$defs", Value::Object(named)) => named.values().for_each(|inner| visit(inner, see)),
                ("items" | "additionalProperties" | "propertyNames", inner) => visit(inner, see),
                ("oneOf" | "anyOf" | "allOf", Value::Array(inner)) => inner.iter().for_each(|inner| visit(inner, see)),
                _ => {}
            }
        }
    }

    #[test]
    fn no_schema_holds_a_rule_that_validation_does_not_know() {
        for schema in all() {
            visit(&schema, &mut |map| {
                for keyword in map.keys() {
                    assert!(KNOWN.contains(&keyword.as_str()), "{keyword} in {map:?}");
                }
                if let Some(pattern) = map.get("pattern") {
                    assert!(Regex::new(pattern.as_str().unwrap()).is_ok(), "{pattern}");
                }
            });
        }
    }

    #[test]
    fn every_pattern_says_in_words_what_it_allows() {
        for schema in all() {
            visit(&schema, &mut |map| {
                if map.contains_key("pattern") && !map.contains_key("format") {
                    assert!(map.contains_key("x-allowed"), "{map:?}");
                }
            });
        }
    }

    #[test]
    fn nothing_that_people_write_is_left_unlooked_at() {
        fn check(name: &str, shape: &Shape) {
            match &shape.kind {
                ShapeKind::Object(object) => {
                    for field in object.fields.iter().filter(|field| !field.read_only) {
                        check(&format!("{name}.{}", field.name), &field.shape);
                    }
                }
                ShapeKind::Map { value: inner, .. } | ShapeKind::List { item: inner, .. } => check(name, inner),
                ShapeKind::Anything => panic!("{name} could be anything"),
                _ => {}
            }
        }
        for schema in all() {
            check(schema["title"].as_str().unwrap(), &shape_of(&schema));
        }
    }
}
