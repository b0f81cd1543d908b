//! Which queries to keep open on Consul so that a set of questions is answered: one a prefix and not one a key.
//!
//! Consul closes the 201st connection of an address, so a thousand keys may not cost a thousand queries. Keys are read together by a folder
//! above them, never by a bare beginning of a name. How a folder is chosen:
//!
//! 1. A prefix that a template names itself is read as it is named. What lies below it needs no query of its own.
//! 2. Two or more keys that lie directly in one folder are read by that folder: whoever asks for several of its keys lives in it.
//! 3. While there are more queries than [`Terms::most`] leaves room for, the deepest folder above several of them takes their place. Such a
//!    folder was named by nobody, so it has at least two segments: `config/web/` may be, `config/` is as a rule everybody's, and the whole
//!    store is never read unless a template says so.
//! 4. A folder in [`Terms::refused`] is no folder of 2 and 3: the token may not list it, or it holds far more than was asked for.
//!
//! What finds no room is swept: read in turn, over one connection, now and then.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use helium_templates::lookup::Question;
use serde::{Deserialize, Serialize};

/// The fewest segments of a folder that no template has asked in.
const FEWEST_SEGMENTS: usize = 2;
/// The fewest keys within one folder that are read by it.
const TOGETHER: usize = 2;

/// The key of the lock that the leader of a service holds, by the service's name.
pub type LeaderKey = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// One question to Consul. The order is the order in which queries find room.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Query {
    /// All keys below a folder, whose name ends in `/`; an empty one is the whole store.
    Keys(String),
    /// One key.
    Key(String),
    /// The instances of a service of which all checks pass.
    Service(String),
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Query::Keys(prefix) => write!(f, "the keys below {prefix}"),
            Query::Key(key) => write!(f, "the key {key}"),
            Query::Service(name) => write!(f, "the instances of {name}"),
        }
    }
}

impl Query {
    /// Whether the answer to this one holds the answer to the other.
    fn covers(&self, other: &Query) -> bool {
        match (self, other) {
            (Query::Keys(prefix), Query::Keys(of) | Query::Key(of)) => of.starts_with(prefix.as_str()),
            _ => self == other,
        }
    }

    fn path(&self) -> &str {
        match self {
            Query::Keys(path) | Query::Key(path) | Query::Service(path) => path,
        }
    }
}

/// Within what a plan has to stay.
#[derive(Clone)]
pub struct Terms<'a> {
    /// How many queries may be open at once.
    pub most: usize,
    /// Folders by which nothing is read unless a template names them.
    pub refused: &'a BTreeSet<String>,
    /// Where the lock of a service's leader is.
    pub leader_key: &'a LeaderKey,
}

/// How questions are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Queries that are kept open.
    pub follow: Vec<Query>,
    /// Queries that are asked in turn.
    pub sweep: Vec<Query>,
}

/// A folder as Consul wants it: no slash at its beginning and one at its end.
pub fn folder_of_prefix(prefix: &str) -> String {
    let prefix = prefix.trim_start_matches('/');
    if prefix.is_empty() || prefix.ends_with('/') { prefix.to_owned() } else { format!("{prefix}/") }
}

/// A key as Consul wants it: no slash at its beginning.
pub fn key_of(key: &str) -> &str {
    key.trim_start_matches('/')
}

/// The queries by which all questions that are for Consul are answered.
pub fn plan_queries(questions: &BTreeSet<Question>, terms: &Terms<'_>) -> Plan {
    let mut asked = BTreeSet::new();
    let mut services = BTreeSet::new();
    for question in questions {
        match question {
            Question::Keys(prefix) => {
                asked.insert(Query::Keys(folder_of_prefix(prefix)));
            }
            Question::Key(key) => {
                asked.insert(Query::Key(key_of(key).to_owned()));
            }
            Question::Leader(service) => {
                asked.insert(Query::Key((terms.leader_key)(service)));
            }
            Question::Services { name, .. } => {
                services.insert(Query::Service(name.clone()));
            }
            Question::Address | Question::File(_) | Question::Environment(_) => {}
        }
    }
    // What is in the store has half of the room at least, and all that services leave.
    let share = terms.most.saturating_sub(services.len()).max(terms.most.div_ceil(2));
    let mut stored = by_folder(without_covered(asked), terms);
    while stored.len() > share
        && let Some(folder) = deepest_above_several(&stored, terms)
    {
        stored.insert(Query::Keys(folder));
        stored = without_covered(stored);
    }
    let (mut follow, mut sweep): (Vec<_>, Vec<_>) =
        stored.into_iter().enumerate().partition(|(place, _)| *place < share);
    let room = terms.most.saturating_sub(follow.len());
    let (first, rest): (Vec<_>, Vec<_>) = services.into_iter().enumerate().partition(|(place, _)| *place < room);
    follow.extend(first);
    sweep.extend(rest);
    let queries = |list: Vec<(usize, Query)>| list.into_iter().map(|(_, query)| query).collect();
    Plan { follow: queries(follow), sweep: queries(sweep) }
}

