//! S6: no action while blind. S8: a held rollout stays as it is. S11: no object is written about all the time. L2: none is at rest.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use consul_embedded::state::State;
use helium_crds::{
    DeploymentStatus, Kind, ObjectKey, RevisionId,
    instance::Instance,
    keys::Keys,
    status::{AnalysisState, Rollout, RolloutKind, Stage},
};
use jiff::Timestamp;

use super::{Checkers, Commit, Lost};
use crate::{net::Net, ops::Written, truth::Truth};

/// How long after a sense is lost a controller may still act on what it saw before: a long poll of 25 s, and its way.
const LAST_SIGHT: Duration = Duration::from_secs(40);
/// The most transactions about one object within a minute. A roll of ten takes fewer than half of that.
const PACE: usize = 150;
/// A node must have been away for so long, at least, before an instance on it is given up: `lost_after` is 60 s.
const LOST: Duration = Duration::from_secs(45);
/// For so long what follows from a clock that was set back is written down: what was healthy has to be so for `minHealthyTime` again.
const OLD_CLOCK: Duration = Duration::from_secs(30);

impl Checkers {
    /// S6: whoever cannot see makes nothing, stops nothing and forgets nothing.
    pub(super) fn check_sight(&mut self, commit: &Commit<'_>) {
        let now = commit.net.now();
        let long_ago = |since: Duration| now.saturating_sub(since) > LAST_SIGHT;
        let lost = self.blind.iter().find(|(lost, since)| long_ago(**since) && lost.concerns(commit));
        let Some((Lost { sense, .. }, since)) = lost else { return };
        let acted = [commit.created(), commit.stopped(), commit.forgotten()].concat();
        if let Some(instance) = acted.first() {
            let since = now.saturating_sub(*since).as_secs();
            let message = format!("{}: {} was changed {since} s after {sense:?} was lost", commit.object, instance.id);
            self.fail("S6", message);
        }
    }

    /// S8: under a hold nothing stops but what is lost, and nothing is made beyond what was there when it began. Once the count has
    /// changed, that holds for the version that is tried alone: it comes no further than its step says.
    pub(super) fn check_hold(&mut self, commit: &Commit<'_>) {
        let spec = commit.before.deployment.as_ref();
        let free = spec.is_none_or(|spec| spec.is_deleting() || spec.spec.versions.is_some());
        let (before, after) = (held(&commit.before), held(&commit.after));
        let Some(rollout) = after.filter(|_| !free) else {
            self.held.retain(|(object, _), _| *object != commit.object);
            return;
        };
        let key = (commit.object.clone(), rollout.id.clone());
        if before.is_none_or(|before| before.id != rollout.id) || !self.held.contains_key(&key) {
            self.held.insert(key, counts(commit));
            return;
        }
        if rollout.hold.as_ref().is_some_and(|hold| hold.rescaled) {
            return self.check_rescaled(commit, rollout, key);
        }
        let now = commit.net.now();
        let lost = |instance: &Instance| {
            self.history.away_for(&instance.node, now) >= LOST
                || (instance.node_missing_since.is_some()
                    && self.history.alive_for(&instance.node, now) < self.staleness(now))
        };
        if let Some(victim) = commit.stopped().into_iter().find(|instance| !lost(instance)) {
            let message = format!("{}: {} was stopped although {} is held", commit.object, victim.id, rollout.version);
            return self.fail("S8", message);
        }
        if let Some(moved) = [commit.exposed(), commit.withdrawn()].concat().first() {
            let message =
                format!("{}: {} goes to or from standby although {} is held", commit.object, moved.id, rollout.version);
            return self.fail("S8", message);
        }
        let allowed = self.held.get(&key).cloned().unwrap_or_default();
        let made = commit.created();
        let too_many = counts(commit).into_iter().find(|(revision, count)| {
            let fresh = made.iter().any(|new| new.revision == *revision && !commit.is_adopted(new));
            fresh && *count > allowed.get(revision).copied().unwrap_or(0)
        });
        if let Some((revision, count)) = too_many {
            let revision = revision.short().to_owned();
            let message = format!("{}: {count} of {revision} although {} is held", commit.object, rollout.version);
            self.fail("S8", message);
        }
    }

