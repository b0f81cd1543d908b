//! What is to be said of a node or an instance in one word each: conditions, as pure functions of what is so.
//!
//! A condition keeps the instant of its last change of status, not of its words: what fails for another reason fails still.

use std::collections::BTreeMap;

use helium_crds::{
    condition::{Condition, ConditionKind as Kind, ConditionStatus as Status, reason},
    instance::{Desired, InstancePhase, Report},
};
use jiff::Timestamp;

use crate::instance::{
    apply::FAILED_AFTER,
    record::Record,
    words::in_a_line,
    work::{Outcome, Part, Work},
};

/// At most so many characters of a message: several conditions may tell of the same long trouble.
const LONGEST: usize = 500;

/// The reason of what is unknown since nobody has looked yet.
pub(crate) const NOT_ASKED: &str = "NotAsked";

/// What was found of a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) kind: Kind,
    pub(crate) status: Status,
    /// One word.
    pub(crate) reason: &'static str,
    /// A sentence in one line, of at most [`LONGEST`] characters, or nothing.
    pub(crate) message: String,
}

impl Verdict {
    /// A verdict that holds or does not.
    pub(crate) fn of(kind: Kind, holds: bool, reason: &'static str, message: impl AsRef<str>) -> Self {
        let status = if holds { Status::True } else { Status::False };
        Self { kind, status, reason, message: in_a_line(message.as_ref(), LONGEST) }
    }

    /// A verdict that nobody can give.
    pub(crate) fn unknown(kind: Kind, reason: &'static str, message: impl AsRef<str>) -> Self {
        Self { kind, status: Status::Unknown, reason, message: in_a_line(message.as_ref(), LONGEST) }
    }
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
            self.0.insert(kind, Condition { kind, status, reason: reason.to_owned(), message, since });
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
    /// The last preparation had no trouble with either.
    pub(crate) overcome: bool,
}

impl Obstacles {
    /// None, and that is known; but for the files, if they are those of before.
    fn overcome(behind: bool) -> Self {
        let old = "the files are those that were rendered last; the agent's log says why";
        Self { package: None, config: behind.then(|| old.to_owned()), overcome: !behind }
    }

