//! What is to be said of a node or an instance in one word each: conditions, as pure functions of what is so.
//!
//! A condition keeps the instant of its last change of status, not of its words: what fails for another reason fails still.

use std::collections::BTreeMap;

use helium_crds::instance::{Desired, InstancePhase, Report};
use jiff::Timestamp;
use serde::Serialize;

use crate::instance::{
    apply::FAILED_AFTER,
    record::Record,
    work::{Outcome, Part, Work},
};

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Status {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Nobody can tell.
    Unknown,
}

/// What a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) enum Kind {
    /// An instance serves, or a node has joined and does what it is told.
    Ready,
    /// The local Consul agent, or the servers behind it, have answered the last call.
    ConsulReachable,
    /// What the node is to run can be read and believed.
    AssignmentsKnown,
    /// The package of the instance is in place.
    PackageReady,
    /// Its files are those that its values and templates make now.
    ConfigValid,
    /// It is in Consul as it should be.
    Registered,
    /// Its process ends again and again, or cannot be started.
    CrashLoop,
    /// It leads its service.
    Leader,
    /// Somebody has taken it out of service for a while.
    Maintenance,
}

/// What was found of a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) kind: Kind,
    pub(crate) status: Status,
    /// One word.
    pub(crate) reason: &'static str,
    /// A sentence, or nothing.
    pub(crate) message: String,
}

impl Verdict {
    /// A verdict that holds or does not.
    pub(crate) fn of(kind: Kind, holds: bool, reason: &'static str, message: impl Into<String>) -> Self {
        let status = if holds { Status::True } else { Status::False };
        Self { kind, status, reason, message: message.into() }
    }

    /// A verdict that nobody can give.
    pub(crate) fn unknown(kind: Kind, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, status: Status::Unknown, reason, message: message.into() }
    }
}

/// A condition as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Condition {
    /// What it is about.
    #[serde(rename = "type")]
    kind: Kind,
    /// Whether it holds.
    pub(crate) status: Status,
    /// One word.
    pub(crate) reason: &'static str,
    /// A sentence, or nothing.
    message: String,
    /// When `status` last changed, as far as this run of the agent knows.
    since: Timestamp,
}

/// The conditions of one thing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conditions(BTreeMap<Kind, Condition>);

impl Conditions {
    /// Takes up what was found; what nothing was found of is no condition any more.
    pub(crate) fn take(&mut self, found: Vec<Verdict>, now: Timestamp) {
        let before = std::mem::take(&mut self.0);
        for Verdict { kind, status, reason, message } in found {
            let old = before.get(&kind).filter(|old| old.status == status);
            let since = old.map_or(now, |old| old.since);
            self.0.insert(kind, Condition { kind, status, reason, message, since });
        }
    }

    /// All of them, in one order.
    pub(crate) fn all(&self) -> Vec<Condition> {
        self.0.values().cloned().collect()
    }
}

/// What is in the way of an instance's package or files, from its last preparation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Obstacles {
    /// Why the package is not in place.
    pub(crate) package: Option<String>,
    /// Why its files are not what they should be.
    pub(crate) config: Option<String>,
}

impl Obstacles {
    /// What the end of work says of them.
    pub(crate) fn worked(&mut self, work: Work, outcome: &Outcome) {
        match (work, outcome) {
            (Work::Prepare, Ok(prepared)) => {
                let old = "the files are those that were rendered last; the agent's log says why";
                *self = Self { package: None, config: prepared.behind.is_some().then(|| old.to_owned()) };
            }
            (Work::Refresh, Ok(_)) => self.config = None,
            (Work::Prepare | Work::Refresh, Err(trouble)) => match trouble.part {
                Part::Package => self.package = Some(trouble.words.clone()),
                Part::Config => *self = Self { package: None, config: Some(trouble.words.clone()) },
                Part::Other => {}
            },
            (Work::PostStart | Work::Drain | Work::PreStop | Work::PostStop, _) => {}
        }
    }
}

/// All that the conditions of an instance depend on.
pub(crate) struct Facts<'a> {
    pub(crate) record: &'a Record,
    pub(crate) report: &'a Report,
    pub(crate) obstacles: &'a Obstacles,
    /// Whether it is in Consul; none before anybody has looked.
    pub(crate) registered: Option<bool>,
    /// How many of its checks do not pass.
    pub(crate) unpassing: usize,
}

