//! Consul away, frozen, restarted, restored: Helium carries on with what it runs, and acts only on what it can trust.

use std::time::Duration;

use helium_e2e::{Availability, Consul, Options, eventually, holds_for};

use crate::{
    failover::no_twins,
    fleet::{Fleet, ROLLOUT},
    picture::Picture,
    specs::{canary, deployment},
};

/// Nothing is started, stopped or replaced for `length`.
#[track_caller]
fn nothing_moves(fleet: &Fleet, what: &str, length: Duration) {
    let before = fleet.pids();
    holds_for(what, length, || {
        let now = fleet.pids();
        if now == before { Ok(()) } else { Err(format!("{before:?} became {now:?}")) }
    });
}

pub(crate) fn durable() -> Consul {
    Consul::with(Options { durable: true, ..Options::default() })
}

#[test]
fn a_consul_that_is_frozen_for_20_s_costs_nothing_not_even_the_leader() {
    let [consul, second, third] = Consul::cluster();
    let mut fleet = Fleet::on(consul, 2);
    fleet.start_controller();
    fleet.apply(&deployment("web", "1", 3, "")).ok();
    let before = Picture::at_rest(&fleet);
    let leader = fleet.leader_session();
    for server in [&fleet.consul, &second, &third] {
        server.freeze();
    }
    nothing_moves(&fleet, "the instances run on", Duration::from_secs(20));
    for server in [&fleet.consul, &second, &third] {
        server.thaw();
    }
    eventually("both controllers are ready again", ROLLOUT, || {
        fleet.controllers.iter().all(crate::fleet::Controller::is_ready).then_some(())
    });
    holds_for("nothing is done or written", Duration::from_secs(10), || before.still_holds(&fleet));
    assert!(leader.is_some());
    assert_eq!(fleet.leader_session(), leader, "the same session leads");
    fleet.apply(&deployment("web", "2", 3, "")).ok();
}

#[test]
fn without_consul_only_those_stop_that_must_not_run_unseen_and_they_are_back_with_it() {
    let mut fleet = Fleet::on(durable(), 1);
    fleet.apply(&deployment("web", "1", 1, "")).ok();
    fleet.apply(&deployment("shy", "1", 1, "  stopAfterDisconnect: 10s\n")).ok();
    let before = fleet.pids();
    let of = |name: &str| fleet.pids().into_iter().find(|(id, _)| id.starts_with(name));
    let (web, shy) = (of("web"), of("shy"));
    assert!(web.is_some() && shy.is_some(), "{before:?}");
    fleet.consul.kill();
    eventually("the one has stopped", ROLLOUT, || fleet.pids().keys().all(|id| !id.starts_with("shy")).then_some(()));
    nothing_moves(&fleet, "it stays so", Duration::from_secs(3));
    fleet.agent(1).kill();
    fleet.start_agent(1);
    nothing_moves(&fleet, "under the next agent too", Duration::from_secs(5));
    fleet.consul.start_again();
    let of = |name: &str| fleet.pids().into_iter().find(|(id, _)| id.starts_with(name));
    eventually("it is back", ROLLOUT, || of("shy"));
    fleet.await_phase("shy", "Healthy");
    assert_eq!(of("web"), web, "the other never noticed");
    assert_ne!(of("shy"), shy);
}

#[test]
fn a_leader_of_consul_that_dies_in_the_middle_of_a_roll_delays_it_and_no_more() {
    let mut servers = Consul::cluster();
    servers.sort_by_key(Consul::leads);
    let [ours, _other, mut leading] = servers;
    assert!(leading.leads());
    let fleet = Fleet::on(ours, 2);
    fleet.apply(&deployment("web", "1", 4, "")).ok();
    let watch = Availability::of(fleet.consul.http(), "web");
    fleet.apply_only(&deployment("web", "2", 4, ""));
    eventually("version 2 runs too", ROLLOUT, || (!fleet.of_version("2").is_empty()).then_some(()));
    leading.kill();
    eventually("version 2 serves alone", ROLLOUT, || {
        (fleet.of_version("2").len() == 4 && fleet.of_version("1").is_empty()).then_some(())
    });
    fleet.await_phase("web", "Healthy");
    let seen = watch.seen();
    assert!(seen.fewest_passing >= 4, "{seen:?}");
}

#[test]
fn a_consul_that_restarts_in_the_middle_of_a_roll_delays_it_and_no_more() {
    let mut fleet = Fleet::on(durable(), 2);
    fleet.apply(&deployment("web", "1", 4, "")).ok();
    fleet.apply_only(&deployment("web", "2", 4, ""));
    eventually("version 2 runs too", ROLLOUT, || (!fleet.of_version("2").is_empty()).then_some(()));
    fleet.consul.kill();
    nothing_moves(&fleet, "without Consul nothing is stopped", Duration::from_secs(5));
    fleet.consul.start_again();
    eventually("version 2 serves alone", ROLLOUT, || {
        let running = fleet.instances();
        no_twins(&running).unwrap();
        assert!(running.len() >= 4, "{} run", running.len());
        (fleet.of_version("2").len() == 4 && fleet.of_version("1").is_empty()).then_some(())
    });
    fleet.await_phase("web", "Healthy");
    assert_eq!(fleet.consul.passing("web"), 4);
}

