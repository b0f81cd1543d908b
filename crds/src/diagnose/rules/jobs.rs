//! Rules of a template's jobs, and of what its main process waits for.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{super::nearest::nearest, super::words, Code, Findings, Path, entries, items, read};
use crate::{
    job::{Condition, Happening, Job, MAIN, Restart, StartKind},
    variables,
};

/// Signals that a supervisor passes on without ending by them.
const PASSED_ON: [&str; 3] = ["HUP", "USR1", "USR2"];

pub(super) fn check(template: &Value, at: &Path, findings: &mut Findings) {
    let all = Jobs::of(template);
    for (name, job) in entries(template.get("jobs")) {
        let at = at.field("jobs").field(name);
        if name == MAIN {
            let message = format!("`{MAIN}` is the process of `exec`");
            findings.key(at.clone(), Code::ReservedName, message, "choose another name".to_owned());
        }
        if let Some(job) = read::<Job>(Some(job)) {
            starts(&job, &at, findings);
        }
        conditions(name, job.get("when"), &at, &all, findings);
        env_names(job, &at, findings);
    }
    let exec = at.field("exec");
    let main = template.get("exec");
    conditions(MAIN, main.and_then(|main| main.get("when")), &exec, &all, findings);
    if main.is_some_and(|main| main.get("waitTimeout").is_some() && main.get("when").is_none()) {
        waits_for_nothing(&exec, findings);
    }
    no_circle(&all, at, findings);
    reload(template, at, &all, findings);
}

/// The jobs of a template, and what each waits for of the others.
struct Jobs<'v> {
    names: BTreeSet<&'v str>,
    /// Those that can be healthy.
    watched: BTreeSet<&'v str>,
    waits: BTreeMap<&'v str, Vec<Condition>>,
    supervised: bool,
}

impl<'v> Jobs<'v> {
    fn of(template: &'v Value) -> Self {
        let jobs = || entries(template.get("jobs")).map(|(name, job)| (name.as_str(), job));
        let main = template.get("exec");
        let says = |job: &Value| job.get("notify") == Some(&Value::Bool(true));
        let is_watched = |job: &Value| job.get("check").is_some() || says(job);
        let when = |job: Option<&Value>| {
            let all = job.and_then(|job| job.get("when"));
            items(all).filter_map(|(_, one)| read::<Condition>(Some(one))).collect()
        };
        let waits: BTreeMap<&str, Vec<Condition>> =
            jobs().map(|(name, job)| (name, when(Some(job)))).chain([(MAIN, when(main))]).collect();
        Self {
            names: jobs().map(|(name, _)| name).chain([MAIN]).collect(),
            watched: jobs().filter(|(_, job)| is_watched(job)).map(|(name, _)| name).chain([MAIN]).collect(),
            supervised: jobs().next().is_some() || !waits[MAIN].is_empty() || main.is_some_and(says),
            waits,
        }
    }
}

/// What a job says of its starts fits together.
fn starts(job: &Job, at: &Path, findings: &mut Findings) {
    let mut clash = |field: &str, message: &str, help: &str| {
        findings.key(at.field(field), Code::Conflict, message, help.to_owned());
    };
    let each = job.start == StartKind::Each;
    if each && job.when.is_empty() {
        clash(
            "start",
            "`start: each` needs to know each time of what",
            "say it in `when`, or use `every` for an interval",
        );
    }
    if each && job.every.is_some() {
        clash("every", "a job starts each time or at an interval, not both", "leave one of them out");
    }
    if job.restart == Restart::Always && (each || job.every.is_some()) {
        clash("restart", "a job that starts again by itself has no use for this", "leave it out");
    }
    if job.max_restarts.is_some() && job.restart == Restart::Never {
        clash("maxRestarts", "it is never started again", "add `restart: always`, or leave it out");
    }
    if job.wait_timeout.is_some() && job.when.is_empty() {
        waits_for_nothing(at, findings);
    }
    if job.backoff.initial > job.backoff.max {
        let message = "the first wait is longer than the longest";
        findings.value(at.field("backoff"), Code::Conflict, message, "make `max` longer".to_owned());
    }
}

fn waits_for_nothing(at: &Path, findings: &mut Findings) {
    let help = "add `when`, or leave it out".to_owned();
    findings.key(at.field("waitTimeout"), Code::Conflict, "it waits for nothing", help);
}

fn conditions(name: &str, when: Option<&Value>, at: &Path, all: &Jobs<'_>, findings: &mut Findings) {
    for (index, condition) in items(when) {
        let Some(condition) = read::<Condition>(Some(condition)) else { continue };
        let at = at.field("when").index(index);
        let Condition { job, service, keys, signal, tag, is } = &condition;
        if tag.is_some() && service.is_none() {
            findings.key(at.field("tag"), Code::Conflict, "only a service has tags", "leave it out".to_owned());
        }
        let allowed: fn(Happening) -> bool = match (job, service, keys, signal) {
            (Some(_), ..) => Happening::is_of_job,
            (_, Some(_), ..) => Happening::is_of_service,
            (_, _, Some(_), _) => |is| is == Happening::Changed,
            _ => |_| false,
        };
        let choices: Vec<&str> = Happening::ALL.iter().filter(|(is, _)| allowed(*is)).map(|(_, name)| *name).collect();
        match is {
            None if job.is_some() || service.is_some() => {
                let help = format!("add `is`: one of {}", words::list(&choices));
                findings.value(at, Code::NeverSucceeds, "it does not say what is waited for", help);
                continue;
            }
            Some(is) if !allowed(*is) => {
                let message = format!("`{}` never happens here", is.name());
                let help = if choices.is_empty() {
                    "leave `is` out".to_owned()
                } else {
                    format!("it can be {}", words::list(&choices))
                };
                findings.value(at.field("is"), Code::NeverSucceeds, message, help);
                continue;
            }
            _ => {}
        }
        if let Some(job) = job {
            of_job(name, job, *is, &at, all, findings);
        }
    }
}

