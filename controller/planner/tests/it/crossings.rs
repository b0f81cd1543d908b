//! Things that cross: requests, edits, restarts, counts by hand and specs that cannot be followed, each in the midst of another.

use helium_crds::{
    Percent,
    control::Verb,
    deployment::VersionCount,
    instance::Desired,
    status::{ConditionKind, Reason, RolloutKind, Stage},
};

use crate::model::{Model, open_pause, seconds, soak, weight};

pub(crate) fn by_hand(model: &mut Model, versions: &[(&str, u32)]) {
    model.deployment().spec.replicas = None;
    let count = |&(version, replicas): &(&str, u32)| VersionCount { version: version.to_owned(), replicas };
    model.deployment().spec.versions = Some(versions.iter().map(count).collect());
    model.deployment().metadata.generation += 1;
}

#[test]
fn a_return_that_failed_is_retried_as_a_return() {
    let mut model = Model::new(4, 0, 2).with_canary(vec![weight(50), open_pause()]).settled();
    model.strict = false;
    model.apply_version("v2");
    model.run(20);
    model.bad.insert("v1".to_owned());
    model.apply_version("v1");
    model.run(100);
    assert_eq!(model.reason(), Reason::RollbackFailed);
    assert!(model.message().starts_with("the way back to v1 failed: no progress for 1m"), "{}", model.message());
    model.bad.clear();
    model.events.clear();
    model.ask(Verb::Retry);
    model.step();
    assert_eq!(model.status().rollout.as_ref().map(|rollout| rollout.kind), Some(RolloutKind::Return));
    model.run(30);
    assert_eq!((model.reason(), model.live("v1")), (Reason::AllHealthy, 4));
    assert!(!model.events.contains(&"RolloutSuperseded".to_owned()), "{:?}", model.events);
}

#[test]
fn an_aborted_rollout_does_not_forbid_a_restart_of_what_serves() {
    let mut model = Model::new(3, 1, 0).with_canary(vec![weight(25), soak(3)]).settled();
    let before: Vec<_> = model.fleet.instances.keys().cloned().collect();
    model.apply_bad_version("v2");
    model.run(40);
    model.ask(Verb::Restart);
    model.run(60);
    assert_eq!(model.last_refusal(), None);
    assert_eq!((model.reason(), model.live("v1")), (Reason::RolloutAborted, 3));
    assert!(before.iter().all(|id| !model.fleet.instances.contains_key(id)));
}

#[test]
fn a_restart_of_counts_by_hand_is_not_settled_before_it_is_over() {
    let mut model = Model::new(2, 1, 0).settled();
    by_hand(&mut model, &[("v1", 2)]);
    model.run(20);
    assert_eq!(model.reason(), Reason::ManualCountsHeld);
    model.ask(Verb::Restart);
    model.step();
    let before: Vec<_> = model.fleet.instances.keys().cloned().collect();
    let mut settled = false;
    for _ in 0..200 {
        model.step();
        settled = model.reason() == Reason::ManualCountsHeld;
        let old =
            model.fleet.instances.values().any(|one| before[..2].contains(&one.id) && one.desired == Desired::Run);
        assert!(!(settled && old), "an instance from before the restart is there still");
    }
    assert!(settled);
}

#[test]
fn a_restart_and_a_new_template_together_end_in_the_new_version() {
    for with_canary in [false, true] {
        let mut model = Model::new(3, 1, 0);
        if with_canary {
            model = model.with_canary(vec![weight(25), soak(3)]);
        }
        let mut model = model.settled();
        model.ask(Verb::Restart);
        model.run(2);
        model.apply_version("v2");
        model.run(120);
        assert_eq!((model.reason(), model.live("v2"), model.total()), (Reason::AllHealthy, 3, 3));
    }
}

