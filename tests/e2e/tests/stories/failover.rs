//! Who dies, and when: the leading controller, an agent, both at bad moments; nothing is run twice and nothing is lost.

use std::{collections::BTreeSet, time::Duration};

use helium_e2e::{Availability, Consul, eventually, holds_for, process, wait};

use crate::{
    fleet::{Fleet, Instance, ROLLOUT},
    specs::{canary, deployment},
};

/// The take-over that the design promises after kill -9, and the time of a slow machine to notice it here.
const TAKE_OVER: Duration = Duration::from_secs(5);

/// The session that holds the controllers' lock, once one does.
#[track_caller]
fn leader(fleet: &Fleet) -> String {
    eventually("a controller leads", ROLLOUT, || fleet.leader_session())
}

#[track_caller]
fn another_leader(fleet: &Fleet, old: &str, limit: Duration) -> Duration {
    let start = wait::now();
    eventually("another controller leads", limit, || fleet.leader_session().filter(|session| session != old));
    wait::now() - start
}

#[test]
fn a_standby_takes_over_within_five_seconds_of_kill_9() {
    let mut fleet = Fleet::of(1);
    fleet.start_controller();
    fleet.apply(&deployment("web", "1", 2, "")).ok();
    let (old, before) = (leader(&fleet), fleet.pids());
    fleet.controllers[0].daemon.kill();
    let took = another_leader(&fleet, &old, Duration::from_secs(30));
    assert!(took <= TAKE_OVER, "it took {took:?}");
    assert_eq!(fleet.pids(), before);
    fleet.apply(&deployment("web", "2", 2, "")).ok();
}

#[test]
fn a_leader_that_is_told_to_stop_hands_over_at_once() {
    let mut fleet = Fleet::of(1);
    fleet.start_controller();
    fleet.apply(&deployment("web", "1", 1, "")).ok();
    let old = leader(&fleet);
    helium_e2e::process::terminate(fleet.controllers[0].daemon.pid());
    let took = another_leader(&fleet, &old, Duration::from_secs(30));
    assert!(took <= Duration::from_secs(2), "it took {took:?}");
    assert_eq!(fleet.controllers[0].daemon.wait(Duration::from_secs(10)), 0);
}

#[test]
fn a_canary_goes_on_under_the_next_controller_when_its_own_was_killed() {
    let mut fleet = Fleet::of(2);
    fleet.start_controller();
    let steps = canary("web", "[{setWeight: 50%}, {soak: 3s}]");
    fleet.apply(&(deployment("web", "1", 3, "") + &steps)).ok();
    let watch = Availability::of(fleet.consul.http(), "web");
    fleet.apply_only(&(deployment("web", "2", 3, "") + &steps));
    eventually("the canary runs", ROLLOUT, || (!fleet.of_version("2").is_empty()).then_some(()));
    fleet.controllers[0].daemon.kill();
    eventually("version 2 serves alone", ROLLOUT, || {
        (fleet.of_version("2").len() == 3 && fleet.of_version("1").is_empty()).then_some(())
    });
    fleet.await_phase("web", "Healthy");
    let seen = watch.seen();
    assert!(seen.fewest_passing >= 3, "{seen:?}");
}

#[test]
fn a_controller_without_a_standby_goes_on_under_its_own_name_where_it_was_killed() {
    let mut fleet = Fleet::of(2);
    let steps = canary("web", "[{setWeight: 50%}, {soak: 5s}]");
    fleet.apply(&(deployment("web", "1", 3, "") + &steps)).ok();
    let (old, watch) = (leader(&fleet), Availability::of(fleet.consul.http(), "web"));
    fleet.apply_only(&(deployment("web", "2", 3, "") + &steps));
    eventually("the canary runs", ROLLOUT, || (!fleet.of_version("2").is_empty()).then_some(()));
    fleet.controllers[0].daemon.kill();
    fleet.start_controller_again(0);
    // The lock of its former life is the lock of a dead one, although the name is the same.
    let took = another_leader(&fleet, &old, Duration::from_secs(30));
    assert!(took <= TAKE_OVER + Duration::from_secs(3), "it took {took:?}");
    eventually("version 2 serves alone", ROLLOUT, || {
        (fleet.of_version("2").len() == 3 && fleet.of_version("1").is_empty()).then_some(())
    });
    fleet.await_phase("web", "Healthy");
    let seen = watch.seen();
    assert!(seen.fewest_passing >= 3, "{seen:?}");
}

