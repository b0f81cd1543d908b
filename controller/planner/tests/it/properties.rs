//! Properties that hold whatever people and the world do, leaders, clocks and nodes included, in every crossing:
//!
//! - the bounds of surge and unavailability hold at every commit, and no plan does what no plan may;
//! - a plan that is made twice changes nothing the second time, one that says that it comes to rest is the last, and time alone changes nothing before the instant at which the plan
//!   asked to be made again;
//! - in the end what is wanted is there, and nothing else.

use std::collections::BTreeSet;

use helium_crds::{
    NodeName, Phase, RevisionId,
    canary::TrafficRouting,
    control::Verb,
    deployment::{OnFailure, Recreate, Strategy as Moving, VersionCount},
    instance::{Desired, Instance},
    status::{Reason, Rollout, STABLE_WEIGHT, Stage},
};
use helium_planner::{Action, Decision, Node, Plan, Sight, Trusted, plan};
use jiff::SignedDuration;
use proptest::prelude::*;

use crate::model::{Model, NODE, open_pause, seconds, soak, weight};

#[derive(Clone, Debug)]
enum Doing {
    Wait(u8),
    ApplyGood,
    ApplyBad,
    Back,
    Scale(u8),
    Ask(Verb),
    Sicken(u8),
    Heal,
    ByHand(u8, u8),
    UnknownByHand,
    OnFailure(bool),
    Strategy(bool),
    Exact(bool),
    Routing(bool),
    DropCanary,
    BreakCanary(bool),
    EditSteps(u8),
    EditLaterSteps(u8),
    Leave(bool),
    Return,
    NewLeader,
    OtherClock(i16),
    MoveIndexes,
    DropRecord(u8),
    DropAssignment(u8),
}

fn doing() -> impl Strategy<Value = Doing> {
    let verbs = [Verb::Promote, Verb::PromoteFull, Verb::Abort, Verb::Retry, Verb::Pause, Verb::Resume, Verb::Restart];
    prop_oneof![
        6 => (1u8..40).prop_map(Doing::Wait),
        1 => Just(Doing::Wait(90)),
        2 => Just(Doing::ApplyGood),
        2 => Just(Doing::ApplyBad),
        1 => Just(Doing::Back),
        1 => (0u8..7).prop_map(Doing::Scale),
        3 => proptest::sample::select(verbs.to_vec()).prop_map(Doing::Ask),
        1 => any::<u8>().prop_map(Doing::Sicken),
        1 => Just(Doing::Heal),
        1 => (0u8..4, 0u8..4).prop_map(|(old, new)| Doing::ByHand(old, new)),
        1 => Just(Doing::UnknownByHand),
        1 => any::<bool>().prop_map(Doing::OnFailure),
        1 => any::<bool>().prop_map(Doing::Strategy),
        1 => any::<bool>().prop_map(Doing::Exact),
        1 => any::<bool>().prop_map(Doing::Routing),
        1 => Just(Doing::DropCanary),
        1 => any::<bool>().prop_map(Doing::BreakCanary),
        1 => (1u8..100).prop_map(Doing::EditSteps),
        1 => (1u8..100).prop_map(Doing::EditLaterSteps),
        1 => any::<bool>().prop_map(Doing::Leave),
        2 => Just(Doing::Return),
        1 => Just(Doing::NewLeader),
        1 => (-3600i16..60).prop_map(Doing::OtherClock),
        1 => Just(Doing::MoveIndexes),
        1 => any::<u8>().prop_map(Doing::DropRecord),
        1 => any::<u8>().prop_map(Doing::DropAssignment),
    ]
}

fn nth<K: Clone>(keys: impl Iterator<Item = K>, pick: u8) -> Option<K> {
    let keys: Vec<K> = keys.collect();
    keys.get(usize::from(pick) % keys.len().max(1)).cloned()
}

