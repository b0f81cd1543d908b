//! Plain rolls: the arithmetic of surge and unavailability, failures, and ways back.

use helium_crds::{
    InstanceId, Phase,
    deployment::{OnFailure, Recreate, Strategy, VersionCount},
    status::{AbortCause, ConditionKind, Reason, Stage},
};

use helium_planner::{Action, CheckState};

use crate::model::{Model, seconds};

#[test]
fn the_first_rollout_ends_healthy_and_becomes_stable() {
    let model = Model::new(3, 1, 0).settled();
    assert_eq!((model.live("v1"), model.healthy(None)), (3, 3));
    assert_eq!(model.status().stable.as_ref().unwrap().version, "v1");
    assert_eq!(model.status().message, "v1: 3/3 healthy");
}

#[test]
fn a_settled_deployment_is_planned_without_a_single_change() {
    let mut model = Model::new(3, 1, 0).settled();
    for _ in 0..100 {
        let before = model.status().clone();
        model.world.now += crate::model::seconds(7);
        let plan = model.reconcile();
        assert_eq!((plan.actions.len(), plan.events.len(), plan.requeue_after), (0, 0, None));
        assert_eq!(plan.status, before);
    }
}

#[test]
fn a_roll_replaces_every_instance_within_its_bounds() {
    for (surge, unavailable) in [(1, 0), (0, 1), (2, 1), (10, 0), (0, 10)] {
        let mut model = Model::new(4, surge, unavailable).settled();
        model.apply_version("v2");
        model.run(120);
        assert_eq!(model.reason(), Reason::AllHealthy, "surge {surge}, unavailable {unavailable}");
        assert_eq!((model.live("v1"), model.live("v2"), model.total()), (0, 4, 4));
    }
}

#[test]
fn whatever_counts_on_health_asks_for_health_read_past_every_cache() {
    let mut model = Model::new(3, 1, 0).settled();
    model.apply_version("v2");
    for _ in 0..120 {
        model.agents_act();
        model.world.now += seconds(1);
        let before = model.fleet.clone();
        let plan = model.reconcile();
        let healthy =
            |id: &InstanceId| before.catalog.get(id).is_some_and(|entry| entry.checks["up"] == CheckState::Passing);
        let stops = |action: &Action| matches!(action, Action::Stop(instance, ..) if healthy(&instance.id));
        let done = plan.events.iter().any(|event| event.reason == "RolloutComplete");
        assert_eq!(plan.needs_fresh_health, done || plan.actions.iter().any(stops), "{:#?}", plan.actions);
    }
    assert_eq!((model.reason(), model.live("v2")), (Reason::AllHealthy, 3));
}

/// Argo Rollouts e2e 4: good to bad, 4 replicas, surge 1, unavailable 0.
#[test]
fn a_bad_roll_stops_at_its_surge_and_returns_at_the_deadline() {
    let mut model = Model::new(4, 1, 0).settled();
    model.apply_bad_version("v2");
    model.run(30);
    assert_eq!((model.live("v1"), model.live("v2"), model.reason()), (4, 1, Reason::RollingUpdate));
    // Argo Rollouts leaves 4 + 1 and says `Degraded`; here the way back is taken, as `onFailure: rollback` says.
    model.run(60);
    assert_eq!((model.live("v1"), model.live("v2"), model.reason()), (4, 0, Reason::RolloutAborted));
    let abort = model.status().rollout.as_ref().unwrap().abort.clone().unwrap();
    assert_eq!(abort.cause, AbortCause::ProgressDeadlineExceeded);
    assert!(abort.message.contains("no progress for 1m") && abort.message.contains("GET /health -> 500"), "{abort:?}");
}

/// Argo Rollouts e2e 4: bad to worse, then good.
#[test]
fn a_fix_follows_an_aborted_roll_at_once() {
    let mut model = Model::new(4, 1, 0).settled();
    model.apply_bad_version("v2");
    model.run(90);
    model.apply_bad_version("v3");
    model.run(10);
    assert_eq!((model.live("v1"), model.live("v2"), model.live("v3")), (4, 0, 1));
    assert_eq!(model.reason(), Reason::RollingUpdate);
    let mut worse = model.clone();
    worse.run(80);
    assert_eq!((worse.reason(), worse.live("v1"), worse.live("v3")), (Reason::RolloutAborted, 4, 0));
    model.apply_version("v4");
    model.run(60);
    assert_eq!((model.reason(), model.live("v4"), model.total()), (Reason::AllHealthy, 4, 4));
}

#[test]
fn a_failed_roll_can_be_left_as_it_is_until_a_person_decides() {
    let mut model = Model::new(3, 1, 0).settled();
    model.deployment().spec.on_failure = OnFailure::Pause;
    model.apply_bad_version("v2");
    model.run(90);
    assert_eq!((model.reason(), model.live("v1"), model.live("v2")), (Reason::PausedOnFailure, 3, 1));
    model.ask(helium_crds::control::Verb::Abort);
    model.run(10);
    assert_eq!((model.reason(), model.live("v1"), model.live("v2")), (Reason::RolloutAborted, 3, 0));
}

#[test]
fn a_broken_stable_version_never_blocks_the_fix() {
    let mut model = Model::new(3, 1, 0).settled();
    model.bad.insert("v1".to_owned());
    model.run(10);
    assert_eq!(model.reason(), Reason::InstancesUnhealthy);
    model.apply_version("v2");
    model.run(60);
    assert_eq!((model.reason(), model.live("v2"), model.total()), (Reason::AllHealthy, 3, 3));
}

