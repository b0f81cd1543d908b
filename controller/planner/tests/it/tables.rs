//! Facts from the tests of other systems, as rows: Argo Rollouts' surge tables and end-to-end stories, and Consul's checks. Each is
//! told in Helium's meaning; where that differs, the row says so. Nomad's and Flagger's are in `nomad`.

use helium_crds::{
    Phase,
    control::Verb,
    deployment::OnFailure,
    period::Period,
    status::{Reason, Stage},
    step::{Step, StepKind},
};
use helium_planner::CheckState;

use crate::model::{Model, open_pause, seconds, soak, weight};

fn live(model: &Model) -> (u32, u32) {
    (model.live("v1"), model.live("v2"))
}

/// Argo Rollouts, `TestCalculateReplicaCountsForCanary`: 10 stable ones, all ready, and no canary yet. The first move of a step.
#[test]
fn the_first_move_of_a_step_uses_surge_and_unavailability_as_argo_does() {
    for (replicas, share, surge, unavailable, stable, canary) in [
        (10, 20, 2, 0, 10, 2),
        (10, 30, 2, 0, 10, 2),
        (10, 20, 0, 2, 8, 0),
        (10, 30, 0, 2, 8, 0),
        (10, 50, 2, 1, 9, 2),
        (1, 20, 1, 0, 1, 1),
    ] {
        let mut model =
            Model::new(replicas, surge, unavailable).with_canary(vec![weight(share), open_pause()]).settled();
        model.apply_version("v2");
        model.reconcile();
        assert_eq!(live(&model), (stable, canary), "{share}% of {replicas}, surge {surge}, unavailable {unavailable}");
    }
}

/// The same table: where the step ends. Argo's `w20 S2 U0: (10, 2 ready) -> 8/2`, and `w100 -> 0/10`.
#[test]
fn a_step_ends_at_its_counts() {
    for (share, surge, unavailable, stable, canary) in
        [(20, 2, 0, 8, 2), (30, 2, 0, 7, 3), (20, 0, 2, 8, 2), (50, 2, 1, 5, 5), (100, 2, 0, 0, 10)]
    {
        let mut model = Model::new(10, surge, unavailable).with_canary(vec![weight(share), open_pause()]).settled();
        model.apply_version("v2");
        model.run_until(120, |model| model.reason() == Reason::PausedAtStep);
        assert_eq!(live(&model), (stable, canary), "{share}%, surge {surge}, unavailable {unavailable}");
    }
}

/// The same table: `w0 with canary1 -> 10/0`. Weight 0 cannot be written here, since a canary of none shows nothing: who wants none of
/// it aborts, and that ends at the same counts.
#[test]
fn what_argo_does_at_weight_nought_is_an_abort() {
    let mut model =
        Model::new(10, 2, 0).with_canary(vec![Step::from(StepKind::SetReplicas(1)), open_pause()]).settled();
    model.apply_version("v2");
    model.run(20);
    assert_eq!(live(&model), (10, 1));
    model.ask(Verb::Abort);
    model.step();
    assert_eq!(live(&model), (10, 0));
}

/// Argo Rollouts e2e 4, `bad -> bad` and `bad -> good`. Argo ends the former at v1=4, v2=1, Degraded. Here nothing has served yet, so
/// there is nothing to keep: instances that serve nobody make room at once, and the newer version is the one that is tried.
#[test]
fn a_first_version_that_is_bad_gives_way_to_the_next_whether_that_is_bad_or_good() {
    for (next_is_bad, phase, reason) in
        [(true, Phase::Degraded, Reason::ProgressDeadlineExceeded), (false, Phase::Healthy, Reason::AllHealthy)]
    {
        let mut model = Model::new(4, 1, 0);
        model.bad.insert("v1".to_owned());
        model.run(90);
        assert_eq!((live(&model), model.status().phase), ((4, 0), Phase::Degraded));
        if next_is_bad {
            model.apply_bad_version("v2");
        } else {
            model.apply_version("v2");
        }
        model.run(90);
        assert_eq!((live(&model), model.status().phase, model.reason()), ((0, 4), phase, reason));
    }
}

