//! How an object stands, in a few lines for people: what the golden outputs of stories are made of.
//!
//! Nothing in here changes from run to run where the story is the same: no instants, no hashes.

use std::collections::BTreeMap;

use consul_embedded::state::State;
use helium_crds::{
    InstanceId, Kind, ObjectKey, control::Verb, event::EventLog, keys::Keys, status::HydraJobStatus, status::WaitingOn,
};

use crate::truth::{self, Truth};

/// Phase, reason, message, and the counts of each version.
pub fn object(state: &State, object: &ObjectKey) -> Vec<String> {
    let truth = Truth::of(state, object);
    let name = &object.name;
    let Some(status) = truth.status else {
        let what = if truth.has_spec { "no status yet" } else { "not there" };
        return vec![format!("{name}: {what}")];
    };
    let mut lines = vec![format!(
        "{name}: {} {}/{} ({}) {}",
        status.phase,
        status.healthy,
        status.wanted,
        status.reason,
        without_hashes(&status.message)
    )];
    for version in &status.versions {
        let standby = if version.standby > 0 { format!(", {} on standby", version.standby) } else { String::new() };
        lines.push(format!(
            "  {} {:?}: {} wanted, {} assigned, {} registered, {} healthy{standby}",
            version.version, version.role, version.desired, version.assigned, version.registered, version.healthy
        ));
    }
    lines
}

/// Everything that is known of every object, for a failing seed: also its instances, with their ids.
pub fn everything(state: &State) -> Vec<String> {
    let mut lines = Vec::new();
    for key in truth::objects(state) {
        lines.extend(object(state, &key));
        lines.extend(explain(state, &key));
        for instance in Truth::of(state, &key).instances.values() {
            let phase = truth::report(state, instance).map_or_else(|| "-".to_owned(), |one| format!("{:?}", one.phase));
            let health = if truth::is_healthy(state, instance) { "healthy" } else { "not healthy" };
            lines.push(format!(
                "  {} on {}: {} {:?} {:?}, report {phase}, {health}",
                instance.id, instance.node, instance.version, instance.role, instance.desired
            ));
        }
    }
    lines
}

/// What an object waits for, and what became of people's requests.
pub fn explain(state: &State, object: &ObjectKey) -> Vec<String> {
    let Some(status) = Truth::of(state, object).status else { return vec!["  nothing is known".to_owned()] };
    let mut lines: Vec<String> = status.waiting_on.iter().map(|one| format!("  waits: {}", waiting(one))).collect();
    for answer in &status.control {
        let outcome = answer.refused.as_ref().map_or_else(|| "done".to_owned(), |why| format!("refused: {why}"));
        let verb = answer.verb.map_or("what cannot be read", Verb::as_str);
        lines.push(format!("  {verb} by {}: {}", answer.by, without_hashes(&outcome)));
    }
    lines
}

/// How many instances should run with which values of Consul's.
pub fn values(state: &State, object: &ObjectKey) -> Vec<String> {
    let truth = Truth::of(state, object);
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for instance in truth.running() {
        let Some(assignment) = truth::assignment(state, instance) else { continue };
        let template = &assignment.template;
        let pairs: Vec<String> = template.overrides.iter().map(|(name, text)| format!("{name}={text}")).collect();
        let pairs = if pairs.is_empty() { "no values".to_owned() } else { pairs.join(" ") };
        *counts.entry(format!("{} with {pairs}", template.version)).or_default() += 1;
    }
    counts.into_iter().map(|(what, count)| format!("  {count} of {what}")).collect()
}

/// Which build a HydraJob has, what is wrong, and what people were told of it.
pub fn job(state: &State, job: &ObjectKey) -> Vec<String> {
    let (keys, kind) = (Keys::default(), Kind::HydraJob);
    let Some(status) = truth::value::<HydraJobStatus>(state, &keys.status(kind, job)) else {
        return vec![format!("hydrajob/{job}: no status")];
    };
    let newest = status.newest.map_or_else(|| "no build".to_owned(), |newest| format!("build {}", newest.build));
    let error = status.error.map(|error| format!(", {}: {}", error.reason, error.message)).unwrap_or_default();
    let log: Option<EventLog> = truth::value(state, &keys.events(kind, job));
    let events = log.map(|log| log.events).unwrap_or_default();
    let told = events.iter().map(|event| format!("  {}: {}", event.reason, event.message));
    [format!("hydrajob/{}: {newest}{error}", job.name)].into_iter().chain(told).collect()
}

/// What people were told of it.
pub fn events(state: &State, object: &ObjectKey) -> Vec<String> {
    let log: Option<EventLog> = truth::value(state, &Keys::default().events(Kind::Deployment, object));
    let line = |event: &helium_crds::event::Event| format!("  {}: {}", event.reason, without_hashes(&event.message));
    log.map(|log| log.events.iter().map(line).collect()).unwrap_or_default()
}

fn waiting(on: &WaitingOn) -> String {
    match on {
        WaitingOn::MinHealthyTime { instances, .. } => format!("MinHealthyTime of {instances}"),
        WaitingOn::Soak { .. } => "Soak".to_owned(),
        WaitingOn::Pause { .. } => "Pause".to_owned(),
        WaitingOn::Bake { standby, .. } => format!("Bake beside {standby}"),
        WaitingOn::Starting { version, instances, .. } => {
            let all: Vec<String> = instances.iter().map(short).collect();
            format!("Starting {version}: {}", all.join(" "))
        }
        WaitingOn::Sight { instance, node, .. } => format!("Sight of {} on {node}", short(instance)),
        other => without_hashes(&format!("{other:?}")),
    }
}

/// `web-3-1a2b3c4d` as `web-3`.
fn short(id: &InstanceId) -> String {
    id.as_str().rsplit_once('-').map_or_else(|| id.to_string(), |(head, _)| head.to_owned())
}

/// A text in which no word ends in a hash.
fn without_hashes(text: &str) -> String {
    let is_hash = |part: &str| part.len() == 8 && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let word = |word: &str| {
        let ends = word.trim_end_matches([',', ':', '.', ')', '"', '}', ';']);
        match ends.rsplit_once(['-', '@', '"']) {
            Some((head, hash)) if is_hash(hash) => format!("{head}{}", &word[ends.len()..]),
            _ if ends.strip_prefix('(').is_some_and(is_hash) => format!("(..{}", &word[ends.len()..]),
            _ if is_hash(ends) => format!("..{}", &word[ends.len()..]),
            _ => word.to_owned(),
        }
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_left_out() {
        let text = "web-3-1a2b3c4d: its node is away; rollout 0123abcd, and web-10";
        assert_eq!(without_hashes(text), "web-3: its node is away; rollout .., and web-10");
    }
}
