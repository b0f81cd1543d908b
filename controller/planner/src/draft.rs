//! A plan in the making: the world it is made from, and what it says so far.

use std::collections::BTreeMap;

use helium_crds::{
    DeploymentStatus, RevisionId,
    canary::CanarySpec,
    deployment::{DeploymentSpec, Strategy},
    event::{Event, Severity},
    measurement::{Probe, Question},
    status::{Rollout, VersionRef, WaitingOn},
};
use jiff::Timestamp;

use crate::{
    census::Census,
    scale::Budget,
    world::{Fleet, Trusted, World},
};

/// A plan in the making.
pub(crate) struct Draft<'w> {
    pub(crate) world: &'w World,
    pub(crate) fleet: &'w Trusted<Fleet>,
    pub(crate) census: Trusted<Census>,
    /// The revision of the present template.
    pub(crate) target: VersionRef,
    /// How many instances are wanted: what the spec says, or the count that was followed last while that cannot be told.
    pub(crate) wanted: u32,
    /// Whether people's counts are followed, so that no rollout is.
    pub(crate) by_hand: bool,
    /// The status, changed in place from what it was.
    pub(crate) status: DeploymentStatus,
    pub(crate) events: Vec<Event>,
    pub(crate) waiting: Vec<WaitingOn>,
    /// What is to be asked of metric sources and gates now.
    pub(crate) questions: BTreeMap<Probe, Question>,
    /// The earliest instant at which time alone changes the answer.
    pub(crate) wake: Option<Timestamp>,
    /// Whether the plan goes on because instances are healthy.
    pub(crate) relies_on_health: bool,
}

impl<'w> Draft<'w> {
    pub(crate) fn now(&self) -> Timestamp {
        self.world.now
    }

    pub(crate) fn spec(&self) -> &'w DeploymentSpec {
        &self.world.deployment.spec
    }

    pub(crate) fn canary(&self) -> Option<&'w CanarySpec> {
        self.world.canary.as_ref().map(|canary| &canary.spec)
    }

    pub(crate) fn census(&self) -> &Census {
        self.census.get()
    }

    /// The stable revision, if there is one.
    pub(crate) fn stable(&self) -> Option<&RevisionId> {
        self.status.stable.as_ref().map(|stable| &stable.revision)
    }

    /// The rollout, to be changed.
    pub(crate) fn rollout_mut(&mut self) -> Option<&mut Rollout> {
        self.status.rollout.as_mut()
    }

    /// The bounds of every move. Bounds that round to nothing at both ends would forbid any: then one may be unavailable.
    pub(crate) fn budget(&self) -> Budget {
        let wanted = self.wanted;
        match self.spec().strategy {
            Strategy::Recreate(_) => Budget { wanted, surge: 0, unavailable: wanted },
            Strategy::Rolling(rolling) => {
                let surge = rolling.max_surge.rounded_up(wanted);
                let unavailable = rolling.max_unavailable.rounded_down(wanted);
                Budget { wanted, surge, unavailable: if surge == 0 { unavailable.max(1) } else { unavailable } }
            }
        }
    }

    /// The label of a revision, as far as it is known.
    pub(crate) fn label(&self, revision: &RevisionId) -> String {
        let known = self.world.revisions.get(revision).map(|known| known.template.version.clone());
        known.unwrap_or_else(|| {
            if self.target.revision == *revision { self.target.version.clone() } else { revision.short().to_owned() }
        })
    }

    /// Tells people that something went as it should.
    pub(crate) fn tell(&mut self, reason: &str, message: String) {
        self.push_event(Severity::Normal, reason, message);
    }

    /// Tells people that something went wrong.
    pub(crate) fn warn(&mut self, reason: &str, message: String) {
        self.push_event(Severity::Warning, reason, message);
    }

    fn push_event(&mut self, severity: Severity, reason: &str, message: String) {
        self.events.push(Event { at: self.now(), severity, reason: reason.to_owned(), message });
    }

    /// Asks to be planned again at `instant`, if that is to come.
    pub(crate) fn wake_at(&mut self, instant: Timestamp) {
        if instant > self.now() {
            self.wake = Some(self.wake.map_or(instant, |earlier| earlier.min(instant)));
        }
    }

    /// The rollout is over, and with it all that was to be looked at for its sake.
    pub(crate) fn forget_wakes(&mut self) {
        self.wake = None;
    }

    /// Notes what is waited for, and wakes when it can be over.
    pub(crate) fn wait_for(&mut self, waiting: WaitingOn) {
        match &waiting {
            WaitingOn::MinHealthyTime { until, .. }
            | WaitingOn::Soak { until }
            | WaitingOn::Bake { until, .. }
            | WaitingOn::Pause { until }
            | WaitingOn::Gate { until: Some(until), .. }
            | WaitingOn::Shut { until: Some(until), .. } => self.wake_at(*until),
            _ => {}
        }
        self.waiting.push(waiting);
    }
}
