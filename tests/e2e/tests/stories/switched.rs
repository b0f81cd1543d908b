//! Blue-green with real processes: what is on standby is reached by nobody, whoever dies in the middle.

use std::collections::BTreeSet;

use helium_e2e::{eventually, process};
use serde_json::Value;

use crate::{
    fleet::{Fleet, ROLLOUT},
    outage::durable,
    specs::{deployment, switch, with_flags},
};

fn web(version: &str) -> String {
    let patient = switch("web", "{}", "  autoPromote: false\n  scaleDownDelay: 10m\n");
    deployment("web", version, 2, "") + &patient.replace("failuresInARow: 2", "failuresInARow: 20")
}

/// The versions that whoever asks Consul for those that pass is told of.
fn reached(fleet: &Fleet) -> BTreeSet<String> {
    let rows = fleet.consul.http().json("/v1/health/service/web?passing");
    let version = |row: &Value| row["Service"]["Meta"]["helium-version"].as_str().map(str::to_owned);
    rows.as_array().into_iter().flatten().filter_map(version).collect()
}

#[track_caller]
fn reason(fleet: &Fleet, reason: &str) {
    eventually(reason, ROLLOUT, || (fleet.status("web")["reason"] == reason).then_some(()));
}

#[test]
fn previews_stay_out_of_sight_while_agent_process_and_controller_are_killed() {
    let mut fleet = Fleet::of(1);
    fleet.apply(&web("1")).ok();
    fleet.apply_only(&web("2"));
    reason(&fleet, "PausedAtStep");
    assert_eq!(reached(&fleet), BTreeSet::from(["1".to_owned()]));

    let victim = fleet.of_version("2")[0].clone();
    process::kill(victim.pid);
    eventually("the preview runs again", ROLLOUT, || {
        assert_eq!(reached(&fleet), BTreeSet::from(["1".to_owned()]));
        let again = fleet.of_version("2").iter().any(|one| one.id == victim.id && one.pid != victim.pid);
        again.then_some(())
    });
    fleet.agent(1).kill();
    fleet.controllers[0].daemon.kill();
    fleet.start_agent(1);
    fleet.start_controller_again(0);
    fleet.await_ready();
    eventually("both previews pass, and stand by", ROLLOUT, || {
        assert_eq!(reached(&fleet), BTreeSet::from(["1".to_owned()]));
        let status = fleet.status("web");
        let previews = status["versions"].as_array()?.iter().find(|one| one["version"] == "2")?;
        (previews["healthy"] == 2 && previews["standby"] == 2).then_some(())
    });
    fleet.helium.run(&["canary", "promote", "web"]).ok();
    reason(&fleet, "Baking");
    assert_eq!(reached(&fleet), BTreeSet::from(["2".to_owned()]));
}

#[test]
fn a_consul_that_starts_again_in_the_bake_shows_nobody_what_stands_by() {
    let mut fleet = Fleet::on(durable(), 1);
    fleet.apply(&web("1")).ok();
    fleet.apply_only(&web("2"));
    reason(&fleet, "PausedAtStep");
    fleet.helium.run(&["canary", "promote", "web"]).ok();
    reason(&fleet, "Baking");
    fleet.consul.kill();
    fleet.consul.start_again();
    fleet.await_ready();
    eventually("version 2 passes again", ROLLOUT, || {
        let seen = reached(&fleet);
        assert!(!seen.contains("1"), "{seen:?}");
        (fleet.consul.passing("web") == 2).then_some(())
    });
    fleet.helium.run(&["canary", "abort", "web"]).ok();
    reason(&fleet, "RolloutAborted");
    assert_eq!(reached(&fleet), BTreeSet::from(["1".to_owned()]));
}

#[test]
fn a_version_that_fails_only_once_it_serves_goes_back_within_seconds_to_processes_that_run_already() {
    let fleet = Fleet::of(1);
    let failing = |version: &str, flags: &str| {
        with_flags("web", version, 2, flags, "") + &switch("web", "{}", "  scaleDownDelay: 10m\n")
    };
    fleet.apply(&failing("1", "")).ok();
    let before = fleet.pids();
    fleet.apply_only(&failing("2", ""));
    reason(&fleet, "Baking");
    for victim in fleet.of_version("2") {
        process::freeze(victim.pid);
    }
    reason(&fleet, "RolloutAborted");
    eventually("version 2 is gone", ROLLOUT, || fleet.of_version("2").is_empty().then_some(()));
    assert_eq!((reached(&fleet), fleet.pids()), (BTreeSet::from(["1".to_owned()]), before));
}