#[test]
fn a_weight_that_is_not_possible_suspends_neither_abort_nor_safety() {
    for request in [true, false] {
        let mut model = Model::new(3, 1, 0).with_canary(vec![weight(25), open_pause()]).settled();
        model.apply_version("v2");
        model.run(20);
        let canary = model.world.canary.as_mut().unwrap();
        canary.spec.exact = true;
        canary.spec.steps = vec![weight(10), open_pause()];
        model.run(5);
        assert_eq!((model.reason(), model.live("v2")), (Reason::WeightNotPossible, 1));
        if request {
            model.ask(Verb::Abort);
        } else {
            model.bad.insert("v2".to_owned());
        }
        model.run(20);
        assert_eq!((model.live("v1"), model.live("v2")), (3, 0), "{:#?}", model.status());
        assert_eq!(model.reason(), Reason::RolloutAborted);
    }
}

#[test]
fn a_weight_that_is_not_possible_matters_only_to_a_canary() {
    let mut model = Model::new(3, 1, 0).with_canary(vec![weight(10)]);
    model.world.canary.as_mut().unwrap().spec.exact = true;
    let mut model = model.settled();
    assert_eq!((model.reason(), model.live("v1")), (Reason::AllHealthy, 3), "the first rollout takes no steps");
    model.scale(5);
    model.run(20);
    assert_eq!((model.reason(), model.live("v1")), (Reason::AllHealthy, 5), "and neither does a scale");
}

#[test]
fn time_in_which_the_spec_could_not_be_followed_trips_no_deadline() {
    let mut model = Model::new(4, 1, 0).settled();
    model.apply_version("v2");
    model.run(3);
    model.strict = false;
    model.bad.insert("v2".to_owned());
    let replicas = model.world.deployment.spec.replicas;
    by_hand(&mut model, &[("v9", 4)]);
    model.run(200);
    assert_eq!(model.reason(), Reason::VersionNotFound);
    let progressing = |model: &Model| {
        model.status().conditions.iter().any(|one| one.kind == ConditionKind::Progressing && one.status)
    };
    assert!(!progressing(&model), "what cannot be followed does not go on");
    model.deployment().spec.versions = None;
    model.deployment().spec.replicas = replicas;
    model.step();
    model.bad.clear();
    model.run(60);
    assert_eq!((model.reason(), model.live("v2")), (Reason::AllHealthy, 4));
    assert!(!model.events.contains(&"RolloutAborted".to_owned()), "{:?}", model.events);
}

#[test]
fn a_promotion_is_not_answered_as_done_when_counts_by_hand_end_the_rollout() {
    let mut model = Model::new(4, 1, 0).with_canary(vec![weight(25), open_pause()]).settled();
    model.apply_version("v2");
    model.run(20);
    by_hand(&mut model, &[("v1", 2), ("v2", 2)]);
    model.ask(Verb::Promote);
    model.step();
    assert!(model.last_refusal().is_some(), "{:?}", model.status().control);
    assert!(!model.events.contains(&"CanaryPromoted".to_owned()));
}

#[test]
fn leaving_counts_by_hand_is_not_called_healthy_before_it_is_done() {
    let mut model = Model::new(4, 1, 0).settled();
    model.apply_version("v2");
    model.run(60);
    by_hand(&mut model, &[("v1", 1), ("v2", 3)]);
    model.run(30);
    assert_eq!(model.reason(), Reason::ManualCountsHeld);
    model.deployment().spec.versions = None;
    model.scale(4);
    let mut healthy = false;
    for _ in 0..120 {
        model.step();
        healthy = model.reason() == Reason::AllHealthy;
        assert!(!(healthy && model.live("v1") > 0), "an instance of another version is there still");
    }
    assert!(healthy);
}

#[test]
fn a_promotion_ends_a_hold() {
    let mut model = Model::new(4, 1, 0).with_canary(vec![weight(25), open_pause()]).settled();
    model.apply_version("v2");
    model.run(20);
    model.ask(Verb::Pause);
    model.run(2);
    model.ask(Verb::PromoteFull);
    model.run(60);
    assert_eq!((model.reason(), model.live("v2")), (Reason::AllHealthy, 4), "{:?}", model.last_refusal());
}