#[test]
fn a_snapshot_of_the_middle_of_a_canary_is_gone_on_with_from_there() {
    let fleet = Fleet::on(durable(), 2);
    let steps = canary("web", "[{setWeight: 50%}, {pause: {}}]");
    fleet.apply(&(deployment("web", "1", 2, "") + &steps)).ok();
    fleet.apply_only(&(deployment("web", "2", 2, "") + &steps));
    fleet.await_phase("web", "Paused");
    let paused = Picture::at_rest(&fleet);
    let snapshot = fleet.consul.snapshot();
    fleet.helium.run(&["canary", "promote", "web"]).ok();
    eventually("version 2 serves alone", ROLLOUT, || {
        (fleet.of_version("2").len() == 2 && fleet.of_version("1").is_empty()).then_some(())
    });
    fleet.await_phase("web", "Healthy");

    fleet.consul.restore(&snapshot);
    eventually("what the snapshot says runs again, each once", ROLLOUT, || {
        no_twins(&fleet.instances()).unwrap();
        let running = fleet.pids();
        paused.pids.keys().all(|id| running.contains_key(id)).then_some(())
    });
    fleet.await_phase("web", "Paused");
    fleet.helium.run(&["canary", "promote", "web"]).ok();
    eventually("version 1 is gone again", ROLLOUT, || {
        no_twins(&fleet.instances()).unwrap();
        fleet.of_version("1").is_empty().then_some(())
    });
    fleet.await_phase("web", "Healthy");
    assert!(fleet.consul.passing("web") >= 2);
}

#[test]
fn a_consul_that_was_killed_and_started_again_finds_everything_as_it_was() {
    let mut fleet = Fleet::on(durable(), 2);
    fleet.apply(&deployment("web", "1", 3, "")).ok();
    let before = fleet.pids();
    fleet.consul.kill();
    nothing_moves(&fleet, "the instances run on", Duration::from_secs(5));
    fleet.consul.start_again();
    eventually("all pass again", ROLLOUT, || (fleet.consul.passing("web") == 3).then_some(()));
    nothing_moves(&fleet, "nothing is replaced", Duration::from_secs(10));
    assert_eq!(fleet.pids(), before);
    fleet.apply(&deployment("web", "2", 3, "")).ok();
}

#[test]
fn an_instance_that_dies_while_consul_is_away_is_started_again_by_its_agent() {
    let mut fleet = Fleet::on(durable(), 1);
    fleet.apply(&deployment("web", "1", 2, "")).ok();
    fleet.consul.kill();
    let before = fleet.pids();
    let (id, pid) = before.first_key_value().unwrap();
    helium_e2e::process::kill(*pid);
    eventually("it runs again", ROLLOUT, || fleet.pids().get(id).is_some_and(|now| now != pid).then_some(()));
    fleet.consul.start_again();
    eventually("all pass again", ROLLOUT, || (fleet.consul.passing("web") == 2).then_some(()));
}

#[test]
fn a_client_agent_of_consul_that_leaves_and_returns_has_nothing_replaced() {
    a_client_agent_goes_and_returns(Consul::terminate);
}

/// The others find out by themselves, and call the node's own check critical.
#[test]
fn a_client_agent_of_consul_that_is_killed_and_started_again_has_nothing_replaced() {
    a_client_agent_goes_and_returns(Consul::kill);
}

#[track_caller]
fn a_client_agent_goes_and_returns(go: fn(&mut Consul)) {
    let server = durable();
    let mut client = server.client("host-1");
    let mut fleet = Fleet::empty(server);
    fleet.start_controller();
    fleet.start_agent_at(1, &client);
    fleet.await_ready();
    fleet.apply(&deployment("web", "1", 3, "")).ok();
    let before = fleet.pids();
    go(&mut client);
    eventually("its services pass no more", Duration::from_secs(100), || {
        (fleet.consul.passing("web") == 0).then_some(())
    });
    nothing_moves(&fleet, "nothing is replaced while it is away", Duration::from_secs(10));
    client.start_again();
    eventually("all pass again", ROLLOUT, || (fleet.consul.passing("web") == 3).then_some(()));
    nothing_moves(&fleet, "nothing is replaced afterwards", Duration::from_secs(5));
    assert_eq!(fleet.pids(), before);
}

#[test]
fn an_older_snapshot_is_a_new_wish_and_no_reason_to_stop_what_it_does_not_know() {
    let fleet = Fleet::on(durable(), 2);
    fleet.apply(&deployment("old", "1", 2, "")).ok();
    let snapshot = fleet.consul.snapshot();
    fleet.apply(&deployment("young", "1", 2, "")).ok();
    let before = fleet.pids();
    fleet.consul.restore(&snapshot);
    // `young` is unknown to the restored state: its assignments are missing, and missing means keep running.
    nothing_moves(&fleet, "nothing is stopped", Duration::from_secs(20));
    assert_eq!(fleet.pids(), before);
    fleet.apply(&deployment("old", "2", 2, "")).ok();
    assert_eq!(fleet.of_version("2").len(), 2);
}