/// No instance is ever run by two processes at once.
pub(crate) fn no_twins(instances: &[Instance]) -> Result<(), String> {
    let ids: BTreeSet<&str> = instances.iter().map(|instance| instance.id.as_str()).collect();
    if ids.len() == instances.len() { Ok(()) } else { Err(format!("{instances:?}")) }
}

#[test]
fn an_agent_that_was_killed_adopts_its_instances_when_it_returns() {
    let mut fleet = Fleet::of(1);
    fleet.apply(&deployment("web", "1", 3, "")).ok();
    let before = fleet.pids();
    fleet.agent(1).kill();
    assert_eq!(fleet.pids(), before, "they go on without it");
    fleet.start_agent(1);
    holds_for("the same processes run, each once", Duration::from_secs(10), || {
        no_twins(&fleet.instances())?;
        if fleet.pids() == before { Ok(()) } else { Err(format!("{:?}", fleet.pids())) }
    });
    fleet.await_phase("web", "Healthy");
    fleet.apply(&deployment("web", "2", 3, "")).ok();
    assert_eq!(fleet.of_version("2").len(), 3);
}

#[test]
fn an_agent_that_was_told_to_stop_leaves_its_instances_running() {
    let mut fleet = Fleet::of(1);
    fleet.apply(&deployment("web", "1", 2, "")).ok();
    let before = fleet.pids();
    assert_eq!(fleet.agent(1).terminate(Duration::from_secs(30)), 0);
    assert_eq!(fleet.pids(), before);
    fleet.start_agent(1);
    holds_for("the same processes run", Duration::from_secs(5), || {
        if fleet.pids() == before { Ok(()) } else { Err(format!("{:?}", fleet.pids())) }
    });
}

#[test]
fn a_hangup_ends_neither_an_agent_nor_a_controller_and_no_instance_is_abandoned() {
    let mut fleet = Fleet::of(1);
    fleet.apply(&deployment("web", "1", 2, "")).ok();
    let before = fleet.pids();
    for _ in 0..3 {
        process::hang_up(fleet.agent(1).pid());
        process::hang_up(fleet.controllers[0].daemon.pid());
    }
    eventually("the agent has heard it", ROLLOUT, || fleet.agent_said(1).contains("SIGHUP").then_some(()));
    assert!(fleet.agent(1).is_running() && fleet.controllers[0].daemon.is_running());
    assert_eq!(fleet.pids(), before);
    fleet.apply(&deployment("web", "1", 3, "")).ok();
    let after = fleet.pids();
    assert!(before.iter().all(|(id, pid)| after.get(id) == Some(pid)), "{before:?}, then {after:?}");
    assert_eq!(fleet.agent(1).terminate(Duration::from_secs(30)), 0);
}

#[test]
fn an_agent_with_flags_that_are_wrong_does_not_start_and_says_what_would_be_right() {
    let fleet = Fleet::empty(Consul::start());
    let folder = fleet.helium.folder().join("data");
    let data = folder.to_str().unwrap();
    for (flags, words) in [
        (&["--session-ttl", "3s"][..], "Consul takes 10s to 24h"),
        (&["--session-ttl", "soon"], "invalid value 'soon' for '--session-ttl"),
        (&["--label", "zone"], "`zone` is not `name=value`"),
        (&["--helios"], "--helios-artifact 'https://files.example"),
        (&["--helios", "--helios-artifact", "x", "--helios-max-upgrades", "0"], "'--helios-max-upgrades <COUNT>'"),
    ] {
        let output = fleet.helium.run(&[&["agent", "--data-dir", data], flags].concat()).expect_code(2);
        assert!(output.says(words), "{flags:?}: {output}");
        assert!(!folder.exists(), "{flags:?} made its folder");
    }
}

#[test]
fn an_agent_killed_in_the_middle_of_a_roll_never_runs_an_instance_twice() {
    let mut fleet = Fleet::of(1);
    fleet.apply(&deployment("web", "1", 3, "")).ok();
    fleet.apply_only(&deployment("web", "2", 3, ""));
    for round in 0..4 {
        let pause = Duration::from_millis(300 * (round + 1));
        holds_for("no instance runs twice", pause, || no_twins(&fleet.instances()));
        fleet.agent(1).kill();
        fleet.start_agent(1);
    }
    eventually("version 2 serves alone", ROLLOUT, || {
        no_twins(&fleet.instances()).unwrap();
        (fleet.of_version("2").len() == 3 && fleet.of_version("1").is_empty()).then_some(())
    });
    fleet.await_phase("web", "Healthy");
}
