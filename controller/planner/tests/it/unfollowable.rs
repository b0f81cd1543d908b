//! Specs that cannot be followed: what runs is left alone, the status says the problem, and neither abort nor safety waits for
//! the spec to be mended.

use helium_crds::{
    Period, Phase,
    control::Verb,
    status::{Reason, RolloutKind, Stage, WaitingOn},
    step::{Pause, Step, StepKind},
};
use helium_planner::Action;

use crate::{
    crossings::by_hand,
    model::{Model, open_pause, soak, weight},
};

const PROBLEM: &str = "its Canary: `steps` is missing";

fn live(model: &Model) -> (u32, u32) {
    (model.live("v1"), model.live("v2"))
}

fn paused_canary() -> Model {
    let mut model = Model::new(3, 1, 0).with_canary(vec![weight(25), open_pause(), weight(50), open_pause()]).settled();
    model.apply_version("v2");
    model.run(20);
    assert_eq!((live(&model), model.reason()), ((3, 1), Reason::PausedAtStep));
    model
}

fn back_to_replicas(model: &mut Model, replicas: u32) {
    model.deployment().spec.versions = None;
    model.scale(replicas);
}

#[test]
fn counts_for_an_unknown_version_suspend_neither_abort_nor_safety() {
    for request in [true, false] {
        let mut model = paused_canary();
        by_hand(&mut model, &[("v9", 0)]);
        model.run(5);
        assert_eq!((model.reason(), live(&model)), (Reason::VersionNotFound, (3, 1)));
        if request {
            model.ask(Verb::Abort);
        } else {
            model.bad.insert("v2".to_owned());
        }
        model.run(30);
        assert_eq!((live(&model), model.stage()), ((3, 0), Some(Stage::Aborted)), "{:#?}", model.status());
        assert_eq!((model.reason(), model.status().wanted), (Reason::VersionNotFound, 3));
        back_to_replicas(&mut model, 3);
        model.run(20);
        assert_eq!((live(&model), model.reason()), ((3, 0), Reason::RolloutAborted));
    }
}

#[test]
fn a_way_back_goes_on_while_counts_name_an_unknown_version() {
    let mut model = Model::new(4, 1, 0).with_canary(vec![weight(50), open_pause()]).settled();
    model.apply_version("v2");
    model.run(30);
    model.ask(Verb::Abort);
    model.step();
    assert_eq!(model.stage(), Some(Stage::RollingBack));
    by_hand(&mut model, &[("v9", 2)]);
    model.run(30);
    assert_eq!((live(&model), model.reason()), ((4, 0), Reason::VersionNotFound));
}

#[test]
fn a_way_back_that_fails_stops_although_counts_name_an_unknown_version() {
    let mut model = Model::new(3, 0, 1).settled();
    model.strict = false;
    model.apply_version("v2");
    model.run(8);
    model.bad.insert("v1".to_owned());
    by_hand(&mut model, &[("v9", 3)]);
    model.ask(Verb::Abort);
    model.run(100);
    assert_eq!((model.stage(), model.reason()), (Some(Stage::RollbackFailed), Reason::VersionNotFound));
}

#[test]
fn the_message_of_a_spec_that_cannot_be_followed_is_the_problem() {
    let mut model = Model::new(3, 1, 0).settled();
    by_hand(&mut model, &[("v9", 3)]);
    model.run(3);
    assert_eq!(model.message(), "version `v9` is not in the history, which has: v1");
    assert_eq!(model.events.iter().filter(|event| *event == "VersionNotFound").count(), 1, "and is told once");

    let mut model = Model::new(3, 1, 0).with_canary(vec![weight(10)]).settled();
    model.world.canary.as_mut().unwrap().spec.exact = true;
    model.apply_version("v2");
    model.run(3);
    assert_eq!(model.message(), "`exact: true`, and whole instances cannot make 10%");
}

#[test]
fn a_canary_whose_document_is_invalid_is_aborted_and_given_up_all_the_same() {
    for request in [true, false] {
        let mut model = paused_canary();
        model.break_canary(PROBLEM);
        model.run(5);
        assert_eq!((model.reason(), model.message(), live(&model)), (Reason::InvalidSpec, PROBLEM, (3, 1)));
        if request {
            model.ask(Verb::Abort);
        } else {
            model.bad.insert("v2".to_owned());
        }
        model.run(30);
        assert_eq!((live(&model), model.reason()), ((3, 0), Reason::RolloutAborted), "{:#?}", model.status());
        assert_eq!((model.last_refusal(), model.status().phase), (None, Phase::Degraded));
        assert!(model.status().waiting_on.contains(&WaitingOn::Spec { problem: PROBLEM.to_owned() }));
    }
}

#[test]
fn while_the_canarys_document_is_invalid_no_step_ends_and_no_deadline_passes() {
    let pause = Step::from(StepKind::Pause(Pause { duration: Some(Period::from_secs(5)), promote_after: None }));
    for second in [pause, soak(5)] {
        let mut model = Model::new(3, 1, 0).with_canary(vec![weight(25), second, weight(50), open_pause()]).settled();
        model.apply_version("v2");
        model.run_until(20, |model| model.at_step() == Some(1));
        model.break_canary(PROBLEM);
        model.run(200);
        assert_eq!((model.at_step(), live(&model), model.reason()), (Some(1), (3, 1), Reason::InvalidSpec));
        model.mend_canary();
        model.run(30);
        assert_eq!((model.at_step(), live(&model), model.reason()), (Some(3), (2, 2), Reason::PausedAtStep));
    }
}

