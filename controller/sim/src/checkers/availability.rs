//! S1: enough healthy instances go on serving. S2: never too many. S4, in the records: no ordinal is used twice.

use std::time::Duration;

use helium_crds::{
    InstanceId,
    instance::{Desired, Instance, InstancePhase},
};

use super::{Checkers, Commit};
use crate::truth;

/// How long a node must have been away, at least, before its instances may count as lost: `lost_after` is 60 s.
const LOST: Duration = Duration::from_secs(45);

impl Checkers {
    /// S1: whoever stops an instance that serves and is healthy, and was so for long enough that everybody must know, or puts it on
    /// standby, leaves as many such as the spec asks for; those included that were so a moment ago.
    pub(super) fn check_availability(&mut self, commit: &Commit<'_>) {
        let Some((floor, _)) = commit.before.bounds() else { return };
        if commit.before.deployment.as_ref().is_some_and(helium_crds::Deployment::is_deleting) {
            return;
        }
        let now = commit.net.now();
        let surely_healthy = |instance: &&&Instance| {
            !instance.role.is_standby() && self.history.serving_for(&instance.id, now) > self.staleness(now)
        };
        let taken = [commit.stopped(), commit.withdrawn()].concat();
        let Some(victim) = taken.iter().find(surely_healthy) else { return };
        // One whose assignment somebody deleted is not stopped by it: it serves, and is worth as much as before.
        let left = |instance: &&Instance| {
            (!instance.role.is_standby() && self.history.was_serving(&instance.id, self.staleness(now), now))
                || truth::serves_unassigned(commit.state_after, instance)
        };
        let left = commit.after.running().filter(left).count();
        if left < floor as usize {
            let message = format!(
                "{}: {} serves no more though healthy; {left} healthy ones are left, and {floor} are needed",
                commit.object, victim.id
            );
            self.fail("S1", message);
        }
    }

    /// S2: whoever makes an instance has no more than the surge allows afterwards; and of those on standby no more than are wanted.
    pub(super) fn check_surge(&mut self, commit: &Commit<'_>) {
        let Some((_, ceiling)) = commit.before.bounds() else { return };
        let wanted = commit.before.deployment.as_ref().map_or(0, |deployment| deployment.spec.wanted());
        let created = commit.created();
        for (standby, most) in [(false, ceiling), (true, wanted)] {
            let is_new = |instance: &&&Instance| instance.role.is_standby() == standby && !commit.is_adopted(instance);
            let Some(new) = created.iter().find(is_new) else { continue };
            let kind = commit.after.instances.values().filter(|instance| instance.role.is_standby() == standby);
            let rooms = kind.filter(|instance| self.takes_room(commit, instance)).count();
            if rooms > most as usize {
                let message =
                    format!("{}: with {} there are {rooms}, and at most {most} may be", commit.object, new.id);
                self.fail("S2", message);
                return;
            }
        }
    }

    /// Whether an instance takes room for sure: it is not stopped, and its node is not, and was not lately, away for long.
    fn takes_room(&self, commit: &Commit<'_>, instance: &Instance) -> bool {
        let now = commit.net.now();
        let state = commit.state_after;
        let gone = || match truth::report(state, instance) {
            Some(report) => report.phase == InstancePhase::Stopped,
            None => truth::assignment(state, instance).is_none(),
        };
        let away = self.history.away_for(&instance.node, now) >= LOST
            || (instance.node_missing_since.is_some()
                && self.history.alive_for(&instance.node, now) < self.staleness(now));
        !away && (instance.desired == Desired::Run || !gone())
    }

    /// S4: a new instance has an ordinal that no other of its object has.
    pub(super) fn check_ordinals(&mut self, commit: &Commit<'_>) {
        for new in commit.created() {
            let same = commit
                .after
                .instances
                .values()
                .find(|other| other.id != new.id && other.uid == new.uid && ordinal(&other.id) == ordinal(&new.id));
            if let Some(other) = same {
                self.fail("S4", format!("{}: {} and {} have one ordinal", commit.object, new.id, other.id));
                return;
            }
        }
    }
}

/// The ordinal in an instance's id: `web-7-1a2b3c4d` has 7.
fn ordinal(id: &InstanceId) -> Option<u64> {
    id.as_str().rsplit('-').nth(1)?.parse().ok()
}
