//! Counts: rolling, scaling, counts by version, undo; and that nothing is written when nothing is asked.

use helium_e2e::{Availability, eventually, holds_for};

use crate::{
    fleet::{Fleet, RESYNC, ROLLOUT},
    picture::Picture,
    specs::{canary, deployment},
};

#[test]
fn a_roll_keeps_every_instance_s_worth_of_service() {
    let fleet = Fleet::of(2);
    fleet.apply(&deployment("web", "1", 4, "")).ok();
    let watch = Availability::of(fleet.consul.http(), "web");
    fleet.apply(&deployment("web", "2", 4, "")).ok();
    let seen = watch.seen();
    assert!(seen.fewest_passing >= 4, "{seen:?}");
    // Four, one of the surge, and one that Consul still lists while it stops.
    assert!(seen.most_registered <= 6, "{seen:?}");
    assert_eq!((fleet.of_version("1").len(), fleet.of_version("2").len()), (0, 4));
}

#[test]
fn scale_changes_the_count_and_touches_nothing_else() {
    let fleet = Fleet::of(2);
    let both = fleet.apply(&(deployment("hello", "1", 2, "") + "---\n" + &deployment("world", "1", 1, ""))).ok();
    both.expect("deployment/hello: rolled out 1: 2/2 healthy").expect("deployment/world: rolled out 1: 1/1 healthy");
    let before = fleet.pids();
    fleet.helium.run(&["scale", "hello=4", "world=3"]).ok();
    eventually("seven run", ROLLOUT, || (fleet.instances().len() == 7).then_some(()));
    let up = fleet.pids();
    assert!(before.iter().all(|(id, pid)| up.get(id) == Some(pid)), "those that ran still run: {before:?} {up:?}");

    fleet.helium.run(&["scale", "hello=1"]).ok();
    eventually("four run", ROLLOUT, || (fleet.instances().len() == 4).then_some(()));
    fleet.helium.run_for(ROLLOUT, &["wait", "--for", "phase=Healthy", "deployment/hello", "deployment/world"]).ok();
    assert_eq!(fleet.consul.passing("hello"), 1);
}

#[test]
fn counts_by_version_hold_two_versions_and_suspend_the_canary() {
    let fleet = Fleet::of(2);
    let steps = canary("hello", "[{setWeight: 50%}, {soak: 1s}]");
    fleet.apply(&(deployment("hello", "v23", 3, "") + &steps)).ok();
    fleet.apply(&(deployment("hello", "v24", 3, "") + &steps)).ok();
    fleet.helium.run(&["scale", "hello", "--versions", "v23=1,v24=2"]).ok();
    eventually("one of v23 and two of v24 run", ROLLOUT, || {
        (fleet.of_version("v23").len() == 1 && fleet.of_version("v24").len() == 2).then_some(())
    });
    let status = fleet.await_phase("hello", "Healthy");
    let conditions = status["conditions"].as_array().unwrap();
    assert!(conditions.iter().any(|c| c["type"] == "ManualCounts" && c["status"] == true), "{status:#}");

    fleet.helium.run(&["scale", "hello", "--versions", "v23=0,v24=3"]).ok();
    eventually("only v24 runs", ROLLOUT, || {
        (fleet.of_version("v23").is_empty() && fleet.of_version("v24").len() == 3).then_some(())
    });
}

#[test]
fn undo_goes_back_to_the_version_before() {
    let fleet = Fleet::of(1);
    fleet.apply(&deployment("web", "1", 2, "")).ok();
    fleet.apply(&deployment("web", "2", 2, "")).ok();
    let history = fleet.helium.run(&["rollout", "history", "web"]).ok();
    assert!(history.says("1") && history.says("2"), "{history}");
    fleet.helium.run(&["rollout", "undo", "web"]).ok();
    eventually("version 1 serves again", ROLLOUT, || {
        (fleet.of_version("1").len() == 2 && fleet.of_version("2").is_empty()).then_some(())
    });
    fleet.await_phase("web", "Healthy");
    let again = fleet.helium.run_for(ROLLOUT, &["rollout", "undo", "web", "--to-revision", "3", "--wait"]).ok();
    again.expect("deployment/web unchanged: it is at revision 3 already");
    fleet
        .helium
        .run_for(ROLLOUT, &["rollout", "undo", "web", "--wait"])
        .ok()
        .expect("(1 -> 2)")
        .expect("rolled out 2: 2/2 healthy");
    assert_eq!((fleet.of_version("1").len(), fleet.of_version("2").len()), (0, 2));
}

#[test]
fn a_restart_replaces_every_instance_by_one_of_the_same_version() {
    let fleet = Fleet::of(1);
    fleet.apply(&deployment("web", "1", 2, "")).ok();
    let before = fleet.pids();
    fleet.helium.run(&["rollout", "restart", "web"]).ok();
    eventually("two new ones run alone", ROLLOUT, || {
        let now = fleet.pids();
        (now.len() == 2 && now.keys().all(|id| !before.contains_key(id))).then_some(())
    });
    assert_eq!(fleet.of_version("1").len(), 2);
}

#[test]
fn a_second_apply_of_the_same_file_and_a_system_at_rest_write_nothing() {
    let fleet = Fleet::of(2);
    let yaml = deployment("web", "1", 3, "") + &canary("web", "[{setWeight: 50%}]");
    fleet.apply(&yaml).ok();
    fleet.await_phase("web", "Healthy");
    let (rest, all) = (Picture::at_rest(&fleet), || fleet.consul.fingerprint("helium/"));
    let written = all();
    fleet.apply_only(&yaml);
    // Longer than the interval at which the controller looks at everything again.
    holds_for("no key changes", RESYNC + RESYNC / 4, || {
        rest.still_holds(&fleet)?;
        if all() == written { Ok(()) } else { Err(format!("{written:?} became {:?}", all())) }
    });
}
