//! Field docs: what `helium explain deployment.spec.strategy` prints.

use serde_json::Value;

use super::{Field, Shape, ShapeKind, shape};
use crate::{Kind, Period, diagnose::nearest};

/// What is known of one field.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct FieldDoc {
    /// The way to it, from the kind's name on: `deployment.spec.strategy`.
    pub path: String,
    /// What it must be, in words.
    pub r#type: String,
    /// What it is when it is left out; none if it must be given, or is simply not there.
    pub default: Option<String>,
    /// Whether it must be given.
    pub required: bool,
    /// What it is for.
    pub description: String,
    /// The fields within it, those that must be given first.
    pub fields: Vec<ChildDoc>,
    /// The words to choose from, each with its meaning.
    pub choices: Vec<(String, String)>,
}

/// One field of a field.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ChildDoc {
    /// Its name.
    pub name: String,
    /// What it must be, in words.
    pub r#type: String,
    /// What it is when it is left out.
    pub default: Option<String>,
    /// Whether it must be given.
    pub required: bool,
    /// Whether Helium keeps it: it is printed, and ignored where it is written.
    pub kept_by_helium: bool,
    /// What it is for.
    pub description: String,
}

/// Why a path leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExplainError {
    /// The first part is no kind.
    #[error("there is no kind `{typed}`{}", did_you_mean(.nearest.as_deref()))]
    UnknownKind {
        /// What was typed.
        typed: String,
        /// What was most likely meant.
        nearest: Option<String>,
    },
    /// A part is no field.
    #[error("there is no field `{typed}` in `{within}`{}", did_you_mean(.nearest.as_deref()))]
    UnknownField {
        /// What was typed.
        typed: String,
        /// Where it was looked for.
        within: String,
        /// What was most likely meant.
        nearest: Option<String>,
        /// Everything that is there.
        known: Vec<String>,
    },
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

/// The docs of a field. The path begins with a kind (singular, plural or short) and goes on with field names, divided by dots; `[]`
/// and `[0]` after the name of a list are ignored.
///
/// # Errors
/// A kind or field that is not known, with the nearest that is.
pub fn explain(path: &str) -> Result<FieldDoc, ExplainError> {
    let mut parts =
        path.split('.').map(|part| part.split('[').next().unwrap_or_default()).filter(|part| !part.is_empty());
    let typed = parts.next().unwrap_or_default();
    let kind = Kind::from_name(typed).ok_or_else(|| ExplainError::UnknownKind {
        typed: typed.to_owned(),
        nearest: nearest(typed, Kind::ALL.map(Kind::singular)).map(str::to_owned),
    })?;
    let mut at = kind.singular().to_owned();
    let mut field: Option<&Field> = None;
    let mut shape = shape(kind);
    for part in parts {
        let next = child(shape, part).ok_or_else(|| unknown_field(shape, part, &at))?;
        at = format!("{at}.{part}");
        (field, shape) = (Some(next), &next.shape);
    }
    Ok(FieldDoc {
        path: at,
        r#type: type_name(&shape.kind),
        default: field.and_then(default_of),
        required: field.is_some_and(|field| field.required),
        description: shape.description.clone(),
        fields: children(shape).iter().map(|field| child_doc(field)).collect(),
        choices: choices(shape),
    })
}

/// The fields of a shape; those of its items where it is a list or a mapping with free keys. Those that must be given come first.
pub(super) fn children(shape: &Shape) -> Vec<&Field> {
    match &shape.kind {
        ShapeKind::Object(object) => {
            let mut fields: Vec<&Field> = object.fields.iter().collect();
            fields.sort_by_key(|field| (field.read_only, !field.required));
            fields
        }
        ShapeKind::List { item, .. } => children(item),
        ShapeKind::Map { value, .. } => children(value),
        _ => Vec::new(),
    }
}

fn child<'s>(shape: &'s Shape, name: &str) -> Option<&'s Field> {
    children(shape).into_iter().find(|field| field.name == name)
}

fn unknown_field(shape: &Shape, typed: &str, within: &str) -> ExplainError {
    let known: Vec<String> = children(shape).iter().map(|field| field.name.clone()).collect();
    ExplainError::UnknownField {
        typed: typed.to_owned(),
        within: within.to_owned(),
        nearest: nearest(typed, known.iter().map(String::as_str)).map(str::to_owned),
        known,
    }
}

