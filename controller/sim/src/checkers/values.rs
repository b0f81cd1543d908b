//! S16: what an instance is assigned has the values of its revision, and they never change in place. S17: a change of values is a revision only
//! once it has rested, and that all are gone only after much longer, whoever changes the template meanwhile. L1: at rest the revision has the
//! values that are in the store.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use consul_embedded::state::State;
use helium_crds::{
    Deployment, DeploymentStatus, ObjectKey, Phase, instance::Assignment, keys::Keys, status::WaitingOn,
};
use helium_engine::overrides::{EMPTIED, REST, Values};

use super::{Checkers, Commit, Delay};
use crate::truth;

/// So many of an object's pasts are kept.
const PAST: usize = 64;
/// What a controller has just seen may have changed so long ago: its plan and its commit take their time.
const ON_THE_WAY: Duration = Duration::from_secs(5);
/// What a restored snapshot holds is noted so much later at most.
const NOTED: Duration = Duration::from_millis(750);

/// How the values of an object were for a while; none while they could not be seen, or were no text.
#[derive(Clone, Debug)]
struct Span {
    values: Option<Values>,
    from: Duration,
    /// The end; none if it lasts.
    to: Option<Duration>,
}

/// The values of all objects that ever had any, as they were one after the other.
#[derive(Debug, Default)]
pub(super) struct ValuesSeen(BTreeMap<ObjectKey, VecDeque<Span>>);

impl ValuesSeen {
    /// Notes how they are now.
    pub(super) fn note(&mut self, state: &State, now: Duration) {
        let keys = Keys::default();
        let root = keys.overrides_root();
        let there: BTreeSet<ObjectKey> =
            state.kv().under(&root).filter_map(|entry| keys.overridden(&entry.key)).collect();
        let all: BTreeSet<ObjectKey> = self.0.keys().cloned().chain(there).collect();
        for object in all {
            let values = truth::values(state, &object);
            // Who had none until now had none for ever.
            let never = || VecDeque::from([Span { values: Some(Values::new()), from: Duration::ZERO, to: None }]);
            let spans = self.0.entry(object).or_insert_with(never);
            if spans.back().is_some_and(|last| last.values == values) {
                continue;
            }
            if let Some(last) = spans.back_mut() {
                last.to = Some(now);
            }
            spans.push_back(Span { values, from: now, to: None });
            if spans.len() > PAST {
                spans.pop_front();
            }
        }
    }

    /// Whether values were like this for `rest` without a break, and lately; each may be wrong by `late`.
    fn rested(&self, object: &ObjectKey, values: &Values, rest: Duration, late: Duration, now: Duration) -> bool {
        let Some(spans) = self.0.get(object) else { return values.is_empty() };
        // A controller's clock may be slow by a twentieth.
        let least = rest.saturating_sub(rest / 20).saturating_sub(NOTED + late);
        spans.iter().any(|span| {
            let end = span.to.unwrap_or(now);
            let is_long = end.saturating_sub(span.from) >= least;
            span.values.as_ref() == Some(values) && is_long && end + ON_THE_WAY + late >= now
        })
    }
}

impl Checkers {
    /// Somebody has written, or may have.
    pub fn note_values(&mut self, state: &State, now: Duration) {
        self.values.note(state, now);
    }

    /// S16 and S17, at every commit.
    pub(super) fn check_values(&mut self, commit: &Commit<'_>) {
        self.values.note(commit.state_before, commit.net.now());
        if let Some(problem) = wrongly_assigned(commit) {
            self.fail("S16", problem);
        }
        if let Some(problem) = self.too_early(commit) {
            self.fail("S17", problem);
        }
    }

    fn too_early(&self, commit: &Commit<'_>) -> Option<String> {
        let (before, after) = (commit.before.status.as_ref()?, commit.after.status.as_ref()?);
        let (from, to) = (&before.current.revision, &after.current.revision);
        let deployment = commit.after.deployment.as_ref()?;
        if before.uid != after.uid || from == to || deployment.is_deleting() {
            return None;
        }
        let object = &commit.object;
        let old = truth::revision(commit.state_before, object, from)?;
        let new = truth::revision(commit.state_after, object, to)?;
        let (had, has) = (&old.template.overrides, &new.template.overrides);
        if had == has || !new.template.takes_overrides() {
            return None;
        }
        let same_template = old.template.as_written() == new.template.as_written();
        let rest = match (has.is_empty(), same_template) {
            (true, _) => EMPTIED,
            (false, true) => REST,
            (false, false) => Duration::ZERO,
        };
        let now = commit.net.now();
        let rested = self.values.rested(object, has, rest, self.lateness(now), now);
        let named: Vec<&String> = has.keys().collect();
        (!rested).then(|| {
            format!("{object}: a revision has values {named:?} that have not been in the store like this for {rest:?}")
        })
    }

