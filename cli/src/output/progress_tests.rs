//! Statuses as they go by, and the lines that come of them.

use helium_crds::{
    DeploymentStatus, Period, RevisionId,
    instance::Role,
    status::{
        Abort, AbortCause, AnalysisState, Hold, HoldKind, Reason, Rollout, RolloutKind, Stage, VersionRef,
        VersionStatus, WaitingOn, Weight,
    },
    step::{Pause, Step, StepKind},
};
use jiff::Timestamp;

use super::{Awaited, Progress, Verdict, verdict};

fn revision(version: &str) -> RevisionId {
    RevisionId::new(format!("r1-{version}"))
}

fn reference(version: &str) -> VersionRef {
    VersionRef { version: version.to_owned(), revision: revision(version) }
}

/// A Deployment of three at `reason`, whose stable and current version is 1.0.0.
fn status(reason: Reason) -> DeploymentStatus {
    DeploymentStatus {
        uid: "u".to_owned(),
        observed_generation: 1,
        phase: reason.phase(),
        reason,
        message: "the planner's words".to_owned(),
        wanted: 3,
        healthy: 3,
        conditions: Vec::new(),
        stable: Some(reference("1.0.0")),
        current: reference("1.0.0"),
        rollout: None,
        versions: Vec::new(),
        waiting_on: Vec::new(),
        control: Vec::new(),
        next_ordinal: 4,
        next_revision: 2,
        written: None,
        served: Vec::new(),
        lock: None,
        restart_before: None,
    }
}

fn rollout(kind: RolloutKind, stage: Stage) -> Rollout {
    Rollout {
        id: "rollout-1".to_owned(),
        revision: revision("2.0.0"),
        version: "2.0.0".to_owned(),
        kind,
        stage,
        step: 0,
        steps: Vec::new(),
        ramped_at: None,
        step_started_at: Timestamp::UNIX_EPOCH,
        started_at: Timestamp::UNIX_EPOCH,
        weight: None,
        analysis: AnalysisState::default(),
        progress_at: Timestamp::UNIX_EPOCH,
        progress_mark: 0,
        deadline_at: None,
        hold: None,
        abort: None,
    }
}

/// On the way to 2.0.0, with so many healthy instances of the old and the new version.
fn under_way(reason: Reason, rollout: Rollout, old: u32, new: u32) -> DeploymentStatus {
    let version = |label: &str, role, healthy| VersionStatus {
        version: label.to_owned(),
        revision: revision(label),
        role,
        desired: healthy,
        assigned: healthy,
        registered: healthy,
        standby: 0,
        healthy,
    };
    DeploymentStatus {
        observed_generation: 2,
        healthy: old + new,
        current: reference("2.0.0"),
        versions: vec![version("1.0.0", Role::Stable, old), version("2.0.0", Role::Canary, new)],
        rollout: Some(rollout),
        ..status(reason)
    }
}

fn steps() -> Vec<Step> {
    let weight = |text: &str| Step::from(StepKind::SetWeight(text.parse().unwrap()));
    let soak = Step::from(StepKind::Soak(Period::from_secs(10)));
    vec![weight("25%"), soak.clone(), weight("50%"), soak]
}

/// At a step of the canary, with its weight and counts.
fn canary(step: u32, requested: u32, counts: (u32, u32), healthy: (u32, u32)) -> DeploymentStatus {
    let rollout = Rollout {
        step,
        steps: steps(),
        weight: Some(Weight { requested, canary: counts.1, stable: counts.0, preview: 0, service_weight: None }),
        ..rollout(RolloutKind::Canary, Stage::Steps)
    };
    under_way(Reason::CanaryStep, rollout, healthy.0, healthy.1)
}

fn at_stage(mut status: DeploymentStatus, stage: Stage, reason: Reason) -> DeploymentStatus {
    if let Some(rollout) = &mut status.rollout {
        rollout.stage = stage;
    }
    DeploymentStatus { phase: reason.phase(), reason, ..status }
}

fn unhealthy(mut status: DeploymentStatus, version: &str, why: &str) -> DeploymentStatus {
    let (version, instance) = (version.to_owned(), "hello-4-abcd".into());
    status.waiting_on = vec![WaitingOn::Unhealthy { version, instance, why: why.to_owned() }];
    status
}

fn aborted(mut status: DeploymentStatus, cause: AbortCause, by: Option<&str>) -> DeploymentStatus {
    if let Some(rollout) = &mut status.rollout {
        let message = "0 of 1 canary passing (needs 1)".to_owned();
        let by = by.map(str::to_owned);
        rollout.abort = Some(Abort { cause, message, step: 0, steps: 4, baking: false, at: Timestamp::UNIX_EPOCH, by });
    }
    status
}