/// The conditions of an instance.
pub(crate) fn of_instance(facts: &Facts<'_>) -> Vec<Verdict> {
    let Facts { record, .. } = facts;
    let template = &record.assignment.template;
    let mut found =
        vec![ready(facts), registered(facts), crash_loop(record), maintenance(record.maintenance.as_deref())];
    if template.package.is_some() {
        found.push(package(facts));
        found.push(config(facts));
    }
    if template.election.is_some() {
        let reason = if record.leads { "Leads" } else { "Follows" };
        found.push(Verdict::of(Kind::Leader, record.leads, reason, ""));
    }
    found
}

fn ready(facts: &Facts<'_>) -> Verdict {
    let Facts { record, report, .. } = facts;
    let not = |reason, message: String| Verdict::of(Kind::Ready, false, reason, message);
    let words = || report.message.clone().unwrap_or_default();
    if record.phase != InstancePhase::Running {
        return not(phase(record.phase), words());
    }
    if record.stopping.is_some() || record.assignment.desired == Desired::Stop {
        return not("Stopping", String::new());
    }
    if let Some(reason) = &record.maintenance {
        return not("Maintenance", reason.clone());
    }
    if facts.registered != Some(true) {
        return not("NotRegistered", words());
    }
    if !report.failing.is_empty() {
        let each = report.failing.iter().map(|(name, said)| format!("{name}: {said}"));
        return not("ChecksFailing", each.collect::<Vec<_>>().join("; "));
    }
    if record.assignment.role.is_standby() {
        return not("Standby", "runs, and is to serve nobody yet".to_owned());
    }
    match facts.unpassing {
        0 => Verdict::of(Kind::Ready, true, "Running", words()),
        some => not("ChecksPending", format!("{some} checks have not passed yet")),
    }
}

/// The name of a phase as a reason.
pub(crate) fn phase(phase: InstancePhase) -> &'static str {
    match phase {
        InstancePhase::Fetching => "Fetching",
        InstancePhase::Installing => "Installing",
        InstancePhase::Starting => "Starting",
        InstancePhase::Running => "Running",
        InstancePhase::Stopped => "Stopped",
        InstancePhase::Failed => "Failed",
    }
}

fn registered(facts: &Facts<'_>) -> Verdict {
    match facts.registered {
        Some(true) => Verdict::of(Kind::Registered, true, "Registered", ""),
        Some(false) => Verdict::of(Kind::Registered, false, "Absent", facts.report.message.clone().unwrap_or_default()),
        None => Verdict::unknown(Kind::Registered, "NotAsked", "Consul has not answered yet"),
    }
}

fn crash_loop(record: &Record) -> Verdict {
    let holds = record.failures >= FAILED_AFTER;
    let reason = match record.failures {
        0 => "Stable",
        _ if holds => "FailedInARow",
        _ => "Ended",
    };
    let message = match record.failures {
        0 => String::new(),
        row => format!("{row} in a row: {}", record.message.as_deref().unwrap_or("it runs again")),
    };
    Verdict::of(Kind::CrashLoop, holds, reason, message)
}

/// Whether something is in maintenance, and why.
pub(crate) fn maintenance(reason: Option<&str>) -> Verdict {
    let word = if reason.is_some() { "Asked" } else { "NotAsked" };
    Verdict::of(Kind::Maintenance, reason.is_some(), word, reason.unwrap_or_default())
}

fn package(facts: &Facts<'_>) -> Verdict {
    let Facts { record, obstacles, .. } = facts;
    if let Some(words) = &obstacles.package {
        return Verdict::of(Kind::PackageReady, false, "PackageFailed", words.clone());
    }
    let in_place = record.prepared || record.process.is_some() || obstacles.config.is_some();
    match record.phase {
        _ if in_place => Verdict::of(Kind::PackageReady, true, "Installed", ""),
        InstancePhase::Stopped => Verdict::unknown(Kind::PackageReady, "Stopped", ""),
        other => Verdict::of(Kind::PackageReady, false, phase(other), ""),
    }
}

fn config(facts: &Facts<'_>) -> Verdict {
    let Facts { record, obstacles, .. } = facts;
    if let Some(words) = &obstacles.config {
        return Verdict::of(Kind::ConfigValid, false, "ConfigInvalid", words.clone());
    }
    if record.prepared || record.process.is_some() {
        return Verdict::of(Kind::ConfigValid, true, "Rendered", "");
    }
    Verdict::unknown(Kind::ConfigValid, "NotRendered", "")
}

#[cfg(test)]
mod tests {
    use helium_crds::package::Package;
    use helium_instance::process::ProcessIdentity;

