//! What waits rest on when this process's clock was set: nothing that was noted before.
//!
//! A clock that is set ([`helium_runtime::steady`]) parts time in two. An instant from before it says nothing about how long ago it was, so
//! that what is waited for by time is waited for anew: a soak begins once more, and nothing is ever promoted early. After a step
//! back such instants lie in the future, and count as now anyhow, which the planner notes once; after one forward they would be hours ago. Whoever
//! waits for a person, or for nothing, is not touched: a system at rest is written nothing else to.

use std::collections::BTreeMap;

use helium_crds::{
    DeploymentStatus, InstanceId,
    instance::Instance,
    status::{Reason, Rollout, Stage},
    step::{Pause, Step, StepKind},
};
use jiff::Timestamp;

/// Since when all of this is watched without a break: the latest of the instants at which parts of it began. Those from before the clock
/// was set count as when it was set; one in the future is such an instant, too.
///
/// Example: led since 10:00 and seen since 10:05, and the clock was set to 13:00: since 13:00. Set back to 09:00 it is since 09:00.
pub(crate) fn watching_since(began: [Timestamp; 3], now: Timestamp, set_at: Option<Timestamp>) -> Timestamp {
    let known = |began: Timestamp| match set_at {
        Some(set_at) if began > now => set_at,
        Some(set_at) => began.max(set_at),
        None => began,
    };
    began.into_iter().map(known).fold(Timestamp::MIN, Timestamp::max)
}

/// Has what is waited for by time begin when the clock was set, if that is later.
pub(crate) fn begin_anew(
    set_at: Option<Timestamp>,
    status: Option<&mut DeploymentStatus>,
    instances: &mut BTreeMap<InstanceId, Instance>,
) {
    let Some(set_at) = set_at else { return };
    let wanted = status.as_ref().map_or(0, |status| status.wanted);
    let waits_for_person = status.as_ref().is_some_and(|status| status.reason == Reason::AwaitingPromotion);
    let rollout = status.and_then(|status| status.rollout.as_mut());
    match rollout {
        Some(rollout) if wanted == 0 || waits_for_person || !moves_by_time(rollout) => return,
        Some(rollout) if waits_for_time(rollout) => {
            rollout.step_started_at = rollout.step_started_at.max(set_at);
            rollout.ramped_at = rollout.ramped_at.map(|ramped| ramped.max(set_at));
        }
        _ => {}
    }
    for instance in instances.values_mut() {
        instance.healthy_since = instance.healthy_since.map(|since| since.max(set_at));
    }
}

/// Whether a rollout goes on when something has been so for long enough, without anybody's word.
fn moves_by_time(rollout: &Rollout) -> bool {
    let under_way = match rollout.stage {
        Stage::Promoting | Stage::Baking | Stage::RollingBack => true,
        Stage::Steps => match step(rollout).map(|step| &step.kind) {
            Some(StepKind::Preview(_) | StepKind::SetWeight(_) | StepKind::SetReplicas(_)) | None => true,
            Some(_) => waits_for_time(rollout),
        },
        Stage::Aborted | Stage::RollbackFailed => false,
    };
    under_way && rollout.hold.is_none()
}

/// Whether the present step, or the bake, is over, or has failed, after a time.
fn waits_for_time(rollout: &Rollout) -> bool {
    if rollout.stage == Stage::Baking {
        return true;
    }
    let Some(step) = step(rollout).filter(|_| rollout.stage == Stage::Steps) else { return false };
    let by_kind = match &step.kind {
        StepKind::Pause(Pause { duration, promote_after }) => duration.is_some() || promote_after.is_some(),
        StepKind::Gate(gate) => gate.timeout.is_some(),
        StepKind::Preview(_)
        | StepKind::SetWeight(_)
        | StepKind::SetReplicas(_)
        | StepKind::Soak(_)
        | StepKind::Analysis(_) => false,
    };
    by_kind || step.soak().is_some() || step.deadline.is_some()
}

