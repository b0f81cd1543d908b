//! Properties of rest: whatever has happened, leaders, clocks and nodes included, a plan that is made twice changes nothing the
//! second time, and time alone changes nothing before the instant at which the plan asked to be made again.

use helium_crds::{
    NodeName,
    control::Verb,
    deployment::{OnFailure, Recreate, Strategy as Rollout, VersionCount},
    instance::Desired,
    status::{Reason, Stage},
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
    DropCanary,
    EditSteps(u8),
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
        1 => Just(Doing::DropCanary),
        1 => (1u8..100).prop_map(Doing::EditSteps),
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
            let rolling = Rollout::Rolling(helium_crds::deployment::Rolling::default());
            model.deployment().spec.strategy = if *recreate { Rollout::Recreate(Recreate {}) } else { rolling };
        }
        Doing::Exact(exact) => model.world.canary.iter_mut().for_each(|canary| canary.spec.exact = *exact),
        Doing::DropCanary => model.world.canary = None,
        Doing::EditSteps(share) => {
            let steps = vec![weight(*share), soak(4), open_pause()];
            model.world.canary.iter_mut().for_each(|canary| canary.spec.steps.clone_from(&steps));
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
    for _ in 0..12 {
        let before = model.status().clone();
        let plan = model.reconcile();
        check(model, &plan);
        if plan.actions.is_empty() && plan.events.is_empty() && plan.status == before {
            return plan;
        }
    }
    panic!("plans go on changing something: {:#?}", model.status());
}

/// What no plan may ever do.
fn check(model: &Model, plan: &Plan) {
    let wanted = model.world.deployment.spec.wanted();
    let stage = plan.status.rollout.as_ref().map(|rollout| rollout.stage);
    let given_up = matches!(stage, Some(Stage::RollingBack | Stage::Aborted | Stage::RollbackFailed));
    assert_eq!(plan.status.phase, plan.status.reason.phase());
    for action in &plan.actions {
        match action {
            Action::Create(instance, assignment) => {
                assert!(wanted > 0 || plan.status.phase == helium_crds::Phase::Invalid || held(plan), "{plan:#?}");
                assert_eq!((instance.desired, assignment.desired), (Desired::Run, Desired::Run));
                let back = plan.status.stable.as_ref().is_none_or(|stable| stable.revision == instance.revision);
                assert!(
                    back || !given_up || stage == Some(Stage::RollbackFailed),
                    "a given-up version is made: {plan:#?}"
                );
            }
            Action::Stop(instance, assignment, _) => {
                assert_eq!((instance.desired, assignment.desired), (Desired::Stop, Desired::Stop));
            }
            _ => {}
        }
    }
}

fn held(plan: &Plan) -> bool {
    plan.status.rollout.as_ref().is_some_and(|rollout| rollout.hold.is_some() || rollout.stage == Stage::RollbackFailed)
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
    let mut model = model.settled();
    model.strict = false;
    model
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn plans_come_to_rest_and_wake_in_time_and_everything_heals_or_goes_in_the_end(
        replicas in 1u32..6, surge in 0u32..3, unavailable in 0u32..3, with_canary: bool, delete: bool,
        doings in proptest::collection::vec(doing(), 1..16),
    ) {
        let unavailable = if surge == 0 { unavailable.max(1) } else { unavailable };
        let mut model = two_nodes(replicas, surge, unavailable, with_canary);
        for (number, doing) in doings.iter().enumerate() {
            act(&mut model, doing, number);
            model.step();
            let plan = come_to_rest(&mut model);
            time_alone_changes_nothing(&model, &plan);
        }
        the_world_acts(&mut model, &Doing::Return);
        model.sick.clear();
        if delete {
            model.deployment().metadata.deletion_requested_at = Some(model.world.now);
            model.run(20);
            let plan = model.reconcile();
            prop_assert_eq!(plan.actions, vec![Action::RemoveObject], "{:#?}", model.fleet.instances);
            return Ok(());
        }
        model.world.canary = None;
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
