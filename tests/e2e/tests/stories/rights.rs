//! Rights: the least policies suffice, and a token that loses its rights makes Helium blind and not destructive.

use std::time::Duration;

use helium_e2e::{Consul, Helium, Options, eventually, holds_for};

use crate::{
    fleet::{Fleet, ROLLOUT},
    picture::Picture,
    specs::{canary, deployment},
};

/// A person with every right, and the rules of each part of Helium as `helium acl policy` prints them.
pub(crate) struct Admin {
    helium: Helium,
}

impl Admin {
    fn rules(&self, role: &[&str]) -> String {
        self.helium.run(&[&["acl", "policy"], role].concat()).ok().stdout
    }

    /// Somebody with a token of the policy `name`.
    fn person(&self, consul: &Consul, name: &str) -> Helium {
        self.helium.with_token(&consul.token(name))
    }
}

/// A fleet whose controllers and agent each have only what `helium acl policy` prints for them, and a person with a deployer's rights.
#[track_caller]
pub(crate) fn guarded(controllers: usize) -> (Fleet, Admin) {
    let consul = Consul::with(Options { default_deny: true, ..Options::default() });
    let mut fleet = Fleet::empty(consul);
    let admin = Admin { helium: std::mem::replace(&mut fleet.helium, Helium::nowhere()) };
    let node = fleet.node(1);
    for role in [&["controller"][..], &["agent", "--node", &node], &["deployer"]] {
        fleet.consul.set_policy(role[0], &admin.rules(role));
    }
    fleet.act_as(admin.person(&fleet.consul, "controller"));
    for _ in 0..controllers {
        fleet.start_controller();
    }
    fleet.act_as(admin.person(&fleet.consul, "agent"));
    fleet.start_agent(1);
    fleet.await_ready();
    fleet.act_as(admin.person(&fleet.consul, "deployer"));
    (fleet, admin)
}

#[test]
fn the_least_policies_are_enough_for_everything_that_people_do() {
    let (mut fleet, _admin) = guarded(2);
    let steps = canary("web", "[{setWeight: 50%}, {pause: {}}]");
    fleet.apply(&(deployment("web", "1", 2, "") + &steps)).ok();
    fleet.apply_only(&(deployment("web", "2", 2, "") + &steps));
    fleet.await_phase("web", "Paused");
    fleet.helium.run(&["canary", "abort", "web"]).ok();
    fleet.await_phase("web", "Degraded");
    fleet.helium.run(&["canary", "retry", "web"]).ok();
    fleet.await_phase("web", "Paused");
    fleet.helium.run(&["canary", "promote", "web"]).ok();
    fleet.await_phase("web", "Healthy");
    assert_eq!((fleet.of_version("1").len(), fleet.of_version("2").len()), (0, 2));

    fleet.helium.run(&["scale", "web=3"]).ok();
    eventually("three run", ROLLOUT, || (fleet.consul.passing("web") == 3).then_some(()));
    for command in [
        &["get", "all"][..],
        &["describe", "deployment/web"],
        &["explain", "deployment/web"],
        &["events", "deployment/web"],
        &["rollout", "status", "web"],
        &["rollout", "history", "web"],
        &["doctor"],
    ] {
        fleet.helium.run(command).ok();
    }
    let file = fleet.helium.write("planned.yaml", &deployment("web", "3", 3, ""));
    fleet.helium.run(&["plan", "-f", &file]).expect_code(1).expect("promoted 3: 3/3 healthy");
    fleet.helium.run(&["node", "list"]).ok().expect(&fleet.node(1));
    fleet.helium.run(&["delete", "canary/web"]).ok();
    fleet.helium.run(&["rollout", "undo", "web"]).ok();
    eventually("version 1 serves again", ROLLOUT, || (fleet.of_version("1").len() == 3).then_some(()));
    fleet.await_phase("web", "Healthy");
    fleet.helium.run_for(ROLLOUT, &["delete", "deployment/web", "--wait"]).ok();
    eventually("nothing runs", ROLLOUT, || fleet.instances().is_empty().then_some(()));
    fleet.controllers.clear();
}

#[test]
fn the_least_policies_are_enough_for_the_death_of_a_controller_and_of_an_agent() {
    let (mut fleet, admin) = guarded(2);
    fleet.apply(&deployment("web", "1", 2, "")).ok();
    let before = fleet.pids();
    // Ending the session of a controller that died takes the right to sessions of nodes other than one's own.
    let old = eventually("a controller leads", ROLLOUT, || fleet.leader_session());
    let leads = |fleet: &Fleet, index: usize| {
        let page = fleet.controllers[index].http.get("/metrics").unwrap().text();
        page.lines().any(|line| line == "helium_leader 1")
    };
    let leader = (0..2).find(|index| leads(&fleet, *index)).unwrap();
    fleet.controllers[leader].daemon.kill();
    eventually("the other one leads", Duration::from_secs(15), || {
        fleet.leader_session().filter(|session| *session != old)
    });
    fleet.agent(1).kill();
    let deployer = admin.person(&fleet.consul, "agent");
    fleet.act_as(deployer);
    fleet.start_agent(1);
    fleet.act_as(admin.person(&fleet.consul, "deployer"));
    fleet.apply(&deployment("web", "1", 3, "")).ok();
    assert!(before.iter().all(|(id, pid)| fleet.pids().get(id) == Some(pid)), "the first two were adopted");
    fleet.apply(&deployment("web", "2", 3, "")).ok();
}

