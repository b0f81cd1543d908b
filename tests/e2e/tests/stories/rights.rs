//! Rights: the least policies suffice, and a token that loses its rights makes Helium blind and not destructive.

use std::time::Duration;

use helium_e2e::{Consul, Helium, Options, eventually, holds_for};

use crate::{
    fleet::{Fleet, ROLLOUT},
    specs::deployment,
};

/// A fleet whose controller and agent each have only what `helium acl policy` prints for them, and a person with a deployer's rights.
#[track_caller]
fn guarded() -> (Fleet, Helium) {
    let consul = Consul::with(Options { default_deny: true, ..Options::default() });
    let mut fleet = Fleet::empty(consul);
    for role in ["controller", "agent", "deployer"] {
        let rules = fleet.helium.run(&["acl", "policy", role]).ok().stdout;
        fleet.consul.set_policy(role, &rules);
    }
    let admin = std::mem::replace(&mut fleet.helium, Helium::nowhere());
    let person = |role: &str| admin.with_token(&fleet.consul.token(role));
    let (controller, agent, deployer) = (person("controller"), person("agent"), person("deployer"));
    fleet.helium = controller;
    fleet.start_controller();
    fleet.helium = agent;
    fleet.start_agent(1);
    fleet.await_ready();
    fleet.helium = deployer;
    (fleet, admin)
}

#[test]
fn the_least_policies_are_enough_for_a_whole_rollout() {
    let (fleet, _admin) = guarded();
    fleet.apply(&deployment("web", "1", 2, "")).ok();
    fleet.apply(&deployment("web", "2", 2, "")).ok();
    assert_eq!(fleet.of_version("2").len(), 2);
    fleet.helium.run(&["get", "deployments"]).ok();
    fleet.helium.run(&["describe", "deployment/web"]).ok();
}

#[test]
fn a_person_without_rights_is_told_so() {
    let (fleet, admin) = guarded();
    fleet.consul.set_policy("nothing", "");
    let stranger = admin.with_token(&fleet.consul.token("nothing"));
    let file = stranger.write("web.yaml", &deployment("web", "1", 1, ""));
    stranger.run(&["apply", "-f", &file]).expect_code(9).expect("helium acl policy deployer").expect("acl");
}

#[test]
fn a_controller_that_loses_its_rights_is_red_says_why_and_touches_nothing() {
    let (fleet, admin) = guarded();
    fleet.apply(&deployment("web", "1", 3, "")).ok();
    let before = fleet.pids();
    let rules = admin.run(&["acl", "policy", "controller"]).ok().stdout;
    fleet.consul.set_policy("controller", "");
    let page = || fleet.controllers[0].http.get("/readyz").unwrap();
    eventually("the controller is red and names its rights", ROLLOUT, || {
        let page = page();
        let words = page.text().to_lowercase();
        let named = ["denied", "right", "acl"].iter().any(|word| words.contains(word));
        (page.status == 503 && named).then_some(())
    });

    let keys = fleet.consul.fingerprint("helium/v1/spec/");
    let instances = fleet.consul.fingerprint("helium/v1/inst/");
    holds_for("nothing is stopped or written", Duration::from_secs(15), || {
        let same = fleet.pids() == before
            && fleet.consul.fingerprint("helium/v1/spec/") == keys
            && fleet.consul.fingerprint("helium/v1/inst/") == instances;
        if same { Ok(()) } else { Err(format!("{:?}", fleet.pids())) }
    });

    // A wish of the meantime is followed within 30 s of having the rights back.
    fleet.apply_only(&deployment("web", "1", 4, ""));
    fleet.consul.set_policy("controller", &rules);
    eventually("four run", Duration::from_secs(30), || (fleet.instances().len() == 4).then_some(()));
    assert!(before.iter().all(|(id, pid)| fleet.pids().get(id) == Some(pid)), "the first three were not touched");
}
