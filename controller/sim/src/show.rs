//! How an object stands, in a few lines for people: what the golden outputs of stories are made of.

use consul_embedded::state::State;
use helium_crds::{ObjectKey, status::WaitingOn};

use crate::truth::Truth;

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
        status.phase, status.healthy, status.wanted, status.reason, status.message
    )];
    for version in &status.versions {
        lines.push(format!(
            "  {} {:?}: {} wanted, {} assigned, {} registered, {} healthy",
            version.version, version.role, version.desired, version.assigned, version.registered, version.healthy
        ));
    }
    lines
}

/// What an object waits for, and what became of people's requests.
pub fn explain(state: &State, object: &ObjectKey) -> Vec<String> {
    let Some(status) = Truth::of(state, object).status else { return vec!["nothing is known".to_owned()] };
    let mut lines: Vec<String> = status.waiting_on.iter().map(|one| format!("  waits: {}", waiting(one))).collect();
    for answer in &status.control {
        let outcome = answer.refused.as_ref().map_or_else(|| "done".to_owned(), |why| format!("refused: {why}"));
        lines.push(format!("  {} by {}: {outcome}", answer.verb.as_str(), answer.by));
    }
    lines
}

fn waiting(on: &WaitingOn) -> String {
    let text = format!("{on:?}");
    // Ids end in hashes of times: whoever compares outputs does not want to see them.
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
