//! S5 over time: what was given up is gone after a while, and so are canaries beyond what the step asks for.
//!
//! Nothing is counted while a controller may have good reasons to wait: while it cannot see, while nobody leads, and while the
//! surplus serves in the place of others that do not. Each one that stops begins the wait anew.

use std::time::Duration;

use consul_embedded::state::State;
use helium_crds::{
    Deployment, Phase,
    instance::Instance,
    keys::Keys,
    status::{Rollout, RolloutKind, Stage},
};

use super::{Checkers, canary::allowed};
use crate::{
    net::Net,
    truth::{self, Truth},
};

/// How long a surplus may stay, beyond the time that a stopping instance may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// Instances that are too many, and for how long already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Surplus {
    /// The rollout and its step.
    place: (String, u32),
    allowed: u32,
    live: u32,
    waited: Duration,
}

impl Checkers {
    /// S5, from time to time.
    pub(super) fn check_surplus(&mut self, net: &Net, state: &State, now: Duration) {
        let elapsed = now.saturating_sub(std::mem::replace(&mut self.ticked, now));
        if !self.blind.is_empty() || net.faults().somebody_waits(now) || !is_led(state) {
            return;
        }
        for object in truth::objects(state) {
            let truth = Truth::of(state, &object);
            let Some(found) = surplus(state, &truth) else {
                self.surplus.remove(&object);
                continue;
            };
            let known = self.surplus.entry(object.clone()).or_insert_with(|| found.clone());
            let stays = (&known.place, known.allowed) == (&found.place, found.allowed) && found.live >= known.live;
            let waited = if stays { known.waited + elapsed } else { Duration::ZERO };
            let (live, allowed) = (found.live, found.allowed);
            *known = Surplus { waited, ..found };
            if waited > PATIENCE + grace(&truth) {
                let waited = waited.as_secs();
                self.fail("S5", format!("{object}: {live} canaries for {waited} s, where {allowed} may be"));
            }
        }
    }
}

/// What is too much and could be stopped.
fn surplus(state: &State, truth: &Truth) -> Option<Surplus> {
    let (deployment, status) = (truth.deployment.as_ref()?, truth.status.as_ref()?);
    let rollout = status.rollout.as_ref().filter(|rollout| rollout.hold.is_none())?;
    let stable = &status.stable.as_ref()?.revision;
    let by_others = deployment.is_deleting() || deployment.spec.versions.is_some() || status.phase == Phase::Invalid;
    if by_others || *stable == rollout.revision {
        return None;
    }
    let allowed = most(deployment, rollout, truth)?;
    // One whose node is away cannot be seen, and nobody chooses it.
    let seen = |instance: &&Instance| truth::heartbeat(state, &instance.node);
    let (canaries, others): (Vec<_>, Vec<_>) =
        truth.running().filter(seen).partition(|one| one.revision == rollout.revision);
    let live = u32::try_from(canaries.len()).unwrap_or(u32::MAX);
    let healthy = |some: &[&Instance]| some.iter().filter(|one| truth::is_healthy(state, one)).count();
    let floor = truth.bounds().map_or(0, |(floor, _)| floor as usize);
    let is_needed = healthy(&canaries) > 0 && healthy(&others) < floor;
    let place = (rollout.id.clone(), rollout.step);
    (live > allowed && !is_needed).then_some(Surplus { place, allowed, live, waited: Duration::ZERO })
}

/// How many of the new version there may be. A way back that has failed leaves everything as it is, until a person comes.
fn most(deployment: &Deployment, rollout: &Rollout, truth: &Truth) -> Option<u32> {
    let wanted = deployment.spec.wanted();
    match (rollout.stage, rollout.kind) {
        (Stage::RollingBack | Stage::Aborted, _) => Some(0),
        (Stage::Steps, RolloutKind::Canary) => {
            let surge = truth.bounds().map_or(0, |(_, ceiling)| ceiling - wanted);
            Some(allowed(rollout, wanted, surge).of_new())
        }
        _ => None,
    }
}

fn grace(truth: &Truth) -> Duration {
    let spec = truth.deployment.as_ref().map(|deployment| &deployment.spec);
    spec.map_or(Duration::ZERO, |spec| spec.drain.as_duration() + spec.stop_grace_period.as_duration())
}

/// Whether a controller holds the lock.
fn is_led(state: &State) -> bool {
    state.kv().get(&Keys::default().controller_lock()).is_some_and(|entry| entry.session.is_some())
}