#[test]
fn a_person_without_rights_is_told_so() {
    let (fleet, admin) = guarded(1);
    fleet.consul.set_policy("nothing", "");
    let stranger = admin.person(&fleet.consul, "nothing");
    let file = stranger.write("web.yaml", &deployment("web", "1", 1, ""));
    stranger.run(&["apply", "-f", &file]).expect_code(9).expect("helium acl policy deployer").expect("acl");
}

#[test]
fn a_controller_that_loses_its_rights_is_red_says_why_and_touches_nothing() {
    let (fleet, admin) = guarded(1);
    fleet.apply(&deployment("web", "1", 3, "")).ok();
    let before = Picture::at_rest(&fleet);
    let page = || fleet.controllers[0].http.get("/readyz").unwrap();
    assert_eq!(page().status, 200);
    let rules = admin.rules(&["controller"]);
    fleet.consul.set_policy("controller", "");
    eventually("the controller is red and names its rights", ROLLOUT, || {
        let page = page();
        (page.status == 503 && names_rights(&page.text())).then_some(())
    });
    holds_for("nothing is stopped or written, and it stays red", Duration::from_secs(15), || {
        before.still_holds(&fleet)?;
        let page = page();
        if page.status == 503 { Ok(()) } else { Err(format!("{} {}", page.status, page.text())) }
    });

    // A wish of the meantime is followed within 30 s of having the rights back.
    fleet.apply_only(&deployment("web", "1", 4, ""));
    fleet.consul.set_policy("controller", &rules);
    eventually("four are healthy and the controller is ready", Duration::from_secs(30), || {
        let status = fleet.status("web");
        let done = status["phase"] == "Healthy" && status["healthy"] == 4 && fleet.consul.passing("web") == 4;
        (done && page().status == 200).then_some(())
    });
    let now = fleet.pids();
    assert_eq!(now.len(), 4);
    assert!(before.pids.iter().all(|(id, pid)| now.get(id) == Some(pid)), "the first three were not touched");
}

/// Whether what `/readyz` says would lead a person to the token's rights.
fn names_rights(page: &str) -> bool {
    let page = page.to_lowercase();
    ["permission denied", "not authorised", "rights"].iter().any(|words| page.contains(words))
}

#[test]
fn a_deployer_needs_each_of_its_rights() {
    let (fleet, admin) = guarded(1);
    let rules = admin.rules(&["deployer"]);
    let is_right = |line: &&str| !line.starts_with('#') && !line.contains("deny"); // what is taken away is no right
    let lines: Vec<&str> = rules.lines().filter(is_right).collect();
    assert!(lines.len() >= 2, "{rules}");
    for (number, left_out) in lines.iter().enumerate() {
        let fewer: Vec<&str> = lines.iter().copied().filter(|line| line != left_out).collect();
        let policy = format!("fewer-{number}");
        fleet.consul.set_policy(&policy, &fewer.join("\n"));
        let person = admin.person(&fleet.consul, &policy);
        let file = person.write("web.yaml", &deployment("web", "1", 1, ""));
        let applied = person.run(&["apply", "-f", &file]).code;
        let maintained = person.run(&["node", "maintenance", "on", &fleet.node(1), "--reason", &policy]).code;
        assert!(applied != 0 || maintained != 0, "nothing fails without {left_out}");
    }
}

#[test]
fn the_least_policy_of_haproxy_shows_its_servers_and_proves_where_there_are_none() {
    let (fleet, admin) = guarded(1);
    fleet.consul.set_policy("haproxy", &admin.rules(&["haproxy"]));
    let balancer = admin.person(&fleet.consul, "haproxy");
    fleet.apply(&deployment("web", "1", 1, "")).ok();
    let once = |service: &str| balancer.run(&["haproxy", "--service", service, "--file", "helium.cfg", "--once"]).ok();
    eventually("it sees the servers", Duration::from_secs(30), || {
        once("web").says("backend web: 1 server\n").then_some(())
    });
    let none = once("none").expect("backend none has no servers: Consul knows nothing of the service\n");
    assert!(!none.says("no right"), "{none}");
}

#[test]
fn the_least_policies_are_enough_for_maintenance_and_verify_names_each_right_that_is_lacking() {
    let (fleet, admin) = guarded(1);
    let node = fleet.node(1);
    fleet.apply(&deployment("web", "1", 1, "")).ok();
    fleet.helium.run(&["node", "maintenance", "on", &node, "--reason", "a new disk"]).ok();
    eventually("it is out of discovery", ROLLOUT, || (fleet.consul.passing("web") == 0).then_some(()));
    fleet.helium.run(&["node", "maintenance", "off", &node]).ok();
    eventually("it is back", ROLLOUT, || (fleet.consul.passing("web") == 1).then_some(()));

    let verify = |who: &Helium| who.run(&["agent", "verify", "--node", &node, "--data-dir", "data"]);
    verify(&admin.person(&fleet.consul, "agent")).ok().expect("nothing fails");
    let key = "helium/v1/report/";
    let refused = verify(&admin.person(&fleet.consul, "deployer")).expect_code(1);
    let lines: Vec<&str> =
        refused.stdout.lines().filter(|line| line.starts_with("failed") && line.contains(key)).collect();
    assert_eq!(lines.len(), 1, "a deployer may read reports, and write none\n{refused}");
}