#[test]
fn steps_edited_before_the_first_weight_is_reached_skip_no_evidence() {
    let mut model = Model::new(4, 1, 0).with_canary(vec![weight(25), soak(60), weight(50), open_pause()]).settled();
    model.start_time = seconds(10);
    model.apply_version("v2");
    model.run(3);
    model.world.canary.as_mut().unwrap().spec.steps = vec![weight(25), soak(50), weight(50), open_pause()];
    model.run(30);
    assert_eq!(
        (model.live("v2"), model.status().rollout.as_ref().unwrap().step),
        (1, 1),
        "25% and its soak come first"
    );
}

#[test]
fn a_single_instance_without_surge_is_tried_out_all_the_same() {
    let mut model = Model::new(1, 0, 1).with_canary(vec![weight(25), soak(5)]).settled();
    model.apply_version("v2");
    model.run(60);
    assert_eq!((model.reason(), model.live("v2")), (Reason::AllHealthy, 1), "{:#?}", model.status());
    model.apply_bad_version("v3");
    model.run(60);
    assert_eq!((model.reason(), model.live("v2")), (Reason::RolloutAborted, 1), "{:#?}", model.status());
}

#[test]
fn a_share_of_min_passing_is_kept_when_the_canary_is_scaled_in_mid_soak() {
    let mut model = Model::new(10, 5, 0).with_canary(vec![weight(50), soak(30), open_pause()]).settled();
    model.world.canary.as_mut().unwrap().spec.analysis.health.min_passing = Percent::new(80).unwrap();
    model.apply_version("v2");
    model.run_until(60, |model| model.status().rollout.as_ref().is_some_and(|rollout| rollout.step == 1));
    model.run(20);
    model.start_time = seconds(20);
    model.scale(20);
    model.run(15);
    assert_eq!(model.status().rollout.as_ref().unwrap().step, 1, "those that are new have not soaked");
    model.run_until(60, |model| model.reason() == Reason::PausedAtStep);
}

#[test]
fn a_scale_while_rolling_back_is_followed_within_the_bounds() {
    for replicas in [1, 3, 8] {
        let mut model = Model::new(4, 1, 0).with_canary(vec![weight(50), open_pause()]).settled();
        model.apply_version("v2");
        model.run(30);
        model.ask(Verb::Abort);
        model.step();
        assert_eq!(model.stage(), Some(Stage::RollingBack));
        model.scale(replicas);
        model.run(60);
        assert_eq!((model.reason(), model.live("v1"), model.live("v2")), (Reason::RolloutAborted, replicas, 0));
    }
}

#[test]
fn a_new_template_while_rolling_back_supersedes_what_is_left() {
    let mut model = Model::new(4, 1, 0).with_canary(vec![weight(50), open_pause()]).settled();
    model.apply_version("v2");
    model.run(30);
    model.stop_time = seconds(20);
    model.ask(Verb::Abort);
    model.step();
    model.apply_version("v3");
    model.run(90);
    let live = (model.live("v1"), model.live("v2"), model.live("v3"));
    assert_eq!((live, model.reason()), ((2, 0, 2), Reason::PausedAtStep));
}

#[test]
fn an_abort_asked_for_twice_is_done_once() {
    let mut model = Model::new(4, 1, 0).with_canary(vec![weight(25), open_pause()]).settled();
    model.apply_version("v2");
    model.run(20);
    model.ask(Verb::Abort);
    model.ask(Verb::Abort);
    model.run(2);
    model.ask(Verb::Abort);
    model.run(30);
    assert_eq!(model.events.iter().filter(|event| *event == "RolloutAborted").count(), 1);
    assert_eq!((model.reason(), model.last_refusal()), (Reason::RolloutAborted, None));
}

fn counts(model: &Model) -> (u32, u32) {
    (model.live("v1"), model.live("v2"))
}

fn aborted_by_hand() -> Model {
    let mut model = Model::new(3, 1, 0).with_canary(vec![weight(25), soak(3)]).settled();
    model.apply_bad_version("v2");
    model.run(40);
    assert_eq!(model.reason(), Reason::RolloutAborted);
    by_hand(&mut model, &[("v1", 4)]);
    model.run(30);
    assert_eq!(model.reason(), Reason::ManualCountsHeld);
    model
}

