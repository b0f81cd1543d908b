//! The rules that a schema cannot say: how the parts of one object must fit together.
//!
//! They look at JSON, and read each part by its type where it is sound. So they hold for a document of which other parts are broken, and
//! for stored objects as well.

mod canary;
mod deployment;
mod jobs;
mod metric;
mod package;
mod template;
mod version_from;

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Code, Path};
use crate::Kind;

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The field that it is about.
    pub path: Path,
    /// Whether the field's name is at fault, and not its value.
    pub(crate) at_key: bool,
    /// What sort of problem it is.
    pub code: Code,
    /// What is wrong, as a sentence without its stop.
    pub message: String,
    /// What to do about it, where there is something to say.
    pub help: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// The broken rules of an object, given as JSON. A `null` stands for something that is broken in itself.
pub(crate) fn findings(kind: Kind, object: &Value) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    match kind {
        Kind::Deployment => deployment::check(object, &mut findings),
        Kind::Canary => canary::check(object, &mut findings),
        Kind::HydraJob => {}
    }
    findings.0
}

/// Where rules put what they find.
struct Findings(Vec<Finding>);

impl Findings {
    /// Notes a value that breaks a rule.
    fn value(&mut self, path: Path, code: Code, message: impl Into<String>, help: impl Into<Option<String>>) {
        self.0.push(Finding { path, at_key: false, code, message: message.into(), help: help.into() });
    }

    /// Notes a name that breaks a rule.
    fn key(&mut self, path: Path, code: Code, message: impl Into<String>, help: impl Into<Option<String>>) {
        self.0.push(Finding { path, at_key: true, code, message: message.into(), help: help.into() });
    }

    /// Notes every name of a list that an earlier item bears too.
    fn repeated<'a>(&mut self, what: &str, names: impl IntoIterator<Item = (Path, &'a str)>) {
        let mut seen: Vec<&str> = Vec::new();
        for (path, name) in names {
            if seen.contains(&name) {
                let help = "give each a name of its own".to_owned();
                self.value(path, Code::DuplicateName, format!("two {what} bear the name `{name}`"), help);
            }
            seen.push(name);
        }
    }
}

/// A part by its type, if it is there and sound.
fn read<T: DeserializeOwned>(value: Option<&Value>) -> Option<T> {
    value.filter(|value| !value.is_null()).and_then(|value| serde_json::from_value(value.clone()).ok())
}

/// The items of a list, each with its place.
fn items(list: Option<&Value>) -> impl Iterator<Item = (usize, &Value)> {
    list.and_then(Value::as_array).into_iter().flatten().enumerate()
}

/// The names and values of a mapping.
fn entries(map: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    map.and_then(Value::as_object).into_iter().flatten()
}
