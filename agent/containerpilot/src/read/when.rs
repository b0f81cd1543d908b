//! `when` of a job: what it waits for.

use std::{ops::Range, time::Duration};

use super::{
    block::{Block, Field},
    job::at_least_a_millisecond,
    some_text,
    warnings::Wait,
};
use crate::{
    config::{Condition, Starts, When as Waits},
    event::{CODES, Event, EventCode, Source, parse_event},
    finding::Findings,
    near::near,
};

/// What `when` says, and what the rest of the job has to know of it.
pub(super) struct When {
    pub(super) waits_for: Waits,
    /// Whether `each` is there.
    pub(super) has_each: bool,
    /// The events it waits for, and where they are named.
    pub(super) waits: Vec<Wait>,
}

/// Where an event is named: the text of `once`, `each` and `source`, and their keys.
struct Named<'a> {
    code: Option<(Field<'a>, String)>,
    source: Option<(Field<'a>, String)>,
    starts: Starts,
    at: Range<usize>,
    key: String,
}

pub(super) fn when(field: Option<&Field<'_>>, findings: &mut Findings) -> When {
    let startup = Waits::Event { condition: Condition { event: Event::STARTUP, starts: Starts::Once }, timeout: None };
    let Some(mut block) = field.and_then(|field| field.block(findings)) else {
        return When { waits_for: startup, has_each: false, waits: Vec::new() };
    };
    let interval = some_text(block.take("interval"), findings).map(|(field, _)| field);
    let source = some_text(block.take("source"), findings);
    let once = some_text(block.take("once"), findings);
    let each = some_text(block.take("each"), findings);
    let timeout = block.take("timeout");
    let all = block.take("all");
    let mut waits = Vec::new();
    let has_each = each.is_some();
    only_one(&block, interval.as_ref(), once.as_ref(), each.as_ref(), findings);
    let when = if let Some(all) = all {
        for field in [interval.as_ref(), field_of(source.as_ref()), field_of(once.as_ref()), field_of(each.as_ref())]
            .into_iter()
            .flatten()
        {
            findings
                .error(&field.name, &field.key, "this cannot stand beside `all`")
                .fix("write it into one of its conditions");
        }
        let conditions = conditions(&all, &mut waits, findings);
        Waits::All { conditions, timeout: timeout.and_then(|field| field.positive(findings)) }
    } else if let Some(interval) = interval {
        let starts = Starts::Once;
        let named = Named { code: once, source, starts, at: block.at.clone(), key: block.key.clone() };
        periodic(&interval, &named, timeout.as_ref(), &mut waits, findings)
    } else {
        let (code, starts) = if once.is_some() { (once, Starts::Once) } else { (each, Starts::Each) };
        let named = Named { code, source, starts, at: block.at.clone(), key: block.key.clone() };
        let timeout = timeout.and_then(|field| field.positive(findings));
        match condition(&named, &mut waits, findings) {
            Some(condition) => Waits::Event { condition, timeout },
            None => Waits::Never { timeout },
        }
    };
    block.finish(findings);
    When { waits_for: when, has_each, waits }
}

fn field_of<'f, 'a>(pair: Option<&'f (Field<'a>, String)>) -> Option<&'f Field<'a>> {
    pair.map(|(field, _)| field)
}