fn without_covered(queries: BTreeSet<Query>) -> BTreeSet<Query> {
    let mut kept = BTreeSet::new();
    // In order of their paths a folder comes right before what lies below it.
    let mut sorted: Vec<Query> = queries.into_iter().collect();
    sorted.sort_by(|a, b| a.path().cmp(b.path()).then_with(|| a.cmp(b)));
    let mut last: Option<Query> = None;
    for query in sorted {
        if last.as_ref().is_some_and(|last| last.covers(&query)) {
            continue;
        }
        if matches!(query, Query::Keys(_)) {
            last = Some(query.clone());
        }
        kept.insert(query);
    }
    kept
}

/// Keys that lie in one folder, read by it.
fn by_folder(queries: BTreeSet<Query>, terms: &Terms<'_>) -> BTreeSet<Query> {
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    for query in &queries {
        if let Query::Key(key) = query
            && let Some(folder) = folder_above(key)
        {
            *found.entry(folder).or_default() += 1;
        }
    }
    let usable = |folder: &str, keys: usize| keys >= TOGETHER && !terms.refused.contains(folder);
    let folders: Vec<Query> = found
        .into_iter()
        .filter(|(folder, keys)| usable(folder, *keys))
        .map(|(folder, _)| Query::Keys(folder.to_owned()))
        .collect();
    without_covered(queries.into_iter().chain(folders).collect())
}

/// The deepest folder above more than one query, and of those the one above the most.
fn deepest_above_several(queries: &BTreeSet<Query>, terms: &Terms<'_>) -> Option<String> {
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    for query in queries {
        let mut at = query.path();
        while let Some(folder) = folder_above(at) {
            *found.entry(folder).or_default() += 1;
            at = folder;
        }
    }
    let usable = |folder: &str, count: usize| {
        count >= TOGETHER && segments(folder) >= FEWEST_SEGMENTS && !terms.refused.contains(folder)
    };
    let found = found.into_iter().filter(|(folder, count)| usable(folder, *count));
    found.max_by_key(|(folder, count)| (segments(folder), *count)).map(|(folder, _)| folder.to_owned())
}

/// `a/b/` of `a/b/c` and of `a/b/c/`; none of `a`.
fn folder_above(path: &str) -> Option<&str> {
    let path = path.strip_suffix('/').unwrap_or(path);
    path.rfind('/').map(|at| &path[..=at])
}

