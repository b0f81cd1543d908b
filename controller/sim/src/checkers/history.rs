//! When each instance was healthy and each node alive, as the store showed it.

use std::{collections::BTreeMap, time::Duration};

use consul_embedded::state::State;
use helium_crds::{InstanceId, NodeName, keys::Keys};

use crate::truth;

/// Since when something is so, and when it was so last.
#[derive(Clone, Copy, Debug)]
struct Span {
    since: Duration,
    last: Duration,
    holds: bool,
}

/// The history of all instances and nodes.
#[derive(Debug, Default)]
pub(crate) struct History {
    healthy: BTreeMap<InstanceId, Span>,
    serving: BTreeMap<InstanceId, Span>,
    alive: BTreeMap<NodeName, Span>,
}

impl History {
    /// Notes how everything is now.
    pub(crate) fn note(&mut self, state: &State, now: Duration) {
        let recorded = format!("{}inst/", Keys::default().root());
        for instance in truth::instances(state, &recorded).chain(truth::orphans_of(state)) {
            let healthy = truth::is_healthy(state, &instance);
            let serving = healthy && !truth::is_shielded(state, &instance);
            note(&mut self.healthy, instance.id.clone(), healthy, now);
            note(&mut self.serving, instance.id.clone(), serving, now);
            note(&mut self.alive, instance.node.clone(), truth::heartbeat(state, &instance.node), now);
        }
    }

    /// For how long an instance has been healthy and not on standby, without a break; zero if it is not.
    pub(crate) fn serving_for(&self, id: &InstanceId, now: Duration) -> Duration {
        self.serving.get(id).filter(|span| span.holds).map_or(Duration::ZERO, |span| now.saturating_sub(span.since))
    }

    /// Whether an instance was healthy and not on standby at any time within a span.
    pub(crate) fn was_serving(&self, id: &InstanceId, within: Duration, now: Duration) -> bool {
        self.serving.get(id).is_some_and(|span| span.holds || now.saturating_sub(span.last) <= within)
    }

    /// Whether an instance was healthy at any time within a span, on standby or not.
    pub(crate) fn was_healthy(&self, id: &InstanceId, within: Duration, now: Duration) -> bool {
        self.healthy.get(id).is_some_and(|span| span.holds || now.saturating_sub(span.last) <= within)
    }

    /// For how long a node has been alive without a break; zero if it is not.
    pub(crate) fn alive_for(&self, node: &NodeName, now: Duration) -> Duration {
        self.alive.get(node).filter(|span| span.holds).map_or(Duration::ZERO, |span| now.saturating_sub(span.since))
    }

    /// For how long a node was alive without a break when it was so last.
    pub(crate) fn was_alive_for(&self, node: &NodeName) -> Duration {
        self.alive.get(node).map_or(Duration::ZERO, |span| span.last.saturating_sub(span.since))
    }

    /// For how long a node has been away without a break; zero if it is there.
    pub(crate) fn away_for(&self, node: &NodeName, now: Duration) -> Duration {
        self.alive.get(node).filter(|span| !span.holds).map_or(Duration::ZERO, |span| now.saturating_sub(span.last))
    }
}

fn note<K: Ord>(spans: &mut BTreeMap<K, Span>, key: K, holds: bool, now: Duration) {
    match spans.get_mut(&key) {
        Some(span) => {
            if holds && !span.holds {
                span.since = now;
            }
            // Up to this look it held.
            if holds || span.holds {
                span.last = now;
            }
            span.holds = holds;
        }
        None if holds => drop(spans.insert(key, Span { since: now, last: now, holds })),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_remembers_its_begin_and_its_end() {
        let seconds = Duration::from_secs;
        let mut history = History::default();
        let id = InstanceId::from("web-1-ab");
        for (at, holds) in [(1, false), (2, true), (5, true), (6, false), (9, false)] {
            note(&mut history.healthy, id.clone(), holds, seconds(at));
            note(&mut history.serving, id.clone(), holds, seconds(at));
        }
        assert_eq!(history.serving_for(&id, seconds(9)), Duration::ZERO);
        assert!(history.was_healthy(&id, seconds(3), seconds(9)) && !history.was_healthy(&id, seconds(2), seconds(9)));
        note(&mut history.serving, id.clone(), true, seconds(10));
        assert_eq!(history.serving_for(&id, seconds(14)), seconds(4));
    }
}
