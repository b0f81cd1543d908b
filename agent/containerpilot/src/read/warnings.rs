//! What is only seen when all jobs and watches are known: names that are there twice, and events that nobody ever sends.

use std::ops::Range;

use crate::{
    event::{EventCode, Source},
    finding::Findings,
    near::near,
};

/// A place in the rendered text, and its key.
type Place = (Range<usize>, String);

/// All jobs and watches, as far as others refer to them.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) jobs: Vec<SeenJob>,
    pub(super) watches: Vec<SeenWatch>,
}

/// A job.
pub(super) struct SeenJob {
    pub(super) name: String,
    pub(super) at: Range<usize>,
    pub(super) key: String,
    /// Whether it sends `healthy` and `unhealthy`.
    pub(super) has_check: bool,
    pub(super) waits: Vec<Wait>,
}

/// A watch.
pub(super) struct SeenWatch {
    pub(super) name: String,
    pub(super) at: Range<usize>,
    pub(super) key: String,
}

/// An event that a job waits for, and where its parts are named.
pub(super) struct Wait {
    /// None if there is no such event, which is a problem already.
    pub(super) code: Option<EventCode>,
    pub(super) source: Source,
    pub(super) code_at: Place,
    pub(super) source_at: Place,
}

/// Looks at all of them together.
pub(super) fn check(seen: &Seen, findings: &mut Findings) {
    twice(seen.jobs.iter().map(|job| (job.name.as_str(), &job.at, job.key.as_str())), "job", findings);
    twice(seen.watches.iter().map(|watch| (watch.name.as_str(), &watch.at, watch.key.as_str())), "watch", findings);
    for job in &seen.jobs {
        for wait in &job.waits {
            source(seen, job, wait, findings);
        }
    }
    stopping(seen, findings);
}

fn twice<'a>(names: impl Iterator<Item = (&'a str, &'a Range<usize>, &'a str)>, what: &str, findings: &mut Findings) {
    let mut before: Vec<&str> = Vec::new();
    for (name, at, key) in names.filter(|(name, ..)| !name.is_empty()) {
        if before.contains(&name) {
            let reason = format!("there is a {what} `{name}` before it: nobody can tell their events apart");
            findings.warn(at, key, reason).fix("give it another name");
        }
        before.push(name);
    }
}

/// Whether the source is there, and sends the event.
fn source(seen: &Seen, job: &SeenJob, wait: &Wait, findings: &mut Findings) {
    let known = match &wait.source {
        Source::Job(name) => seen.jobs.iter().any(|job| job.name == *name),
        Source::Watch(name) => seen.watches.iter().any(|watch| watch.name == *name),
        Source::Global | Source::Signal(_) => true,
    };
    if known {
        sends(seen, job, wait, findings);
        return;
    }
    let source = wait.source.to_string();
    let is_watch = matches!(wait.source, Source::Watch(_));
    let what = if is_watch { "watch" } else { "job" };
    let (at, key) = &wait.source_at;
    let finding = findings.warn(at, key, format!("there is no {what} `{source}`, and the job never starts"));
    let watches: Vec<String> = seen.watches.iter().map(|watch| format!("watch.{}", watch.name)).collect();
    let jobs = seen.jobs.iter().map(|job| job.name.as_str());
    // A watch whose prefix was forgotten is the likeliest slip.
    let forgotten = watches.iter().find(|watch| watch.strip_prefix("watch.") == Some(source.as_str()));
    let names = jobs.chain(watches.iter().map(String::as_str)).chain(["global", "SIGHUP", "SIGUSR2"]);
    match forgotten.map(String::as_str).or_else(|| near(&source, names)) {
        Some(near) => finding.fix(format!("did you mean `{near}`?")),
        None => finding.fix(format!("write the name of a {what} of this file, or add that {what}")),
    }
}

fn sends(seen: &Seen, job: &SeenJob, wait: &Wait, findings: &mut Findings) {
    use EventCode as Code;
    let Some(code) = wait.code else { return };
    let is_exit =
        matches!(code, Code::ExitSuccess | Code::ExitFailed | Code::Stopping | Code::Stopped | Code::TimerExpired);
    let is_health = matches!(code, Code::Healthy | Code::Unhealthy);
    let (reason, fix) = match &wait.source {
        Source::Job(name) if is_health => {
            if seen.jobs.iter().any(|job| job.name == *name && job.has_check) {
                return;
            }
            (
                format!("`{name}` has no `health.exec`, and never becomes {code}"),
                format!("give `{name}` a `health` with `exec`"),
            )
        }
        Source::Job(name) if is_exit => {
            if *name != job.name {
                return;
            }
            ("a job cannot start by an event of its own".to_owned(), "name another job, or use `restarts`".to_owned())
        }
        Source::Job(_) if code.is_global() => {
            (format!("a job never sends `{code}`"), "write `source: \"global\"`".to_owned())
        }
        Source::Job(_) => {
            let fix = "a job sends exitSuccess, exitFailed, healthy, unhealthy, stopping and stopped";
            (format!("a job never sends `{code}`"), fix.to_owned())
        }
        Source::Watch(_) if is_health || code == Code::Changed => return,
        Source::Watch(_) => {
            (format!("a watch never sends `{code}`"), "a watch sends changed, healthy and unhealthy".to_owned())
        }
        Source::Global if code == Code::Shutdown => (
            "at the shutdown every job ends before it looks at what it waits for".to_owned(),
            "write the name of a job as `source`, and `once: \"stopping\"` or `once: \"stopped\"`".to_owned(),
        ),
        Source::Global if code.is_global() => return,
        Source::Global => (
            format!("`global` never sends `{code}`"),
            "`global` sends startup, enterMaintenance and exitMaintenance".to_owned(),
        ),
        Source::Signal(_) => return,
    };
    let (at, key) = &wait.code_at;
    findings.warn(at, key, reason + ": this job never starts").fix(fix);
}

/// Only one job that waits for the `stopping` of another is waited for.
fn stopping(seen: &Seen, findings: &mut Findings) {
    let waits: Vec<(&SeenJob, &Wait)> = seen
        .jobs
        .iter()
        .flat_map(|job| job.waits.iter().map(move |wait| (job, wait)))
        .filter(|(_, wait)| wait.code == Some(EventCode::Stopping))
        .collect();
    for (index, (_, wait)) in waits.iter().enumerate() {
        let later = waits[index + 1..].iter().rfind(|(_, later)| later.source == wait.source);
        if let Some((later, _)) = later {
            let (at, key) = &wait.source_at;
            let source = &wait.source;
            let reason = format!("`{source}` waits for `{}` alone when it stops, and not for this job", later.name);
            findings.warn(at, key, reason).fix("make one job of them, or let one wait for the other");
        }
    }
}
