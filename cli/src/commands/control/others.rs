//! Instances on other machines, whose logs this one does not have: which nodes they are on, and what to run there.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use helium_agent::logs;
use helium_crds::{InstanceId, Kind, NodeName, ObjectKey};
use helium_engine::people::{ObjectRef, People, PeopleError, read::InstanceView};
use tokio::{sync::mpsc, time::timeout};

/// How long the store may take to tell; the logs of this machine need no store.
const LIMIT: Duration = Duration::from_secs(2);
/// How often it is asked again while logs are followed.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// The instances of one Deployment that have no log here.
pub(super) struct Others {
    people: People,
    key: ObjectKey,
    folder: PathBuf,
    /// Only of this version, and only this instance.
    only: (Option<String>, Option<String>),
    /// The nodes that have been named already.
    told: BTreeSet<NodeName>,
}

/// What the store says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// It does not answer.
    Unknown,
    /// There is no such Deployment.
    NoSuchObject(ObjectRef),
    /// How many instances without a log here there are on each node.
    Nodes(BTreeMap<NodeName, usize>),
}

impl Others {
    /// Those of `key`, but for the ones that have a log in this agent's `folder`.
    pub(super) fn new(people: People, key: ObjectKey, folder: PathBuf, only: (Option<String>, Option<String>)) -> Self {
        Self { people, key, folder, only, told: BTreeSet::new() }
    }

    /// Looks at the store as it is now.
    pub(super) async fn look(&self) -> Sight {
        let object = ObjectRef::new(Kind::Deployment, self.key.clone());
        let asked = async {
            self.people.existing(&object).await?;
            self.people.instances(&self.key).await
        };
        match timeout(LIMIT, asked).await {
            Ok(Ok(instances)) => Sight::Nodes(self.nodes(&instances)),
            Ok(Err(PeopleError::NotFound(object))) => Sight::NoSuchObject(object),
            Ok(Err(_)) | Err(_) => Sight::Unknown,
        }
    }

    fn nodes(&self, instances: &[InstanceView]) -> BTreeMap<NodeName, usize> {
        let logs = logs::list(&self.folder).unwrap_or_default();
        let here: BTreeSet<&InstanceId> = logs.iter().map(|log| &log.id).collect();
        let (version, id) = &self.only;
        let mut nodes = BTreeMap::new();
        // An instance without a report may be about to start here.
        for InstanceView { instance, .. } in instances.iter().filter(|view| view.report.is_some()) {
            let wanted = version.as_ref().is_none_or(|version| *version == instance.version)
                && id.as_ref().is_none_or(|id| id == instance.id.as_str());
            if wanted && !here.contains(&instance.id) {
                *nodes.entry(instance.node.clone()).or_default() += 1;
            }
        }
        nodes
    }

    /// What is worth saying of what was seen: nodes that have not been named yet.
    pub(super) fn news(&mut self, sight: &Sight) -> Option<String> {
        let Sight::Nodes(nodes) = sight else { return None };
        let new = nodes.iter().filter(|(node, _)| !self.told.contains(*node));
        let new: BTreeMap<NodeName, usize> = new.map(|(node, count)| (node.clone(), *count)).collect();
        self.told.extend(new.keys().cloned());
        Sight::Nodes(new).words(&self.key)
    }

    /// Goes on looking, and gives news as they come.
    pub(super) fn follow(mut self) -> mpsc::Receiver<String> {
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            while !sender.is_closed() {
                tokio::time::sleep(ASK_AGAIN).await;
                let sight = self.look().await;
                if let Some(words) = self.news(&sight)
                    && sender.send(words).await.is_err()
                {
                    return;
                }
            }
        });
        receiver
    }
}

impl Sight {
    /// `2 instances of web run on n2 and n3: `helium logs web` there shows what they print`.
    pub(super) fn words(&self, key: &ObjectKey) -> Option<String> {
        let Sight::Nodes(nodes) = self else { return None };
        let names: Vec<&str> = nodes.keys().map(NodeName::as_str).collect();
        let (last, first) = names.split_last()?;
        let names = if first.is_empty() { (*last).to_owned() } else { format!("{} and {last}", first.join(", ")) };
        let (subject, they) = match nodes.values().sum() {
            1 => ("1 instance".to_owned(), "it prints"),
            count => (format!("{count} instances"), "they print"),
        };
        let verb = if subject == "1 instance" { "runs" } else { "run" };
        Some(format!("{subject} of {key} {verb} on {names}: `helium logs {key}` there shows what {they}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_named_with_what_to_run_there() {
        let key = ObjectKey::new("default", "web");
        let words = |nodes: &[(&str, usize)]| {
            Sight::Nodes(nodes.iter().map(|(node, count)| (NodeName::from(*node), *count)).collect()).words(&key)
        };
        assert_eq!(words(&[]), None);
        insta::assert_snapshot!(
            [words(&[("n2", 1)]), words(&[("n2", 1), ("n3", 2)]), words(&[("a", 1), ("b", 1), ("c", 2)])]
                .map(Option::unwrap)
                .join("\n"),
            @r"
        1 instance of web runs on n2: `helium logs web` there shows what it prints
        3 instances of web run on n2 and n3: `helium logs web` there shows what they print
        4 instances of web run on a, b and c: `helium logs web` there shows what they print
        "
        );
    }
}
