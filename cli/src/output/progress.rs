//! A rollout as lines of progress, from nothing but the statuses that went by.
//!
//! Design: [`Progress::observe`] is a pure fold: it is given one status after the other and says what is worth a line, each thing
//! once. Statuses in between may be missed without harm, since each line follows from the last two that were seen and from what
//! has been said already.

use std::collections::BTreeSet;

use helium_crds::{
    DeploymentStatus, Phase,
    gate::Gate,
    status::{AbortCause, Hold, HoldKind, Reason, Rollout, RolloutKind, Stage, WaitingOn, Weight},
    step::{Pause, Step, StepKind},
};

/// What has been seen and said of one Deployment.
#[derive(Debug)]
pub(crate) struct Progress {
    name: String,
    last: Option<DeploymentStatus>,
    /// The kind of the rollout that is or was under way.
    kind: Option<RolloutKind>,
    /// The fewest healthy instances of the stable version since the rollout began.
    lowest: Option<u32>,
    /// Whether the rollout was seen before it was given up, so that `lowest` speaks of all of the way back.
    seen_whole: bool,
    /// Lines that have been said since the rollout began.
    said: BTreeSet<String>,
    /// The step about which it has been said what is waited for there.
    stop_told: Option<u32>,
}

impl Progress {
    /// Nothing seen, nothing said. `name` is what the person calls the Deployment.
    pub(crate) fn of(name: impl Into<String>) -> Self {
        let (seen_whole, said, stop_told) = (false, BTreeSet::new(), None);
        Self { name: name.into(), last: None, kind: None, lowest: None, seen_whole, said, stop_told }
    }

    /// What is worth saying now that `status` has been seen.
    pub(crate) fn observe(&mut self, status: &DeploymentStatus) -> Vec<String> {
        let before = self.last.take();
        let old_rollout = before.as_ref().and_then(|before| before.rollout.as_ref());
        if let Some(rollout) = &status.rollout {
            if old_rollout.is_none_or(|old| old.id != rollout.id) {
                self.said.clear();
                self.stop_told = None;
                self.lowest = None;
                self.seen_whole = rollout.abort.is_none();
            }
            self.kind = Some(rollout.kind);
            self.note_stable(status);
        }
        let mut lines = Vec::new();
        self.tell(&mut lines, status.waiting_on.iter().filter_map(waiting_line));
        if let Some(rollout) = &status.rollout {
            let old = old_rollout.filter(|old| old.id == rollout.id);
            self.tell(&mut lines, ramp_line(old, rollout));
            let step = self.step_line(old, status, rollout).or_else(|| self.stop_line(status, rollout));
            self.tell(&mut lines, step);
            self.tell(&mut lines, rolling_line(status, rollout));
            self.tell(&mut lines, bake_line(status, rollout));
            self.tell(&mut lines, critical_lines(status, rollout));
            self.tell(&mut lines, hold_line(old.and_then(|old| old.hold.as_ref()), rollout.hold.as_ref()));
            let abort = self.abort_line(rollout);
            self.tell(&mut lines, abort);
        }
        lines.extend(self.end_line(before.as_ref(), status));
        self.last = Some(status.clone());
        lines
    }

    /// Adds the lines that have not been said yet.
    fn tell(&mut self, lines: &mut Vec<String>, new: impl IntoIterator<Item = String>) {
        lines.extend(new.into_iter().filter(|line| self.said.insert(line.clone())));
    }

    fn note_stable(&mut self, status: &DeploymentStatus) {
        if let Some(healthy) = stable_healthy(status) {
            self.lowest = Some(self.lowest.map_or(healthy, |lowest| lowest.min(healthy)));
        }
    }

