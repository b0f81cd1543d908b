//! One of `jobs`.

use std::time::Duration;

use super::{
    block::{Block, Field},
    exec::exec,
    health::{has_exec, health},
    interfaces, is_service_name, port, raw_output, service_name,
    warnings::{Seen, SeenJob},
    when::{When as ReadWhen, when},
};
use crate::{
    config::{InitialStatus, Job, RestartDelay, Restarts, Service, When},
    duration::{MILLISECOND, Nanos, duration},
    finding::Findings,
    json5::Value,
};

/// Fields that ContainerPilot fills in itself, and whose names it therefore takes for keys.
const IGNORED: &[&str] = &[
    "serviceDefinition",
    "healthCheckExec",
    "heartbeatInterval",
    "ttl",
    "execTimeout",
    "stoppingTimeout",
    "restartLimit",
    "freqInterval",
    "whenEvent",
    "whenTimeout",
    "whenStartsLimit",
    "stoppingWaitEvent",
];

/// Reads a job. Its parts have defaults where they are wrong: there is a configuration only if nothing is.
pub(super) fn job(field: &Field<'_>, seen: &mut Seen, findings: &mut Findings) -> Option<Job> {
    let mut block = field.block(findings)?;
    let name = block.take("name");
    let name_at = name.as_ref().map_or_else(|| block.at.clone(), |field| field.node.span.clone());
    let name_key = block.path("name");
    let name = name.and_then(|field| field.text(findings)).unwrap_or_default();
    if name.is_empty() {
        block.missing("name", &name_at, "a job needs a name", "write `name: \"...\"`");
    }
    let exec = block.take("exec").and_then(|field| exec(&field, findings));
    let service = service(&mut block, &name, findings);
    let health_field = block.take("health");
    let health = health_field.as_ref().and_then(|field| health(field, findings));
    if let (Registration::Registered(port, _), None) = (&service, &health_field)
        && name != "containerpilot"
    {
        let fix = "write `health: {exec: \"...\", interval: 10, ttl: 30}`";
        block.missing("health", &port.name, "a job with `port` needs `health`", fix);
    }
    let read = when(block.take("when").as_ref(), findings);
    let timeout = exec_timeout(block.take("timeout").as_ref(), &read.waits_for, findings);
    let stop_timeout = block.take("stopTimeout").and_then(|field| field.positive(findings));
    let restarts = restarts(block.take("restarts").as_ref(), &read, findings);
    let restart_delay = restart_delay(&mut block, &read, findings);
    let raw_output = raw_output(block.take("logging").as_ref(), findings);
    block.ignore(IGNORED, findings);
    block.finish(findings);
    let has_check = health_field.as_ref().is_some_and(has_exec);
    seen.jobs.push(SeenJob { name: name.clone(), at: name_at, key: name_key, has_check, waits: read.waits });
    let service = match service {
        Registration::Registered(_, service) => Some(service),
        Registration::None => None,
    };
    Some(Job {
        name,
        exec,
        service,
        health,
        timeout,
        stop_timeout,
        restarts,
        restart_delay,
        when: read.waits_for,
        raw_output,
    })
}

/// What a job says about its service.
enum Registration<'a> {
    Registered(Field<'a>, Service),
    None,
}

fn service<'a>(block: &mut Block<'a>, name: &str, findings: &mut Findings) -> Registration<'a> {
    let port_field = block.take("port");
    let port = port_field.as_ref().and_then(|field| port(field, findings));
    let initial_status = block.take("initial_status");
    let specs = block.take("interfaces");
    let tags = block.take("tags").map(|field| (field.texts(findings).unwrap_or_default(), field));
    let consul = block.take("consul");
    let extras = consul.as_ref().and_then(|field| extras(field, findings));
    let wrong_port = port_field.is_some() && port.is_none();
    let Some((port_field, port)) = port_field.zip(port.filter(|port| *port != 0)) else {
        let tags = tags.map(|(_, field)| field);
        for field in [initial_status, specs, tags, consul].into_iter().flatten().filter(|_| !wrong_port) {
            let reason = "this has no effect without `port`: nothing is registered";
            findings.warn(&field.name, &field.key, reason).fix("write `port`, or remove it");
        }
        return Registration::None;
    };
    if !name.is_empty() && !is_service_name(name) {
        let reason = "the name of a job with `port` is a small letter, and then letters, digits and dashes";
        let at = block.take("name").map_or(port_field.name.clone(), |field| field.node.span.clone());
        findings.error(&at, &block.path("name"), reason).fix(format!("write `{}`", service_name(name)));
    }
    let initial_status = initial_status.and_then(|field| status(&field, findings));
    let deregister = extras.as_ref().and_then(|extras| deregister(extras, findings));
    let service = Service {
        port,
        initial_status,
        interfaces: interfaces(specs.as_ref(), findings),
        tags: tags.map(|(tags, _)| tags).unwrap_or_default(),
        enable_tag_override: extras.is_some_and(|extras| extras.enable_tag_override),
        deregister_critical_service_after: deregister,
    };
    Registration::Registered(port_field, service)
}

