//! Traffic: real requests through a real HAProxy that `helium haproxy` keeps in step, while versions come and go.

use std::{collections::BTreeSet, time::Duration};

use helium_e2e::{Daemon, HaProxy, Load, eventually};

use crate::{
    fleet::{Fleet, ROLLOUT},
    specs::{canary, deployment, switch},
};

/// So many requests are counted at each step.
const REQUESTS: usize = 5000;
/// How long HAProxy may lag behind the catalog.
const IN_STEP: Duration = Duration::from_secs(10);

/// `web` in a version: three instances, tried out at a quarter and at a half, each until a person promotes.
fn web(version: &str) -> String {
    deployment("web", version, 3, "") + &canary("web", "[{setWeight: 25%}, {pause: {}}, {setWeight: 50%}, {pause: {}}]")
}

/// A fleet that serves version 1 behind an HAProxy, and what keeps that in step.
struct Served {
    fleet: Fleet,
    haproxy: HaProxy,
    keeper: Daemon,
}

impl Served {
    #[track_caller]
    fn start() -> Self {
        Self::of(&web("1"))
    }

    #[track_caller]
    fn of(first: &str) -> Self {
        let fleet = Fleet::of(2);
        fleet.apply(first).ok();
        let mut haproxy = HaProxy::prepare("web");
        let first = fleet.helium.run(&["haproxy", "--service", "web", "--file", &haproxy.file(), "--once"]).ok();
        assert_eq!(first.stdout, "backend web: 3 servers\n");
        haproxy.start();
        let keeper = keep(&fleet, &haproxy);
        Self { fleet, haproxy, keeper }
    }

    /// Applies a version, and waits until its canary has a quarter and waits for a person.
    #[track_caller]
    fn try_out(&self, version: &str) {
        self.fleet.apply_only(&web(version));
        self.at_step(version, 1, 3);
    }

    /// Waits until the canary of a version waits at a weight, with so many instances beside so many stable ones, and HAProxy has them.
    #[track_caller]
    fn at_step(&self, version: &str, canary: u64, stable: u64) {
        eventually(&format!("the canary of {version} waits at {canary} of {}", canary + stable), ROLLOUT, || {
            let status = self.fleet.status("web");
            let weight = &status["rollout"]["weight"];
            let there = status["reason"] == "PausedAtStep" && status["rollout"]["version"] == version;
            (there && weight["canary"] == canary && weight["stable"] == stable).then_some(())
        });
        self.in_step();
    }

    /// Waits until HAProxy sends requests to all instances that run, by their weights, and to nothing else.
    #[track_caller]
    fn in_step(&self) {
        eventually("HAProxy is in step", IN_STEP, || {
            let places = |all: Vec<String>| all.into_iter().collect::<BTreeSet<_>>();
            (places(self.registered()) == places(self.ready())).then_some(())
        });
    }

    /// Where the instances are that pass, and what they weigh, as Consul has it.
    fn registered(&self) -> Vec<String> {
        let rows = self.fleet.consul.http().json("/v1/health/service/web?passing");
        let place = |row: &serde_json::Value| {
            let (service, weight) = (&row["Service"], row["Service"]["Weights"]["Passing"].as_u64()?);
            Some(format!("{} {} x{weight}", service["Address"].as_str()?, service["Port"].as_u64()?))
        };
        rows.as_array().into_iter().flatten().filter_map(place).collect()
    }

    /// Where HAProxy sends requests: the address, the state, the weight and the port are the 5th, 7th, 8th and 19th field of its table.
    fn ready(&self) -> Vec<String> {
        let table = self.haproxy.ask("show servers state web");
        let rows = table.lines().skip(2).map(|line| line.split(' ').collect::<Vec<_>>());
        let ready = rows
            .filter(|fields| fields.get(6).and_then(|bits| bits.parse::<u32>().ok()).is_some_and(|b| b & 0x2b == 0));
        ready.filter_map(|fields| Some(format!("{} {} x{}", fields.get(4)?, fields.get(18)?, fields.get(7)?))).collect()
    }

    #[track_caller]
    fn serves_only(&self, version: &str, load: &Load) {
        self.in_step();
        let answers = load.next(REQUESTS);
        assert_eq!(answers.by_version.keys().collect::<Vec<_>>(), [version], "{answers:?}");
        assert_eq!(answers.failed, [""; 0]);
    }
}