fn promoted() -> DeploymentStatus {
    DeploymentStatus {
        observed_generation: 2,
        stable: Some(reference("2.0.0")),
        current: reference("2.0.0"),
        ..status(Reason::AllHealthy)
    }
}

fn lines(statuses: &[DeploymentStatus]) -> String {
    let mut progress = Progress::of("hello");
    statuses.iter().flat_map(|status| progress.observe(status)).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_canary_is_told_step_by_step_and_then_promoted() {
    let text = lines(&[
        canary(0, 25, (3, 1), (3, 0)),
        canary(1, 25, (3, 1), (3, 1)),
        canary(1, 25, (3, 1), (3, 1)),
        canary(2, 50, (2, 2), (3, 1)),
        canary(3, 50, (2, 2), (2, 2)),
        at_stage(canary(4, 50, (2, 2), (2, 2)), Stage::Promoting, Reason::Promoting),
        promoted(),
        promoted(),
    ]);
    insta::assert_snapshot!(text, @r"
    canary 25% (1 of 4) healthy, soak 10s
    canary 50% (2 of 4) healthy, soak 10s
    promoted 2.0.0: 3/3 healthy
    ");
}

#[test]
fn a_canary_that_fails_is_told_with_its_cause_and_what_became_of_the_stable_version() {
    let critical = unhealthy(canary(0, 25, (3, 1), (3, 0)), "2.0.0", "GET /health -> 500");
    let back =
        aborted(at_stage(critical.clone(), Stage::RollingBack, Reason::RollingBack), AbortCause::CanaryUnhealthy, None);
    let end = at_stage(back.clone(), Stage::Aborted, Reason::RolloutAborted);
    insta::assert_snapshot!(lines(&[canary(0, 25, (3, 1), (3, 0)), critical.clone(), critical, back, end]), @r"
    canary 25% (1 of 4) critical: GET /health -> 500
    rolled back: 1.0.0 kept 3/3 healthy throughout
    ");
}

#[test]
fn a_stable_version_that_gave_instances_up_is_not_said_to_have_kept_them() {
    let middle = canary(3, 50, (2, 2), (2, 2));
    let back =
        aborted(at_stage(middle.clone(), Stage::RollingBack, Reason::RollingBack), AbortCause::Requested, Some("bob"));
    let mut end = at_stage(back.clone(), Stage::Aborted, Reason::RolloutAborted);
    end.versions[0].healthy = 3;
    insta::assert_snapshot!(lines(&[middle, back, end]), @r"
    canary 50% (2 of 4) healthy, soak 10s
    aborted by bob
    rolled back: 1.0.0 is 3/3 healthy, 2 at the lowest
    ");
}

#[test]
fn a_failure_that_was_only_seen_at_its_end_has_its_cause_and_claims_nothing_of_what_nobody_saw() {
    let end = aborted(
        at_stage(canary(0, 25, (3, 1), (3, 0)), Stage::Aborted, Reason::RolloutAborted),
        AbortCause::CanaryUnhealthy,
        None,
    );
    insta::assert_snapshot!(lines(&[end]), @r"
    canary critical: 0 of 1 canary passing (needs 1)
    rolled back: 1.0.0 is 3/3 healthy
    ");
}

#[test]
fn a_rolling_update_is_told_by_its_count() {
    let rolling =
        |old, new| under_way(Reason::RollingUpdate, rollout(RolloutKind::Rolling, Stage::Promoting), old, new);
    insta::assert_snapshot!(lines(&[rolling(3, 0), rolling(3, 1), rolling(2, 1), rolling(2, 2), rolling(0, 3), promoted()]), @r"
    2.0.0: 1/3 healthy
    2.0.0: 2/3 healthy
    rolled out 2.0.0: 3/3 healthy
    ");
}

#[test]
fn an_open_pause_says_who_is_waited_for() {
    let mut paused = canary(1, 25, (3, 1), (3, 1));
    if let Some(rollout) = &mut paused.rollout {
        rollout.steps[1] = Step::from(StepKind::Pause(Pause::default()));
    }
    insta::assert_snapshot!(lines(&[paused]), @"canary 25% (1 of 4) healthy, waits for `helium canary promote hello`");
}

fn waiting_for_promotion(mut status: DeploymentStatus) -> DeploymentStatus {
    status.waiting_on = vec![WaitingOn::Person { command: "helium canary promote hello".to_owned() }];
    status
}

#[test]
fn a_person_is_called_behind_a_soak_and_behind_the_last_step_and_each_is_told_once() {
    let soak = canary(1, 25, (3, 1), (3, 1));
    let mut paused = waiting_for_promotion(canary(2, 25, (3, 1), (3, 1)));
    paused.rollout.as_mut().unwrap().steps[2] = Step::from(StepKind::Pause(Pause::default()));
    let mut last = canary(4, 50, (2, 2), (2, 2));
    last.reason = Reason::AwaitingPromotion;
    let called = waiting_for_promotion(last.clone());
    insta::assert_snapshot!(lines(&[soak.clone(), paused.clone(), paused]), @r"
    canary 25% (1 of 4) healthy, soak 10s
    canary 25% (1 of 4), waits for `helium canary promote hello`
    ");
    let second = canary(3, 50, (2, 2), (2, 2));
    insta::assert_snapshot!(lines(&[soak, second, last, called.clone(), called]), @r"
    canary 25% (1 of 4) healthy, soak 10s
    canary 50% (2 of 4) healthy, soak 10s
    canary 50% (2 of 4), all steps done, waits for `helium canary promote hello`
    ");
}

#[test]
fn a_person_is_called_before_the_first_instance_too() {
    let mut gate = waiting_for_promotion(canary(0, 0, (3, 0), (3, 0)));
    gate.rollout.as_mut().unwrap().steps[0] = Step::from(StepKind::Pause(Pause::default()));
    insta::assert_snapshot!(lines(&[gate.clone(), gate]), @"no canary yet, waits for `helium canary promote hello`");
}

#[test]
fn a_switch_is_told_from_its_preview_to_its_bake() {
    let preview = |step| {
        let mut status = canary(step, 0, (3, 0), (3, 0));
        let rollout = status.rollout.as_mut().unwrap();
        rollout.steps = vec![
            Step::from(StepKind::Preview("100%".parse().map(helium_crds::Amount::Share).unwrap())),
            Step::from(StepKind::Pause(Pause::default())),
        ];
        rollout.weight = Some(Weight { requested: 0, canary: 0, stable: 3, preview: 3, service_weight: None });
        status
    };
    let mut baking = at_stage(preview(2), Stage::Baking, Reason::Baking);
    baking.versions.iter_mut().for_each(|version| (version.healthy, version.standby) = (3, 0));
    let paused = waiting_for_promotion(preview(1));
    insta::assert_snapshot!(lines(&[preview(0), paused, baking.clone(), baking, promoted()]), @r"
    preview of 3 healthy, waits for `helium canary promote hello`
    2.0.0 serves alone: 3/3 healthy, 1.0.0 on standby for the bake
    promoted 2.0.0: 3/3 healthy
    ");
}

#[test]
fn a_hold_is_told_when_it_begins_and_when_it_ends() {
    let free = canary(1, 25, (3, 1), (3, 1));
    let mut held = free.clone();
    if let Some(rollout) = &mut held.rollout {
        let (by, reason) = (Some("bob".to_owned()), Some("lunch".to_owned()));
        rollout.hold = Some(Hold {
            kind: HoldKind::Person,
            since: Timestamp::UNIX_EPOCH,
            by,
            reason,
            until: None,
            rescaled: false,
        });
    }
    insta::assert_snapshot!(lines(&[free.clone(), held.clone(), held, free]), @r"
    canary 25% (1 of 4) healthy, soak 10s
    paused by bob: lunch
    resumed
    ");
}

#[test]
fn nobody_to_run_anything_is_told_once() {
    let mut first = under_way(Reason::NoAgents, rollout(RolloutKind::First, Stage::Promoting), 0, 0);
    first.stable = None;
    first.waiting_on = vec![WaitingOn::Agents];
    insta::assert_snapshot!(lines(&[first.clone(), first]), @"waiting: no agent has joined");
}

#[test]
fn a_wait_ends_only_by_an_answer_to_what_was_asked() {
    let awaited = Awaited { uid: "u".to_owned(), generation: 2, revision: revision("2.0.0") };
    assert_eq!(verdict(&awaited, &status(Reason::AllHealthy)), Verdict::Pending, "an answer to generation 1");
    assert_eq!(verdict(&awaited, &canary(1, 25, (3, 1), (3, 1))), Verdict::Pending);
    assert_eq!(verdict(&awaited, &promoted()), Verdict::Done);
    let end = at_stage(canary(0, 25, (3, 1), (3, 0)), Stage::Aborted, Reason::RolloutAborted);
    assert_eq!(verdict(&awaited, &end), Verdict::Failed);
    let other = DeploymentStatus { observed_generation: 3, ..status(Reason::AllHealthy) };
    assert_eq!(verdict(&awaited, &other), Verdict::Superseded);
    let invalid = DeploymentStatus { observed_generation: 2, ..status(Reason::InvalidSpec) };
    assert_eq!(verdict(&awaited, &invalid), Verdict::Failed, "an invalid object keeps the version before");
    assert_eq!(verdict(&awaited, &DeploymentStatus { uid: "v".to_owned(), ..promoted() }), Verdict::Pending);
}
