//! Keys below prefixes become the variables of a child, which is told when they change.
//!
//! A key's name is what stands behind its prefix; of several prefixes the later ones win. A value is the whole value, whatever it holds. While
//! Consul is away the child runs on, and a prefix that was wiped is believed only after a while: no child is restarted with nothing.

use std::{collections::BTreeMap, time::Duration};

use helium_processes::{Command, StartError};
use helium_runtime::{ports::Ports, shutdown::Shutdown};
use helium_templates::{
    lookup::{Answer, Lookup as _, Question},
    quiet::{Quiet, Wait},
};
use tokio::sync::mpsc;

use crate::{
    answers::Answers,
    child::{Child, ChildPlan},
    follower::Follower,
    watcher::{Ended, Order},
};

/// How keys become names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Naming {
    /// In capitals.
    pub upcase: bool,
    /// With `_` for whatever no shell takes in a name.
    pub sanitize: bool,
}

/// What a child's environment is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// The prefixes in Consul; later ones win.
    pub prefixes: Vec<String>,
    /// How keys become names.
    pub naming: Naming,
    /// The variables below all that; empty if the child shall see nothing else.
    pub inherited: BTreeMap<String, String>,
}

/// Variables, and the keys that cannot be any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables {
    /// All variables of the child.
    pub all: BTreeMap<String, String>,
    /// Keys whose name or value no variable can have.
    pub left_out: Vec<String>,
}

/// Why there is no environment.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// Prefixes were not read in time: each, and what is known of why.
    #[error("{} not read within {limit:?}: {}", if .lacking.len() == 1 { "1 prefix was" } else { "several prefixes were" }, .lacking.join("; "))]
    Lacking {
        /// The prefixes.
        lacking: Vec<String>,
        /// How long it waited.
        limit: Duration,
    },
    /// The child cannot be started.
    #[error("the command cannot be started: {0}")]
    Child(#[from] StartError),
    /// It was asked to stop.
    #[error("stopped before every prefix was read")]
    Stopped,
}

impl Naming {
    /// The name of a variable by that of a key.
    pub fn name(self, key: &str) -> String {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let one = |c: char| if self.sanitize && !fits(c) { '_' } else { c };
        let name: String = key.chars().map(one).collect();
        if self.upcase { name.to_uppercase() } else { name }
    }
}

impl Sources {
    fn questions(&self) -> impl Iterator<Item = Question> {
        self.prefixes.iter().cloned().map(Question::Keys)
    }

    /// The variables, or the prefixes that nobody has read yet.
    pub fn variables(&self, answers: &Answers) -> Result<Variables, Vec<String>> {
        let mut variables = Variables { all: self.inherited.clone(), left_out: Vec::new() };
        let mut lacking = Vec::new();
        for prefix in &self.prefixes {
            let Answer::Known(rows) = answers.keys(prefix) else {
                lacking.push(prefix.clone());
                continue;
            };
            for (key, value) in rows {
                let name = self.naming.name(&key);
                if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                    variables.left_out.push(format!("{}/{key}", prefix.trim_end_matches('/')));
                } else {
                    variables.all.insert(name, value);
                }
            }
        }
        if lacking.is_empty() { Ok(variables) } else { Err(lacking) }
    }
}

/// Keeps a child in the environment that Consul gives it.
pub struct Environment {
    sources: Sources,
    wait: Wait,
    follower: Follower,
    ports: Ports,
    child: Child,
    command: Command,
}

impl Environment {
    /// Follows the prefixes from now on; the child is not started yet.
    pub fn new(sources: Sources, plan: ChildPlan, wait: Wait, mut follower: Follower, ports: Ports) -> Self {
        follower.follow(&sources.questions().collect());
        Self { sources, wait, follower, ports, command: plan.command.clone(), child: Child::new(plan) }
    }