fn act(model: &mut Model, doing: &Doing, number: usize) {
    match doing {
        Doing::Wait(length) => model.run(i64::from(*length)),
        Doing::ApplyGood => model.apply_version(&format!("good-{number}")),
        Doing::ApplyBad => model.apply_bad_version(&format!("bad-{number}")),
        Doing::Back => {
            if let Some(stable) = model.status().stable.clone() {
                model.apply_version(&stable.version);
            }
        }
        Doing::Scale(replicas) => {
            model.deployment().spec.versions = None;
            model.scale(u32::from(*replicas));
        }
        Doing::Ask(verb) => model.ask(*verb),
        Doing::Sicken(pick) => model.sick.extend(nth(model.fleet.instances.keys().cloned(), *pick)),
        Doing::Heal => model.sick.clear(),
        Doing::ByHand(old, new) => {
            let stable = model.status().stable.as_ref().map_or_else(|| "v1".to_owned(), |one| one.version.clone());
            let current = model.status().current.version.clone();
            by_hand(model, &[(&stable, *old), (&current, *new)]);
        }
        Doing::UnknownByHand => by_hand(model, &[("never", 2)]),
        Doing::OnFailure(pause) => {
            model.deployment().spec.on_failure = if *pause { OnFailure::Pause } else { OnFailure::Rollback };
        }
        Doing::Strategy(recreate) => {
            let rolling = Moving::Rolling(helium_crds::deployment::Rolling::default());
            model.deployment().spec.strategy = if *recreate { Moving::Recreate(Recreate {}) } else { rolling };
        }
        Doing::Exact(exact) => model.world.canary.iter_mut().for_each(|canary| canary.spec.exact = *exact),
        Doing::Routing(weights) => {
            let routing = if *weights { TrafficRouting::ConsulWeights } else { TrafficRouting::InstanceRatio };
            model.world.canary.iter_mut().for_each(|canary| canary.spec.traffic_routing = routing);
        }
        Doing::DropCanary => model.drop_canary(),
        Doing::EditSteps(share) => {
            let steps = vec![weight(*share), soak(4), open_pause()];
            model.world.canary.iter_mut().for_each(|canary| canary.spec.steps.clone_from(&steps));
        }
        Doing::EditLaterSteps(share) => {
            let later = [weight(*share), open_pause()];
            let keep = |step: u32| usize::try_from(step).unwrap() + 1;
            let upto = model.at_step().map_or(0, keep);
            model.world.canary.iter_mut().for_each(|canary| {
                canary.spec.steps.truncate(upto);
                canary.spec.steps.extend(later.clone());
            });
        }
        Doing::BreakCanary(broken) => {
            if *broken {
                model.break_canary("its Canary: no steps");
            } else {
                model.mend_canary();
            }
        }
        _ => the_world_acts(model, doing),
    }
}

fn the_world_acts(model: &mut Model, doing: &Doing) {
    match doing {
        Doing::Leave(both) => {
            for node in ["node-b", NODE].into_iter().take(1 + usize::from(*both)) {
                model.fleet.nodes.get_mut(&NodeName::new(node)).unwrap().alive = false;
                model.away.insert(NodeName::new(node));
            }
        }
        Doing::Return => {
            model.away.clear();
            model.fleet.nodes.values_mut().for_each(|node| node.alive = true);
        }
        Doing::NewLeader => model.world.watching_since = model.world.now,
        Doing::OtherClock(off) => {
            model.world.now += seconds(i64::from(*off));
            model.world.watching_since = model.world.now;
        }
        Doing::MoveIndexes => model.fleet.catalog.values_mut().for_each(|entry| entry.check_index += 5),
        Doing::DropRecord(pick) => {
            if let Some(id) = nth(model.fleet.instances.keys().cloned(), *pick) {
                model.fleet.instances.remove(&id);
            }
        }
        Doing::DropAssignment(pick) => {
            if let Some(id) = nth(model.fleet.assignments.keys().cloned(), *pick) {
                model.fleet.assignments.remove(&id);
            }
        }
        _ => {}
    }
}

fn by_hand(model: &mut Model, counts: &[(&str, u8)]) {
    let count =
        |&(version, number): &(&str, u8)| VersionCount { version: version.to_owned(), replicas: u32::from(number) };
    model.deployment().spec.replicas = None;
    model.deployment().spec.versions = Some(counts.iter().map(count).collect());
}

/// Plans and commits until a plan changes nothing any more; nobody else acts and no time passes.
fn come_to_rest(model: &mut Model) -> Plan {
    let mut last: Option<Plan> = None;
    for _ in 0..12 {
        let before = model.clone();
        let plan = model.reconcile();
        check(&before, model, &plan);
        if let Some(last) = last.replace(plan.clone()).filter(Plan::comes_to_rest) {
            assert_eq!((&plan.actions, &plan.events), (&Vec::new(), &Vec::new()), "after what came to rest: {last:#?}");
            assert_eq!((&plan.status, plan.requeue_after), (&last.status, last.requeue_after));
        }
        if plan.actions.is_empty() && plan.events.is_empty() && plan.status == *before.status() {
            return plan;
        }
    }
    panic!("plans go on changing something: {:#?}", model.status());
}

