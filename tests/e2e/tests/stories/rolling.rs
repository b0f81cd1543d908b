//! Five nodes, a version that does not go when it is asked to, and rolls over it: whole, turned back in the middle, and under controllers and agents that die.

use helium_e2e::{Availability, eventually};

use crate::{
    failover::no_twins,
    fleet::{Fleet, ROLLOUT},
};

/// How many nodes, and instances.
const NODES: u32 = 5;

/// A Deployment with an instance on each node, whose program serves on when it is asked to stop, until it is killed 2 s later.
fn stubborn(version: &str) -> String {
    format!(
        r#"apiVersion: helium.dev/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: {NODES}
  template:
    version: "{version}"
    exec:
      command: ["python3", "-c", "{SERVES_ON}", "--version", "${{VERSION}}"]
    ports: [{{name: http}}]
    checks: [{{name: up, http: {{port: http, path: /health}}, interval: 1s, timeout: 1s}}]
  strategy: {{rolling: {{maxSurge: 0, maxUnavailable: 1}}}}
  stopGracePeriod: 2s
  minHealthyTime: 1s
  progressDeadline: 60s
"#
    )
}

/// A server of HTTP that ignores TERM.
const SERVES_ON: &str = "import http.server as h, os, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); \
     H = type('H', (h.BaseHTTPRequestHandler,), {'do_GET': lambda s: (s.send_response(200), s.end_headers()), 'log_message': lambda *a: None}); \
     h.ThreadingHTTPServer((os.environ['HELIUM_ADDRESS'], int(os.environ['PORT'])), H).serve_forever()";

/// A fleet that runs the first version, with a second controller in reserve.
fn fleet() -> Fleet {
    let mut fleet = Fleet::of(5);
    fleet.start_controller();
    fleet.apply(&stubborn("1")).ok();
    assert_eq!(fleet.of_version("1").len(), 5);
    fleet
}

/// Waits until so many serve a version, with never a second copy of any.
#[track_caller]
fn await_version(fleet: &Fleet, version: &str, count: usize) {
    eventually(&format!("{count} have version {version}"), ROLLOUT, || {
        no_twins(&fleet.instances()).unwrap();
        (fleet.of_version(version).len() >= count).then_some(())
    });
}

#[track_caller]
fn settled_at(fleet: &Fleet, version: &str) {
    eventually(&format!("version {version} serves alone"), ROLLOUT, || {
        no_twins(&fleet.instances()).unwrap();
        (fleet.of_version(version).len() == 5 && fleet.instances().len() == 5).then_some(())
    });
    fleet.await_phase("web", "Healthy");
}

#[test]
fn what_hangs_when_it_is_asked_to_stop_is_rolled_over_five_nodes_one_by_one_and_back_from_the_middle_of_the_next() {
    let fleet = fleet();
    let watch = Availability::of(fleet.consul.http(), "web");
    fleet.apply_only(&stubborn("2"));
    settled_at(&fleet, "2");
    fleet.apply_only(&stubborn("3"));
    await_version(&fleet, "3", 2);
    fleet.apply_only(&stubborn("2"));
    settled_at(&fleet, "2");
    let seen = watch.seen();
    assert!(seen.fewest_passing >= 4, "{seen:?}");
}

#[test]
fn a_roll_over_five_nodes_goes_on_when_its_controller_and_an_agent_are_killed_in_the_middle() {
    let mut fleet = fleet();
    let watch = Availability::of(fleet.consul.http(), "web");
    fleet.apply_only(&stubborn("2"));
    await_version(&fleet, "2", 1);
    let leads = |fleet: &Fleet| fleet.controllers.iter().position(crate::fleet::Controller::is_ready);
    let leader = leads(&fleet).unwrap();
    fleet.controllers[leader].daemon.kill();
    await_version(&fleet, "2", 2);
    fleet.agent(4).kill();
    fleet.start_agent(4);
    settled_at(&fleet, "2");
    let seen = watch.seen();
    assert!(seen.fewest_passing >= 4, "{seen:?}");
}
