//! Instances that die at bad moments: in the middle of a roll, as the canary, as the last one that is healthy.

use std::{collections::BTreeSet, time::Duration};

use helium_e2e::{Availability, eventually, process, wait};

use crate::{
    failover::no_twins,
    fleet::{Fleet, ROLLOUT},
    specs::{canary, deployment, with_flags},
};

/// Waits until version 2 alone runs, with `count` instances, none of them twice.
#[track_caller]
fn version_2_serves_alone(fleet: &Fleet, count: usize) {
    eventually("version 2 serves alone", ROLLOUT, || {
        no_twins(&fleet.instances()).unwrap();
        (fleet.of_version("2").len() == count && fleet.of_version("1").is_empty()).then_some(())
    });
    fleet.await_phase("web", "Healthy");
}

#[test]
fn instances_of_both_versions_that_die_in_the_middle_of_a_roll_cost_only_themselves() {
    let fleet = Fleet::of(2);
    fleet.apply(&deployment("web", "1", 4, "")).ok();
    let watch = Availability::of(fleet.consul.http(), "web");
    fleet.apply_only(&deployment("web", "2", 4, ""));
    eventually("version 2 runs too", ROLLOUT, || (!fleet.of_version("2").is_empty()).then_some(()));
    for victims in [fleet.of_version("1"), fleet.of_version("2")] {
        process::kill(victims[0].pid);
    }
    version_2_serves_alone(&fleet, 4);
    let seen = watch.seen();
    assert!(seen.fewest_passing >= 2, "the two that were killed, and nobody else: {seen:?}");
    assert!(seen.most_registered <= 6, "{seen:?}");
}

#[test]
fn a_canary_that_dies_once_has_to_stand_its_whole_soak_anew() {
    let fleet = Fleet::of(2);
    let patient = canary("web", "[{setWeight: 25%}, {soak: 6s}]").replace("failuresInARow: 2", "failuresInARow: 20");
    fleet.apply(&(deployment("web", "1", 3, "") + &patient)).ok();
    let watch = Availability::of(fleet.consul.http(), "web");
    fleet.apply_only(&(deployment("web", "2", 3, "") + &patient));
    eventually("the canary soaks", ROLLOUT, || (fleet.consul.passing("web") == 4).then_some(()));
    let [victim] = fleet.of_version("2").try_into().unwrap();
    process::kill(victim.pid);
    let killed = wait::now();
    eventually("the canary runs again", ROLLOUT, || {
        fleet.of_version("2").iter().any(|now| now.id == victim.id && now.pid != victim.pid).then_some(())
    });
    eventually("the rollout goes on", ROLLOUT, || (fleet.of_version("2").len() > 1).then_some(()));
    let took = wait::now() - killed;
    assert!(took >= Duration::from_secs(6), "promoted {took:?} after its death, before it had soaked again");
    version_2_serves_alone(&fleet, 3);
    let seen = watch.seen();
    assert!(seen.fewest_passing >= 3, "{seen:?}");
}

#[test]
fn a_canary_that_dies_again_and_again_is_given_up_and_the_stable_version_is_not_touched() {
    let fleet = Fleet::of(2);
    let steps = canary("web", "[{setWeight: 25%}, {soak: 30s}]");
    fleet.apply(&(deployment("web", "1", 3, "") + &steps)).ok();
    let before = fleet.pids();
    fleet.apply_only(&(deployment("web", "2", 3, "") + &steps));
    let mut killed = BTreeSet::new();
    eventually("the canary is given up", ROLLOUT, || {
        for canary in fleet.of_version("2") {
            process::kill(canary.pid);
            killed.insert(canary.pid);
        }
        let status = fleet.status("web");
        (status["phase"] == "Degraded" && status["reason"] == "RolloutAborted").then_some(())
    });
    assert!(killed.len() > 1, "it was started again at least once: {killed:?}");
    eventually("only version 1 runs", ROLLOUT, || (fleet.pids() == before).then_some(()));
    assert_eq!(fleet.consul.passing("web"), 3);
}

#[test]
fn when_the_last_healthy_instance_dies_beside_a_version_that_is_broken_its_version_serves_again() {
    let fleet = Fleet::of(1);
    fleet.apply(&deployment("web", "1", 1, "")).ok();
    let [only] = fleet.of_version("1").try_into().unwrap();
    let broken =
        with_flags("web", "2", 1, "--fail-health", "").replace("progressDeadline: 30s", "progressDeadline: 12s");
    fleet.apply_only(&broken);
    eventually("the broken version runs beside it", ROLLOUT, || (!fleet.of_version("2").is_empty()).then_some(()));
    process::kill(only.pid);
    // Whether the same instance returns or another one is made of its version is the planner's choice: an old instance that is not
    // healthy holds no place against a new version. That it ends well is not.
    fleet.await_phase("web", "Degraded");
    eventually("version 1 alone runs, and passes", ROLLOUT, || {
        no_twins(&fleet.instances()).unwrap();
        let alone = fleet.of_version("1").len() == 1 && fleet.of_version("2").is_empty();
        (alone && fleet.consul.passing("web") == 1).then_some(())
    });
    let status = fleet.await_phase("web", "Degraded");
    assert_eq!(
        (&status["reason"], &status["stable"]["version"]),
        (&"RolloutAborted".into(), &"1".into()),
        "{status:#}"
    );
}
