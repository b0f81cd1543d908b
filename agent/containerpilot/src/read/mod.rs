//! The values of a file into a [`Config`], by ContainerPilot's rules: what it takes is taken, what it refuses is refused, all at once.
//!
//! One thing differs on purpose: a port that is no port (below 0 or above 65535) is refused.

mod block;
mod consul;
mod exec;
mod health;
mod job;
mod telemetry;
mod warnings;
mod watch;
mod when;

use std::{collections::BTreeMap, time::Duration};

use self::{
    block::{Block, Field},
    warnings::Seen,
};
use crate::{
    config::{Config, Control, LogFormat, LogLevel, LogOutput, Logging},
    finding::Findings,
    interfaces::{Spec, default_specs},
    json5::{Node, Value},
};

/// Reads the root of a file. There is a configuration only if there is no error among the findings.
pub(crate) fn read(root: &Node, env: &BTreeMap<String, String>, findings: &mut Findings) -> Option<Config> {
    let at = root.span.start..(root.span.start + 1).min(root.span.end);
    let mut top = Block::open("", at.clone(), root, findings)?.exact();
    let mut seen = Seen::default();
    let consul = top.take("consul");
    if consul.is_none() {
        top.missing("consul", &at, "no address of Consul is given", "write `consul: \"localhost:8500\"`");
    }
    let consul = consul.and_then(|field| consul::consul(&field, env, findings));
    let logging = logging(top.take("logging").as_ref(), findings);
    let stop_timeout = stop_timeout(top.take("stopTimeout").as_ref(), findings);
    let control = control(top.take("control").as_ref(), findings);
    let jobs = elements(top.take("jobs").as_ref(), findings);
    let jobs = jobs.iter().filter_map(|field| job::job(field, &mut seen, findings)).collect();
    let watches = elements(top.take("watches").as_ref(), findings);
    let watches = watches.iter().filter_map(|field| watch::watch(field, &mut seen, findings)).collect();
    let telemetry = top.take("telemetry").and_then(|field| telemetry::telemetry(&field, findings));
    top.finish(findings);
    warnings::check(&seen, findings);
    Some(Config { consul: consul?, logging: logging?, stop_timeout, control: control?, jobs, watches, telemetry })
}

/// The elements of `jobs` or `watches`; what is no list is as if it were not there.
fn elements<'a>(field: Option<&Field<'a>>, findings: &mut Findings) -> Vec<Field<'a>> {
    let Some(field) = field else { return Vec::new() };
    field.elements().unwrap_or_else(|| {
        let reason = format!("this is {}, and only a list counts here", field.node.value.kind());
        findings.warn(&field.name, &field.key, reason).fix("write `[ ... ]`");
        Vec::new()
    })
}

/// Whole seconds; nothing and 0 are 5 s.
fn stop_timeout(field: Option<&Field<'_>>, findings: &mut Findings) -> Duration {
    let seconds = field.and_then(|field| field.int(findings)).unwrap_or(0);
    if let (Some(field), true) = (field, seconds < 0) {
        findings.warn(&field.node.span, &field.key, "a negative time is no time: jobs are killed at once");
    }
    match u64::try_from(seconds) {
        Ok(0) => Duration::from_secs(5),
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => Duration::ZERO,
    }
}

fn logging(field: Option<&Field<'_>>, findings: &mut Findings) -> Option<Logging> {
    let mut logging = Logging { level: LogLevel::Info, format: LogFormat::Default, output: LogOutput::Stdout };
    let Some(field) = field else { return Some(logging) };
    let mut block = field.block(findings)?;
    if let Some((field, text)) = some_text(block.take("level"), findings) {
        logging.level = match text.to_lowercase().as_str() {
            "debug" => LogLevel::Debug,
            "info" => LogLevel::Info,
            "warn" | "warning" => LogLevel::Warn,
            "error" => LogLevel::Error,
            "fatal" => LogLevel::Fatal,
            "panic" => LogLevel::Panic,
            _ => {
                let finding = findings.error(&field.node.span, &field.key, format!("there is no level `{text}`"));
                finding.fix("write DEBUG, INFO, WARN, ERROR, FATAL or PANIC");
                logging.level
            }
        };
    }
    if let Some((field, text)) = some_text(block.take("format"), findings) {
        logging.format = match text.to_lowercase().as_str() {
            "default" => LogFormat::Default,
            "text" => LogFormat::Text,
            "json" => LogFormat::Json,
            _ => {
                let finding = findings.error(&field.node.span, &field.key, format!("there is no format `{text}`"));
                finding.fix("write `default`, `text` or `json`");
                logging.format
            }
        };
    }
    if let Some((_, text)) = some_text(block.take("output"), findings) {
        logging.output = match text.to_lowercase().as_str() {
            "stdout" => LogOutput::Stdout,
            "stderr" => LogOutput::Stderr,
            _ => LogOutput::File(text),
        };
    }
    block.finish(findings);
    Some(logging)
}