    /// Waits until every prefix was read, and gives the command with its whole environment.
    pub async fn once(&mut self, limit: Option<Duration>, shutdown: &Shutdown) -> Result<Command, EnvironmentError> {
        let until = limit.map(|limit| self.ports.monotonic().saturating_add(limit));
        loop {
            let lacking = match self.sources.variables(&self.follower.answers()) {
                Ok(variables) => {
                    tell(&variables);
                    return Ok(Command { env: variables.all, ..self.command.clone() });
                }
                Err(lacking) => lacking,
            };
            let ports = self.ports.clone();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Err(EnvironmentError::Stopped),
                () = self.follower.changed() => {}
                () = ports.sleep_until(until.unwrap_or_default()), if until.is_some() => {
                    let limit = limit.unwrap_or_default();
                    return Err(EnvironmentError::Lacking { lacking: self.reasons(lacking), limit });
                }
            }
        }
    }

    fn reasons(&self, lacking: Vec<String>) -> Vec<String> {
        let answers = self.follower.answers();
        let reason = |prefix: String| match answers.why_lacking(&Question::Keys(prefix.clone())) {
            Some(why) => format!("{prefix}: {why}"),
            None => prefix,
        };
        lacking.into_iter().map(reason).collect()
    }

    /// Starts the child once every prefix was read, and tells it of changes, until it ends or this is asked to stop.
    pub async fn run(
        &mut self,
        limit: Option<Duration>,
        orders: &mut mpsc::Receiver<Order>,
        shutdown: &Shutdown,
    ) -> Result<Ended, EnvironmentError> {
        let mut now = match self.once(limit, shutdown).await {
            Ok(command) => command.env,
            Err(EnvironmentError::Stopped) => return Ok(Ended::Stopped(None)),
            Err(error) => return Err(error),
        };
        self.child.set_environment(now.clone());
        self.child.start()?;
        let mut quiet = Quiet::new(self.wait);
        loop {
            let (due, ports) = (quiet.due(), self.ports.clone());
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(Ended::Stopped(self.child.stop(None).await)),
                exit = self.child.ended() => return Ok(Ended::Child(exit)),
                Some(order) = orders.recv() => self.obey(&order),
                () = self.follower.changed() => quiet.changed(self.ports.monotonic(), &self.ports),
                () = ports.sleep_until(due.unwrap_or_default()), if due.is_some() => {}
            }
            if quiet.take(self.ports.monotonic())
                && let Ok(variables) = self.sources.variables(&self.follower.answers())
                && variables.all != now
            {
                tell(&variables);
                tracing::info!(variables = ?differing(&now, &variables.all), "the environment changed");
                now = variables.all;
                self.child.set_environment(now.clone());
                self.child.changed().await?;
            }
        }
    }

    fn obey(&self, order: &Order) {
        if let Order::Forward(signal) = order
            && let Err(error) = self.child.forward(*signal)
        {
            tracing::warn!(%error, ?signal, "a signal did not reach the child");
        }
    }
}

fn tell(variables: &Variables) {
    if !variables.left_out.is_empty() {
        tracing::warn!(keys = ?variables.left_out, "these keys have names or values that no variable can have, and are left out");
    }
}

/// The names of what differs; values may be secret.
fn differing(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<String> {
    let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    names.into_iter().filter(|name| old.get(*name) != new.get(*name)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        answers::{Data, Row, Source},
        plan::Query,
    };

    fn answers(rows: &[(&str, &str)]) -> Answers {
        let mut answers = Answers::new(Arc::default(), Arc::new(str::to_owned));
        for prefix in ["app/", "more/"] {
            let below = rows.iter().filter(|(key, _)| key.starts_with(prefix));
            let row = |value: &str| Row { value: value.to_owned(), leads: true };
            let data = Data::Keys(below.map(|(key, value)| ((*key).to_owned(), row(value))).collect());
            answers
                .sources
                .insert(Query::Keys(prefix.to_owned()), Source { data: Some(Arc::new(data)), trouble: None });
        }
        answers
    }

    fn sources(prefixes: &[&str], naming: Naming) -> Sources {
        let prefixes = prefixes.iter().map(ToString::to_string).collect();
        Sources { prefixes, naming, inherited: BTreeMap::from([("HOME".to_owned(), "/".to_owned())]) }
    }

    fn shown(sources: &Sources, rows: &[(&str, &str)]) -> Vec<String> {
        let variables = sources.variables(&answers(rows)).unwrap();
        let pairs = variables.all.iter().map(|(name, value)| format!("{name}={value:?}"));
        pairs.chain(variables.left_out.iter().map(|key| format!("without {key}"))).collect()
    }

    #[test]
    fn keys_become_names_as_they_are_or_as_shells_take_them() {
        let rows = [("app/db/max-conns", "5"), ("app/port", "80")];
        let names = |naming| shown(&sources(&["app"], naming), &rows);
        assert_eq!(names(Naming::default()), ["HOME=\"/\"", "db/max-conns=\"5\"", "port=\"80\""]);
        let both = Naming { upcase: true, sanitize: true };
        assert_eq!(names(both), ["DB_MAX_CONNS=\"5\"", "HOME=\"/\"", "PORT=\"80\""]);
    }

    #[test]
    fn values_are_whole_and_what_no_variable_can_hold_is_left_out() {
        let rows = [("app/a", "x=y=z\nsecond"), ("app/b=c", "1"), ("app/d", "nul\0"), ("app/e", "")];
        let shown = shown(&sources(&["app"], Naming::default()), &rows);
        assert_eq!(shown, ["HOME=\"/\"", "a=\"x=y=z\\nsecond\"", "e=\"\"", "without app/b=c", "without app/d"]);
    }

    #[test]
    fn the_later_prefix_wins_over_the_earlier_one_and_over_what_is_inherited() {
        let rows = [("app/a", "1"), ("more/a", "2"), ("app/HOME", "/app")];
        assert_eq!(shown(&sources(&["app", "more"], Naming::default()), &rows), ["HOME=\"/app\"", "a=\"2\""]);
        assert_eq!(shown(&sources(&["more", "app"], Naming::default()), &rows), ["HOME=\"/app\"", "a=\"1\""]);
    }

    #[test]
    fn a_prefix_that_nobody_has_read_is_named() {
        let lacking = sources(&["app", "other", "third/"], Naming::default()).variables(&answers(&[])).unwrap_err();
        assert_eq!(lacking, ["other", "third/"]);
    }
}