#[test]
fn a_template_set_back_to_the_stable_one_returns_at_once() {
    let mut model = Model::new(4, 1, 0).settled();
    model.apply_version("v2");
    model.run(8);
    assert!(model.live("v2") > 0);
    model.apply_version("v1");
    model.step();
    assert_eq!((model.reason(), model.status().phase), (Reason::ReturningToStable, Phase::RollingBack));
    model.run(60);
    assert_eq!((model.reason(), model.live("v1"), model.live("v2")), (Reason::AllHealthy, 4, 0));
}

#[test]
fn a_way_back_that_fails_too_stops_and_says_so() {
    let mut model = Model::new(3, 0, 1).settled();
    model.strict = false;
    model.apply_version("v2");
    model.run(8);
    assert!(model.live("v2") > 0 && model.stage() == Some(Stage::Promoting));
    model.bad.insert("v1".to_owned());
    model.ask(helium_crds::control::Verb::Abort);
    model.run(100);
    assert_eq!((model.reason(), model.status().phase), (Reason::RollbackFailed, Phase::Degraded));
    assert!(model.message().ends_with("; the way back to v1 failed too"), "{}", model.message());
    let held = (model.live("v1"), model.live("v2"));
    model.run(100);
    assert_eq!(held, (model.live("v1"), model.live("v2")), "nothing moves any more");
}

#[test]
fn recreate_stops_all_old_instances_before_the_first_new_one() {
    let mut model = Model::new(3, 1, 0).settled();
    model.deployment().spec.strategy = Strategy::Recreate(Recreate {});
    model.apply_version("v2");
    for _ in 0..100 {
        model.step();
        assert!(model.live("v2") == 0 || model.fleet.instances.values().all(|instance| instance.version == "v2"));
    }
    assert_eq!((model.reason(), model.live("v2")), (Reason::AllHealthy, 3));
}

#[test]
fn the_first_rollout_that_fails_says_so_and_heals_when_it_can() {
    let mut model = Model::new(2, 1, 0);
    model.bad.insert("v1".to_owned());
    model.run(90);
    assert_eq!((model.reason(), model.live("v1")), (Reason::ProgressDeadlineExceeded, 2));
    model.bad.clear();
    model.run(10);
    assert_eq!(model.reason(), Reason::AllHealthy);
}

/// Argo Rollouts e2e 8: count and template together.
#[test]
fn count_and_template_may_change_together_in_mid_rollout() {
    let mut model = Model::new(3, 1, 0).settled();
    model.apply_version("v2");
    model.run(5);
    model.scale(5);
    model.apply_version("v3");
    model.run(90);
    assert_eq!((model.reason(), model.live("v3"), model.total()), (Reason::AllHealthy, 5, 5));
}

#[test]
fn a_count_may_go_to_nothing_and_back() {
    let mut model = Model::new(3, 1, 0).settled();
    model.scale(0);
    model.run(10);
    assert_eq!((model.reason(), model.total()), (Reason::AllHealthy, 0));
    model.apply_version("v2");
    model.run(5);
    model.scale(2);
    model.run(20);
    assert_eq!((model.reason(), model.live("v2")), (Reason::AllHealthy, 2));
}

#[test]
fn counts_by_hand_hold_several_versions_and_suspend_the_canary() {
    let mut model =
        Model::new(7, 1, 0).with_canary(vec![crate::model::weight(50), crate::model::open_pause()]).settled();
    model.apply_version("v2");
    model.run(30);
    let versions = |counts: &[(&str, u32)]| {
        Some(counts.iter().map(|(v, n)| VersionCount { version: (*v).to_owned(), replicas: *n }).collect::<Vec<_>>())
    };
    model.deployment().spec.replicas = None;
    model.deployment().spec.versions = versions(&[("v1", 2), ("v2", 5)]);
    model.run(60);
    assert_eq!((model.live("v1"), model.live("v2"), model.reason()), (2, 5, Reason::ManualCountsHeld));
    let manual = model.status().conditions.iter().find(|condition| condition.kind == ConditionKind::ManualCounts);
    assert!(manual.is_some_and(|condition| condition.status) && model.status().rollout.is_none());

    model.deployment().spec.versions = versions(&[("v1", 0), ("v2", 7)]);
    model.run(60);
    assert_eq!((model.live("v1"), model.live("v2")), (0, 7));

    model.deployment().spec.versions = None;
    model.scale(7);
    model.run(20);
    assert_eq!((model.reason(), model.live("v2"), model.total()), (Reason::AllHealthy, 7, 7));
}

#[test]
fn counts_by_hand_for_an_unknown_version_leave_everything_alone() {
    let mut model = Model::new(3, 1, 0).settled();
    model.deployment().spec.replicas = None;
    model.deployment().spec.versions = Some(vec![VersionCount { version: "v9".to_owned(), replicas: 3 }]);
    model.run(20);
    assert_eq!((model.reason(), model.live("v1"), model.status().phase), (Reason::VersionNotFound, 3, Phase::Invalid));
}

#[test]
fn the_history_keeps_its_limit_and_whatever_is_in_use() {
    let mut model = Model::new(1, 1, 0).settled();
    model.deployment().spec.revision_history_limit = 2;
    for version in ["v2", "v3", "v4", "v5"] {
        model.apply_version(version);
        model.run(20);
    }
    let mut kept: Vec<_> = model.world.revisions.values().map(|revision| revision.template.version.clone()).collect();
    kept.sort();
    assert_eq!(kept, ["v3", "v4", "v5"]);
}
