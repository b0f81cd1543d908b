//! What templates ask the world, and a recorder of what was asked.
//!
//! A [`Lookup`] answers from what its owner knows already; it never waits. What is not known yet is noted and stands in the template as
//! nothing, so that one pass finds all that is lacking and not only the first: the render is then pending, and the owner learns from
//! [`Asked`] which services and prefixes it has to follow. What a template asks may depend on answers (the services first, then each of
//! them), so several passes may be needed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use serde::Serialize;

use crate::hidden::Hidden;

/// A question that a template has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Question {
    /// The healthy instances of a service, of all or of those with a tag.
    Services {
        /// The name in Consul.
        name: String,
        /// The tag, if only some count.
        tag: Option<String>,
    },
    /// One key in Consul.
    Key(String),
    /// All keys below a prefix.
    Keys(String),
    /// Who leads a service.
    Leader(String),
    /// The address of this machine.
    Address,
    /// A file of this machine.
    File(PathBuf),
    /// A variable of the environment.
    Environment(String),
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Question::Services { name, tag: None } => write!(f, "the instances of {name}"),
            Question::Services { name, tag: Some(tag) } => write!(f, "the instances of {name} with the tag {tag}"),
            Question::Key(key) => write!(f, "the key {key}"),
            Question::Keys(prefix) => write!(f, "the keys below {prefix}"),
            Question::Leader(service) => write!(f, "the leader of {service}"),
            Question::Address => f.write_str("the address of this machine"),
            Question::File(path) => write!(f, "the file {}", path.display()),
            Question::Environment(name) => write!(f, "the variable {name}"),
        }
    }
}

/// An answer, which may be unknown so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<T> {
    /// It is this.
    Known(T),
    /// It may be known later: nobody has looked yet.
    NotYet,
}

/// An instance of a service that is healthy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Instance {
    /// Its id in Consul.
    pub id: String,
    /// Where it listens.
    pub address: String,
    /// The port, 0 if it has none.
    pub port: u16,
    /// The node of Consul that it is on.
    pub node: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its metadata.
    pub meta: BTreeMap<String, String>,
}

/// Whoever answers templates, at once and from what it knows. `None` within an answer means that there is no such thing.
pub trait Lookup: Send + Sync {
    /// The healthy instances of a service.
    fn services(&self, name: &str, tag: Option<&str>) -> Answer<Vec<Instance>>;
    /// What a key in Consul holds.
    fn key(&self, key: &str) -> Answer<Option<String>>;
    /// The keys below a prefix, named without it.
    fn keys(&self, prefix: &str) -> Answer<BTreeMap<String, String>>;
    /// The address of the instance that leads a service, or what else its lock names.
    fn leader(&self, service: &str) -> Answer<Option<String>>;
    /// The address of this machine.
    fn address(&self) -> Answer<Option<String>>;
    /// What a file of this machine holds. Only files that templates may read are answered.
    fn file(&self, path: &Path) -> Answer<Option<String>>;
    /// A variable of the environment.
    fn environment(&self, name: &str) -> Answer<Option<String>>;
    /// Whether nobody may see the answer.
    fn is_secret(&self, _question: &Question) -> bool {
        false
    }
}

/// What was asked, and what of it is not known yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Every question.
    pub questions: BTreeSet<Question>,
    /// Those without an answer so far.
    pub lacking: BTreeSet<Question>,
    /// The answers that nobody may see.
    pub hidden: Hidden,
}

/// A lookup that notes what it is asked. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Recorder {
    lookup: Arc<dyn Lookup>,
    asked: Arc<Mutex<Asked>>,
}

impl Recorder {
    pub(crate) fn new(lookup: Arc<dyn Lookup>) -> Self {
        Self { lookup, asked: Arc::default() }
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Asked {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The same at the end, when nothing more is asked: nothing is copied.
    pub(crate) fn into_asked(self) -> Asked {
        std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn services(&self, name: &str, tag: Option<&str>) -> Option<Vec<Instance>> {
        let question = Question::Services { name: name.to_owned(), tag: tag.map(str::to_owned) };
        let mut found = self.note(question, self.lookup.services(name, tag), |_, _| {})?;
        // The order of an answer is nobody's wish: without one of its own a file would change when nothing has.
        found.sort();
        Some(found)
    }

    pub(crate) fn keys(&self, prefix: &str) -> Option<BTreeMap<String, String>> {
        let add =
            |found: &BTreeMap<String, String>, hidden: &mut Hidden| found.values().for_each(|text| hidden.add(text));
        self.note(Question::Keys(prefix.to_owned()), self.lookup.keys(prefix), add)
    }

    /// The answer to a question that has one text as its answer.
    pub(crate) fn text(&self, question: &Question) -> Answer<Option<String>> {
        let answer = match question {
            Question::Key(key) => self.lookup.key(key),
            Question::Leader(service) => self.lookup.leader(service),
            Question::Address => self.lookup.address(),
            Question::File(path) => self.lookup.file(path),
            Question::Environment(name) => self.lookup.environment(name),
            Question::Services { .. } | Question::Keys(_) => Answer::Known(None),
        };
        let add = |found: &Option<String>, hidden: &mut Hidden| found.iter().for_each(|text| hidden.add(text));
        self.note(question.clone(), answer, add).map_or(Answer::NotYet, Answer::Known)
    }

    fn note<T>(&self, question: Question, answer: Answer<T>, hide: impl Fn(&T, &mut Hidden)) -> Option<T> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.questions.insert(question.clone());
        match answer {
            Answer::Known(found) => {
                if self.lookup.is_secret(&question) {
                    hide(&found, &mut asked.hidden);
                }
                Some(found)
            }
            Answer::NotYet => {
                asked.lacking.insert(question);
                None
            }
        }
    }
}

/// A lookup that knows nothing and never will: for values alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nothing;

impl Lookup for Nothing {
    fn services(&self, _: &str, _: Option<&str>) -> Answer<Vec<Instance>> {
        Answer::Known(Vec::new())
    }
    fn key(&self, _: &str) -> Answer<Option<String>> {
        Answer::Known(None)
    }
    fn keys(&self, _: &str) -> Answer<BTreeMap<String, String>> {
        Answer::Known(BTreeMap::new())
    }
    fn leader(&self, _: &str) -> Answer<Option<String>> {
        Answer::Known(None)
    }
    fn address(&self) -> Answer<Option<String>> {
        Answer::Known(None)
    }
    fn file(&self, _: &Path) -> Answer<Option<String>> {
        Answer::Known(None)
    }
    fn environment(&self, _: &str) -> Answer<Option<String>> {
        Answer::Known(None)
    }
}