    /// How much later than usual what is in the store may be seen.
    fn lateness(&self, now: Duration) -> Duration {
        let blind = if self.blind.is_empty() { Duration::ZERO } else { Delay::LONG };
        self.delays.iter().filter(|delay| delay.holds(now)).map(|delay| delay.by).max().unwrap_or_default().max(blind)
    }
}

/// S16: an assignment of this commit whose values are not those of its revision.
fn wrongly_assigned(commit: &Commit<'_>) -> Option<String> {
    let written = |instance: &&helium_crds::instance::Instance| {
        let key = Keys::default().assignment(&instance.node, &instance.id);
        commit.written.ops.iter().any(|op| op.writes() && op.key == key)
    };
    commit.after.instances.values().filter(written).find_map(|instance| {
        let assigned = truth::assignment(commit.state_after, instance)?;
        let differs = differs_from_revision(commit, &assigned);
        differs.then(|| {
            let revision = instance.revision.short();
            format!("{}: {} is assigned other values than its revision {revision} has", commit.object, instance.id)
        })
    })
}

fn differs_from_revision(commit: &Commit<'_>, assigned: &Assignment) -> bool {
    let revision = truth::revision(commit.state_after, &commit.object, &assigned.revision);
    revision.is_some_and(|revision| revision.template.overrides != assigned.template.overrides)
}

/// L1: the values in the store are those of the revision, or it is said why not.
pub(super) fn unlike_the_store(state: &State, deployment: &Deployment, status: &DeploymentStatus) -> Option<String> {
    if !deployment.spec.template.takes_overrides() || status.phase == Phase::Invalid {
        return None;
    }
    let object = deployment.metadata.key();
    let Some(there) = truth::values(state, &object) else {
        let said = status.waiting_on.iter().any(|on| matches!(on, WaitingOn::Values { .. }));
        return (!said).then(|| "its values cannot be had, and it does not say so".to_owned());
    };
    let current = &status.current.revision;
    let Some(revision) = truth::revision(state, &object, current) else {
        return Some("its present revision is not in the history".to_owned());
    };
    if revision.template.overrides != there {
        return Some("its present revision has other values than there are in the store".to_owned());
    }
    let stable = status.stable.as_ref().map(|stable| &stable.revision);
    let serves_another =
        status.phase == Phase::Healthy && deployment.spec.versions.is_none() && stable != Some(current);
    serves_another.then(|| "it is healthy, and its present revision does not serve".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn values_have_rested_if_they_were_the_same_for_long_enough_and_lately() {
        let values = |text: &str| Values::from([("a".to_owned(), text.to_owned())]);
        let span = |values, from, to: Option<u64>| Span { values, from: seconds(from), to: to.map(seconds) };
        let object = ObjectKey::new("default", "web");
        let past = VecDeque::from([
            span(Some(values("1")), 0, Some(100)),
            span(Some(values("2")), 100, Some(101)),
            span(None, 101, Some(110)),
            span(Some(values("3")), 110, None),
        ]);
        let seen = ValuesSeen(BTreeMap::from([(object.clone(), past)]));
        let rested =
            |text: &str, late, now| seen.rested(&object, &values(text), seconds(2), seconds(late), seconds(now));
        assert!(rested("1", 0, 103), "it was so a moment ago");
        assert!(!rested("1", 0, 120) && rested("1", 20, 120), "that is long ago, unless sight is late");
        assert!(!rested("2", 0, 102), "it was so for a second");
        assert!(!rested("3", 0, 111) && rested("3", 0, 112));
        assert!(!seen.rested(&object, &Values::new(), seconds(2), Duration::ZERO, seconds(112)), "unseen is not empty");
    }
}