fn status(field: &Field<'_>, findings: &mut Findings) -> Option<InitialStatus> {
    let text = field.some_text(findings)?;
    match text.as_str() {
        "passing" => Some(InitialStatus::Passing),
        "warning" => Some(InitialStatus::Warning),
        "critical" => Some(InitialStatus::Critical),
        _ => {
            let finding = findings.error(&field.node.span, &field.key, format!("there is no status `{text}`"));
            finding.fix("write `passing`, `warning` or `critical`");
            None
        }
    }
}

/// `consul` of a job.
struct Extras<'a> {
    enable_tag_override: bool,
    deregister: Option<Field<'a>>,
    at: std::ops::Range<usize>,
    key: String,
}

fn extras<'a>(field: &Field<'a>, findings: &mut Findings) -> Option<Extras<'a>> {
    let mut block = field.block(findings)?;
    let enable_tag_override = block.take("enableTagOverride").and_then(|field| field.flag(findings)).unwrap_or(false);
    let deregister = block.take("deregisterCriticalServiceAfter");
    let extras = Extras {
        enable_tag_override,
        deregister,
        at: block.at.clone(),
        key: block.path("deregisterCriticalServiceAfter"),
    };
    block.finish(findings);
    Some(extras)
}

fn deregister(extras: &Extras<'_>, findings: &mut Findings) -> Option<String> {
    let text = extras.deregister.as_ref().map(|field| field.text(findings).unwrap_or_default()).unwrap_or_default();
    if duration(&text).is_some() {
        return Some(text);
    }
    let at = extras.deregister.as_ref().map_or(&extras.at, |field| &field.node.span);
    let reason = if text.is_empty() {
        "where `consul` is given, this is needed".to_owned()
    } else {
        format!("`{text}` is no duration; a bare number is none here")
    };
    findings.error(at, &extras.key, reason).fix("write a number and a unit, like `\"10m\"`");
    None
}

/// At least 1 ms; for a periodic job its interval if absent.
fn exec_timeout(field: Option<&Field<'_>>, when: &When, findings: &mut Findings) -> Option<Duration> {
    let interval = if let When::Interval { every, .. } = when { Some(*every) } else { None };
    match field.filter(|field| !field.is_empty_text()) {
        Some(field) => at_least_a_millisecond(field, findings),
        None => interval,
    }
}

/// A duration of at least 1 ms.
pub(super) fn at_least_a_millisecond(field: &Field<'_>, findings: &mut Findings) -> Option<Duration> {
    let nanos: Nanos = field.duration(findings)?;
    if nanos < MILLISECOND {
        findings.error(&field.node.span, &field.key, "this is less than 1ms").fix("write `\"1ms\"` or more");
        return None;
    }
    u64::try_from(nanos).ok().map(Duration::from_nanos)
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "fractions are cut off, the rest is checked"
)]
fn restarts(field: Option<&Field<'_>>, read: &ReadWhen, findings: &mut Findings) -> Restarts {
    const WORDS: &str = "write a whole number from 0, \"unlimited\" or \"never\"";
    let is_periodic = matches!(read.waits_for, When::Interval { .. });
    let Some(field) = field else {
        return if is_periodic { Restarts::Unlimited } else { Restarts::Limited(0) };
    };
    let limit = match &field.node.value {
        Value::Text(text) => match text.as_str() {
            "unlimited" if read.has_each => {
                let reason = "this cannot stand beside `when.each`: the processes would become more and more";
                findings.error(&field.node.span, &field.key, reason).fix("remove it, or use `once` instead of `each`");
                return Restarts::Unlimited;
            }
            "unlimited" => return Restarts::Unlimited,
            "never" => Some(0),
            text => crate::number::atoi(text).and_then(|limit| u64::try_from(limit).ok()),
        },
        Value::Number(number) if (0.0..9e15).contains(number) => Some(*number as u64),
        _ => None,
    };
    let Some(limit) = limit else {
        findings.error(&field.node.span, &field.key, "this says no number of restarts").fix(WORDS);
        return Restarts::Limited(0);
    };
    if is_periodic && limit == 0 {
        let reason = "a periodic job with no restarts runs at its start, and never again";
        findings
            .warn(&field.node.span, &field.key, reason)
            .fix("remove it, or write how many further times it is to run");
    }
    Restarts::Limited(limit)
}

fn restart_delay(block: &mut Block<'_>, read: &ReadWhen, findings: &mut Findings) -> RestartDelay {
    let (first, max) = (block.take("restartDelay"), block.take("restartMaxDelay"));
    if let (Some(field), When::Interval { .. }) = (&first, &read.waits_for) {
        let reason = "a periodic job is not restarted, but run again at its next time: this has no effect";
        findings.warn(&field.name, &field.key, reason).fix("remove it");
    }
    if let (None, Some(field)) = (&first, &max) {
        let finding = findings.error(&field.name, &field.key, "this needs `restartDelay` beside it");
        finding.fix("write `restartDelay: \"1s\"`");
    }
    let shortest = first.and_then(|field| at_least_a_millisecond(&field, findings)).unwrap_or_default();
    let longest = max.as_ref().and_then(|field| at_least_a_millisecond(field, findings)).unwrap_or(shortest);
    if let (Some(field), true) = (&max, longest < shortest) {
        findings.error(&field.node.span, &field.key, "this is less than `restartDelay`").fix("write more than it");
    }
    RestartDelay { first: shortest, max: longest }
}
