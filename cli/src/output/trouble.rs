//! What is wrong with instances in the words of their agents: one line each, with how long it has been so and what helps.

use std::collections::BTreeSet;

use helium_crds::{
    condition::{Condition, ConditionKind as Kind, reason},
    instance::{Desired, Report},
    status::WaitingOn,
};
use helium_engine::people::read::InstanceView;
use jiff::Timestamp;

use super::{time::age, tree::unheld};

/// The conditions of an instance that a person should know of. That it cannot be started does not need to be told of one whose package or files are not
/// there, nor anything of one that is to go.
fn told(InstanceView { instance, report }: &InstanceView) -> Vec<&Condition> {
    let all: Vec<&Condition> = match instance.desired {
        Desired::Run => report.iter().flat_map(Report::troubles).collect(),
        Desired::Stop => Vec::new(),
    };
    let lacks = |one: &&Condition| matches!(one.kind, Kind::PackageReady | Kind::ConfigValid);
    let is_cause = all.iter().any(lacks);
    all.into_iter().filter(|one| !(is_cause && one.kind == Kind::CrashLoop)).collect()
}

/// The lines of an instance: ``hello-0 on n1: in a crash loop for 2m: exit status 1; helium logs hello --instance hello-0 there shows what it says``.
pub(crate) fn lines(view: &InstanceView, now: Timestamp) -> Vec<String> {
    let InstanceView { instance, report } = view;
    let named = |words: String| format!("{} on {}: {words}", instance.id, instance.node);
    let told = told(view);
    // An older agent tells nothing but the limits themselves.
    let limits = told.iter().any(|one| one.kind == Kind::LimitsHold);
    let bare = report.iter().flat_map(unheld).filter(|_| !limits);
    let jobs = report.iter().flat_map(Report::words_of_jobs);
    told.iter().map(|one| sentence(one, view, now)).chain(bare).chain(jobs).map(named).collect()
}

fn sentence(one: &Condition, view: &InstanceView, now: Timestamp) -> String {
    let since = age(Some(one.since), now);
    let message = if one.message.is_empty() { String::new() } else { format!(": {}", one.message) };
    if one.kind == Kind::LimitsHold {
        return format!("{} (for {since}); {}", short(one), help(one, view));
    }
    format!("{} for {since}{message}; {}", what(one.kind), help(one, view))
}

/// What a condition that is not as it should be is called.
fn what(kind: Kind) -> &'static str {
    match kind {
        Kind::PackageReady => "without its package",
        Kind::ConfigValid => "without valid files",
        Kind::CrashLoop => "in a crash loop",
        Kind::Maintenance => "in maintenance",
        Kind::Registered => "refused by Consul",
        Kind::ConsulReachable => "without an answer of Consul",
        Kind::LimitsHold => "with limits that do not hold",
        Kind::Ready | Kind::AssignmentsKnown | Kind::Leader | Kind::Other => "not as it should be",
    }
}

fn help(one: &Condition, view: &InstanceView) -> String {
    let InstanceView { instance, .. } = view;
    let (key, id, node) = (&instance.deployment, &instance.id, &instance.node);
    match one.kind {
        Kind::PackageReady => {
            "put right `template.package`, what is at its URL, or what the node lacks: it is tried again by itself"
                .to_owned()
        }
        Kind::ConfigValid => {
            format!("put right the values or the templates; helium logs {key} --instance {id} on {node} shows more")
        }
        Kind::Maintenance => format!("{} ends it", end_of(one, view)),
        Kind::Registered | Kind::ConsulReachable => {
            format!("helium agent verify on {node} shows what its agent lacks")
        }
        Kind::LimitsHold => "give its agent what it takes, or leave the limit out".to_owned(),
        Kind::CrashLoop | Kind::Ready | Kind::AssignmentsKnown | Kind::Leader | Kind::Other => {
            format!("helium logs {key} --instance {id} on {node} shows what it says")
        }
    }
}

/// The command that ends a maintenance.
fn end_of(one: &Condition, InstanceView { instance, .. }: &InstanceView) -> String {
    let own = if one.reason == reason::NODE_ASKED { String::new() } else { format!(" --instance {}", instance.id) };
    format!("helium node maintenance off {}{own}", instance.node)
}

/// A condition that is not as it should be without since when and help: `in a crash loop: exit status 1`.
fn short(one: &Condition) -> String {
    match one.kind {
        Kind::LimitsHold if !one.message.is_empty() => {
            let each = one.message.split("; `").enumerate().map(|(place, limit)| {
                let quoted = if place == 0 { limit.to_owned() } else { format!("`{limit}") };
                let (name, why) = quoted.split_once(": ").unwrap_or((&quoted, "nobody says why"));
                format!("its limit {name} does not hold: {why}")
            });
            each.collect::<Vec<_>>().join("; ")
        }
        kind if one.message.is_empty() => what(kind).to_owned(),
        kind => format!("{}: {}", what(kind), one.message),
    }
}

/// What is wrong with an instance, as short as it can be said beside other words of it that `said` holds already.
pub(crate) fn beside(view: &InstanceView, said: &[String]) -> Vec<String> {
    let is_said = |one: &&Condition| {
        one.kind == Kind::LimitsHold || said.iter().any(|words| !one.message.is_empty() && words.contains(&one.message))
    };
    told(view).into_iter().filter(|one| !is_said(one)).map(short).collect()
}

/// Whether the line of an instance says already that it is unhealthy, and why.
pub(crate) fn tells(views: &[InstanceView], waiting: &WaitingOn) -> bool {
    let WaitingOn::Unhealthy { instance, why, .. } = waiting else { return false };
    let own = views.iter().filter(|view| view.instance.id == *instance);
    own.flat_map(told)
        .any(|one| one.message.contains(why.as_str()) || one.kind == Kind::Maintenance && why.contains(&one.message))
}

/// What to do where [no process has begun](is_before_any_start).
pub(crate) const MEND: &str = "put that right; it is tried again by itself";

/// Whether all that is wrong is of packages and files, without which no process begins.
pub(crate) fn is_before_any_start(views: &[InstanceView]) -> bool {
    let mut all = views.iter().flat_map(told).filter(|one| one.kind != Kind::LimitsHold).peekable();
    all.peek().is_some() && all.all(|one| matches!(one.kind, Kind::PackageReady | Kind::ConfigValid))
}

/// What to do next where nothing is wrong but that somebody has taken instances out of service: the command that ends it, or the first of several.
pub(crate) fn end_of_maintenance(views: &[InstanceView]) -> Option<String> {
    let all: Vec<(&InstanceView, &Condition)> =
        views.iter().flat_map(|view| told(view).into_iter().map(move |one| (view, one))).collect();
    let in_the_way = all.iter().filter(|(_, one)| one.kind != Kind::LimitsHold);
    let commands: BTreeSet<String> = in_the_way
        .map(|(view, one)| (one.kind == Kind::Maintenance).then(|| end_of(one, view)))
        .collect::<Option<_>>()?;
    let more = commands.len().saturating_sub(1);
    let first = commands.into_iter().next()?;
    Some(if more == 0 { format!("{first} ends the maintenance") } else { format!("{first}, and {more} more as above") })
}

#[cfg(test)]
#[path = "trouble_tests.rs"]
mod tests;