/// What no plan may ever do.
fn check(before: &Model, after: &Model, plan: &Plan) {
    let status = &plan.status;
    let stage = status.rollout.as_ref().map(|rollout| rollout.stage);
    let given_up = matches!(stage, Some(Stage::RollingBack | Stage::Aborted | Stage::RollbackFailed));
    let by_hand = after.world.deployment.spec.versions.is_some();
    assert_eq!(status.phase, status.reason.phase());
    for action in &plan.actions {
        match action {
            Action::Create(instance, assignment) => {
                assert!(status.wanted > 0 || status.phase == Phase::Invalid || held(plan), "{plan:#?}");
                assert_eq!((instance.desired, assignment.desired), (Desired::Run, Desired::Run));
                let back = status.stable.as_ref().is_none_or(|stable| stable.revision == instance.revision);
                let may_be = back || by_hand || !given_up || stage == Some(Stage::RollbackFailed);
                assert!(may_be, "a given-up version is made: {plan:#?}");
            }
            Action::Stop(instance, assignment, _) => {
                assert_eq!((instance.desired, assignment.desired), (Desired::Stop, Desired::Stop));
            }
            _ => {}
        }
    }
    if let Some(rollout) = status.rollout.as_ref().filter(|rollout| made(plan, &rollout.revision) > 0) {
        check_tried(before, after, plan, rollout);
    }
}

/// What a plan that makes instances of the version that is tried may do: no more canaries than the step says, and no third version.
fn check_tried(before: &Model, after: &Model, plan: &Plan, rollout: &Rollout) {
    let live = |model: &Model, revision: &RevisionId| {
        let runs = |one: &&Instance| one.revision == *revision && one.desired == Desired::Run;
        u32::try_from(model.fleet.instances.values().filter(runs).count()).unwrap()
    };
    let moves = plan.status.phase != Phase::Invalid && !held(plan) && rollout.stage == Stage::Steps;
    if let Some(weight) = rollout.weight.filter(|_| moves && after.away.is_empty()) {
        let canaries = live(after, &rollout.revision);
        assert!(canaries <= weight.canary, "{canaries} canaries of {}: {plan:#?}", weight.canary);
    }
    let stable = plan.status.stable.as_ref().map(|stable| &stable.revision);
    let there = |model: &Model| model.fleet.instances.values().any(|one| one.revision == rollout.revision);
    if after.world.deployment.spec.versions.is_none() && stable != Some(&rollout.revision) && !there(before) {
        let revisions: BTreeSet<_> = after.fleet.instances.values().map(|one| &one.revision).collect();
        let tried = revisions.into_iter().filter(|revision| Some(*revision) != stable).count();
        assert!(tried <= 2, "a third version is begun: {plan:#?}");
    }
}

fn made(plan: &Plan, revision: &RevisionId) -> usize {
    plan.actions.iter().filter(|action| matches!(action, Action::Create(one, _) if one.revision == *revision)).count()
}

fn held(plan: &Plan) -> bool {
    plan.status.rollout.as_ref().is_some_and(|rollout| rollout.hold.is_some() || rollout.stage == Stage::RollbackFailed)
}

/// At rest everything weighs in Consul what it should: nothing on its own without a Canary that routes by weights, and what is no canary always
/// the same under one.
fn check_weights(model: &Model) {
    let (status, canary) = (model.status(), model.world.canary.as_ref());
    let routed = canary.is_some_and(|canary| canary.spec.traffic_routing == TrafficRouting::ConsulWeights);
    if model.world.canary_problem.is_some() {
        return;
    }
    for assignment in model.fleet.assignments.values().filter(|one| one.desired == Desired::Run) {
        let stable = status.stable.as_ref().is_some_and(|stable| stable.revision == assignment.revision);
        let weight = assignment.service.weight;
        assert!(weight.is_some() == routed, "{weight:?}: {status:#?}");
        assert!(!routed || !stable || weight == Some(STABLE_WEIGHT), "{weight:?}: {status:#?}");
    }
}