    /// A canary has reached a weight: `canary 25% (1 of 4) healthy, soak 10s`.
    fn step_line(&mut self, old: Option<&Rollout>, status: &DeploymentStatus, rollout: &Rollout) -> Option<String> {
        if rollout.kind != RolloutKind::Canary || rollout.stage != Stage::Steps {
            return None;
        }
        let present = rollout.step as usize;
        let from = old.map_or(0, |old| old.step as usize);
        let passed = rollout.steps.get(from..present)?;
        if !passed.iter().any(sets_weight) {
            return None;
        }
        let next = rollout.steps.get(present);
        if next.is_some() || waits_for_a_person(status) {
            self.stop_told = Some(rollout.step);
        }
        // While the next step sets a weight of its own, the weight that was reached is the one before it.
        let reached = if next.is_some_and(sets_weight) { old.and_then(|old| old.weight) } else { rollout.weight };
        let then = self.then(next, status);
        // That it was reached was told when its soak began.
        let told = passed.iter().rev().find(|step| sets_weight(step)).is_some_and(|step| step.soak.is_some());
        (!told || !then.is_empty()).then_some(format!("{} healthy{then}", canary(reached?)))
    }

    /// A step that no weight came right before, and at which a person is waited for: behind a soak, or before the first instance.
    fn stop_line(&mut self, status: &DeploymentStatus, rollout: &Rollout) -> Option<String> {
        let at_steps = rollout.kind == RolloutKind::Canary && rollout.stage == Stage::Steps;
        if !at_steps || !waits_for_a_person(status) || self.stop_told == Some(rollout.step) {
            return None;
        }
        self.stop_told = Some(rollout.step);
        let stands = rollout.weight.filter(|weight| weight.of_new() > 0).map_or("no canary yet".to_owned(), canary);
        Some(format!("{stands}{}", self.then(rollout.steps.get(rollout.step as usize), status)))
    }

    /// What comes after a weight was reached.
    fn then(&self, next: Option<&Step>, status: &DeploymentStatus) -> String {
        let promote = format!("`helium canary promote {}`", self.name);
        let Some(next) = next else {
            let waits = if waits_for_a_person(status) { format!(", waits for {promote}") } else { String::new() };
            return format!(", all steps done{waits}");
        };
        match &next.kind {
            StepKind::Soak(period) => format!(", soak {period}"),
            StepKind::Pause(Pause { duration: Some(period), .. }) => format!(", pause {period}"),
            StepKind::Pause(Pause { promote_after: Some(period), .. }) => {
                format!(", waits for {promote}, at most {period}")
            }
            StepKind::Pause(_) | StepKind::Gate(Gate { person: Some(_), .. }) => format!(", waits for {promote}"),
            StepKind::Gate(_) | StepKind::Analysis(_) => format!(", {next}"),
            StepKind::Preview(_) | StepKind::SetWeight(_) | StepKind::SetReplicas(_) => String::new(),
        }
    }

    /// Why a rollout was given up, unless a line about its health has just said so.
    fn abort_line(&self, rollout: &Rollout) -> Option<String> {
        let abort = rollout.abort.as_ref()?;
        match abort.cause {
            AbortCause::CanaryUnhealthy => {
                let told = self.said.iter().any(|line| line.contains(" critical"));
                (!told).then(|| format!("canary critical: {}", abort.message))
            }
            AbortCause::Requested => Some(match &abort.by {
                Some(by) => format!("aborted by {by}"),
                None => "aborted".to_owned(),
            }),
            AbortCause::MetricFailed
            | AbortCause::MetricUnreadable
            | AbortCause::StepDeadlineExceeded
            | AbortCause::GateShut
            | AbortCause::ProgressDeadlineExceeded => Some(format!("failed: {}", abort.message)),
        }
    }