fn no_more_by_hand(model: &mut Model, replicas: u32) {
    model.deployment().spec.versions = None;
    model.scale(replicas);
}

#[test]
fn counts_by_hand_forget_no_abort() {
    let mut model = aborted_by_hand();
    no_more_by_hand(&mut model, 3);
    model.run(40);
    assert_eq!((counts(&model), model.reason()), ((3, 0), Reason::RolloutAborted));
    let begun = model.events.iter().filter(|event| *event == "RolloutStarted").count();
    assert_eq!(begun, 2, "the first one and v2's, and nothing began again");
    model.bad.clear();
    model.ask(Verb::Retry);
    model.run(60);
    assert_eq!((counts(&model), model.reason()), ((0, 3), Reason::AllHealthy));
}

#[test]
fn counts_by_hand_in_the_midst_of_a_way_back_forget_no_abort_either() {
    let mut model = Model::new(4, 1, 0).with_canary(vec![weight(50), open_pause()]).settled();
    model.apply_version("v2");
    model.run(30);
    model.ask(Verb::Abort);
    model.step();
    assert_eq!(model.stage(), Some(Stage::RollingBack));
    by_hand(&mut model, &[("v1", 3), ("v2", 1)]);
    model.run(30);
    assert_eq!((counts(&model), model.reason()), ((3, 1), Reason::ManualCountsHeld));
    assert!(model.fleet.instances.values().all(|one| one.role == helium_crds::instance::Role::Stable));
    no_more_by_hand(&mut model, 4);
    model.run(30);
    assert_eq!((counts(&model), model.reason()), ((4, 0), Reason::RolloutAborted));
}

#[test]
fn a_new_template_begins_after_counts_by_hand_whatever_was_aborted_before() {
    let mut model = aborted_by_hand();
    model.apply_version("v3");
    model.run(5);
    no_more_by_hand(&mut model, 3);
    model.run(60);
    assert_eq!((model.live("v3"), model.reason()), (3, Reason::AllHealthy));
}

#[test]
fn a_version_that_a_person_lets_serve_by_hand_is_not_given_up_any_more() {
    let mut model = aborted_by_hand();
    model.bad.clear();
    by_hand(&mut model, &[("v1", 1), ("v2", 3)]);
    model.run(40);
    assert_eq!((counts(&model), model.reason(), model.stage()), ((1, 3), Reason::ManualCountsHeld, None));
    no_more_by_hand(&mut model, 4);
    model.run(30);
    assert_eq!((counts(&model), model.reason()), ((0, 4), Reason::AllHealthy));
}

#[test]
fn a_retry_is_refused_while_counts_by_hand_are_on() {
    let mut model = aborted_by_hand();
    model.ask(Verb::Retry);
    model.run(5);
    assert!(model.last_refusal().is_some_and(|refused| refused.contains("by hand")), "{:?}", model.last_refusal());
    assert_eq!((model.reason(), model.stage()), (Reason::ManualCountsHeld, Some(Stage::Aborted)));
}

#[test]
fn leaving_counts_by_hand_with_another_template_begins_its_rollout() {
    let mut model = Model::new(4, 1, 0).with_canary(vec![weight(25), open_pause()]).settled();
    by_hand(&mut model, &[("v1", 4)]);
    model.run(20);
    model.apply_version("v2");
    model.run(20);
    assert_eq!((counts(&model), model.reason()), ((4, 0), Reason::ManualCountsHeld));
    no_more_by_hand(&mut model, 4);
    model.run(20);
    assert_eq!((counts(&model), model.reason()), ((3, 1), Reason::PausedAtStep));
}

#[test]
fn counts_by_hand_may_be_nothing_at_all() {
    let mut model = Model::new(3, 1, 0).settled();
    by_hand(&mut model, &[("v1", 0)]);
    model.run(20);
    assert_eq!((model.total(), model.reason()), (0, Reason::ManualCountsHeld));
    assert_eq!(model.status().stable.as_ref().map(|stable| stable.version.as_str()), Some("v1"));
}

