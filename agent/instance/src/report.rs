//! What is reported of an instance: a pure function of its record and of what Consul's agent says.

use std::collections::BTreeMap;

use helium_crds::{
    ids::NodeName,
    instance::{Desired, InstancePhase, Report},
    job::{JOBS_CHECK, JobReport},
};

use super::{record::Record, words::cut};

/// At most so many characters of the message of a report, with which it fits into a transaction whatever failed.
const LONGEST: usize = 4000;

/// What a report says beyond the record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// The address that it is registered under.
    pub address: Option<String>,
    /// What is known of its jobs.
    pub jobs: BTreeMap<String, JobReport>,
    /// Failing checks.
    pub failing: BTreeMap<String, String>,
    /// A trusted view does not hold its assignment.
    pub unassigned: bool,
    /// Why it cannot be registered, if Consul refuses it.
    pub refusal: Option<String>,
}

/// The report.
pub fn report(node: &NodeName, record: &Record, extras: Extras) -> Report {
    let Extras { address, jobs, failing, unassigned, refusal } = extras;
    let alive = record.process.is_some();
    let orphan = unassigned && record.assignment.desired == Desired::Run;
    let orphan = orphan.then(|| "its assignment is missing; it is kept running".to_owned());
    let of_jobs = record.assignment.template.is_supervised().then(|| JOBS_CHECK.to_owned());
    let refusal = refusal.filter(|_| alive).map(|words| format!("not registered: {words}"));
    let behind = record.behind.as_ref().filter(|_| alive);
    let behind = behind.map(|words| format!("runs with the files that were rendered last: {words}"));
    let message = record.message.clone().or(refusal).or(behind).or(orphan);
    Report {
        id: record.assignment.id.clone(),
        deployment: record.assignment.deployment.clone(),
        node: node.clone(),
        phase: record.phase,
        message: message.map(|words| cut(&words, LONGEST)),
        address: address.filter(|_| record.phase != InstancePhase::Stopped).unwrap_or_default(),
        ports: record.ports.clone(),
        pid: record.process.as_ref().map(|process| process.pid),
        restarts: record.restarts,
        failing: if alive { failing } else { BTreeMap::new() },
        unheld: if alive { record.unheld.clone() } else { BTreeMap::new() },
        checks: record.checks.iter().map(|check| check.name.clone()).chain(of_jobs).collect(),
        jobs: if alive { jobs } else { BTreeMap::new() },
        conditions: Vec::new(),
        since: record.since,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{apply::apply, machine::Event, process::ProcessIdentity, testing};

    #[test]
    fn a_report_says_what_the_record_and_consul_know() {
        let record = Record::admit(testing::assignment("hello-0"), testing::instant(0));
        let failing = BTreeMap::from([("up".to_owned(), "GET /health -> 500".to_owned())]);
        let extras = Extras { failing: failing.clone(), unassigned: true, ..Extras::default() };
        let before = report(&NodeName::from("n1"), &record, extras.clone());
        assert_eq!((before.phase, before.pid, before.failing.len()), (InstancePhase::Starting, None, 0));
        let process = ProcessIdentity { pid: 42, start: "b/1".to_owned() };
        let record = apply(&record, Event::Launched(process), testing::instant(1), 0);
        let after = report(&NodeName::from("n1"), &record, extras);
        assert_eq!((after.phase, after.pid, after.since), (InstancePhase::Running, Some(42), testing::instant(1)));
        assert_eq!(after.failing, failing);
        assert_eq!(after.message.as_deref(), Some("its assignment is missing; it is kept running"));
    }

    #[test]
    fn a_message_without_end_is_cut() {
        let message = Some("ü".repeat(1_000_000));
        let record = Record { message, ..Record::admit(testing::assignment("hello-0"), testing::instant(0)) };
        let words = report(&NodeName::from("n1"), &record, Extras::default()).message.unwrap();
        assert_eq!((words.chars().count(), words.ends_with("ü…")), (LONGEST, true));
    }
}
