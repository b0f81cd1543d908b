//! What a node's machine has, what a template needs of one, and whether the one holds the other: pure.
//!
//! A node whose agent has not said what it has is taken for one that has everything, since nothing is known of it. Limits of [`resources`](crate::resources)
//! are no need: where they cannot be kept, that is told and the instance runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};

use crate::template::{Driver, Template};

/// The oldest Nix that has all that agents use of it: its first two numbers.
const OLDEST_NIX: (u64, u64) = (2, 8);

/// What the machine of a node has, as its agent has found it. What is absent is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Features {
    /// The drivers of its agent, by the names that templates have for them.
    #[serde(default)]
    pub drivers: BTreeSet<String>,
    /// The version of its Nix, such as `2.18.1`; empty if Nix is there and has not said which it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nix: Option<String>,
    /// The form of the control groups, `v1` or `v2`, by the controller that limits can be set by: `memory`, `cpu`, `pids`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cgroups: BTreeMap<String, String>,
    /// The user that the agent runs as.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Whether the agent may run processes as other users.
    #[serde(default)]
    pub switches_users: bool,
}

/// Something without which an instance of a template cannot run on a machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// The driver of this name.
    Driver(&'static str),
    /// A Nix that agents can use.
    Nix,
    /// To run a process as this `user` or `user:group`.
    User(String),
}

impl Driver {
    /// Its name, as it stands in a template.
    pub fn name(&self) -> &'static str {
        match self {
            Driver::Exec(_) => "exec",
        }
    }
}

impl Template {
    /// All that an instance needs its machine to have, as far as agents tell what theirs have. Whether a user or a program is there, nobody tells.
    pub fn needs(&self) -> BTreeSet<Need> {
        let Driver::Exec(exec) = &self.driver;
        let nix = self.package.as_ref().filter(|package| package.is_of_nix()).map(|_| Need::Nix);
        let users = exec.user.iter().chain(self.jobs.values().filter_map(|job| job.user.as_ref()));
        let users = users.map(|user| Need::User(user.clone()));
        [Need::Driver(self.driver.name())].into_iter().chain(nix).chain(users).collect()
    }
}

impl Features {
    /// Whether a need is met.
    pub fn meet(&self, need: &Need) -> bool {
        match need {
            Need::Driver(driver) => self.drivers.contains(*driver),
            Need::Nix => self.nix.as_deref().is_some_and(is_new_enough),
            // Its own group may be named, too: which that is, nobody tells.
            Need::User(user) => self.switches_users || user.split(':').next() == Some(self.user.as_str()),
        }
    }

    /// The first of some [needs](Template::needs) that is not met.
    pub fn lacking<'a>(&self, needs: &'a BTreeSet<Need>) -> Option<&'a Need> {
        needs.iter().find(|need| !self.meet(need))
    }
}

/// Whether this is no older Nix than agents need. One that has not said which it is, or says it in another way, is taken for one: whether it will do is
/// then seen when it is used.
fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.split('.').map(|part| part.chars().take_while(char::is_ascii_digit).collect::<String>());
    let mut next = || numbers.next().and_then(|digits| digits.parse::<u64>().ok());
    match (next(), next()) {
        (Some(major), Some(minor)) => (major, minor) >= OLDEST_NIX,
        _ => true,
    }
}

impl Need {
    /// What is so with so many nodes that lack it, to be put behind their number: `have no Nix`.
    pub fn lack(&self, nodes: usize) -> String {
        let have = if nodes == 1 { "has" } else { "have" };
        match self {
            Need::Driver(driver) => format!("{have} no driver `{driver}`"),
            Need::Nix => format!("{have} no Nix of {}.{} or later", OLDEST_NIX.0, OLDEST_NIX.1),
            Need::User(user) => format!("cannot run anything as `{user}`, for which an agent has to be root"),
        }
    }
}

