//! Properties: whatever people and the world do, the bounds hold at every commit, and in the end what is wanted is there.

use helium_crds::{control::Verb, status::Reason};
use proptest::prelude::*;

use crate::model::{Model, open_pause, seconds, soak, weight};

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
    DropAssignment(u8),
}

fn doing() -> impl Strategy<Value = Doing> {
    let verbs = [Verb::Promote, Verb::PromoteFull, Verb::Abort, Verb::Retry, Verb::Pause, Verb::Resume, Verb::Restart];
    prop_oneof![
        4 => (1u8..30).prop_map(Doing::Wait),
        2 => Just(Doing::ApplyGood),
        1 => Just(Doing::ApplyBad),
        1 => Just(Doing::Back),
        1 => (0u8..8).prop_map(Doing::Scale),
        2 => proptest::sample::select(verbs.to_vec()).prop_map(Doing::Ask),
        1 => any::<u8>().prop_map(Doing::Sicken),
        1 => Just(Doing::Heal),
        1 => any::<u8>().prop_map(Doing::DropAssignment),
    ]
}

fn act(model: &mut Model, doing: &Doing, number: usize) {
    match doing {
        Doing::Wait(length) => model.run(i64::from(*length)),
        Doing::ApplyGood => model.apply_version(&format!("good-{number}")),
        Doing::ApplyBad => model.apply_bad_version(&format!("bad-{number}")),
        Doing::Back => {
            let stable = model.status().stable.clone().map(|stable| stable.version);
            if let Some(version) = stable {
                model.apply_version(&version);
            }
        }
        Doing::Scale(replicas) => model.scale(u32::from(*replicas)),
        Doing::Ask(verb) => model.ask(*verb),
        Doing::Sicken(pick) => {
            let ids: Vec<_> = model.fleet.instances.keys().cloned().collect();
            if let Some(id) = ids.get(usize::from(*pick) % ids.len().max(1)) {
                model.sick.insert(id.clone());
            }
        }
        Doing::Heal => model.sick.clear(),
        Doing::DropAssignment(pick) => {
            let ids: Vec<_> = model.fleet.assignments.keys().cloned().collect();
            if let Some(id) = ids.get(usize::from(*pick) % ids.len().max(1)) {
                model.fleet.assignments.remove(id);
            }
        }
    }
    // At most two versions beside the stable one are ever alive.
    model.step();
    let stable = model.status().stable.clone().map(|stable| stable.revision);
    let tried: std::collections::BTreeSet<_> = model
        .fleet
        .instances
        .values()
        .map(|instance| instance.revision.clone())
        .filter(|revision| Some(revision) != stable.as_ref())
        .collect();
    assert!(tried.len() <= 2, "{tried:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_bounds_hold_whatever_happens_and_a_good_version_arrives_in_the_end(
        replicas in 1u32..7, surge in 0u32..3, unavailable in 0u32..3, with_canary: bool,
        doings in proptest::collection::vec(doing(), 1..14),
    ) {
        let unavailable = if surge == 0 { unavailable.max(1) } else { unavailable };
        let mut model = Model::new(replicas, surge, unavailable);
        if with_canary {
            model = model.with_canary(vec![weight(20), soak(3), weight(60), open_pause()]);
        }
        let mut model = model.settled();
        for (number, doing) in doings.iter().enumerate() {
            act(&mut model, doing, number);
        }
        model.sick.clear();
        model.world.canary = None;
        model.apply_version("last");
        model.ask(Verb::Resume);
        model.run_until(400, |model| model.reason() == Reason::AllHealthy && model.status().current.version == "last");
        model.run(20);
        prop_assert_eq!(model.reason(), Reason::AllHealthy, "{:#?}", model.status());
        prop_assert_eq!(model.live("last"), model.deployment().spec.wanted());
        let before = model.status().clone();
        model.world.now += seconds(1000);
        let plan = model.reconcile();
        prop_assert_eq!((plan.actions.len(), plan.status), (0, before));
    }
}