    use super::*;
    use crate::{
        instance::report::{Extras, report},
        testing,
    };

    fn running() -> Record {
        let mut record = Record::admit(testing::assignment("hello-0"), testing::instant(0));
        record.process = Some(ProcessIdentity { pid: 42, start: "b/1".to_owned() });
        record.phase = InstancePhase::Running;
        record
    }

    /// Type, status and reason of each, in one text.
    fn said(record: &Record, change: impl FnOnce(&mut Facts<'_>, &mut Obstacles)) -> Vec<String> {
        let report = report(&testing::config().node, record, Extras::default());
        let mut obstacles = Obstacles::default();
        let empty = Obstacles::default();
        let mut facts = Facts { record, report: &report, obstacles: &empty, registered: Some(true), unpassing: 0 };
        change(&mut facts, &mut obstacles);
        let facts = Facts { obstacles: &obstacles, ..facts };
        let all = of_instance(&facts);
        all.into_iter().map(|one| format!("{:?}={:?}/{}", one.kind, one.status, one.reason)).collect()
    }

    #[test]
    fn an_instance_that_runs_and_is_registered_is_ready() {
        let all = [
            "Ready=True/Running",
            "Registered=True/Registered",
            "CrashLoop=False/Stable",
            "Maintenance=False/NotAsked",
        ];
        assert_eq!(said(&running(), |_, _| {}), all);
    }

    #[test]
    fn what_keeps_an_instance_from_being_ready_is_said_in_a_word() {
        let mut record = running();
        assert_eq!(said(&record, |facts, _| facts.unpassing = 1)[0], "Ready=False/ChecksPending");
        let unasked = said(&record, |facts, _| facts.registered = None);
        assert_eq!(unasked[..2], ["Ready=False/NotRegistered", "Registered=Unknown/NotAsked"]);
        record.maintenance = Some("a new disk".to_owned());
        assert_eq!(said(&record, |_, _| {})[0], "Ready=False/Maintenance");
        record.assignment.desired = Desired::Stop;
        assert_eq!(said(&record, |_, _| {})[0], "Ready=False/Stopping");
    }

    #[test]
    fn one_that_ends_again_and_again_is_in_a_crash_loop_from_the_third_time_on() {
        let mut record = running();
        for (failures, word) in
            [(1, "CrashLoop=False/Ended"), (2, "CrashLoop=False/Ended"), (3, "CrashLoop=True/FailedInARow")]
        {
            record.failures = failures;
            assert_eq!(said(&record, |_, _| {})[2], word);
        }
    }

    #[test]
    fn a_package_that_is_missing_and_files_that_cannot_be_made_are_two_things() {
        let mut record = running();
        record.assignment.template.package =
            Some(Package { url: "file:///srv/hello".to_owned(), sha256: None, signature: None });
        let of =
            |record: &Record, change: fn(&mut Obstacles)| said(record, |_, obstacles| change(obstacles))[4..].to_vec();
        assert_eq!(of(&record, |_| {}), ["PackageReady=True/Installed", "ConfigValid=True/Rendered"]);
        record.process = None;
        record.phase = InstancePhase::Fetching;
        assert_eq!(of(&record, |_| {}), ["PackageReady=False/Fetching", "ConfigValid=Unknown/NotRendered"]);
        let lost = of(&record, |obstacles| obstacles.package = Some("404".to_owned()));
        assert_eq!(lost, ["PackageReady=False/PackageFailed", "ConfigValid=Unknown/NotRendered"]);
        let broken = of(&record, |obstacles| obstacles.config = Some("nobody gives `port`".to_owned()));
        assert_eq!(broken, ["PackageReady=True/Installed", "ConfigValid=False/ConfigInvalid"]);
    }

    #[test]
    fn a_condition_is_as_old_as_its_status_and_not_as_its_words() {
        let mut kept = Conditions::default();
        let not = |reason| vec![Verdict::of(Kind::Ready, false, reason, "")];
        kept.take(not("Starting"), testing::instant(1));
        kept.take(not("ChecksFailing"), testing::instant(5));
        assert_eq!((kept.all()[0].since, kept.all()[0].reason), (testing::instant(1), "ChecksFailing"));
        kept.take(vec![Verdict::of(Kind::Ready, true, "Running", "")], testing::instant(9));
        assert_eq!(kept.all()[0].since, testing::instant(9));
        kept.take(Vec::new(), testing::instant(10));
        assert!(kept.all().is_empty());
    }
}