/// In short, for a table: `nix 2.18.1, limits v2, users`.
impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nix = self.nix.as_ref().map(|version| format!("nix {version}").trim_end().to_owned());
        let forms: BTreeSet<&str> = self.cgroups.values().map(String::as_str).collect();
        let limits = (!forms.is_empty()).then(|| format!("limits {}", forms.into_iter().collect::<Vec<_>>().join("+")));
        let users = self.switches_users.then(|| "users".to_owned());
        let said: Vec<String> = [nix, limits, users].into_iter().flatten().collect();
        f.write_str(if said.is_empty() { "-" } else { "" })?;
        f.write_str(&said.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(more: &str) -> Template {
        serde_json::from_str(&format!(r#"{{"version": "1", {more}}}"#)).unwrap()
    }

    fn needs(more: &str) -> Vec<Need> {
        template(more).needs().into_iter().collect()
    }

    fn machine() -> Features {
        Features { drivers: ["exec".to_owned()].into(), user: "helium".to_owned(), ..Features::default() }
    }

    #[test]
    fn what_a_template_needs_follows_from_its_driver_its_package_and_its_users() {
        let run = r#""exec": {"command": ["run"]}"#;
        let exec = Need::Driver("exec");
        for more in
            ["", r#""resources": {"memory": "64Mi", "cpu": 1},"#, r#""package": {"url": "https://x/a.tar.gz"},"#]
        {
            assert_eq!(needs(&format!("{more} {run}")), std::slice::from_ref(&exec), "{more}");
        }
        let nix = r#""package": {"url": "nix:///nix/store/${VERSION}"}"#;
        assert_eq!(needs(&format!("{nix}, {run}")), [exec.clone(), Need::Nix]);
        let users = r#""exec": {"command": ["run"], "user": "web"},
            "jobs": {"a": {"command": ["x"], "user": "cron"}, "b": {"command": ["x"]}}"#;
        assert_eq!(needs(users), [exec, Need::User("cron".to_owned()), Need::User("web".to_owned())]);
    }

    #[test]
    fn a_machine_without_nix_or_with_one_that_is_too_old_meets_no_need_of_it() {
        let with = |version: &str| Features { nix: Some(version.to_owned()), ..machine() };
        assert!(!machine().meet(&Need::Nix));
        for (version, met) in
            [("2.7.9", false), ("1.11", false), ("2.8", true), ("2.8.1", true), ("2.31pre2025", true), ("3.0", true)]
        {
            assert_eq!(with(version).meet(&Need::Nix), met, "{version}");
        }
        assert!(with("").meet(&Need::Nix) && with("unstable").meet(&Need::Nix), "what is not known excludes nothing");
    }

    #[test]
    fn another_user_needs_an_agent_that_may_switch_and_its_own_does_not() {
        let other = Need::User("web".to_owned());
        assert!(!machine().meet(&other) && machine().meet(&Need::User("helium".to_owned())));
        let with_group = Need::User("helium:helium".to_owned());
        assert!(machine().meet(&with_group), "which group is its own, nobody tells");
        assert!(Features { switches_users: true, ..machine() }.meet(&other));
    }

    #[test]
    fn a_driver_that_the_agent_does_not_have_is_lacking() {
        let needs = template(r#""exec": {"command": ["run"]}"#).needs();
        assert_eq!(
            (machine().lacking(&needs), Features::default().lacking(&needs)),
            (None, Some(&Need::Driver("exec")))
        );
    }

    #[test]
    fn what_a_newer_agent_says_besides_is_read_over_and_what_is_said_is_said_in_short() {
        let said = r#"{"drivers": ["exec", "zone"], "nix": "2.24.9", "cgroups": {"cpu": "v1", "memory": "v2"}, "user": "root",
            "switchesUsers": true, "gpus": 3}"#;
        let read: Features = serde_json::from_str(said).unwrap();
        assert_eq!(read.to_string(), "nix 2.24.9, limits v1+v2, users");
        assert_eq!(Features { nix: Some(String::new()), ..machine() }.to_string(), "nix");
        assert_eq!(machine().to_string(), "-");
    }
}