    /// The last word on a rollout.
    fn end_line(&mut self, before: Option<&DeploymentStatus>, status: &DeploymentStatus) -> Option<String> {
        if before.is_some_and(|before| before.reason == status.reason && before.current == status.current) {
            return None;
        }
        let counts = format!("{}/{} healthy", status.healthy, status.wanted);
        match status.reason {
            Reason::AllHealthy => {
                let version = &status.current.version;
                let line = match self.kind.take() {
                    Some(RolloutKind::Canary) => format!("promoted {version}: {counts}"),
                    Some(RolloutKind::Return) => format!("returned to {version}: {counts}"),
                    Some(_) => format!("rolled out {version}: {counts}"),
                    None => format!("{version}: {counts}"),
                };
                Some(line)
            }
            Reason::ManualCountsHeld => Some(format!("counts by version held: {counts}")),
            Reason::RolloutAborted => Some(self.rolled_back(status)),
            Reason::RollbackFailed => Some(format!("rollback failed: {}", status.message)),
            Reason::ProgressDeadlineExceeded => Some(format!("failed: {}", status.message)),
            reason if reason.phase() == Phase::Invalid => Some(format!("invalid: {}", status.message)),
            _ => None,
        }
    }

    fn rolled_back(&self, status: &DeploymentStatus) -> String {
        let Some(stable) = &status.stable else { return format!("given up: {}", status.message) };
        let healthy = stable_healthy(status).unwrap_or(status.healthy);
        let (version, wanted) = (&stable.version, status.wanted);
        match self.lowest {
            Some(lowest) if lowest >= wanted && self.seen_whole => {
                format!("rolled back: {version} kept {healthy}/{wanted} healthy throughout")
            }
            Some(lowest) if lowest < healthy => {
                format!("rolled back: {version} is {healthy}/{wanted} healthy, {lowest} at the lowest")
            }
            _ => format!("rolled back: {version} is {healthy}/{wanted} healthy"),
        }
    }
}

/// A weight was reached whose step goes on with a soak: `canary 25% (1 of 4) healthy, soak 5m`.
fn ramp_line(old: Option<&Rollout>, rollout: &Rollout) -> Option<String> {
    let reached = rollout.ramped_at.is_some() && old.is_none_or(|old| old.ramped_at != rollout.ramped_at);
    let step = rollout.steps.get(rollout.step as usize).filter(|step| sets_weight(step) && reached)?;
    let soak = step.soak.filter(|_| rollout.stage == Stage::Steps)?;
    Some(format!("{} healthy, soak {soak}", canary(rollout.weight?)))
}

fn waits_for_a_person(status: &DeploymentStatus) -> bool {
    status.waiting_on.iter().any(|waiting| matches!(waiting, WaitingOn::Person { .. }))
}

fn sets_weight(step: &Step) -> bool {
    matches!(step.kind, StepKind::Preview(_) | StepKind::SetWeight(_) | StepKind::SetReplicas(_))
}

/// `canary 25% (1 of 4)`, or `preview of 4` while it serves nobody.
fn canary(weight: Weight) -> String {
    if weight.canary == 0 && weight.preview > 0 {
        return format!("preview of {}", weight.preview);
    }
    format!("canary {}% ({})", weight.requested, weight.in_words())
}

/// A version takes over a few at a time: `2.0.0: 1/3 healthy`.
fn rolling_line(status: &DeploymentStatus, rollout: &Rollout) -> Option<String> {
    if rollout.kind == RolloutKind::Canary || rollout.abort.is_some() {
        return None;
    }
    let version = status.versions.iter().find(|version| version.revision == rollout.revision)?;
    let rising = version.healthy > 0 && version.healthy < status.wanted;
    rising.then(|| format!("{}: {}/{} healthy", version.version, version.healthy, status.wanted))
}

/// The new version has taken over, and may still go back: `2.0.0 serves alone: 3/3 healthy, 1.0.0 on standby for the bake`.
fn bake_line(status: &DeploymentStatus, rollout: &Rollout) -> Option<String> {
    let stable = status.stable.as_ref().filter(|_| rollout.stage == Stage::Baking)?;
    let (healthy, wanted) = (status.healthy, status.wanted);
    (healthy >= wanted).then(|| {
        format!(
            "{} serves alone: {healthy}/{wanted} healthy, {} on standby for the bake",
            rollout.version, stable.version
        )
    })
}