/// Argo Rollouts e2e 2: 4 replicas, surge 2, to a build that crashes: 2 + 4; scale 8: 6 + 4; scale 4: 2 + 4.
#[test]
fn a_failing_roll_is_rescaled_within_its_surge() {
    let mut model = Model::new(4, 2, 0).settled();
    model.apply_bad_version("v2");
    model.run(10);
    assert_eq!(live(&model), (4, 2));
    model.scale(8);
    model.run(10);
    assert_eq!(live(&model), (4, 6));
    model.scale(4);
    model.run(10);
    assert_eq!((live(&model), model.total()), ((4, 2), 6));
}

/// Argo Rollouts e2e 3: up to 100 %, down again, up again, and a failure: never fewer than the wanted count is healthy. (Weight 0
/// is no weight here, since a canary of none shows nothing.)
#[test]
fn weights_that_go_up_and_down_never_take_the_healthy_ones_below_the_count() {
    let steps = vec![weight(100), open_pause(), weight(25), open_pause(), weight(100), open_pause()];
    let mut model = Model::new(3, 2, 0).with_canary(steps).settled();
    let mut counts = Vec::new();
    model.apply_version("v2");
    for _ in 0..3 {
        for _ in 0..120 {
            model.step();
            assert!(model.healthy(None) >= 3, "{:?}", live(&model));
        }
        counts.push(live(&model));
        model.ask(if counts.len() < 3 { Verb::Promote } else { Verb::Abort });
    }
    assert_eq!(counts, [(0, 3), (3, 1), (0, 3)]);
    for _ in 0..120 {
        model.step();
        assert!(model.healthy(None) >= 3, "{:?}", live(&model));
    }
    assert_eq!((live(&model), model.status().phase), ((3, 0), Phase::Degraded));
}

/// Argo Rollouts e2e 5, with its ordered list of events.
#[test]
fn abort_retry_and_promotion_tell_their_story_once_and_in_order() {
    let mut model = Model::new(2, 1, 0).with_canary(vec![weight(50), open_pause(), soak(2)]).settled();
    model.events.clear();
    model.apply_version("v2");
    model.run(20);
    model.ask(Verb::Abort);
    model.run(20);
    model.ask(Verb::Retry);
    model.run(20);
    assert_eq!(model.reason(), Reason::PausedAtStep);
    model.ask(Verb::Promote);
    model.run(30);
    let told: Vec<&str> = model.events.iter().map(String::as_str).filter(|event| *event != "InstancesMade").collect();
    let expected = [
        "RolloutStarted",
        "CanaryStepDone",
        "RolloutAborted",
        "RollbackComplete",
        "RolloutStarted",
        "CanaryStepDone",
        "CanaryStepDone",
        "CanaryStepDone",
        "CanaryPromoted",
        "RolloutComplete",
    ];
    assert_eq!(told, expected);
}

/// Argo Rollouts e2e 8: replicas and template together, twice, in mid-pause.
#[test]
fn count_and_template_may_change_together_twice_in_a_pause() {
    let mut model = Model::new(2, 1, 0).with_canary(vec![weight(50), open_pause()]).settled();
    model.apply_version("v2");
    model.run(20);
    for (replicas, version) in [(3, "v3"), (4, "v4")] {
        model.scale(replicas);
        model.apply_version(version);
        model.run(30);
        assert_eq!((model.reason(), model.status().wanted), (Reason::PausedAtStep, replicas));
    }
    model.ask(Verb::Promote);
    model.run(60);
    let status = model.status();
    assert_eq!((model.reason(), status.wanted, status.healthy, model.live("v4")), (Reason::AllHealthy, 4, 4, 4));
}

/// Argo Rollouts e2e 10: with `onFailure: pause` the failed version keeps what it has; else it goes.
#[test]
fn a_failed_roll_keeps_or_loses_its_instances_as_on_failure_says() {
    for (on_failure, phase, canary) in [(OnFailure::Pause, Phase::Paused, 1), (OnFailure::Rollback, Phase::Degraded, 0)]
    {
        let mut model = Model::new(2, 1, 0).settled();
        model.deployment().spec.on_failure = on_failure;
        model.deployment().spec.progress_deadline = Period::from_secs(5);
        model.apply_bad_version("v2");
        model.run(20);
        assert_eq!((live(&model), model.status().phase), ((2, canary), phase), "{on_failure:?}");
    }
}