fn step(rollout: &Rollout) -> Option<&Step> {
    rollout.steps.get(rollout.step as usize)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn clock(text: &str) -> Timestamp {
        format!("2026-01-01T{text}:00Z").parse().unwrap()
    }

    /// A status with a rollout whose present step began at 10:00.
    fn status(stage: &str, step: &serde_json::Value, hold: &serde_json::Value) -> DeploymentStatus {
        let version = json!({"version": "2", "revision": "h1-00"});
        let mut rollout = json!({
            "id": "r", "revision": "h1-00", "version": "2", "kind": "canary", "stage": stage, "steps": [step],
            "stepStartedAt": clock("10:00"), "startedAt": clock("10:00"), "progressAt": clock("10:00"),
        });
        if !hold.is_null() {
            rollout["hold"] = hold.clone();
        }
        let status = json!({
            "uid": "u", "observedGeneration": 1, "phase": "Progressing", "reason": "CanaryStep", "message": "",
            "wanted": 4, "healthy": 4, "current": version, "rollout": rollout, "nextOrdinal": 5, "nextRevision": 3,
        });
        serde_json::from_value(status).unwrap()
    }

    /// An instance that has been healthy since 10:00.
    fn instance() -> Instance {
        let instance = json!({
            "id": "web-1", "deployment": {"namespace": "default", "name": "web"}, "uid": "u", "revision": "h1-00",
            "version": "2", "node": "n0", "desired": "run", "role": "canary", "createdAt": clock("10:00"),
            "healthySince": clock("10:00"),
        });
        serde_json::from_value(instance).unwrap()
    }

    #[test]
    fn what_is_watched_begins_when_the_clock_was_set_unless_it_began_later() {
        for (began, now, set_at, expected) in [
            (["10:00", "10:05", "09:00"], "10:30", None, "10:05"),
            (["10:00", "10:05", "09:00"], "13:10", Some("13:00"), "13:00"),
            (["10:00", "13:05", "09:00"], "13:10", Some("13:00"), "13:05"),
            (["10:00", "10:05", "08:00"], "09:10", Some("09:00"), "09:00"),
        ] {
            let since = watching_since(began.map(clock), clock(now), set_at.map(clock));
            assert_eq!(since, clock(expected), "{began:?} {now} {set_at:?}");
        }
    }

    #[test]
    fn who_waits_for_time_begins_anew_and_nobody_else() {
        let (soak, free) = (json!({"soak": "1h"}), json!(null));
        let held = json!({"kind": "person", "since": clock("10:00")});
        for (stage, step, hold, began, healthy) in [
            ("steps", &soak, &free, "13:00", "13:00"),
            ("steps", &json!({"setWeight": "25%", "soak": "1h"}), &free, "13:00", "13:00"),
            ("steps", &json!({"pause": {"duration": "1h"}}), &free, "13:00", "13:00"),
            ("steps", &json!({"setWeight": "25%"}), &free, "10:00", "13:00"),
            ("steps", &json!({"preview": 1}), &free, "10:00", "13:00"),
            ("promoting", &soak, &free, "10:00", "13:00"),
            ("baking", &soak, &free, "13:00", "13:00"),
            ("steps", &json!({"pause": {}}), &free, "10:00", "10:00"),
            ("steps", &soak, &held, "10:00", "10:00"),
            ("aborted", &soak, &free, "10:00", "10:00"),
        ] {
            let mut status = status(stage, step, hold);
            let mut instances = BTreeMap::from([(InstanceId::from("web-1"), instance())]);
            begin_anew(Some(clock("13:00")), Some(&mut status), &mut instances);
            let began_at = status.rollout.unwrap().step_started_at;
            let since = instances.into_values().next().unwrap().healthy_since;
            assert_eq!((began_at, since), (clock(began), Some(clock(healthy))), "{stage} {step} {hold}");
        }
    }

    #[test]
    fn who_waits_for_a_person_to_promote_is_not_touched() {
        let mut status = status("steps", &json!({"setWeight": "25%"}), &json!(null));
        status.reason = Reason::AwaitingPromotion;
        if let Some(rollout) = status.rollout.as_mut() {
            rollout.step = 1;
        }
        let (before, mut instances) = (status.clone(), BTreeMap::from([(InstanceId::from("web-1"), instance())]));
        begin_anew(Some(clock("13:00")), Some(&mut status), &mut instances);
        let since = instances.into_values().next().unwrap().healthy_since;
        assert_eq!((status, since), (before, Some(clock("10:00"))));
    }

    #[test]
    fn a_clock_that_was_never_set_changes_nothing() {
        let (mut status, mut instances) = (
            status("steps", &json!({"soak": "1h"}), &json!(null)),
            BTreeMap::from([(InstanceId::from("web-1"), instance())]),
        );
        let before = (status.clone(), instances.clone());
        begin_anew(None, Some(&mut status), &mut instances);
        assert_eq!((status, instances), before);
    }
}
