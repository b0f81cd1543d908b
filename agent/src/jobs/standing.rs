//! What the states of an instance's jobs mean: for its report, and for its check in Consul; pure.

use std::collections::BTreeMap;

use consul_client::CheckStatus;
use helium_crds::{
    job::{Condition, Job, JobPhase, JobReport, JobSignal, MAIN, StartKind},
    template::{Driver, Template},
};

use super::protocol::{Doing, JobWords, States};

/// The reports of the jobs, and of the main process while it waits.
pub(crate) fn reports(template: &Template, states: &States) -> BTreeMap<String, JobReport> {
    let jobs = template.jobs.iter().filter_map(|(name, job)| Some((name.clone(), report(job, states.jobs.get(name)?))));
    let main = states.jobs.get(MAIN).filter(|main| main.starts == 0).map(|main| {
        let message = Some(format!("waits for {}", outstanding(main_waits_for(template), main)));
        (MAIN.to_owned(), JobReport { phase: JobPhase::Waiting, message })
    });
    jobs.chain(main).collect()
}

fn report(job: &Job, words: &JobWords) -> JobReport {
    let failed = words.last_exit.is_some_and(|code| code != 0);
    let exit = || words.last_exit.map(exited);
    // Of one that starts again and again, what it does at this moment is no news.
    let comes_again = job.every.is_some() || job.start == StartKind::Each;
    let (phase, message) = match words.state {
        Some(Doing::CrashLoop) => (JobPhase::CrashLoop, exit()),
        Some(Doing::Done) if words.starts == 0 => {
            (JobPhase::Failed, Some(format!("waited too long for {}", all(&job.when))))
        }
        Some(Doing::Done) if failed => (JobPhase::Failed, exit()),
        Some(Doing::Done) => (JobPhase::Done, None),
        _ if comes_again && failed => (JobPhase::Failed, exit()),
        Some(Doing::Waiting) if words.starts == 0 => {
            (JobPhase::Waiting, Some(format!("waits for {}", outstanding(&job.when, words))))
        }
        _ if words.healthy == Some(false) => (JobPhase::Unhealthy, Some("its check fails".to_owned())),
        _ => (JobPhase::Running, None),
    };
    JobReport { phase, message }
}

fn exited(code: i32) -> String {
    match code {
        127 => "exit status 127, or it could not be started".to_owned(),
        129..=192 => format!("killed by signal {}", code - 128),
        code => format!("exit status {code}"),
    }
}

/// What Consul is told of an instance: it is critical until its main process was started, and while a job that it requires is not well. The words
/// come with it.
pub(crate) fn verdict(template: &Template, states: &States) -> (CheckStatus, String) {
    let reports = reports(template, states);
    if let Some(trouble) = required_trouble(template, &reports) {
        return (CheckStatus::Critical, trouble);
    }
    match (states.jobs.get(MAIN), reports.get(MAIN)) {
        (Some(_), None) => {
            (CheckStatus::Passing, "the main process was started, and all jobs that it requires are well".to_owned())
        }
        (_, main) => {
            let waits = main.and_then(|main| main.message.clone()).unwrap_or_else(|| "is not started yet".to_owned());
            (CheckStatus::Critical, format!("the main process {waits}"))
        }
    }
}

/// What is wrong with the jobs that the instance requires.
pub(crate) fn required_trouble(template: &Template, reports: &BTreeMap<String, JobReport>) -> Option<String> {
    let required = template.jobs.iter().filter(|(_, job)| job.required);
    let troubles: Vec<String> = required.filter_map(|(name, _)| reports.get(name)?.trouble(name)).collect();
    (!troubles.is_empty()).then(|| troubles.join("; "))
}

fn main_waits_for(template: &Template) -> &[Condition] {
    let Driver::Exec(exec) = &template.driver;
    &exec.when
}

/// Those of the conditions that have not come true yet, in words.
fn outstanding(conditions: &[Condition], job: &JobWords) -> String {
    let is_left = |(index, condition): (usize, &Condition)| {
        (!job.seen.get(index).copied().unwrap_or(false)).then(|| condition.clone())
    };
    let left: Vec<Condition> = conditions.iter().enumerate().filter_map(is_left).collect();
    all(if left.is_empty() { conditions } else { &left })
}

/// Conditions in words: `job migrate exitedSuccess, service db healthy`.
pub(crate) fn all(conditions: &[Condition]) -> String {
    let words: Vec<String> = conditions.iter().map(words).collect();
    if words.is_empty() { "its start".to_owned() } else { words.join(", ") }
}

fn words(condition: &Condition) -> String {
    let is = condition.is.map_or("changed", helium_crds::job::Happening::name);
    let signal = |signal: JobSignal| match signal {
        JobSignal::Hup => "HUP",
        JobSignal::Usr1 => "USR1",
        JobSignal::Usr2 => "USR2",
    };
    let Condition { job, service, keys, signal: sent, tag, .. } = condition;
    match (job, service, keys, sent) {
        (Some(job), ..) => format!("job {job} {is}"),
        (_, Some(service), ..) => match tag {
            Some(tag) => format!("service {service} with the tag {tag} {is}"),
            None => format!("service {service} {is}"),
        },
        (_, _, Some(keys), _) => format!("keys below {keys} changed"),
        (_, _, _, Some(sent)) => format!("signal {}", signal(*sent)),
        (None, None, None, None) => "nothing".to_owned(),
    }
}