fn segments(folder: &str) -> usize {
    folder.matches('/').count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn leader_key() -> LeaderKey {
        Arc::new(|service| format!("service/{service}/leader"))
    }

    fn planned(most: usize, refused: &[&str], questions: impl IntoIterator<Item = Question>) -> Plan {
        let refused = refused.iter().map(|folder| (*folder).to_owned()).collect();
        plan_queries(&questions.into_iter().collect(), &Terms { most, refused: &refused, leader_key: &leader_key() })
    }

    fn key(key: &str) -> Question {
        Question::Key(key.to_owned())
    }

    fn service(name: &str) -> Question {
        Question::Services { name: name.to_owned(), tag: None }
    }

    fn shown(plan: &Plan) -> (Vec<String>, Vec<String>) {
        let words = |list: &[Query]| list.iter().map(ToString::to_string).collect();
        (words(&plan.follow), words(&plan.sweep))
    }

    #[test]
    fn a_thousand_keys_of_one_folder_are_one_query() {
        let plan = planned(8, &[], (0..1000).map(|at| key(&format!("config/web/{at}"))));
        assert_eq!(shown(&plan), (vec!["the keys below config/web/".to_owned()], vec![]));
    }

    #[test]
    fn a_thousand_keys_in_as_many_folders_are_read_by_the_deepest_folders_that_suffice() {
        let plan = planned(8, &[], (0..1000).map(|at| key(&format!("config/web/{}/{at}/port", at % 5))));
        assert_eq!(plan.follow.len(), 5);
        assert_eq!(plan.follow[0], Query::Keys("config/web/0/".to_owned()));
    }

    #[test]
    fn one_key_is_read_alone_and_two_by_their_folder() {
        assert_eq!(planned(8, &[], [key("config/web/a")]).follow, [Query::Key("config/web/a".to_owned())]);
        let two = planned(8, &[], [key("config/web/a"), key("/config/web/b")]);
        assert_eq!(two.follow, [Query::Keys("config/web/".to_owned())]);
    }

    #[test]
    fn neither_the_whole_store_nor_a_folder_of_one_segment_is_read_unless_somebody_asks_in_it() {
        let plan = planned(2, &[], (0..10).map(|at| key(&format!("config/{at}/port"))));
        assert_eq!((plan.follow.len(), plan.sweep.len()), (2, 8), "{plan:?}");
        let plan = planned(2, &[], (0..10).map(|at| key(&format!("top{at}"))));
        assert_eq!((plan.follow.len(), plan.sweep.len()), (2, 8), "{plan:?}");
        let plan = planned(2, &[], (0..10).map(|at| key(&format!("web/{at}"))));
        assert_eq!(plan.follow, [Query::Keys("web/".to_owned())]);
        assert_eq!(planned(2, &[], [Question::Keys(String::new())]).follow, [Query::Keys(String::new())]);
    }

    #[test]
    fn a_folder_that_was_refused_is_gone_around() {
        let keys = || [key("config/web/a"), key("config/web/b")];
        let plan = planned(8, &["config/web/"], keys());
        assert_eq!(plan.follow, ["config/web/a", "config/web/b"].map(|key| Query::Key(key.to_owned())));
        let named = planned(8, &["config/web/"], [Question::Keys("config/web".to_owned())]);
        assert_eq!(named.follow, [Query::Keys("config/web/".to_owned())]);
    }

    #[test]
    fn what_lies_below_a_prefix_that_is_asked_for_needs_no_query_of_its_own() {
        let asked = [Question::Keys("config/web/".to_owned()), key("config/web/a/b"), key("config/webb")];
        let plan = planned(8, &[], asked);
        assert_eq!(plan.follow, [Query::Keys("config/web/".to_owned()), Query::Key("config/webb".to_owned())]);
    }

    #[test]
    fn a_service_is_one_query_whatever_its_tags_and_services_beyond_the_room_are_swept() {
        let tagged = Question::Services { name: "db".to_owned(), tag: Some("primary".to_owned()) };
        assert_eq!(planned(8, &[], [service("db"), tagged]).follow, [Query::Service("db".to_owned())]);
        let many = (0..20).map(|at| service(&format!("s{at:02}"))).chain([key("config/web/a")]);
        let plan = planned(8, &[], many);
        assert_eq!((plan.follow.len(), plan.sweep.len()), (8, 13));
        assert_eq!(plan.follow[0], Query::Key("config/web/a".to_owned()));
    }

    #[test]
    fn a_leader_is_the_key_of_its_lock() {
        let plan = planned(8, &[], [Question::Leader("db".to_owned()), Question::Address]);
        assert_eq!(plan.follow, [Query::Key("service/db/leader".to_owned())]);
    }

    fn question() -> impl Strategy<Value = Question> {
        let path = || prop::collection::vec("[ab]{1,2}", 1..5).prop_map(|parts| parts.join("/"));
        prop_oneof![
            4 => path().prop_map(Question::Key),
            1 => path().prop_map(Question::Keys),
            1 => "[a-f]".prop_map(|name| Question::Services { name, tag: None }),
            1 => "[a-f]".prop_map(Question::Leader),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_question_is_covered_within_the_room_and_nothing_is_read_that_nobody_is_near(
            questions in prop::collection::btree_set(question(), 0..60),
            refused in prop::collection::btree_set("[ab]{1,2}(/[ab]{1,2}){0,2}/", 0..4),
            most in 1..10_usize,
        ) {
            let plan = plan_queries(&questions, &Terms { most, refused: &refused, leader_key: &leader_key() });
            prop_assert!(plan.follow.len() <= most);
            let all: Vec<&Query> = plan.follow.iter().chain(&plan.sweep).collect();
            let covered = |query: &Query| all.iter().any(|given| given.covers(query));
            let named: BTreeSet<String> = questions.iter().filter_map(|question| match question {
                Question::Keys(prefix) => Some(folder_of_prefix(prefix)),
                _ => None,
            }).collect();
            for question in &questions {
                let is_covered = match question {
                    Question::Key(key) => covered(&Query::Key(key.clone())),
                    Question::Keys(prefix) => covered(&Query::Keys(folder_of_prefix(prefix))),
                    Question::Leader(name) => covered(&Query::Key(leader_key()(name))),
                    Question::Services { name, .. } => covered(&Query::Service(name.clone())),
                    _ => true,
                };
                prop_assert!(is_covered, "{} by {:?}", question, plan);
            }
            for query in &all {
                prop_assert_eq!(all.iter().filter(|other| other.covers(query)).count(), 1, "nothing is read twice");
                if let Query::Keys(folder) = query && !named.contains(folder) {
                    prop_assert!(folder.ends_with('/') && !refused.contains(folder));
                    let inside = questions.iter().filter(|question| matches!(
                        question, Question::Key(key) if folder_above(key) == Some(folder.as_str())
                    ));
                    prop_assert!(segments(folder) >= FEWEST_SEGMENTS || inside.count() >= TOGETHER);
                }
            }
        }
    }
}