    /// What the end of work says of them.
    pub(crate) fn worked(&mut self, work: Work, outcome: &Outcome) {
        match (work, outcome) {
            (Work::Prepare, Ok(prepared)) => *self = Self::overcome(prepared.behind.is_some()),
            (Work::Refresh, Ok(_)) => *self = Self::overcome(false),
            (Work::Prepare | Work::Refresh, Err(trouble)) => match trouble.part {
                Part::Package => (self.package, self.overcome) = (Some(trouble.words.clone()), false),
                Part::Config => *self = Self { config: Some(trouble.words.clone()), ..Self::default() },
                // The package was right this time, whatever was wrong before.
                Part::After { behind } => *self = Self::overcome(behind),
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
    /// Why Consul refuses it, if it does.
    pub(crate) refusal: Option<&'a str>,
    /// It is in maintenance with its node, and not for itself.
    pub(crate) with_node: bool,
    /// Whether it leads its service; none before its election has answered in this run of the agent.
    pub(crate) leads: Option<bool>,
    /// How many of its checks do not pass.
    pub(crate) unpassing: usize,
}

/// The conditions of an instance.
pub(crate) fn of_instance(facts: &Facts<'_>) -> Vec<Verdict> {
    let Facts { record, .. } = facts;
    let template = &record.assignment.template;
    let mut maintained = maintenance(record.maintenance.as_deref());
    if facts.with_node && maintained.status == Status::True {
        maintained.reason = reason::NODE_ASKED;
    }
    let mut found = vec![ready(facts), registered(facts), crash_loop(record), maintained];
    if template.package.is_some() {
        found.push(package(facts));
        found.push(config(facts));
    }
    if !template.resources.is_empty() {
        found.push(limits(facts));
    }
    if template.election.is_some() {
        found.push(match facts.leads {
            Some(true) => Verdict::of(Kind::Leader, true, "Leads", ""),
            Some(false) => Verdict::of(Kind::Leader, false, "Follows", ""),
            None => Verdict::unknown(Kind::Leader, NOT_ASKED, "the election has not answered yet"),
        });
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
        _ if facts.refusal.is_some() => {
            Verdict::of(Kind::Registered, false, reason::REFUSED, facts.refusal.unwrap_or_default())
        }
        Some(true) => Verdict::of(Kind::Registered, true, "Registered", ""),
        Some(false) => Verdict::of(Kind::Registered, false, "Absent", facts.report.message.clone().unwrap_or_default()),
        None => Verdict::unknown(Kind::Registered, NOT_ASKED, "Consul has not answered yet"),
    }
}

fn crash_loop(record: &Record) -> Verdict {
    let holds = record.failures >= FAILED_AFTER;
    let reason = match record.failures {
        0 => "Stable",
        _ if holds => "FailedInARow",
        _ => "Ended",
    };
    let message = match (record.failures, record.message.as_deref()) {
        (0, _) => String::new(),
        // That it is not the first time is said by what has failed for good.
        (_, Some(words)) if holds => words.to_owned(),
        (row, words) => format!("{row} in a row: {}", words.unwrap_or("it runs again")),
    };
    Verdict::of(Kind::CrashLoop, holds, reason, message)
}

/// Whether something is in maintenance, and why.
pub(crate) fn maintenance(reason: Option<&str>) -> Verdict {
    let word = if reason.is_some() { reason::ASKED } else { "NotAsked" };
    Verdict::of(Kind::Maintenance, reason.is_some(), word, reason.unwrap_or_default())
}

/// Whether the calls that register an instance are answered; nothing while there is nothing wrong, so that an outage of which no call of this
/// instance has heard is none of its conditions.
pub(crate) fn consul(failing: Option<&str>, refused: bool) -> Option<Verdict> {
    let words = failing.filter(|_| !refused)?;
    Some(Verdict::of(Kind::ConsulReachable, false, "CallsFail", words))
}

fn limits(facts: &Facts<'_>) -> Verdict {
    let unheld = &facts.report.unheld;
    if facts.record.process.is_none() {
        return Verdict::unknown(Kind::LimitsHold, "NotStarted", "");
    }
    let each: Vec<String> = unheld.iter().map(|(name, why)| format!("`{name}`: {why}")).collect();
    Verdict::of(Kind::LimitsHold, each.is_empty(), if each.is_empty() { "Held" } else { "NotHeld" }, each.join("; "))
}

fn package(facts: &Facts<'_>) -> Verdict {
    let Facts { record, obstacles, .. } = facts;
    if let Some(words) = &obstacles.package {
        return Verdict::of(Kind::PackageReady, false, reason::PACKAGE_FAILED, words.clone());
    }
    let installed = Verdict::of(Kind::PackageReady, true, "Installed", "");
    match record.phase {
        _ if record.prepared || record.process.is_some() || obstacles.config.is_some() => installed,
        // What is not used any more may be cleared away.
        InstancePhase::Stopped => Verdict::unknown(Kind::PackageReady, "Stopped", ""),
        // A process that has ended takes no package along.
        _ if obstacles.overcome || record.initialised => installed,
        other => Verdict::of(Kind::PackageReady, false, phase(other), ""),
    }
}

fn config(facts: &Facts<'_>) -> Verdict {
    let Facts { record, obstacles, .. } = facts;
    if let Some(words) = &obstacles.config {
        return Verdict::of(Kind::ConfigValid, false, reason::CONFIG_INVALID, words.clone());
    }
    let are_made = obstacles.overcome && record.phase != InstancePhase::Stopped;
    if are_made || record.prepared || record.process.is_some() {
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
        instance::{
            report::{Extras, report},
            work::Trouble,
        },
        testing,
    };

    fn running() -> Record {
        let mut record = Record::admit(testing::assignment("hello-0"), testing::instant(0));
        record.process = Some(ProcessIdentity { pid: 42, start: "b/1".to_owned() });
        record.phase = InstancePhase::Running;
        record
    }

    /// One that runs, of a package.
    fn packaged() -> Record {
        let mut record = running();
        record.assignment.template.package =
            Some(Package { url: "file:///srv/hello".to_owned(), sha256: None, signature: None });
        record
    }

    /// Type, status and reason of each, in one text.
    fn said(record: &Record, change: impl FnOnce(&mut Facts<'_>, &mut Obstacles)) -> Vec<String> {
        let report = report(&testing::config().node, record, Extras::default());
        let mut obstacles = Obstacles::default();
        let empty = Obstacles::default();
        let mut facts = Facts {
            record,
            report: &report,
            obstacles: &empty,
            registered: Some(true),
            refusal: None,
            with_node: false,
            leads: Some(false),
            unpassing: 0,
        };
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
    fn one_that_consul_refuses_is_told_apart_from_one_that_gets_no_answer() {
        let record = running();
        let refused = said(&record, |facts, _| (facts.registered, facts.refusal) = (None, Some("denied")));
        assert_eq!(refused[1], "Registered=False/Refused");
        assert_eq!(consul(Some("denied"), true), None);
        assert_eq!(consul(Some("no answer"), false).map(|one| one.reason), Some("CallsFail"));
        assert_eq!(consul(None, false), None, "there is none while there is nothing wrong");
    }

    #[test]
    fn a_maintenance_tells_whether_it_is_the_node_s() {
        let record = Record { maintenance: Some("a new disk".to_owned()), ..running() };
        assert_eq!(said(&record, |_, _| {})[3], "Maintenance=True/Asked");
        assert_eq!(said(&record, |facts, _| facts.with_node = true)[3], "Maintenance=True/NodeAsked");
    }

    #[test]
    fn limits_that_the_machine_does_not_keep_are_a_condition_of_who_has_limits() {
        let mut record = running();
        record.assignment.template.resources.processes = Some(5);
        assert_eq!(said(&record, |_, _| {})[4], "LimitsHold=True/Held");
        record.unheld = [("processes".to_owned(), "no control groups".to_owned())].into();
        assert_eq!(said(&record, |_, _| {})[4], "LimitsHold=False/NotHeld");
        record.process = None;
        assert_eq!(said(&record, |_, _| {})[4], "LimitsHold=Unknown/NotStarted");
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
    fn who_leads_is_unknown_until_the_election_has_answered() {
        let mut record = running();
        record.assignment.template.election = serde_json::from_str("{}").unwrap();
        let mut told = Vec::new();
        for leads in [None, Some(false), Some(true)] {
            told.push(said(&record, |facts, _| facts.leads = leads)[4].clone());
        }
        assert_eq!(told, ["Leader=Unknown/NotAsked", "Leader=False/Follows", "Leader=True/Leads"]);
    }

    #[test]
    fn a_package_that_is_missing_and_files_that_cannot_be_made_are_two_things() {
        let mut record = packaged();
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
    fn what_a_condition_says_is_one_line_of_some_hundred_characters() {
        let long = format!("render app.conf: {}\nline 2", "x".repeat(900));
        let one = Verdict::of(Kind::ConfigValid, false, reason::CONFIG_INVALID, &long);
        assert_eq!((one.message.chars().count(), one.message.ends_with("xx…")), (LONGEST, true));
        let other = Verdict::unknown(Kind::ConfigValid, "NotRendered", "first\nsecond");
        assert_eq!(other.message, "first");
    }

    #[test]
    fn a_package_stays_in_place_when_a_process_ends_by_itself() {
        let ended = Record { initialised: true, process: None, phase: InstancePhase::Starting, ..packaged() };
        let of =
            |record: &Record, change: fn(&mut Obstacles)| said(record, |_, obstacles| change(obstacles))[4..].to_vec();
        assert_eq!(of(&ended, |_| {})[0], "PackageReady=True/Installed");
        assert_eq!(of(&ended, |of| of.overcome = true)[1], "ConfigValid=True/Rendered");
        let lost = of(&ended, |obstacles| obstacles.package = Some("404".to_owned()));
        assert_eq!(lost[0], "PackageReady=False/PackageFailed");
        let stopped = Record { phase: InstancePhase::Stopped, ..ended };
        let unknown = ["PackageReady=Unknown/Stopped", "ConfigValid=Unknown/NotRendered"];
        assert_eq!(of(&stopped, |of| of.overcome = true), unknown);
        // The hook `init` goes on failing: that is no trouble of its package.
        let begun = Record { process: None, phase: InstancePhase::Failed, ..packaged() };
        assert_eq!(of(&begun, |_| {})[0], "PackageReady=False/Failed");
        let known = ["PackageReady=True/Installed", "ConfigValid=True/Rendered"];
        assert_eq!(of(&begun, |of| of.overcome = true), known);
    }

    #[test]
    fn what_was_mended_is_no_obstacle_any_more_when_a_later_step_is_in_vain() {
        let trouble = |words: &str, part| Err(Trouble::may_heal(words).of(part));
        let lost = trouble("404", Part::Package);
        let of_hook = trouble("init: exit 1", Part::After { behind: false });
        let mut obstacles = Obstacles::default();
        obstacles.worked(Work::Prepare, &lost);
        obstacles.worked(Work::Prepare, &trouble("the disk is full", Part::Other));
        assert_eq!(obstacles.package.as_deref(), Some("404"), "nothing is known of it");
        obstacles.worked(Work::Prepare, &of_hook);
        assert_eq!(obstacles, Obstacles::overcome(false));
        obstacles.worked(Work::Refresh, &trouble("nobody gives `port`", Part::Config));
        assert!(obstacles.config.is_some());
        obstacles.worked(Work::Refresh, &of_hook);
        assert_eq!(obstacles, Obstacles::overcome(false));
        obstacles.worked(Work::Prepare, &lost);
        assert_eq!(obstacles, Obstacles { package: Some("404".to_owned()), ..Obstacles::default() });
        obstacles.worked(Work::Prepare, &trouble("pre-start: exit 1", Part::After { behind: true }));
        assert_eq!((&obstacles.package, obstacles.config.is_some()), (&None, true), "its files are those of before");
    }

    #[test]
    fn a_condition_is_as_old_as_its_status_and_not_as_its_words() {
        let mut kept = Conditions::default();
        let not = |reason| vec![Verdict::of(Kind::Ready, false, reason, "")];
        kept.take(not("Starting"), testing::instant(1));
        kept.take(not("ChecksFailing"), testing::instant(5));
        assert_eq!((kept.all()[0].since, kept.all()[0].reason.as_str()), (testing::instant(1), "ChecksFailing"));
        kept.take(vec![Verdict::of(Kind::Ready, true, "Running", "")], testing::instant(9));
        assert_eq!(kept.all()[0].since, testing::instant(9));
        kept.take(Vec::new(), testing::instant(10));
        assert!(kept.all().is_empty());
    }
}