fn of_job(name: &str, job: &str, is: Option<Happening>, at: &Path, all: &Jobs<'_>, findings: &mut Findings) {
    let at = at.field("job");
    if !all.names.contains(job) {
        let known: Vec<&str> = all.names.iter().copied().filter(|known| *known != name).collect();
        let help = nearest(job, known.iter().copied())
            .map_or_else(|| format!("there are {}", words::list(&known)), |near| format!("did you mean `{near}`?"));
        findings.value(at, Code::NeverSucceeds, format!("there is no job `{job}`: this would never happen"), help);
    } else if matches!(is, Some(Happening::Healthy | Happening::Unhealthy)) && !all.watched.contains(job) {
        let help = format!("give `{job}` a `check`, or `notify: true` if it says so by itself");
        findings.value(at, Code::NeverSucceeds, format!("nobody looks whether `{job}` is healthy"), help);
    }
}

/// Jobs that wait for each other never start.
fn no_circle(all: &Jobs<'_>, at: &Path, findings: &mut Findings) {
    let needs = |name: &str| -> Vec<&str> {
        all.waits.get(name).into_iter().flatten().filter_map(|condition| condition.job.as_deref()).collect()
    };
    for name in all.waits.keys().copied() {
        let mut open = needs(name);
        let mut seen = BTreeSet::new();
        while let Some(next) = open.pop() {
            if seen.insert(next) {
                open.extend(needs(next));
            }
        }
        if !seen.contains(name) {
            continue;
        }
        let at = if name == MAIN { at.field("exec") } else { at.field("jobs").field(name) };
        let message = if needs(name).contains(&name) {
            "it waits for itself, and would never start".to_owned()
        } else {
            let others: Vec<&str> = seen.iter().copied().filter(|other| *other != name).collect();
            format!("it waits for what waits for it ({}), and would never start", words::list(&others))
        };
        findings.value(at.field("when"), Code::NeverSucceeds, message, "let one of them start by itself".to_owned());
        return;
    }
}

/// A supervisor ends by other signals, and is no process of the people's program.
fn reload(template: &Value, at: &Path, all: &Jobs<'_>, findings: &mut Findings) {
    let signal = template.pointer("/templates/reload").and_then(Value::as_str);
    if let Some(signal) = signal.filter(|signal| all.supervised && !PASSED_ON.contains(signal)) {
        let message = format!("`{signal}` would stop an instance that has jobs");
        let help = format!("use {}", words::list(&PASSED_ON));
        findings.value(at.field("templates").field("reload"), Code::Conflict, message, help);
    }
}

fn env_names(job: &Value, at: &Path, findings: &mut Findings) {
    for (name, _) in entries(job.get("env")) {
        if name.starts_with(variables::RESERVED_PREFIX) {
            let message = format!("`{name}` is set by Helium");
            findings.key(at.field("env").field(name), Code::ReservedName, message, "choose another name".to_owned());
        }
    }
}

/// Every text of the jobs in which `${NAME}` may stand, with its place and the names that the job has of its own.
pub(super) fn texts<'v>(template: &'v Value, at: &Path) -> Vec<(&'v str, Path, Vec<&'v str>)> {
    let mut texts = Vec::new();
    for (name, job) in entries(template.get("jobs")) {
        let at = at.field("jobs").field(name);
        let own: Vec<&str> =
            entries(job.get("env")).map(|(name, _)| name.as_str()).chain([variables::HELIUM_JOB]).collect();
        let mut note = |text: Option<&'v str>, at: Path, own: &[&'v str]| {
            texts.extend(text.map(|text| (text, at, own.to_vec())));
        };
        for (field, list) in [("command", job.get("command")), ("check", job.pointer("/check/command"))] {
            let at = if field == "check" { at.field("check").field("command") } else { at.field(field) };
            for (index, argument) in items(list) {
                note(argument.as_str(), at.index(index), &own);
            }
        }
        note(job.get("cwd").and_then(Value::as_str), at.field("cwd"), &own);
        for (name, value) in entries(job.get("env")) {
            // The job's own are not seen by each other: what a value uses is of the instance.
            note(value.as_str(), at.field("env").field(name), &[variables::HELIUM_JOB]);
        }
    }
    texts
}

/// The programs of the jobs and of their checks, each with its place.
pub(super) fn programs<'v>(template: &'v Value, at: &Path) -> Vec<(&'v str, Path)> {
    let mut programs = Vec::new();
    for (name, job) in entries(template.get("jobs")) {
        let at = at.field("jobs").field(name);
        let places = [
            (job.pointer("/command/0"), at.field("command")),
            (job.pointer("/check/command/0"), at.field("check").field("command")),
        ];
        programs.extend(places.into_iter().filter_map(|(program, at)| Some((program?.as_str()?, at.index(0)))));
    }
    programs
}