/// Argo Rollouts e2e 11: 25 % is 3 + 1, 75 % is 1 + 3; after an abort the canary stays until the stable version can take over.
#[test]
fn after_an_abort_a_healthy_canary_serves_until_the_stable_version_can() {
    let mut model = Model::new(4, 1, 0).with_canary(vec![weight(25), open_pause(), weight(75), open_pause()]).settled();
    model.apply_version("v2");
    model.run(20);
    assert_eq!(live(&model), (3, 1));
    model.ask(Verb::Promote);
    model.run(30);
    assert_eq!(live(&model), (1, 3));
    model.start_time = seconds(1000);
    model.ask(Verb::Abort);
    model.run(20);
    assert_eq!((model.healthy(Some("v2")), model.healthy(None)), (3, 4), "stable ones are starting still");
    model.start_time = seconds(1);
    // One for one: with 3 of 4 stable ones ready there is 1 canary, and with 4 there is none.
    let mut counts = vec![live(&model)];
    for _ in 0..160 {
        model.step();
        counts.push(live(&model));
    }
    counts.dedup();
    assert_eq!(counts, [(2, 3), (2, 2), (3, 2), (3, 1), (4, 1), (4, 0)]);
    assert_eq!(model.reason(), Reason::RolloutAborted);
}

/// Nomad's table of checks, and Consul's maintenance: what of a running, registered instance counts as healthy. One that is not
/// registered yet is waited for.
#[test]
fn the_checks_that_are_registered_decide_about_health() {
    use CheckState::{Critical, Passing, Unasked, Warning};
    type Row<'a> = (&'a str, &'a [(&'a str, CheckState)], Option<&'a str>, u32);
    let rows: [Row<'_>; 9] = [
        ("passing", &[("up", Passing)], None, 1),
        ("warning", &[("up", Warning)], None, 0),
        ("critical", &[("up", Critical)], None, 0),
        ("not asked yet", &[("up", Unasked)], None, 0),
        ("one that is not registered", &[], None, 0),
        ("another is registered in its place", &[("down", Passing)], None, 0),
        ("one that is not of the template fails", &[("up", Passing), ("mine", Critical)], None, 1),
        ("maintenance of its service", &[("up", Passing)], Some("_service_maintenance:helium-web"), 0),
        ("a failing check of its Consul node", &[("up", Passing)], Some("disk"), 0),
    ];
    for (name, checks, blocked_by, healthy) in rows {
        let mut model = Model::new(1, 1, 0).settled();
        model.strict = false;
        let entry = model.fleet.catalog.values_mut().next().unwrap();
        entry.checks = checks.iter().map(|(check, state)| ((*check).to_owned(), *state)).collect();
        entry.blocked_by = blocked_by.map(str::to_owned);
        model.reconcile();
        assert_eq!(model.status().healthy, healthy, "{name}");
    }
    let mut model = Model::new(1, 1, 0).settled();
    model.fleet.catalog.clear();
    model.reconcile();
    assert_eq!((model.status().healthy, model.reason()), (0, Reason::Scaling), "not registered yet");
}

#[test]
fn an_instance_without_checks_is_healthy_as_soon_as_it_runs_and_is_registered() {
    let mut model = Model::new(2, 1, 0);
    model.deployment().spec.template.checks.clear();
    model.run(10);
    assert_eq!((model.reason(), model.healthy(None)), (Reason::AllHealthy, 2));
}

/// Healthy to unhealthy within `minHealthyTime` begins it anew, in every rollout and not only in a soak.
#[test]
fn a_flap_within_min_healthy_time_begins_it_anew() {
    let mut model = Model::new(1, 1, 0).settled();
    model.deployment().spec.min_healthy_time = Period::from_secs(10);
    model.run(12);
    model.apply_version("v2");
    model.run_until(10, |model| model.healthy(Some("v2")) == 1);
    model.run(8);
    let new = model.fleet.instances.values().find(|one| one.version == "v2").unwrap().id.clone();
    model.sick.insert(new);
    model.step();
    model.sick.clear();
    model.run(9);
    assert_eq!((live(&model), model.stage()), ((1, 1), Some(Stage::Promoting)));
    model.run(5);
    assert_eq!((live(&model), model.reason()), ((0, 1), Reason::AllHealthy));
}
