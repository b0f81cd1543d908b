//! What `helium plan` foresees of a Deployment, as a story in lines and as a document.

use std::time::Duration;

use helium_crds::status::WaitingOn;
use helium_sim::preview::{Assumptions, Count, HORIZON, Named, Outlook, STOP, StepSeen, What};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{
    console::{Console, Tone},
    progress::Progress,
};

/// One line of the story.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    at: Duration,
    kind: Kind,
    text: String,
    /// The instance that it is about.
    instance: Option<Named>,
}

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Made,
    Removed,
    Progress,
    Person,
    Failing,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Kind::Made => "made",
            Kind::Removed => "removed",
            Kind::Progress => "progress",
            Kind::Person => "person",
            Kind::Failing => "failing",
        }
    }

    fn tone(self) -> Option<Tone> {
        match self {
            Kind::Made => Some(Tone::Good),
            Kind::Removed => Some(Tone::Bad),
            Kind::Person | Kind::Failing => Some(Tone::Warning),
            Kind::Progress => None,
        }
    }
}

/// The story for people: how it stands, what happens when, and what it comes to.
pub(crate) fn text(outlook: &Outlook, console: &Console) -> Vec<String> {
    let lines = lines(outlook);
    let width = lines.iter().map(|line| period(line.at).len()).max().unwrap_or(0);
    let mut all = vec![format!("{}: {}", console.paint(Tone::Strong, &outlook.name()), before(outlook))];
    for line in &lines {
        let text = line.kind.tone().map_or_else(|| line.text.clone(), |tone| console.paint(tone, &line.text));
        all.push(format!("  {:>width$}  {text}", period(line.at)));
    }
    all.push(end(outlook));
    all.push(bounds(outlook));
    all.extend(outlook.steps.iter().map(step));
    all
}

/// The same as a document.
pub(crate) fn document(outlook: &Outlook) -> Value {
    let (made, removed) = outlook.made_and_removed();
    let Outlook { before, steps, least_healthy, greatest_total, took, goes_on, end, .. } = outlook;
    json!({
        "object": outlook.name(),
        "new": outlook.is_new,
        "before": before.iter().map(count_document).collect::<Vec<_>>(),
        "moments": lines(outlook).iter().map(line_document).collect::<Vec<_>>(),
        "steps": steps.iter().map(step_document).collect::<Vec<_>>(),
        "leastHealthy": least_healthy,
        "greatestTotal": greatest_total,
        "made": made,
        "removed": removed,
        "seconds": took.as_secs_f64(),
        "goesOn": goes_on,
        "end": {"phase": end.phase, "reason": end.reason, "message": end.message},
    })
}

/// What is assumed, in one sentence.
pub(crate) fn assumed(assumptions: Assumptions) -> String {
    let (start, stop) = (period(assumptions.start), period(STOP));
    format!(
        "Assumed: an instance passes its checks {start} after it was assigned and stops within {stop}; nodes stay as they are."
    )
}

/// The same as a document.
pub(crate) fn assumed_document(assumptions: Assumptions) -> Value {
    let Assumptions { start, canary_fails_at } = assumptions;
    json!({ "start": period(start), "stop": period(STOP), "canaryFailsAt": canary_fails_at })
}

fn lines(outlook: &Outlook) -> Vec<Line> {
    let mut progress = Progress::of(outlook.object.to_string());
    let mut lines = Vec::new();
    for moment in &outlook.moments {
        let mut say = |kind, text: String, instance: Option<&Named>| {
            lines.push(Line { at: moment.at, kind, text, instance: instance.cloned() });
        };
        let instance = |named: &Named| format!("{} ({}) on {}", named.id, named.version, named.node);
        match &moment.what {
            What::Made(named) => say(Kind::Made, format!("+ {}", instance(named)), Some(named)),
            What::Removed(named) => say(Kind::Removed, format!("- {}", instance(named)), Some(named)),
            What::Told(event) => say(Kind::Progress, event.message.clone(), None),
            What::Status(status) => {
                progress.observe(status).into_iter().for_each(|line| say(Kind::Progress, line, None));
            }
            What::Promoted { command } => {
                let text = format!("waits for a person here: `{command}`; the preview goes on at once");
                say(Kind::Person, text, None);
            }
            What::Failing { version, step } => {
                say(Kind::Failing, format!("{version} begins to fail here, at step {step}"), None);
            }
        }
    }
    lines
}