fn control(field: Option<&Field<'_>>, findings: &mut Findings) -> Option<Control> {
    let mut socket = "/var/run/containerpilot.socket".to_owned();
    if let Some(field) = field {
        let mut block = field.block(findings)?;
        if let Some(field) = block.take("socket") {
            socket = field.text(findings).unwrap_or_default();
        }
        block.finish(findings);
    }
    Some(Control { socket })
}

fn some_text<'a>(field: Option<Field<'a>>, findings: &mut Findings) -> Option<(Field<'a>, String)> {
    let field = field?;
    let text = field.some_text(findings)?;
    Some((field, text))
}

/// `logging: {raw: true}` of a job or its health.
fn raw_output(field: Option<&Field<'_>>, findings: &mut Findings) -> bool {
    let Some(mut block) = field.and_then(|field| field.block(findings)) else { return false };
    let raw = block.take("raw").and_then(|field| field.flag(findings)).unwrap_or(false);
    block.finish(findings);
    raw
}

/// A port; 0 is taken for none.
fn port(field: &Field<'_>, findings: &mut Findings) -> Option<u16> {
    let port = field.int(findings)?;
    let valid = u16::try_from(port).ok();
    if valid.is_none() {
        findings.error(&field.node.span, &field.key, format!("{port} is no port")).fix("write 1 to 65535");
    }
    valid
}

/// `interfaces`; nothing and an empty list are the defaults.
fn interfaces(field: Option<&Field<'_>>, findings: &mut Findings) -> Vec<Spec> {
    let Some(field) = field else { return default_specs() };
    let texts: Vec<(std::ops::Range<usize>, String)> = match &field.node.value {
        Value::Text(text) => vec![(field.node.span.clone(), text.clone())],
        Value::List(nodes) => nodes.iter().map(|node| (node.span.clone(), block::go_text(&node.value))).collect(),
        other => {
            let reason = format!("a text or a list of texts should be here, and this is {}", other.kind());
            findings.error(&field.node.span, &field.key, reason);
            Vec::new()
        }
    };
    let mut specs = Vec::with_capacity(texts.len());
    for (span, text) in texts {
        match Spec::parse(&text) {
            Some(spec) => specs.push(spec),
            None => findings.error(&span, &field.key, format!("`{text}` is no way to find an address")).fix(
                "write `eth0`, `eth0:inet6`, `eth0[1]`, `inet`, `inet6`, `10.0.0.0/8` or `static:10.0.0.1`; \
                      for an interface whose name has dots or dashes, its network",
            ),
        }
    }
    if specs.is_empty() { default_specs() } else { specs }
}

/// Whether a name may be a service's: a small letter first, then letters, digits and dashes, two characters or more.
fn is_service_name(name: &str) -> bool {
    let mut letters = name.bytes();
    letters.next().is_some_and(|first| first.is_ascii_lowercase())
        && name.len() > 1
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == b'-')
}

/// A name that a service may have, and is near to one that it may not.
fn service_name(name: &str) -> String {
    let letters: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let lower = letters.trim_matches('-').to_ascii_lowercase();
    match lower.as_str() {
        "" => "app".to_owned(),
        _ if lower.starts_with(|c: char| c.is_ascii_lowercase()) && lower.len() > 1 => lower,
        _ => format!("app-{lower}"),
    }
}
