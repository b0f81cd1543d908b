//! What is known of Consul and of this machine at one moment; it answers templates.
//!
//! A snapshot never changes, so that all templates of a set see one and the same world. What was known stays known while Consul is away or
//! shows what cannot be believed; [`Answers::troubles`] says of what, why, and since when.

use std::{collections::BTreeMap, fmt, fs, path::Path, sync::Arc};

use helium_templates::{
    guard::Doubt,
    lookup::{Answer, Instance, Lookup, Question},
};
use jiff::Timestamp;

use crate::plan::{LeaderKey, Query, folder_of_prefix, key_of};

/// One key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) value: String,
    /// Whether it names a leader: it is held as a lock, or never was one and so is a plain note of who leads.
    pub(crate) leads: bool,
}

/// What one query found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Data {
    /// Keys by their whole names.
    Keys(BTreeMap<String, Row>),
    /// Instances of which all checks pass.
    Instances(Vec<Instance>),
}

impl Data {
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Data::Keys(rows) => rows.is_empty(),
            Data::Instances(list) => list.is_empty(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Data::Keys(rows) => rows.len(),
            Data::Instances(list) => list.len(),
        }
    }
}

/// Why what is known may be old.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Consul does not answer, or not this.
    Unanswered {
        /// What it said, or what became of the connection.
        error: String,
        /// Whether the token has no right to it.
        denied: bool,
    },
    /// What it shows is not believed yet.
    Doubtful(Doubt),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Unanswered { error, .. } => f.write_str(error),
            Trouble::Doubtful(doubt) => write!(f, "{doubt}"),
        }
    }
}

/// What is known by one query.
#[derive(Clone, Debug, Default)]
pub(crate) struct Source {
    pub(crate) data: Option<Arc<Data>>,
    pub(crate) trouble: Option<(Timestamp, Trouble)>,
}

/// What is known of this machine. Nothing of it is followed but files, which are read whenever they are asked for.
#[derive(Clone, Debug, Default)]
pub struct Local {
    /// The address of this machine.
    pub address: Option<String>,
    /// The environment.
    pub environment: BTreeMap<String, String>,
    /// Whether templates may read files.
    pub files: bool,
    /// Keys below these prefixes are secret.
    pub secret_prefixes: Vec<String>,
    /// Variables of these names are secret.
    pub secret_variables: Vec<String>,
}

/// What is known at one moment.
#[derive(Clone)]
pub struct Answers {
    pub(crate) sources: BTreeMap<Query, Source>,
    pub(crate) local: Arc<Local>,
    pub(crate) leader_key: LeaderKey,
    /// One more with each change of what is known; troubles are none.
    pub(crate) version: u64,
}

impl Answers {
    /// A snapshot that knows this machine alone.
    pub(crate) fn new(local: Arc<Local>, leader_key: LeaderKey) -> Self {
        Self { sources: BTreeMap::new(), local, leader_key, version: 0 }
    }

    /// One more with each change of what is known.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Which answers may be old or are lacking, since when, and why.
    pub fn troubles(&self) -> Vec<(Query, Timestamp, Trouble)> {
        let found = self.sources.iter().filter_map(|(query, source)| {
            let (since, trouble) = source.trouble.clone()?;
            Some((query.clone(), since, trouble))
        });
        found.collect()
    }

    /// Why a question has no answer yet, if anything is known of that.
    pub fn why_lacking(&self, question: &Question) -> Option<String> {
        let matches = |query: &Query| match (query, question) {
            (Query::Keys(prefix), Question::Key(key)) => key_of(key).starts_with(prefix.as_str()),
            (Query::Key(name), Question::Key(key)) => key_of(key) == name,
            (Query::Keys(prefix), Question::Keys(asked)) => folder_of_prefix(asked).starts_with(prefix.as_str()),
            (Query::Service(name), Question::Services { name: asked, .. }) => name == asked,
            (Query::Key(name), Question::Leader(service)) => *name == (self.leader_key)(service),
            (Query::Keys(prefix), Question::Leader(service)) => (self.leader_key)(service).starts_with(prefix.as_str()),
            _ => false,
        };
        let found = self.troubles().into_iter().find(|(query, _, _)| matches(query));
        found.map(|(_, since, trouble)| format!("{trouble} (since {since:.0})"))
    }

    /// What is known of a key.
    fn row(&self, key: &str) -> Answer<Option<&Row>> {
        let key = key_of(key);
        let alone = self.sources.get(&Query::Key(key.to_owned()));
        let is_above = |query: &Query| matches!(query, Query::Keys(prefix) if key.starts_with(prefix.as_str()));
        let above = self.sources.iter().filter(|(query, _)| is_above(query)).map(|(_, source)| source);
        let mut rows = alone.into_iter().chain(above).filter_map(|source| match source.data.as_deref() {
            Some(Data::Keys(rows)) => Some(rows),
            _ => None,
        });
        known(rows.next().map(|rows| rows.get(key)))
    }
}

/// The same answer, with what is known changed.
fn map<T, U>(answer: Answer<T>, change: impl FnOnce(T) -> U) -> Answer<U> {
    match answer {
        Answer::Known(found) => Answer::Known(change(found)),
        Answer::NotYet => Answer::NotYet,
    }
}