/// `now 3 of 1.0.0`, and how many of those are not healthy.
fn before(outlook: &Outlook) -> String {
    let count = |count: &Count| match count.running - count.healthy {
        0 => format!("{} of {}", count.running, count.version),
        sick => format!("{} of {} ({sick} not healthy)", count.running, count.version),
    };
    match outlook.before.as_slice() {
        _ if outlook.is_new => "new".to_owned(),
        [] => "now no instance".to_owned(),
        counts => format!("now {}", counts.iter().map(count).collect::<Vec<_>>().join(", ")),
    }
}

/// How it stands in the end, and when.
fn end(outlook: &Outlook) -> String {
    let status = &outlook.end;
    if outlook.goes_on {
        return format!("After {} it still goes on: {}: {}", period(HORIZON), status.phase, status.message);
    }
    let waits = status.waiting_on.iter().any(|waiting| matches!(waiting, WaitingOn::Agents | WaitingOn::Place { .. }));
    let stays = if waits { "; it goes on as soon as there is a place" } else { "" };
    format!("In the end, after about {}: {}: {}{stays}", period(outlook.took), status.phase, status.message)
}

/// How few are healthy, and how many there are.
fn bounds(outlook: &Outlook) -> String {
    let (made, removed) = outlook.made_and_removed();
    let (least, most) = (outlook.least_healthy, outlook.greatest_total);
    let healthy = match outlook.healthy_before() {
        0 => String::new(),
        before => format!("at least {least} healthy (now {before}), "),
    };
    format!("In all {made} made, {removed} removed; {healthy}at most {most} at once")
}

/// What a step asks for, and what whole instances make of it.
fn step(step: &StepSeen) -> String {
    let StepSeen { number, of, weight, over, .. } = step;
    let (requested, achieved) = (weight.requested, weight.achieved());
    let share = weight.in_words();
    let reached = match over {
        Some(over) => format!("gets {achieved}% ({share}) after {}", period(*over)),
        None => format!("would get {achieved}% ({share}), and is never done"),
    };
    format!("Step {number}/{of} asks for {requested}%, {reached}")
}

fn line_document(line: &Line) -> Value {
    let mut document = json!({ "at": line.at.as_secs_f64(), "kind": line.kind.as_str(), "says": line.text });
    if let (Some(named), Some(document)) = (&line.instance, document.as_object_mut()) {
        let Named { id, version, node } = named;
        document.extend([
            ("instance".to_owned(), json!(id)),
            ("version".to_owned(), json!(version)),
            ("node".to_owned(), json!(node)),
        ]);
    }
    document
}

fn count_document(count: &Count) -> Value {
    let Count { version, running, healthy } = count;
    json!({ "version": version, "running": running, "healthy": healthy })
}

fn step_document(step: &StepSeen) -> Value {
    let StepSeen { number, of, version, weight, begins, over } = step;
    let mut document = json!({
        "step": number,
        "of": of,
        "version": version,
        "requested": weight.requested,
        "achieved": weight.achieved(),
        "canary": weight.canary,
        "stable": weight.stable,
        "begins": begins.as_secs_f64(),
        "over": over.map(|over| over.as_secs_f64()),
    });
    if let Some(weight) = weight.service_weight {
        document["serviceWeight"] = weight.into();
    }
    document
}

/// `7s`, `1h 25s`: to the second, since what follows a long soak follows within seconds.
fn period(time: Duration) -> String {
    format!("{:#}", SignedDuration::from_secs(i64::try_from(time.as_secs()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