    /// S8 under a changed count: in a roll of few at a time or a promotion no more of the new version is made than there was. S5 has an eye on the
    /// canaries of a step.
    fn check_rescaled(&mut self, commit: &Commit<'_>, rollout: &Rollout, key: (ObjectKey, String)) {
        let stable = commit.after.status.as_ref().and_then(|status| status.stable.as_ref());
        let others = stable.is_some_and(|stable| stable.revision != rollout.revision);
        let count = |counts: &BTreeMap<RevisionId, u32>| counts.get(&rollout.revision).copied().unwrap_or(0);
        let made = commit.created().into_iter().any(|new| new.revision == rollout.revision && !commit.is_adopted(new));
        let present = counts(commit);
        let before = self.held.insert(key, present.clone()).map_or(0, |before| count(&before));
        // Versions that must not mix have no stable instance beside the new ones that could take the rest.
        let mixed = rollout.kind != RolloutKind::Recreate;
        if made && others && mixed && rollout.stage == Stage::Promoting && count(&present) > before {
            let message = format!("{}: more of {} although it is held", commit.object, rollout.version);
            self.fail("S8", message);
        }
    }

    /// L2: whether a write brings to the present what was noted under a clock that was ahead, and has been set back since, or follows from
    /// that: what is in the future says nothing about how long ago it was, and is noted anew once.
    pub(super) fn follows_an_old_clock(&mut self, net: &Net, objects: &BTreeSet<ObjectKey>, before: &State) -> bool {
        if !net.faults().is_healed() {
            return false;
        }
        let (now, wall) = (net.now(), net.clocks.right());
        for object in objects.iter().filter(|object| is_of_the_future(&Truth::of(before, object), wall)) {
            self.old_clocks.insert(object.clone(), now);
        }
        let lately = |object| self.old_clocks.get(object).is_some_and(|at| now.saturating_sub(*at) < OLD_CLOCK);
        !objects.is_empty() && objects.iter().all(lately)
    }

    /// S11: at most so many transactions about an object in any minute, those included that are refused.
    pub(super) fn check_pace(&mut self, object: &ObjectKey, now: Duration) {
        let times = self.writes.entry(object.clone()).or_default();
        times.retain(|at| now.saturating_sub(*at) < Duration::from_mins(1));
        times.push(now);
        let count = times.len();
        if count > PACE {
            self.fail("S11", format!("{object}: {count} transactions within a minute"));
        }
    }
}

/// Whether something of an object was noted at an instant that is still to come.
fn is_of_the_future(truth: &Truth, wall: Timestamp) -> bool {
    let rollout = truth.status.as_ref().and_then(|status| status.rollout.as_ref());
    let noted = rollout.into_iter().flat_map(|one| {
        let sampled = one.analysis.metrics.values().map(|metric| metric.last().map(|sample| sample.at));
        let own = [Some(one.progress_at), Some(one.step_started_at), one.hold.as_ref().map(|hold| hold.since)];
        own.into_iter().chain(sampled)
    });
    let healthy = truth.instances.values().map(|instance| instance.healthy_since);
    noted.chain(healthy).flatten().any(|instant| instant > wall)
}

/// L2: whether a transaction writes nothing but samples that were just taken. A canary that waits for a person goes on being measured:
/// what is measured is news, unlike the time of day.
pub(super) fn only_sampled(objects: &BTreeSet<ObjectKey>, written: &Written, before: &State, after: &State) -> bool {
    let keys = Keys::default();
    let written: BTreeSet<&str> = written.ops.iter().filter(|op| op.writes()).map(|op| op.key.as_str()).collect();
    let statuses: BTreeSet<String> = objects.iter().map(|object| keys.status(Kind::Deployment, object)).collect();
    let status_only = written.iter().all(|key| statuses.contains(*key));
    status_only && !objects.is_empty() && objects.iter().all(|object| is_sampled_anew(object, before, after))
}

fn is_sampled_anew(object: &ObjectKey, before: &State, after: &State) -> bool {
    let status = |state: &State| Truth::of(state, object).status;
    let (Some(before), Some(after)) = (status(before), status(after)) else { return false };
    let times = |status: &DeploymentStatus| -> Option<Vec<_>> {
        let metrics = &status.rollout.as_ref()?.analysis.metrics;
        Some(metrics.values().map(|metric| metric.last().map(|sample| sample.at)).collect())
    };
    times(&before) != times(&after) && without_samples(before) == without_samples(after)
}

fn without_samples(mut status: DeploymentStatus) -> DeploymentStatus {
    status.waiting_on.clear();
    if let Some(rollout) = status.rollout.as_mut() {
        rollout.analysis = AnalysisState::default();
    }
    status
}

fn held(truth: &Truth) -> Option<&Rollout> {
    truth.status.as_ref()?.rollout.as_ref().filter(|rollout| rollout.hold.is_some())
}

fn counts(commit: &Commit<'_>) -> BTreeMap<RevisionId, u32> {
    let mut counts = BTreeMap::new();
    for instance in commit.after.running() {
        *counts.entry(instance.revision.clone()).or_default() += 1;
    }
    counts
}
