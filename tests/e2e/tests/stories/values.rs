//! Values in Consul that are a part of a revision: a change of them is rolled out, and taken back, as a template is.

use std::time::Duration;

use helium_e2e::{Http, eventually, holds_for, process};

use crate::{
    fleet::{Fleet, ROLLOUT},
    packages::front,
    specs::canary,
};

const KEY: &str = "/v1/kv/helium/v1/config/default/front/motto";
const CHECKED: &str = "templates: {check: [grep, -v, bad, \"{}\"]}";

/// What the pages of all instances say, in order.
fn pages(fleet: &Fleet) -> Vec<String> {
    let page = |pid: u32| {
        let port = process::variable(pid, "PORT")?.parse().ok()?;
        Some(Http::on(port).get("/").ok()?.text())
    };
    let mut pages: Vec<String> = fleet.instances().iter().filter_map(|instance| page(instance.pid)).collect();
    pages.sort();
    pages
}

fn are(fleet: &Fleet, expected: &[&str]) -> Option<()> {
    (pages(fleet) == expected).then_some(())
}

#[test]
fn a_change_of_values_is_tried_on_the_canary_while_the_others_keep_theirs_and_so_is_its_way_back() {
    let fleet = Fleet::of(1);
    fleet.consul.http().put(KEY, "one");
    let text = front(&fleet, "{{ motto }}", CHECKED).replace("replicas: 1", "replicas: 2");
    fleet.apply(&(text + &canary("front", "[{setWeight: 50%}, {pause: {}}]"))).ok();
    are(&fleet, &["one", "one"]).unwrap();

    fleet.consul.http().put(KEY, "two");
    fleet.await_phase("front", "Paused");
    are(&fleet, &["one", "two"]).unwrap();
    let told = fleet.helium.run(&["describe", "deployment", "front"]).ok();
    told.expect("values changed in Consul: motto");
    // An instance of the stable revision that has to start again has the values of its revision, not those of now.
    let old = fleet.instances().into_iter().find(|instance| {
        let port = process::variable(instance.pid, "PORT").unwrap().parse().unwrap();
        Http::on(port).get("/").unwrap().text() == "one"
    });
    process::kill(old.as_ref().unwrap().pid);
    eventually("it is back", ROLLOUT, || {
        let back = fleet.instances().into_iter().find(|instance| instance.id == old.as_ref().unwrap().id)?;
        (back.pid != old.as_ref().unwrap().pid).then_some(())?;
        are(&fleet, &["one", "two"])
    });
    fleet.helium.run_for(ROLLOUT, &["canary", "promote", "front"]).ok();
    eventually("both have the second", ROLLOUT, || are(&fleet, &["two", "two"]));
    fleet.await_phase("front", "Healthy");

    // What the package's check refuses never gets beyond the canary, and sticks until the values change again.
    fleet.consul.http().put(KEY, "bad");
    fleet.await_phase("front", "Degraded");
    are(&fleet, &["two", "two"]).unwrap();
    let refused = fleet.helium.run(&["rollout", "undo", "front"]);
    assert!(refused.says("only the values motto below helium/v1/config/default/front/ were others"), "{refused:?}");
    fleet.consul.http().put(KEY, "two");
    fleet.await_phase("front", "Healthy");
    are(&fleet, &["two", "two"]).unwrap();
}

#[test]
fn values_that_are_all_gone_change_nothing_for_a_while_and_applying_waits_for_what_is_there() {
    let fleet = Fleet::of(1);
    fleet.consul.http().put(KEY, "one");
    let text = front(&fleet, "{{ motto }}", CHECKED);
    fleet.apply(&text).ok();
    let pids = fleet.pids();
    fleet.consul.http().delete(KEY);
    holds_for("all is as it was", Duration::from_secs(5), || {
        let same = fleet.pids() == pids && pages(&fleet) == ["one"];
        if same { Ok(()) } else { Err(format!("{:?}", pages(&fleet))) }
    });
    // What cannot be seen keeps nobody from what keeps an instance running, and is told.
    fleet.consul.http().put(KEY, "one");
    fleet.consul.http().delete("/v1/kv/helium/v1/config/.keep");
    eventually("it is told", ROLLOUT, || {
        fleet
            .helium
            .run(&["explain", "deployment/front"])
            .ok()
            .says("keeps the values of its revision: config")
            .then_some(())
    });
    fleet.helium.run(&["scale", "front=2"]).ok();
    eventually("another has the values of the revision", ROLLOUT, || are(&fleet, &["one", "one"]));
    fleet.consul.http().put("/v1/kv/helium/v1/config/.keep", "");
    fleet.helium.run(&["scale", "front=1"]).ok();
    eventually("there is one again", ROLLOUT, || are(&fleet, &["one"]));

    fleet.consul.http().put(KEY, "two");
    // A new template takes what is there at once, and what is waited for is just that.
    fleet.apply(&text.replace("version: \"1\"", "version: \"2\"")).ok();
    are(&fleet, &["two"]).unwrap();
}