fn child_doc(field: &Field) -> ChildDoc {
    ChildDoc {
        name: field.name.clone(),
        r#type: type_name(&field.shape.kind),
        default: default_of(field),
        required: field.required,
        kept_by_helium: field.read_only,
        description: field.shape.description.clone(),
    }
}

fn choices(shape: &Shape) -> Vec<(String, String)> {
    match &shape.kind {
        ShapeKind::Choice(choices) => choices.clone(),
        ShapeKind::List { item, .. } => choices(item),
        _ => Vec::new(),
    }
}

/// The default as people would write it: `10s`, `[]`, `rolling: {maxSurge: 25%, maxUnavailable: 0}`.
pub(super) fn default_of(field: &Field) -> Option<String> {
    field.default_text.clone().or_else(|| field.default.as_ref().map(flow))
}

/// JSON as YAML in one line.
fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}: {}", flow(value))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        other => other.to_string(),
    }
}

/// What a shape must be, in a few words.
pub(super) fn type_name(kind: &ShapeKind) -> String {
    match kind {
        ShapeKind::Object(_) => "object".to_owned(),
        ShapeKind::Map { value, .. } => format!("map of {}", type_name(&value.kind)),
        ShapeKind::List { item, .. } => format!("list of {}", plural(&type_name(&item.kind))),
        ShapeKind::Text { .. } => "text".to_owned(),
        ShapeKind::Choice(choices) => {
            choices.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(" or ")
        }
        ShapeKind::Period { min, max } if *max == Period::MAX => format!("duration{}", from(*min)),
        ShapeKind::Period { min, max } => format!("duration, {min} to {max}"),
        ShapeKind::Percent { min } => format!("percentage, {min} to 100%"),
        ShapeKind::Bytes { min } if min.count() == 0 => "size".to_owned(),
        ShapeKind::Bytes { min } => format!("size, {min} or more"),
        ShapeKind::Cores => "number of processors".to_owned(),
        ShapeKind::Integer { max, .. } if *max >= u64::from(u32::MAX) => "whole number".to_owned(),
        ShapeKind::Integer { min, max } => format!("whole number, {min} to {max}"),
        ShapeKind::Amount { .. } => "whole number or percentage".to_owned(),
        ShapeKind::Number => "number".to_owned(),
        ShapeKind::Boolean => "true or false".to_owned(),
        ShapeKind::Free => "mapping of any values".to_owned(),
        ShapeKind::Anything => "anything".to_owned(),
    }
}

fn from(min: Period) -> String {
    if min.is_zero() { String::new() } else { format!(", {min} or more") }
}

fn plural(name: &str) -> String {
    if name == "text" { "texts".to_owned() } else { format!("{name}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_explained_with_its_type_default_and_fields() {
        let doc = explain("deploy.spec.strategy.rolling").unwrap();
        assert_eq!(doc.path, "deployment.spec.strategy.rolling");
        assert_eq!(doc.r#type, "object");
        let surge = doc.fields.iter().find(|field| field.name == "maxSurge").unwrap();
        assert_eq!((surge.r#type.as_str(), surge.default.as_deref()), ("whole number or percentage", Some("25%")));
    }

    #[test]
    fn a_list_is_explained_through_its_items_and_a_choice_by_its_words() {
        assert!(explain("deployment.spec.template.ports[0].name").is_ok());
        assert!(explain("canary.spec.steps.pause.promoteAfter").is_ok());
        let signal = explain("deployment.spec.stopSignal").unwrap();
        assert_eq!(signal.default.as_deref(), Some("TERM"));
        assert!(signal.choices.iter().any(|(word, _)| word == "USR1"));
    }

    #[test]
    fn a_mistyped_path_is_answered_with_the_nearest_field() {
        let error = explain("deployment.spec.stratgy").unwrap_err();
        assert_eq!(error.to_string(), "there is no field `stratgy` in `deployment.spec`; did you mean `strategy`?");
        assert!(explain("deplyment.spec").unwrap_err().to_string().ends_with("did you mean `deployment`?"));
    }
}