/// At rest every instance is counted once, and of those on lost nodes only as many are kept as nothing has replaced.
fn check_counts(model: &Model, plan: &Plan) {
    let status = &plan.status;
    let now = model.world.now;
    let lost = |one: &&Instance| {
        let since = one.node_missing_since.map(|since| since.min(now).max(model.world.watching_since));
        since.is_some_and(|since| since + model.world.lost_after <= now)
    };
    let running: Vec<&Instance> = model.fleet.instances.values().filter(|one| one.desired == Desired::Run).collect();
    let (lost, seen): (Vec<&Instance>, Vec<&Instance>) = running.into_iter().partition(lost);
    let assigned: u32 = status.versions.iter().map(|version| version.assigned).sum();
    let healthy: u32 = status.versions.iter().map(|version| version.healthy).sum();
    assert_eq!((assigned as usize, healthy), (seen.len(), status.healthy), "{status:#?}");
    if status.restart_before.is_some() {
        return; // what was made before the restart fills no place, and goes when its replacement runs
    }
    for one in &lost {
        let kept = lost.iter().filter(|other| other.revision == one.revision).count();
        let version = status.versions.iter().find(|version| version.revision == one.revision);
        let lacking = version.map_or(0, |version| version.desired.saturating_sub(version.assigned));
        assert!(kept <= lacking as usize, "{kept} kept on lost nodes where {lacking} are lacking: {status:#?}");
    }
}

/// At rest, time alone changes nothing before the instant for which the plan asked.
fn time_alone_changes_nothing(model: &Model, plan_at_rest: &Plan) {
    let wait = plan_at_rest.requeue_after.map_or(seconds(100_000), |after| SignedDuration::try_from(after).unwrap());
    for part in [2, 1] {
        let mut world = model.world.clone();
        world.now += wait / part - SignedDuration::from_millis(2);
        world.fleet = Sight::Trusted(Trusted::vouch(model.fleet.clone()));
        let Decision::Go(later) = plan(&world) else { panic!("blind") };
        assert_eq!((&later.actions, &later.events), (&Vec::new(), &Vec::new()), "after {wait:?} / {part}");
        assert_eq!(later.status, plan_at_rest.status, "after {wait:?} / {part}");
    }
}

fn two_nodes(replicas: u32, surge: u32, unavailable: u32, with_canary: bool) -> Model {
    let mut model = Model::new(replicas, surge, unavailable);
    model.fleet.nodes.insert(NodeName::new("node-b"), Node { alive: true, ..Node::default() });
    if with_canary {
        model = model.with_canary(vec![weight(20), soak(3), weight(60), open_pause()]);
    }
    model.settled()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_bounds_hold_plans_come_to_rest_and_in_the_end_what_is_wanted_is_there(
        replicas in 1u32..7, surge in 0u32..3, unavailable in 0u32..3, with_canary: bool, delete in 0u8..4,
        doings in proptest::collection::vec(doing(), 1..16),
    ) {
        let unavailable = if surge == 0 { unavailable.max(1) } else { unavailable };
        let mut model = two_nodes(replicas, surge, unavailable, with_canary);
        for (number, doing) in doings.iter().enumerate() {
            act(&mut model, doing, number);
            model.step(); // and with every step the bounds are checked
            let plan = come_to_rest(&mut model);
            check_counts(&model, &plan);
            check_weights(&model);
            time_alone_changes_nothing(&model, &plan);
        }
        the_world_acts(&mut model, &Doing::Return);
        model.sick.clear();
        if delete == 0 {
            model.strict = false;
            model.deployment().metadata.deletion_requested_at = Some(model.world.now);
            model.run(20);
            let plan = model.reconcile();
            prop_assert_eq!(plan.actions, vec![Action::RemoveObject], "{:#?}", model.fleet.instances);
            return Ok(());
        }
        model.drop_canary();
        model.deployment().spec.versions = None;
        model.scale(replicas);
        model.apply_version("last");
        model.run_until(500, |model| model.reason() == Reason::AllHealthy && model.status().current.version == "last");
        model.run(30);
        prop_assert_eq!((model.reason(), model.live("last"), model.total()), (Reason::AllHealthy, replicas, replicas));
        let plan = come_to_rest(&mut model);
        prop_assert_eq!(plan.requeue_after, None);
        time_alone_changes_nothing(&model, &plan);
    }
}