#[track_caller]
fn keep(fleet: &Fleet, haproxy: &HaProxy) -> Daemon {
    let (file, socket, master) = (haproxy.file(), haproxy.socket(), haproxy.master_socket());
    let check = format!("{} -c -f {} -f {{}}", HaProxy::binary().unwrap().display(), haproxy.own_file());
    let arguments = ["haproxy", "--service", "web", "--file", &file, "--socket", &socket, "--master-socket", &master];
    let mut keeper = fleet.helium.start("haproxy-keeper", &[&arguments[..], &["--check-command", &check]].concat());
    keeper.wait_to_say("helium haproxy: web in ", Duration::from_secs(10));
    keeper
}

#[test]
fn at_every_step_requests_are_split_as_instances_are_and_none_fails_through_promote_abort_and_rollback() {
    let mut served = Served::start();
    let run = |served: &Served, arguments: &[&str]| served.fleet.helium.run_for(ROLLOUT, arguments).ok();
    let load = Load::on(&served.haproxy.http());
    served.serves_only("1", &load);

    served.try_out("2");
    load.next(REQUESTS).expect_share("2", 1, 4);
    run(&served, &["canary", "promote", "web"]);
    served.at_step("2", 2, 2);
    load.next(REQUESTS).expect_share("2", 2, 4);
    run(&served, &["canary", "promote", "web"]);
    served.fleet.await_phase("web", "Healthy");
    served.serves_only("2", &load);

    served.try_out("3");
    load.next(REQUESTS).expect_share("3", 1, 4);
    run(&served, &["canary", "abort", "web"]);
    served.fleet.await_phase("web", "Degraded");
    eventually("version 2 serves alone", ROLLOUT, || served.fleet.of_version("3").is_empty().then_some(()));
    served.serves_only("2", &load);

    run(&served, &["rollout", "undo", "web", "--to-revision", "1"]);
    served.at_step("1", 1, 3);
    load.next(REQUESTS).expect_share("1", 1, 4);
    run(&served, &["canary", "promote", "web", "--full"]);
    served.fleet.await_phase("web", "Healthy");
    served.serves_only("1", &load);

    let answers = load.end();
    assert_eq!(answers.failed, [""; 0], "of {}", answers.total());
    assert_eq!(served.keeper.terminate(Duration::from_secs(10)), 0);
    assert!(served.haproxy.takes_its_files());
    assert_eq!(served.ready().len(), 3, "it goes on without its keeper");
}

#[test]
fn weights_in_consul_split_requests_as_whole_instances_cannot_and_none_fails_through_promote_and_abort() {
    let steps = "[{setWeight: 5%}, {pause: {}}, {setWeight: 40%}, {pause: {}}]";
    let web = |version: &str| {
        deployment("web", version, 3, "")
            + &canary("web", steps).replace("spec:", "spec:\n  trafficRouting: consulWeights")
    };
    let served = Served::of(&web("1"));
    let load = Load::on(&served.haproxy.http());
    served.serves_only("1", &load);
    let run = |arguments: &[&str]| served.fleet.helium.run_for(ROLLOUT, arguments).ok();

    served.fleet.apply_only(&web("2"));
    served.at_step("2", 1, 3);
    load.next(REQUESTS).expect_share("2", 16, 316);
    run(&["canary", "promote", "web"]);
    served.at_step("2", 1, 2);
    load.next(REQUESTS).expect_share("2", 133, 333);
    run(&["canary", "promote", "web"]);
    served.fleet.await_phase("web", "Healthy");
    served.serves_only("2", &load);

    served.fleet.apply_only(&web("3"));
    served.at_step("3", 1, 3);
    load.next(REQUESTS).expect_share("3", 16, 316);
    run(&["canary", "abort", "web"]);
    served.fleet.await_phase("web", "Degraded");
    eventually("version 2 serves alone", ROLLOUT, || served.fleet.of_version("3").is_empty().then_some(()));
    served.serves_only("2", &load);
    let answers = load.end();
    assert_eq!(answers.failed, [""; 0], "of {}", answers.total());
}