fn known<T>(found: Option<T>) -> Answer<T> {
    found.map_or(Answer::NotYet, Answer::Known)
}

impl Lookup for Answers {
    fn services(&self, name: &str, tag: Option<&str>) -> Answer<Vec<Instance>> {
        let source = self.sources.get(&Query::Service(name.to_owned()));
        let Some(Data::Instances(list)) = source.and_then(|source| source.data.as_deref()) else {
            return Answer::NotYet;
        };
        let wanted = |instance: &&Instance| tag.is_none_or(|tag| instance.tags.iter().any(|has| has == tag));
        Answer::Known(list.iter().filter(wanted).cloned().collect())
    }

    fn key(&self, key: &str) -> Answer<Option<String>> {
        map(self.row(key), |row| row.map(|row| row.value.clone()))
    }

    fn keys(&self, prefix: &str) -> Answer<BTreeMap<String, String>> {
        let folder = folder_of_prefix(prefix);
        let rows = self.sources.iter().find_map(|(query, source)| match (query, source.data.as_deref()) {
            (Query::Keys(read), Some(Data::Keys(rows))) if folder.starts_with(read.as_str()) => Some(rows),
            _ => None,
        });
        let below = |rows: &BTreeMap<String, Row>| {
            let inside = rows.range(folder.clone()..).take_while(|(key, _)| key.starts_with(&folder));
            // A key that ends in `/` is a folder as Consul's pages make one, and holds nothing.
            let named = inside.filter(|(key, _)| !key.ends_with('/'));
            named.map(|(key, row)| (key[folder.len()..].to_owned(), row.value.clone())).collect()
        };
        known(rows.map(below))
    }

    fn leader(&self, service: &str) -> Answer<Option<String>> {
        let row = self.row(&(self.leader_key)(service));
        map(row, |row| row.filter(|row| row.leads).map(|row| row.value.clone()))
    }

    fn address(&self) -> Answer<Option<String>> {
        Answer::Known(self.local.address.clone())
    }

    fn file(&self, path: &Path) -> Answer<Option<String>> {
        Answer::Known(self.local.files.then(|| fs::read_to_string(path).ok()).flatten())
    }

    fn environment(&self, name: &str) -> Answer<Option<String>> {
        Answer::Known(self.local.environment.get(name).cloned())
    }

    fn is_secret(&self, question: &Question) -> bool {
        let below =
            |key: &str| self.local.secret_prefixes.iter().any(|prefix| key.starts_with(prefix.trim_start_matches('/')));
        match question {
            Question::Key(key) => below(key_of(key)),
            Question::Keys(prefix) => below(&folder_of_prefix(prefix)),
            Question::Environment(name) => self.local.secret_variables.contains(name),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(sources: impl IntoIterator<Item = (Query, Data)>) -> Answers {
        let mut answers = Answers::new(Arc::default(), Arc::new(|service| format!("service/{service}/leader")));
        answers.sources = sources
            .into_iter()
            .map(|(query, data)| (query, Source { data: Some(Arc::new(data)), trouble: None }))
            .collect();
        answers
    }

    fn rows(list: &[(&str, &str, bool)]) -> Data {
        let row = |value: &str, leads| Row { value: value.to_owned(), leads };
        Data::Keys(list.iter().map(|(key, value, leads)| ((*key).to_owned(), row(value, *leads))).collect())
    }

    #[test]
    fn a_key_is_answered_by_any_query_above_it_and_one_that_nobody_reads_is_not_known() {
        let answers = answers([(Query::Keys("a/b/".into()), rows(&[("a/b/c", "1", true)]))]);
        assert_eq!(answers.key("a/b/c"), Answer::Known(Some("1".into())));
        assert_eq!(answers.key("/a/b/c"), Answer::Known(Some("1".into())));
        assert_eq!(answers.key("a/b/d"), Answer::Known(None));
        assert_eq!(answers.key("a/x"), Answer::NotYet);
    }

    #[test]
    fn keys_below_a_prefix_are_named_without_it_and_folders_are_no_keys() {
        let data = rows(&[("a/b/", "", true), ("a/b/c/d", "1", true), ("a/bb/x", "2", true)]);
        let answers = answers([(Query::Keys("a/".into()), data)]);
        let found = |prefix: &str| match answers.keys(prefix) {
            Answer::Known(found) => found.into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>(),
            Answer::NotYet => vec!["not yet".to_owned()],
        };
        assert_eq!(found("a/b"), ["c/d=1"]);
        assert_eq!(found("a/"), ["b/c/d=1", "bb/x=2"]);
        assert_eq!(found("b"), ["not yet"]);
    }

    #[test]
    fn a_lock_that_nobody_holds_names_no_leader() {
        let data = |leads| rows(&[("service/db/leader", "10.0.0.1", leads)]);
        let of = |leads| answers([(Query::Key("service/db/leader".into()), data(leads))]).leader("db");
        assert_eq!((of(true), of(false)), (Answer::Known(Some("10.0.0.1".into())), Answer::Known(None)));
    }
}