#[test]
fn while_the_canarys_document_is_invalid_counts_are_followed_and_losses_made_good() {
    let mut model = paused_canary();
    model.break_canary(PROBLEM);
    model.scale(8);
    model.run(20);
    assert_eq!((live(&model), model.at_step()), ((6, 2), Some(1)));
    model.strict = false;
    for version in ["v1", "v2"] {
        model.wipe_one(version);
        model.run(10);
        assert_eq!(live(&model), (6, 2), "after a {version} instance was lost");
    }
}

#[test]
fn while_the_canarys_document_is_invalid_no_canary_begins() {
    let mut model = Model::new(3, 1, 0).with_canary(vec![weight(25), open_pause()]).settled();
    model.break_canary(PROBLEM);
    model.scale(4);
    model.run(10);
    assert_eq!((live(&model), model.reason()), ((4, 0), Reason::InvalidSpec), "a scale needs no Canary");
    model.apply_version("v2");
    model.run(30);
    assert_eq!((live(&model), model.reason(), model.stage()), ((4, 0), Reason::InvalidSpec, None));
    assert_eq!(model.events.iter().filter(|event| *event == "InvalidSpec").count(), 1);
    model.mend_canary();
    model.run(20);
    assert_eq!((live(&model), model.reason()), ((3, 1), Reason::PausedAtStep));
}

#[test]
fn a_retry_is_refused_while_the_canarys_document_is_invalid() {
    let mut model = paused_canary();
    model.ask(Verb::Abort);
    model.run(20);
    model.break_canary(PROBLEM);
    model.ask(Verb::Retry);
    model.run(10);
    assert_eq!((live(&model), model.reason()), ((3, 0), Reason::RolloutAborted));
    assert!(model.last_refusal().is_some_and(|refused| refused.contains(PROBLEM)), "{:?}", model.last_refusal());
}

#[test]
fn a_newer_template_waits_with_the_canary_that_is_there_until_its_document_is_mended() {
    let mut model = paused_canary();
    model.break_canary(PROBLEM);
    model.apply_version("v3");
    model.run(30);
    assert_eq!((live(&model), model.live("v3"), model.reason()), ((3, 1), 0, Reason::InvalidSpec));
    model.bad.insert("v2".to_owned());
    model.run(30);
    assert_eq!((live(&model), model.live("v3")), ((3, 0), 0), "and its safety goes on");
    model.mend_canary();
    model.run(20);
    assert_eq!((live(&model), model.live("v3"), model.reason()), ((3, 0), 1, Reason::PausedAtStep));
}

#[test]
fn what_needs_no_steps_goes_on_while_the_canarys_document_is_invalid() {
    // The first rollout takes no steps.
    let mut model = Model::new(3, 1, 0);
    model.break_canary(PROBLEM);
    model.run(20);
    assert_eq!(model.status().stable.as_ref().map(|stable| stable.version.as_str()), Some("v1"));
    // A promotion is decided.
    let mut model = paused_canary();
    model.ask(Verb::PromoteFull);
    model.step();
    model.break_canary(PROBLEM);
    model.run(60);
    assert_eq!((live(&model), model.stage(), model.reason()), ((0, 3), None, Reason::InvalidSpec));
    // The stable version comes back without steps.
    let mut model = paused_canary();
    model.break_canary(PROBLEM);
    model.apply_version("v1");
    model.step();
    assert_eq!(model.status().rollout.as_ref().map(|rollout| rollout.kind), Some(RolloutKind::Return));
    model.run(30);
    assert_eq!((live(&model), model.stage()), ((3, 0), None));
}

#[test]
fn a_promotion_to_an_older_template_is_not_finished_in_the_name_of_the_new_one() {
    let mut model = paused_canary();
    model.ask(Verb::PromoteFull);
    model.run(2);
    assert_eq!(model.stage(), Some(Stage::Promoting));
    model.break_canary(PROBLEM);
    model.apply_version("v3");
    model.run(60);
    assert_eq!(model.status().stable.as_ref().map(|stable| stable.version.as_str()), Some("v1"));
    assert_eq!((model.live("v3"), model.stage()), (0, Some(Stage::Promoting)));
}

#[test]
fn an_invalid_canary_never_blocks_a_deletion() {
    let mut model = paused_canary();
    model.break_canary(PROBLEM);
    model.strict = false;
    model.deployment().metadata.deletion_requested_at = Some(model.world.now);
    model.run(20);
    assert!(model.fleet.instances.is_empty());
    assert_eq!(model.reconcile().actions, [Action::RemoveObject]);
}

/// Nothing can be told of the spec of a Deployment that cannot be read: what it is deleted by is what its assignments say.
#[test]
fn a_deletion_changes_no_more_of_an_assignment_than_that_it_stops() {
    let mut model = Model::new(2, 1, 0).settled();
    let before = model.fleet.assignments.clone();
    model.strict = false;
    model.deployment().spec.tags = vec!["other".to_owned()];
    model.deployment().spec.template.version = "unknown".to_owned();
    model.deployment().metadata.deletion_requested_at = Some(model.world.now);
    let plan = model.reconcile();
    assert!(!plan.actions.iter().any(|action| matches!(action, Action::RecordRevision(_))));
    for (id, assignment) in &model.fleet.assignments {
        let stopped =
            helium_crds::instance::Assignment { desired: helium_crds::instance::Desired::Stop, ..before[id].clone() };
        assert_eq!(*assignment, stopped);
    }
}