#[test]
fn a_switch_and_its_way_back_change_who_answers_all_at_once_and_no_request_fails() {
    let web = |version: &str| {
        deployment("web", version, 3, "  drain: 5s\n")
            + &switch("web", "{}", "  autoPromote: false\n  scaleDownDelay: 10m\n")
    };
    let served = Served::of(&web("1"));
    let load = Load::on(&served.haproxy.http());
    let reason = |reason: &str| {
        eventually(reason, ROLLOUT, || (served.fleet.status("web")["reason"] == reason).then_some(()));
        assert_eq!(load.so_far().failed, [""; 0], "until {reason}");
    };
    served.serves_only("1", &load);
    served.fleet.apply_only(&web("2"));
    reason("PausedAtStep");
    assert_eq!(served.fleet.of_version("2").len(), 3, "the whole of it runs, and nobody sees it");
    served.serves_only("1", &load);
    let previews = served.fleet.helium.folder().join("previews.cfg").display().to_string();
    let one_look = ["haproxy", "--preview", "web", "--file", &previews, "--once"];
    assert_eq!(served.fleet.helium.run(&one_look).ok().stdout, "backend web-preview: 3 servers\n");
    served.fleet.helium.run(&["canary", "promote", "web"]).ok();
    reason("Baking");
    served.serves_only("2", &load);
    assert_eq!(served.fleet.helium.run(&one_look).ok().stdout, "backend web-preview: 0 servers\n");
    let old: BTreeSet<u32> = served.fleet.of_version("1").iter().map(|one| one.pid).collect();
    assert_eq!(old.len(), 3, "the old version stands by");

    served.fleet.helium.run(&["canary", "abort", "web"]).ok();
    reason("RolloutAborted");
    served.serves_only("1", &load);
    assert_eq!(served.fleet.of_version("1").iter().map(|one| one.pid).collect::<BTreeSet<_>>(), old);
    served.fleet.helium.run(&["canary", "retry", "web"]).ok();
    reason("PausedAtStep");
    served.fleet.helium.run(&["canary", "promote", "web"]).ok();
    reason("Baking");
    served.fleet.helium.run(&["canary", "promote", "web"]).ok();
    served.fleet.await_phase("web", "Healthy");
    served.serves_only("2", &load);
    let answers = load.end();
    assert_eq!(answers.failed, [""; 0], "of {}", answers.total());
}

#[test]
fn where_instances_drain_not_even_a_request_fails_that_may_not_be_asked_twice() {
    let web = |version: &str| deployment("web", version, 3, "  drain: 3s\n");
    let served = Served::of(&web("1"));
    let load = Load::of_posts_on(&served.haproxy.http());
    for version in ["2", "3", "4"] {
        served.fleet.apply(&web(version)).ok();
        served.serves_only(version, &load);
    }
    let answers = load.end();
    assert_eq!(answers.failed, [""; 0], "of {}", answers.total());
}

#[test]
fn an_haproxy_that_is_killed_in_the_middle_is_right_as_soon_as_it_runs_again() {
    let mut served = Served::start();
    served.try_out("2");
    served.haproxy.kill();
    served.keeper.wait_to_say("HAProxy does not answer at ", IN_STEP);
    served.fleet.helium.run(&["canary", "promote", "web"]).ok();
    eventually("half of the instances are version 2", ROLLOUT, || {
        let status = served.fleet.status("web");
        (status["reason"] == "PausedAtStep" && status["rollout"]["weight"]["canary"] == 2).then_some(())
    });
    eventually("the file has them", IN_STEP, || {
        let file = std::fs::read_to_string(served.haproxy.file()).unwrap();
        let place = |place: &String| place.split(' ').take(2).collect::<Vec<_>>().join(":");
        served.registered().iter().all(|registered| file.contains(&place(registered))).then_some(())
    });
    served.haproxy.start();
    let load = Load::on(&served.haproxy.http());
    let answers = load.next(REQUESTS);
    answers.expect_share("2", 2, 4);
    served.keeper.wait_to_say("HAProxy is in step again", IN_STEP);
    served.fleet.helium.run(&["canary", "promote", "web"]).ok();
    served.fleet.await_phase("web", "Healthy");
    served.serves_only("2", &load);
    let answers = load.end();
    assert_eq!(answers.failed, [""; 0], "of {}", answers.total());
}

#[test]
fn a_keeper_that_is_killed_in_the_middle_goes_on_where_it_was_and_no_request_fails_meanwhile() {
    let mut served = Served::start();
    let load = Load::on(&served.haproxy.http());
    served.try_out("2");
    served.keeper.kill();
    // The canary goes, and HAProxy is not told: what it still sends there is refused and goes elsewhere.
    served.fleet.helium.run(&["canary", "abort", "web"]).ok();
    eventually("the canary is gone", ROLLOUT, || served.fleet.of_version("2").is_empty().then_some(()));
    let answers = load.next(REQUESTS);
    assert_eq!(answers.by_version.keys().collect::<Vec<_>>(), ["1"], "{answers:?}");
    served.keeper = keep(&served.fleet, &served.haproxy);
    served.serves_only("1", &load);
    served.try_out("3");
    load.next(REQUESTS).expect_share("3", 1, 4);
    let answers = load.end();
    assert_eq!(answers.failed, [""; 0], "of {}", answers.total());
}
