//! What a Deployment says of its service, its checks and its end is what Consul has and what its processes get.

use helium_e2e::{eventually, process};
use serde_json::Value;

use crate::fleet::{Fleet, ROLLOUT};

/// A server under a shell that writes down which signal it was stopped by.
fn shop(version: &str, mark: &str, spec: &str) -> String {
    format!(
        r#"apiVersion: helium.dev/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: 2
  service: shop
  tags: [public]
  meta: {{team: blue}}
  template:
    version: "{version}"
    exec:
      command:
        - /bin/sh
        - -c
        - 'trap "echo interrupted >> {mark}; kill \$server; exit 0" INT; trap "echo terminated >> {mark}; kill \$server; exit 0" TERM;
          "$0" sample --port "$PORT" --version "$1" & server=$!; while :; do wait $server; done'
        - "${{HELIUM_BIN}}"
        - "${{VERSION}}"
    ports: [{{name: http}}]
    checks: [{{name: listens, tcp: {{port: http}}, interval: 1s, timeout: 1s, successBeforePassing: 2}}]
  minHealthyTime: 0s
  progressDeadline: 30s
  stopSignal: INT
{spec}"#
    )
}

fn entries(fleet: &Fleet) -> Vec<Value> {
    fleet.consul.http().json("/v1/health/service/shop").as_array().cloned().unwrap_or_default()
}

#[test]
fn service_tags_meta_tcp_checks_and_the_stop_signal_reach_consul_and_the_process() {
    let fleet = Fleet::of(1);
    let mark = fleet.helium.write("signals", "");
    let apply = |version: &str, spec: &str| fleet.apply(&shop(version, &mark, spec)).ok();
    let heard = |word: &str| std::fs::read_to_string(&mark).unwrap().lines().filter(|line| *line == word).count();

    apply("1", "  strategy: {recreate: {}}\n");
    let found = entries(&fleet);
    assert_eq!(found.len(), 2, "{found:#?}");
    for entry in &found {
        assert_eq!(entry["Service"]["Tags"], serde_json::json!(["public", "stable"]));
        assert_eq!(entry["Service"]["Meta"]["team"], "blue");
        let checks = entry["Checks"].as_array().unwrap();
        let listens = checks.iter().find(|check| check["Name"] == "listens").unwrap();
        assert_eq!((&listens["Status"], &listens["Type"]), (&"passing".into(), &"tcp".into()), "{listens:#}");
    }
    assert_eq!(fleet.consul.http().json("/v1/health/service/web"), serde_json::json!([]), "the name is the service's");

    let old: Vec<u32> = fleet.of_version("1").iter().map(|one| one.pid).collect();
    assert!(old.len() >= 2, "{old:?}");
    apply("2", "  strategy: {recreate: {}}\n");
    assert!(old.iter().all(|pid| !process::is_alive(*pid)));
    assert_eq!((heard("interrupted"), heard("terminated")), (2, 0), "each is stopped by the signal of its choice");
    assert_eq!(entries(&fleet).len(), 2);

    fleet.helium.run_for(ROLLOUT, &["delete", "deployment/web", "--wait"]).ok();
    eventually("the service is gone", ROLLOUT, || entries(&fleet).is_empty().then_some(()));
    assert_eq!((heard("interrupted"), heard("terminated")), (4, 0));
}
