//! A plan as jobs of a supervisor; pure.

use std::time::Duration;

use helium_crds::{
    Period,
    job::{Condition, Happening, Job as Spec, JobSignal, MAIN, Restart, StartKind},
};
use helium_supervisor::{
    Code, Event, Health, Job, JobSet, JobState, JobView, Output, Periodic, Restarts, SetError, Settings, Start,
    job::{Backoff, RunLimit, Stop},
};

use super::{
    plan::{Main, Plan, PlannedJob},
    protocol::watch_name,
};
use crate::driver::signal::system_signal;

/// How often a main process that nobody checks is found to run.
const RUNS: Duration = Duration::from_secs(1);
/// As good as for ever: what is bounded by the grace alone.
const LONG: Duration = Duration::from_hours(24 * 365);

/// The jobs of a plan.
///
/// # Errors
/// What of it does not fit together.
pub(crate) fn job_set(plan: &Plan) -> Result<JobSet, SetError> {
    let jobs = plan.jobs.iter().map(|(name, planned)| job(name, planned));
    let settings = Settings { main: Some(MAIN.to_owned()), grace: plan.grace, every_check: false };
    JobSet::new(std::iter::once(main(&plan.main)).chain(jobs).collect(), settings)
}

fn main(main: &Main) -> Job {
    // What is healthy without anybody's word is so while it runs.
    let runs = Health { command: None, interval: RUNS, ttl: LONG, timeout: RUNS, output: Output::Nowhere };
    Job {
        start: Start { timeout: main.wait_timeout.map(Period::as_duration), ..start(&main.when, StartKind::Once) },
        // The grace of the whole bounds it.
        stop: Stop { signal: system_signal(main.stop_signal), timeout: LONG, wait: None },
        health: (!main.checked && !main.notify).then_some(runs),
        notify: main.notify,
        // Its output is the instance's own.
        output: Output::Raw,
        ..Job::new(MAIN, Some(main.command.clone()))
    }
}

fn job(name: &str, planned: &PlannedJob) -> Job {
    let PlannedJob { spec, command, check } = planned;
    let health = spec.check.as_ref().zip(check.clone()).map(|(health, command)| {
        let (interval, timeout) = (health.interval.as_duration(), health.timeout.as_duration());
        Health { command: Some(command), interval, ttl: interval * 2 + timeout, timeout, output: Output::Lines }
    });
    let every = spec.every.map(|every| Periodic { interval: every.as_duration(), ticks: Restarts::Unlimited });
    Job {
        start: Start { every, timeout: spec.wait_timeout.map(Period::as_duration), ..start(&spec.when, spec.start) },
        restarts: restarts(spec),
        backoff: Backoff {
            first: spec.backoff.initial.as_duration(),
            most: spec.backoff.max.as_duration(),
            ..Backoff::default()
        },
        run_limit: spec.run_limit.map(|limit| RunLimit { after: limit.as_duration(), kill: false }),
        stop: Stop {
            signal: system_signal(spec.stop_signal),
            timeout: spec.stop_grace_period.as_duration(),
            wait: None,
        },
        health,
        notify: spec.notify,
        ..Job::new(name, Some(command.clone()))
    }
}

fn restarts(spec: &Spec) -> Restarts {
    match (spec.restart, spec.max_restarts) {
        (Restart::Never, _) => Restarts::Never,
        (Restart::Always, Some(most)) => Restarts::Times(most),
        (Restart::Always, None) => Restarts::Unlimited,
    }
}

fn start(when: &[Condition], kind: StartKind) -> Start {
    let after = |conditions: &mut dyn Iterator<Item = &Condition>| conditions.filter_map(event).collect();
    Start {
        after: after(&mut when.iter()),
        // What holds goes on to hold; what happens has to happen anew.
        lasting: after(&mut when.iter().filter(|condition| lasts(condition))),
        each: (kind == StartKind::Each).then_some(1),
        ..Start::default()
    }
}

fn lasts(condition: &Condition) -> bool {
    use Happening::{ExitedFailed, ExitedSuccess, Healthy, Unhealthy};
    matches!(condition.is, Some(Healthy | Unhealthy | ExitedSuccess | ExitedFailed))
}

/// The event that makes a condition true; none for one that no rule lets through.
fn event(condition: &Condition) -> Option<Event> {
    let code = match condition.is.unwrap_or(Happening::Changed) {
        Happening::Healthy => Code::Healthy,
        Happening::Unhealthy => Code::Unhealthy,
        Happening::Changed => Code::Changed,
        Happening::ExitedSuccess => Code::ExitSuccess,
        Happening::ExitedFailed => Code::ExitFailed,
        Happening::Stopping => Code::Stopping,
        Happening::Stopped => Code::Stopped,
    };
    let signal = |signal: JobSignal| match signal {
        JobSignal::Hup => Code::Sighup,
        JobSignal::Usr1 => Code::Sigusr1,
        JobSignal::Usr2 => Code::Sigusr2,
    };
    match (&condition.job, condition.signal) {
        (Some(job), _) => Some(Event::of_job(code, job)),
        (None, Some(which)) => Some(Event::global(signal(which))),
        (None, None) => watch_name(condition).map(|name| Event::of_watch(code, name)),
    }
}

/// Why the main process will never start, if it will not: what it waits for has come out otherwise, or it has waited too long.
pub(crate) fn hopeless(plan: &Plan, jobs: &[JobView]) -> Option<String> {
    let seen = |name: &str| jobs.iter().find(|job| job.name == name);
    let main = seen(MAIN).filter(|main| main.starts == 0)?;
    if main.state == JobState::Done {
        return Some(format!("it has waited too long for {}", super::standing::all(&plan.main.when)));
    }
    let mut open = vec![(MAIN, &plan.main.when)];
    let mut looked_at = Vec::new();
    while let Some((name, when)) = open.pop() {
        if looked_at.contains(&name) {
            continue;
        }
        looked_at.push(name);
        for condition in when {
            let Some((source, planned)) = condition.job.as_deref().and_then(|name| plan.jobs.get_key_value(name))
            else {
                continue;
            };
            let Some(job) = seen(source) else { continue };
            let failed = job.last_exit.is_none_or(|code| code != 0);
            let vain = match condition.is {
                Some(Happening::ExitedSuccess) => failed,
                Some(Happening::ExitedFailed) => !failed,
                _ => job.starts == 0,
            };
            match job.state {
                JobState::Done if vain => return Some(format!("the job {source} {}", ended(job))),
                JobState::Waiting if job.starts == 0 => open.push((source, &planned.spec.when)),
                _ => {}
            }
        }
    }
    None
}

fn ended(job: &JobView) -> String {
    match job.last_exit {
        _ if job.starts == 0 => "has waited too long".to_owned(),
        Some(code) => format!("ended with exit status {code}"),
        None => "is over".to_owned(),
    }
}