#[test]
fn counts_by_hand_move_within_the_bounds() {
    for (surge, unavailable) in [(1, 0), (0, 1), (2, 2)] {
        let mut model = Model::new(6, surge, unavailable).settled();
        model.apply_version("v2");
        model.run(90);
        for versions in [[("v1", 3), ("v2", 3)], [("v1", 6), ("v2", 0)], [("v1", 1), ("v2", 5)]] {
            by_hand(&mut model, &versions);
            model.run(60); // the bounds are checked at every commit
            assert_eq!((counts(&model), model.reason()), ((versions[0].1, versions[1].1), Reason::ManualCountsHeld));
        }
    }
}

/// Two templates that bear one label: the label means the newer one, and a hash picks either.
#[test]
fn a_label_means_its_newest_revision_and_a_hash_picks_one() {
    let mut model = Model::new(3, 1, 0).settled();
    let older = model.status().stable.clone().unwrap().revision;
    model.deployment().spec.template.env.insert("GREETING".to_owned(), "hello".to_owned());
    model.run(60);
    let newer = model.status().stable.clone().unwrap().revision;
    assert_ne!(older, newer);
    let number = |model: &Model, revision: &helium_crds::RevisionId| {
        model.fleet.instances.values().filter(|one| one.revision == *revision).count()
    };
    by_hand(&mut model, &[("v1", 2)]);
    model.run(30);
    assert_eq!((number(&model, &older), number(&model, &newer)), (0, 2));
    let hash = |revision: &helium_crds::RevisionId| revision.as_str().split_once('-').unwrap().1[..8].to_owned();
    let (old, new) = (format!("v1@{}", hash(&older)), format!("v1@{}", hash(&newer)));
    by_hand(&mut model, &[(&old, 3), (&new, 1)]);
    model.run(30);
    assert_eq!((number(&model, &older), number(&model, &newer), model.reason()), (3, 1, Reason::ManualCountsHeld));
    by_hand(&mut model, &[("v1@0000", 3)]);
    model.run(3);
    assert_eq!(model.reason(), Reason::VersionNotFound);
}

#[test]
fn a_template_that_comes_back_keeps_the_last_of_its_former_numbers() {
    let mut model = Model::new(1, 1, 0).settled();
    let first = model.status().current.revision.clone();
    let numbers = |model: &Model| {
        let known = &model.world.revisions[&first];
        (known.number, known.formerly.clone())
    };
    assert_eq!(numbers(&model), (1, Vec::new()));
    for version in ["v2", "v1", "v3", "v1"] {
        model.apply_version(version);
        model.run(30);
    }
    assert_eq!(numbers(&model), (5, vec![1, 3]));
    for _ in 0..20 {
        model.apply_version("v2");
        model.run(30);
        model.apply_version("v1");
        model.run(30);
    }
    let last: Vec<u64> = (13..=43).step_by(2).collect();
    assert_eq!(numbers(&model), (45, last));
}

#[test]
fn a_first_version_that_a_person_gave_up_follows_a_lower_count_and_nothing_more_is_made_of_it() {
    let mut model = Model::new(4, 1, 0);
    model.run_until(30, |model| model.live("v1") == 4);
    model.ask(Verb::Abort);
    model.run_until(10, |model| model.reason() == Reason::RolloutAborted);
    model.scale(2);
    model.run_until(30, |model| model.live("v1") == 2);
    model.scale(5);
    model.run(30);
    assert_eq!((model.live("v1"), model.reason()), (2, Reason::RolloutAborted));
}

#[test]
fn two_revisions_of_one_version_are_told_apart_when_one_gives_way() {
    let mut model = Model::new(3, 1, 0).settled();
    let mut roll_out = |greeting: &str| {
        model.deployment().spec.template.env.insert("GREETING".to_owned(), greeting.to_owned());
        model.deployment().metadata.generation += 1;
        model.step();
        model.status().rollout.as_ref().map(|rollout| rollout.revision.clone()).unwrap()
    };
    let (first, second) = (roll_out("hi"), roll_out("hello"));
    let told = format!("v1 ({}) gives way to v1 ({})", first.short(), second.short());
    assert!(model.told.contains(&told), "{told} in {:?}", model.told);
}
