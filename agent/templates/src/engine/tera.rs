//! Tera, and the functions that templates ask the world with.
//!
//! | function | gives |
//! |---|---|
//! | `services(name="db", tag="primary")` | the healthy instances: a list of `id`, `address`, `port`, `node`, `tags`, `meta` |
//! | `key(path="a/b")` | what a key in Consul holds |
//! | `keys(prefix="a/")` | the keys below a prefix: a map |
//! | `leader(service="db")` | who leads a service |
//! | `address()` | the address of this machine |
//! | `file(path="/etc/hostname")` | what a file holds |
//! | `env(name="HOME")` | a variable of the environment |
//!
//! Those that give one text take `default="..."` for the case that there is none.
//!
//! Templates of one set include and extend one another by the names of their files: `{% include "_header.tera" %}`.
//!
//! Tera stops at the first name that is not there. To find all of them, each one that stopped it is given a stand-in and the template is
//! rendered again; what comes out is only looked at if nothing was missing, or missing names are welcome. A fault that shows only behind
//! a stand-in may be of the stand-in's making and is not told.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::{Map, Value as Json};
use tera::{Context, ErrorKind, Kwargs, ReportError, State, Tera, TeraResult, Value};

use super::{Engine, Failure, Job, Missing, Strictness, kept::Called};
use crate::{
    lookup::{Answer, Nothing, Question, Recorder},
    snippet::{Place, Snippet},
    template::{Language, Template},
};

/// More names than this are not looked for; a template with so many of them missing has the wrong values altogether.
const MOST: usize = 200;

pub(super) struct TeraEngine;

impl Engine for TeraEngine {
    fn render(&self, job: &Job<'_>) -> Result<String, Failure> {
        let name = job.template.name.display().to_string();
        let called = called(job);
        let absent = Absent::default();
        let mut tera = match job.kept.take(&name, &called) {
            Some(tera) => tera,
            None => {
                parsed(&called).map_err(|error| Failure::Syntax(wrong(of(&called, job, &error), &error, job.lookup)))?
            }
        };
        register(&mut tera, job.lookup, &absent);
        let made = fill(job, &name, &called, &tera, &absent);
        // Answers are large, and no function is to hold those of a render that has ended.
        register(&mut tera, &Recorder::new(Arc::new(Nothing)), &Absent::default());
        job.kept.put(&name, &called, tera);
        made
    }
}

/// Renders what is parsed, again and again until all names that are missing are known.
fn fill(job: &Job<'_>, name: &str, called: &Called<'_>, tera: &Tera, absent: &Absent) -> Result<String, Failure> {
    let Job { template, values, lookup, strictness, bounds, .. } = *job;
    let mut json = values.to_json();
    let mut missing = BTreeSet::new();
    loop {
        let mut page = bounds.page();
        let rendered = Context::from_serialize(&json).and_then(|context| tera.render_to(name, &context, &mut page));
        let error = match rendered {
            Ok(()) => {
                missing.extend(absent.take(template));
                return match strictness {
                    Strictness::Strict if !missing.is_empty() => Err(Failure::Missing(missing.into_iter().collect())),
                    _ => Ok(page.text()),
                };
            }
            Err(error) => error,
        };
        if let Some(message) = page.refused() {
            let place = Place::Nowhere;
            let report = Snippet { name, text: &template.text, message, place, help: None };
            return Err(Failure::Fault(report.render()));
        }
        let at = of(called, job, &error);
        let found = undefined(at, &error).filter(|_| missing.len() < MOST);
        match found {
            Some((byte, path)) if stand_in(&mut json, &path) => {
                missing.insert(Missing::at(at, byte, path));
            }
            _ => {
                missing.extend(absent.take(template));
                return Err(if missing.is_empty() {
                    Failure::Fault(wrong(at, &error, lookup))
                } else {
                    Failure::Missing(missing.into_iter().collect())
                });
            }
        }
    }
}

/// A template and those that it calls, parsed. Tera wants to know by then which functions there are, whoever they will ask.
fn parsed(called: &Called<'_>) -> TeraResult<Tera> {
    let mut tera = Tera::new();
    // What is made is configuration: escapes of HTML would be faults in it.
    tera.autoescape_on(Vec::<&str>::new());
    register(&mut tera, &Recorder::new(Arc::new(Nothing)), &Absent::default());
    tera.add_raw_templates(called.iter().map(|(name, template)| (name.as_str(), template.text.as_str())))?;
    Ok(tera)
}

/// The template, and those that it includes or extends, directly or not, each by the name it is called by. Only these, so that what is
/// wrong with another one is told there and nowhere else.
fn called<'a>(job: &Job<'a>) -> Called<'a> {
    let mut found = BTreeMap::from([(job.template.name.display().to_string(), job.template)]);
    let mut left = vec![job.template];
    while let Some(template) = left.pop() {
        for other in job.set.iter().filter(|other| other.language == Language::Tera) {
            let name = other.name.file_name().unwrap_or_default().to_string_lossy();
            let quoted = ['"', '\'', '`'].iter().any(|quote| template.text.contains(&format!("{quote}{name}{quote}")));
            if quoted && !found.contains_key(name.as_ref()) {
                found.insert(name.into_owned(), other);
                left.push(other);
            }
        }
    }
    found
}

/// The template that an error is about.
fn of<'a>(called: &Called<'a>, job: &Job<'a>, error: &tera::Error) -> &'a Template {
    let (ErrorKind::SyntaxError(report) | ErrorKind::RenderingError(report)) = error.kind() else {
        return job.template;
    };
    called.get(report.filename()).copied().unwrap_or(job.template)
}