/// Instances that fail, each cause once: `canary 25% (1 of 4) critical: GET /health -> 500`.
fn critical_lines(status: &DeploymentStatus, rollout: &Rollout) -> Vec<String> {
    if rollout.abort.is_some() {
        // From here on the line about the abort tells the cause.
        return Vec::new();
    }
    let line = |waiting: &WaitingOn| match waiting {
        WaitingOn::Unhealthy { version, why, .. } => {
            let by_steps = *version == rollout.version && rollout.kind == RolloutKind::Canary;
            let subject = rollout.weight.filter(|_| by_steps).map_or(version.clone(), canary);
            Some(format!("{subject} critical: {why}"))
        }
        _ => None,
    };
    status.waiting_on.iter().filter_map(line).collect()
}

fn hold_line(old: Option<&Hold>, new: Option<&Hold>) -> Option<String> {
    let because = |hold: &Hold| hold.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    match (old, new) {
        (None, Some(hold)) => Some(match (hold.kind, &hold.by) {
            (HoldKind::Failure, _) => format!("paused on failure{}", because(hold)),
            (HoldKind::Person, Some(by)) => format!("paused by {by}{}", because(hold)),
            (
                HoldKind::Inconclusive
                | HoldKind::Gate
                | HoldKind::Lock
                | HoldKind::Schedule
                | HoldKind::StableUnhealthy,
                _,
            ) => format!("held{}", because(hold)),
            (HoldKind::Person, None) => format!("paused{}", because(hold)),
        }),
        (Some(_), None) => Some("resumed".to_owned()),
        _ => None,
    }
}

/// What keeps a rollout from even starting.
fn waiting_line(waiting: &WaitingOn) -> Option<String> {
    match waiting {
        WaitingOn::Agents => Some("waiting: no agent has joined".to_owned()),
        WaitingOn::Build { hydra_job, .. } => Some(format!("waiting for the first build of hydrajob/{hydra_job}")),
        WaitingOn::Place { instances, why } => Some(format!("waiting for a place for {instances}: {why}")),
        _ => None,
    }
}

/// How many instances of the stable version are healthy.
fn stable_healthy(status: &DeploymentStatus) -> Option<u32> {
    let stable = status.stable.as_ref()?;
    let version = status.versions.iter().find(|version| version.revision == stable.revision);
    Some(version.map_or(0, |version| version.healthy))
}

/// How the wait for one applied object stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Not at its end yet.
    Pending,
    /// What was asked for is there and healthy.
    Done,
    /// The rollout failed.
    Failed,
    /// Somebody has asked for something else in the meantime.
    Superseded,
    /// The object is on its way out.
    Deleting,
}

/// What is being waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Awaited {
    /// The object's uid.
    pub(crate) uid: String,
    /// The generation that was written.
    pub(crate) generation: u64,
    /// The label of the version that was asked for, and its revision.
    pub(crate) revision: helium_crds::RevisionId,
}

/// Judges a status by what is being waited for. The status of an older spec, or of another object, says nothing.
pub(crate) fn verdict(awaited: &Awaited, status: &DeploymentStatus) -> Verdict {
    if status.uid != awaited.uid || status.observed_generation < awaited.generation {
        return Verdict::Pending;
    }
    if status.phase == Phase::Deleting {
        return Verdict::Deleting;
    }
    // What cannot be followed keeps the version that was current before: that is no sign of somebody else.
    if status.phase == Phase::Invalid {
        return Verdict::Failed;
    }
    if *status.written.as_ref().unwrap_or(&status.current.revision) != awaited.revision {
        return Verdict::Superseded;
    }
    match status.reason {
        Reason::RolloutAborted
        | Reason::RollbackFailed
        | Reason::ProgressDeadlineExceeded
        | Reason::PausedOnFailure => Verdict::Failed,
        Reason::AllHealthy | Reason::ManualCountsHeld => Verdict::Done,
        _ => Verdict::Pending,
    }
}

#[cfg(test)]
#[path = "progress_tests.rs"]
mod tests;
