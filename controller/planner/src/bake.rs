//! The bake behind a promotion: the new version serves alone, and the old one is on standby, should it fail after all.
//!
//! It lasts `scaleDownDelay`, and until each metric that decides has its good samples since it began. Health and metrics are looked at all
//! the while, but for metrics that compare with the stable version: nobody asks that one anything any more. What fails goes back at once, since
//! what it goes back to runs already. The old version goes when the bake is over, when a person promotes, and when yet another template comes: that
//! one then starts from what serves.

use helium_crds::{
    Period,
    status::{RolloutKind, Stage, VersionRef, WaitingOn},
};

use crate::{analysis, census::count, draft::Draft, rollout, steps};

/// Whether old instances stay on standby when they have to serve no more.
pub(crate) fn is_wanted(draft: &Draft<'_>) -> bool {
    draft.status.rollout.as_ref().is_some_and(|rollout| rollout.kind == RolloutKind::Canary) && length(draft).is_some()
}

/// How many old instances may be on standby beside so many that serve. While the Canary cannot be read, those that are there stay.
pub(crate) fn places(draft: &Draft<'_>, serving: u32) -> u32 {
    if is_wanted(draft) {
        return draft.wanted.saturating_sub(serving);
    }
    let unreadable = draft.world.canary_problem.is_some();
    let there = |stable| count(draft.census().of(stable).filter(|member| member.is_standby()));
    draft.stable().filter(|_| unreadable).map_or(0, there)
}

/// How long it lasts; none if there is none.
fn length(draft: &Draft<'_>) -> Option<Period> {
    draft.canary().map(helium_crds::CanarySpec::bake).filter(|bake| !bake.as_duration().is_zero())
}

/// Begins the bake. What was measured before the new version served alone says nothing about it.
pub(crate) fn begin(draft: &mut Draft<'_>) {
    let now = draft.now();
    let (Some(length), Some(rollout)) = (length(draft), draft.rollout_mut()) else { return };
    rollout.stage = Stage::Baking;
    rollout.deadline_at = None;
    rollout.ramped_at = Some(now);
    rollout::came_forward(rollout, now);
    let names: Vec<String> = rollout.analysis.metrics.keys().cloned().collect();
    analysis::start_anew(&mut rollout.analysis, names.iter().map(String::as_str));
    draft.relies_on_health = true;
    let message = format!("{} serves alone; {} is on standby for {length}", new(draft), old(draft));
    draft.tell("BakeStarted", message);
    advance(draft);
}

/// Ends the bake if it is over: long enough, and nothing speaks against the new version.
pub(crate) fn advance(draft: &mut Draft<'_>) {
    let Some(rollout) = draft.status.rollout.as_ref() else { return };
    let length = length(draft).unwrap_or(Period::from_secs(0));
    let until = rollout.step_started_at + length.as_signed();
    let mut waiting = analysis::missing(draft, rollout);
    waiting.extend(steps::canaries_healthy(draft).err());
    if until > draft.now() {
        waiting.push(WaitingOn::Bake { standby: old(draft), until });
    }
    if waiting.is_empty() {
        return end(draft);
    }
    for one in waiting {
        draft.wait_for(one);
    }
}

/// The new version is the stable one, and nothing of the old one is needed any more.
pub(crate) fn end(draft: &mut Draft<'_>) {
    let Some(rollout) = draft.status.rollout.take() else { return };
    draft.forget_wakes();
    draft.status.stable = Some(VersionRef { version: rollout.version.clone(), revision: rollout.revision });
    draft.relies_on_health = true;
    let healthy = draft.census().healthy();
    draft.tell("RolloutComplete", format!("{}: {healthy}/{} healthy", rollout.version, draft.wanted));
}

fn old(draft: &Draft<'_>) -> String {
    draft.status.stable.as_ref().map_or_else(String::new, |stable| stable.version.clone())
}

fn new(draft: &Draft<'_>) -> String {
    draft.status.rollout.as_ref().map_or_else(String::new, |rollout| rollout.version.clone())
}