/// The dotted name at the place where Tera met something undefined, and its first byte.
fn undefined(template: &Template, error: &tera::Error) -> Option<(usize, String)> {
    let ErrorKind::RenderingError(report) = error.kind() else { return None };
    if !report.message().contains("not defined") && !report.message().contains("undefined") {
        return None;
    }
    let text = &template.text;
    let span = &report.span().range;
    let (before, after) = (text.get(..span.start)?, text.get(span.start..)?);
    let of_name = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    let start =
        before.rfind(|c| !of_name(c)).map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
    let end = span.start + after.find(|c| !of_name(c)).unwrap_or(after.len());
    let path = text[start..end].trim_matches('.');
    (!path.is_empty()).then(|| (start, path.to_owned()))
}

/// Puts an empty text at a dotted path. False if there is something already, so that nothing was won.
fn stand_in(json: &mut Json, path: &str) -> bool {
    let mut at = json;
    for part in path.split('.') {
        if at.is_null() {
            *at = Json::Object(Map::new());
        }
        let Json::Object(map) = at else { return false };
        at = map.entry(part).or_insert(Json::Null);
    }
    let free = at.is_null();
    if free {
        *at = Json::String(String::new());
    }
    free
}

/// The message with the place, and without secrets.
fn wrong(template: &Template, error: &tera::Error, lookup: &Recorder) -> String {
    let name = template.name.display().to_string();
    let (message, place) = match error.kind() {
        ErrorKind::SyntaxError(report) | ErrorKind::RenderingError(report) => told(report),
        _ => unpacked(&error.to_string()),
    };
    let message = lookup.asked().hidden.mask(message.lines().next().unwrap_or_default());
    Snippet { name: &name, text: &template.text, message: &message, place, help: None }.render()
}

/// Message and place of a finished report, which is all that Tera gives of some faults: `error: ...`, then ` --> file:line:column`.
fn unpacked(report: &str) -> (String, Place) {
    let mut lines = report.lines();
    let message = lines.next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    let mut numbers = lines.next().unwrap_or_default().rsplit(':').map_while(|number| number.parse::<usize>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(column), Some(line)) => (message, Place::LineColumn(line, column)),
        _ => (message, Place::Nowhere),
    }
}

fn told(report: &ReportError) -> (String, Place) {
    (report.message().to_owned(), Place::Bytes(report.span().range.clone()))
}

/// What functions were asked for and is not there.
#[derive(Clone, Default)]
struct Absent(Arc<Mutex<BTreeSet<Question>>>);

impl Absent {
    fn note(&self, question: Question) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(question);
    }

    /// What was noted, each at the first place in the template that names it.
    fn take(&self, template: &Template) -> Vec<Missing> {
        let noted = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let place = |question: &Question| {
            let (function, argument) = words(question);
            let argument = argument.and_then(|argument| template.text.find(&argument));
            argument.or_else(|| template.text.find(function)).unwrap_or(0)
        };
        noted.into_iter().map(|question| Missing::at(template, place(&question), question.to_string())).collect()
    }
}

fn words(question: &Question) -> (&'static str, Option<String>) {
    match question {
        Question::Services { name, .. } => ("services(", Some(name.clone())),
        Question::Key(key) => ("key(", Some(key.clone())),
        Question::Keys(prefix) => ("keys(", Some(prefix.clone())),
        Question::Leader(service) => ("leader(", Some(service.clone())),
        Question::Address => ("address(", None),
        Question::File(path) => ("file(", Some(path.display().to_string())),
        Question::Environment(name) => ("env(", Some(name.clone())),
    }
}

fn register(tera: &mut Tera, lookup: &Recorder, absent: &Absent) {
    let asks = lookup.clone();
    tera.register_function("services", move |arguments: Kwargs, _: &State| -> TeraResult<Value> {
        let name = arguments.must_get::<&str>("name")?;
        let found = asks.services(name, arguments.get::<&str>("tag")?);
        Ok(Value::from_serializable(&found.unwrap_or_default()))
    });
    let asks = lookup.clone();
    tera.register_function("keys", move |arguments: Kwargs, _: &State| -> TeraResult<Value> {
        Ok(Value::from_serializable(&asks.keys(arguments.must_get::<&str>("prefix")?).unwrap_or_default()))
    });
    text_function(tera, lookup, absent, "key", |arguments| Ok(Question::Key(arguments.must_get("path")?)));
    text_function(tera, lookup, absent, "leader", |arguments| Ok(Question::Leader(arguments.must_get("service")?)));
    text_function(tera, lookup, absent, "address", |_| Ok(Question::Address));
    text_function(tera, lookup, absent, "file", |arguments| {
        Ok(Question::File(PathBuf::from(arguments.must_get::<String>("path")?)))
    });
    text_function(tera, lookup, absent, "env", |arguments| Ok(Question::Environment(arguments.must_get("name")?)));
}

fn text_function(
    tera: &mut Tera,
    lookup: &Recorder,
    absent: &Absent,
    name: &'static str,
    question: impl Fn(&Kwargs) -> TeraResult<Question> + Send + Sync + 'static,
) {
    let (lookup, absent) = (lookup.clone(), absent.clone());
    tera.register_function(name, move |arguments: Kwargs, _: &State| -> TeraResult<Value> {
        let question = question(&arguments)?;
        let default = arguments.get::<String>("default")?;
        let text = match lookup.text(&question) {
            Answer::Known(Some(text)) => text,
            Answer::Known(None) => default.unwrap_or_else(|| {
                absent.note(question);
                String::new()
            }),
            Answer::NotYet => String::new(), // noted as lacking: nothing of this pass is used
        };
        Ok(Value::normal_string(&text))
    });
}