/// `interval`, `once` and `each` exclude each other, but for Helium's own `interval` with `once`.
fn only_one(
    block: &Block<'_>,
    interval: Option<&Field<'_>>,
    once: Option<&(Field<'_>, String)>,
    each: Option<&(Field<'_>, String)>,
    findings: &mut Findings,
) {
    let Some((field, _)) = each else { return };
    let other = match (interval, once) {
        (Some(_), _) => "interval",
        (None, Some(_)) => "once",
        (None, None) => return,
    };
    let reason = format!("`each` cannot stand beside `{other}`");
    findings.error(&field.name, &block.path("each"), reason).fix("keep one of them");
}

fn periodic(
    interval: &Field<'_>,
    named: &Named<'_>,
    timeout: Option<&Field<'_>>,
    waits: &mut Vec<Wait>,
    findings: &mut Findings,
) -> Waits {
    let every = at_least_a_millisecond(interval, findings).unwrap_or(Duration::from_secs(1));
    if named.code.is_none() {
        let source = field_of(named.source.as_ref());
        for field in [source, timeout].into_iter().flatten() {
            let reason = "this has no effect beside `interval` alone: the first run is at the startup";
            findings.warn(&field.name, &field.key, reason).fix("remove it, or write `once` to begin after an event");
        }
        return Waits::Interval { every, after: Event::STARTUP, timeout: None };
    }
    let timeout = timeout.and_then(|field| field.positive(findings));
    match condition(named, waits, findings) {
        Some(condition) => Waits::Interval { every, after: condition.event, timeout },
        None => Waits::Never { timeout },
    }
}

/// Helium's own `all`: a list of conditions.
fn conditions(all: &Field<'_>, waits: &mut Vec<Wait>, findings: &mut Findings) -> Vec<Condition> {
    let elements = all.elements().unwrap_or_default();
    if elements.is_empty() {
        let finding = findings.error(&all.node.span, &all.key, "a list of conditions should be here");
        finding.fix("write `[{source: \"...\", once: \"...\"}, ...]`");
    }
    let mut conditions = Vec::with_capacity(elements.len());
    for element in elements {
        let Some(mut block) = element.block(findings) else { continue };
        let source = some_text(block.take("source"), findings);
        let once = some_text(block.take("once"), findings);
        let each = some_text(block.take("each"), findings);
        only_one(&block, None, once.as_ref(), each.as_ref(), findings);
        let (code, starts) = if once.is_some() { (once, Starts::Once) } else { (each, Starts::Each) };
        let is_signal = matches!(source.as_ref().and_then(|(_, text)| Source::parse(text)), Some(Source::Signal(_)));
        let is_whole = source.is_some() && (code.is_some() || is_signal);
        if !is_whole {
            let finding = findings.error(&block.at, &block.key, "a condition has a `source`, and `once` or `each`");
            finding.fix("write `{source: \"...\", once: \"...\"}`");
        }
        let named = Named { code, source, starts, at: block.at.clone(), key: block.key.clone() };
        block.finish(findings);
        if is_whole {
            conditions.extend(condition(&named, waits, findings));
        }
    }
    conditions
}

/// What is waited for; none if it can never happen, about which there is a warning.
fn condition(named: &Named<'_>, waits: &mut Vec<Wait>, findings: &mut Findings) -> Option<Condition> {
    let code = named.code.as_ref().map(|(field, text)| code(field, text, findings));
    let source = named.source.as_ref().and_then(|(_, text)| Source::parse(text));
    if let (Some(Source::Signal(signal)), None | Some(Some(_))) = (&source, code) {
        let event = Event { code: EventCode::Signal, source: Source::Signal(*signal) };
        return Some(Condition { event, starts: Starts::Each });
    }
    let (Some(code), Some(source)) = (code, source) else {
        never(named, code.flatten(), findings);
        return None;
    };
    let place = |pair: Option<&(Field<'_>, String)>| match field_of(pair) {
        Some(field) => (field.node.span.clone(), field.key.clone()),
        None => (named.at.clone(), named.key.clone()),
    };
    waits.push(Wait {
        code,
        source: source.clone(),
        code_at: place(named.code.as_ref()),
        source_at: place(named.source.as_ref()),
    });
    Some(Condition { event: Event { code: code?, source }, starts: named.starts })
}

fn code(field: &Field<'_>, text: &str, findings: &mut Findings) -> Option<EventCode> {
    let code = parse_event(text);
    if code.is_none() {
        let finding = findings.error(&field.node.span, &field.key, format!("there is no event `{text}`"));
        let names = CODES.iter().map(|(name, _)| *name);
        match near(text, names.clone()) {
            Some(near) => finding.fix(format!("did you mean `{near}`?")),
            None => finding.fix(format!("the events are {}", names.collect::<Vec<_>>().join(", "))),
        }
    }
    code
}

/// Says why a `when` is never true.
fn never(named: &Named<'_>, code: Option<EventCode>, findings: &mut Findings) {
    let signal = named.code.as_ref().map(|(_, text)| text.as_str());
    let (field, reason, fix) = match (&named.code, &named.source, code) {
        (Some((field, _)), _, Some(code)) if code.is_global() => (
            Some(field),
            "without a source this never happens, and the job never starts",
            "write `source: \"global\"`".to_owned(),
        ),
        (Some((field, _)), _, Some(EventCode::Signal)) => (
            Some(field),
            "without a source this never happens, and the job never starts",
            format!("write `source: \"{}\"` instead", signal.unwrap_or("SIGHUP")),
        ),
        (Some((field, _)), _, _) => (
            Some(field),
            "without a source this never happens, and the job never starts",
            "write `source` with the name of a job, or `watch.` and the name of a watch".to_owned(),
        ),
        (None, Some((field, _)), _) => (
            Some(field),
            "a source without an event: the job never starts",
            "write `once` or `each` with an event".to_owned(),
        ),
        (None, None, _) => (
            None,
            "this names nothing to wait for: the job never starts",
            "remove `when`, or write `source` and `once`".to_owned(),
        ),
    };
    match field {
        Some(field) => findings.warn(&field.node.span, &field.key, reason).fix(fix),
        None => findings.warn(&named.at, &named.key, reason).fix(fix),
    }
}
