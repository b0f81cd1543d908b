//! What people read when they look at things, as goldens; and what machines get.

use helium_crds::features::Features;
use serde_json::Value;

use crate::{
    fleet::Fleet,
    golden::steady,
    specs::{canary, deployment},
};

/// A fleet with the Deployment `web` and its Canary, and `api` of another namespace.
#[track_caller]
fn fleet() -> Fleet {
    let fleet = Fleet::of(1);
    let yaml = deployment("web", "1", 2, "") + &canary("web", "[{setWeight: 50%}, {soak: 2s}]") + "---\n";
    let other = deployment("api", "7", 1, "").replace("{name: api}", "{name: api, namespace: team}");
    fleet.apply(&(yaml + &other)).ok();
    fleet
}

#[test]
fn objects_and_nodes_are_listed_for_people() {
    let fleet = fleet();
    let said = |arguments: &[&str]| steady(&fleet, &fleet.helium.run(arguments).ok().stdout);
    insta::assert_snapshot!(said(&["get", "all"]), @r"
    NAME PHASE HEALTHY VERSION AGE
    web Healthy 2/2 1 AGE

    NAME STEP WEIGHT VERSION AGE
    web - - - AGE
    ");
    insta::assert_snapshot!(said(&["get", "deployments", "-o", "wide"]), @r"
    NAME PHASE HEALTHY VERSION AGE REASON SERVICE MESSAGE
    web Healthy 2/2 1 AGE AllHealthy web 1: 2/2 healthy
    ");
    insta::assert_snapshot!(said(&["get", "deployments", "-A"]), @r"
    NAMESPACE NAME PHASE HEALTHY VERSION AGE
    default web Healthy 2/2 1 AGE
    team api Healthy 1/1 7 AGE
    ");
    insta::assert_snapshot!(said(&["get", "all", "-o", "name", "-A"]), @r"
    deployment/web
    deployment/team/api
    canary/web
    ");
    insta::assert_snapshot!(said(&["get", "canary/web", "-o", "yaml"]), @r#"
    apiVersion: helium.dev/v1
    kind: Canary
    metadata:
      createdAt: "INSTANT"
      generation: 1
      managers:
        helium-apply:
          at: "INSTANT"
          by: SOMEBODY
      name: web
      namespace: default
      uid: UID
    spec:
      analysis:
        health:
          failuresInARow: 2
          interval: 2s
          minPassing: 100%
      autoPromote: true
      exact: false
      ifStableUnhealthy: proceed
      steps:
      - setWeight: 50%
      - soak: 2s
      trafficRouting: instanceRatio
    "#);
    let record = fleet.consul.value(&format!("helium/v1/node/{}", fleet.node(1)));
    let has: Features = serde_json::from_value(record["features"].clone()).unwrap();
    assert!(has.drivers.contains("exec") && !has.user.is_empty(), "{has:?}");
    let nodes = said(&["node", "list"]).replace(std::env::consts::ARCH, "ARCH").replace(&has.to_string(), "HAS");
    insta::assert_snapshot!(nodes, @r"
    NAME STATE INSTANCES ADDRESS CONSUL NODE PLATFORM HAS AGENT AGE
    n1 Alive 3 127.0.0.1 server linux/ARCH HAS VERSION AGE
    ");
}

#[test]
fn objects_are_described_and_their_events_told() {
    let fleet = fleet();
    let said = |arguments: &[&str]| steady(&fleet, &fleet.helium.run(arguments).ok().stdout);
    insta::assert_snapshot!(said(&["describe", "deployment/web"]), @r#"
    Kind: Deployment
    Name: web
    Namespace: default
    Uid: UID
    Generation: 1
    Age: AGE
    Written by: SOMEBODY with helium-apply at INSTANT
    Status:
      Healthy (AllHealthy): 1: 2/2 healthy
      2 of 2 healthy; answers generation 1
      Available: true (HealthyInstances) 2 healthy, at least 2 needed
      Progressing: false (AllHealthy) 1: 2/2 healthy
    Spec:
      minHealthyTime: 1s
      onFailure: rollback
      progressDeadline: 30s
      replicas: 2
      revisionHistoryLimit: 10
      stopGracePeriod: 30s
      stopSignal: TERM
      strategy:
        rolling:
          maxSurge: 1
          maxUnavailable: 0
      template:
        checks:
        - http:
            path: /health
            port: http
          interval: 1s
          name: up
          timeout: 1s
        exec:
          command:
          - ${HELIUM_BIN}
          - sample
          - --port
          - ${PORT_http}
          - --version
          - ${VERSION}
        ports:
        - name: http
        version: "1"
    Versions:
      VERSION REVISION ROLE DESIRED ASSIGNED REGISTERED HEALTHY
      1 HASH stable 2 2 2 2
    Instances:
      INSTANCE VERSION ROLE NODE STATE RESTARTS AGE MESSAGE
      web-1-ID 1 stable n1 Running 0 AGE
      web-2-ID 1 stable n1 Running 0 AGE
    Events:
      AGE TYPE REASON MESSAGE
      AGE Normal RolloutStarted first rollout to 1
      AGE Normal InstancesMade 2 of 1
      AGE Normal RolloutComplete 1: 2/2 healthy
    "#);
    insta::assert_snapshot!(said(&["events", "deployment/web"]), @r"
    AGE TYPE OBJECT REASON MESSAGE
    AGE Normal deployment/web RolloutStarted first rollout to 1
    AGE Normal deployment/web InstancesMade 2 of 1
    AGE Normal deployment/web RolloutComplete 1: 2/2 healthy
    ");
    for object in ["deployment/web", "canary/web"] {
        insta::allow_duplicates! {
            insta::assert_snapshot!(said(&["explain", object]), @"Healthy: 1: 2/2 healthy.");
        }
    }
    insta::assert_snapshot!(said(&["describe", "canary/web"]), @r"
    Kind: Canary
    Name: web
    Namespace: default
    Uid: UID
    Generation: 1
    Age: AGE
    Written by: SOMEBODY with helium-apply at INSTANT
    Status:
      Healthy (AllHealthy): 1: 2/2 healthy
      2 of 2 healthy; answers generation 1
      Available: true (HealthyInstances) 2 healthy, at least 2 needed
      Progressing: false (AllHealthy) 1: 2/2 healthy
    Spec:
      analysis:
        health:
          failuresInARow: 2
          interval: 2s
          minPassing: 100%
      autoPromote: true
      exact: false
      ifStableUnhealthy: proceed
      steps:
      - setWeight: 50%
      - soak: 2s
      trafficRouting: instanceRatio
    Events:
      AGE TYPE REASON MESSAGE
      AGE Normal RolloutStarted first rollout to 1
      AGE Normal InstancesMade 2 of 1
      AGE Normal RolloutComplete 1: 2/2 healthy
    ");
    insta::assert_snapshot!(said(&["rollout", "history", "web"]), @r"
    NUMBER VERSION REVISION STATE AGE
    1 1 HASH stable AGE
    ");
    insta::assert_snapshot!(said(&["rollout", "status", "web"]), @"1: 2/2 healthy");
    insta::assert_snapshot!(said(&["rollout", "status", "web", "--no-watch"]), @"deployment/web Healthy: 1: 2/2 healthy");
}

#[test]
fn machines_get_documents_of_everything() {
    let fleet = fleet();
    let json =
        |arguments: &[&str]| -> Value { serde_json::from_str(&fleet.helium.run(arguments).ok().stdout).unwrap() };
    let all = json(&["get", "all", "-o", "json"]);
    let kinds: Vec<&str> = all["items"].as_array().unwrap().iter().filter_map(|item| item["kind"].as_str()).collect();
    assert_eq!(kinds, ["Deployment", "Canary"]);
    assert_eq!(all["items"][0]["status"]["phase"], "Healthy");
    assert_eq!(json(&["node", "list", "-o", "json"])["items"][0]["alive"], true);
    assert_eq!(json(&["rollout", "history", "web", "-o", "json"])["items"][0]["number"], 1);
    let reasons = json(&["events", "deployment/web", "-o", "json"]);
    assert!(reasons["items"].as_array().is_some_and(|events| !events.is_empty()), "{reasons}");
    assert_eq!(json(&["version", "-o", "json"])["apiVersion"], "helium.dev/v1");
    assert_eq!(json(&["schema", "deployment"])["properties"]["kind"]["const"], "Deployment");
    assert!(json(&["schema"])["canary"].is_object());
}

#[test]
fn words_of_the_language_are_explained_and_wrong_ones_are_wrong_command_lines() {
    let helium = helium_e2e::Helium::nowhere();
    insta::assert_snapshot!(helium.run(&["explain", "deployment.spec.strategy.rolling"]).ok().stdout, @r"
    deployment.spec.strategy.rolling: object
      A few at a time, within the bounds of `maxSurge` and `maxUnavailable`.

    Fields:
      maxSurge: whole number or percentage, default 25%
          How many instances beyond the wanted count there may be, as a count or a share rounded up. Default `25%`.
      maxUnavailable: whole number or percentage, default 0
          How many of the wanted count may be unhealthy, as a count or a share rounded down. Default 0.
    ");
    insta::assert_snapshot!(helium.run(&["explain", "deployment.spec.replcias"]).expect_code(2).stderr, @r"
    error: there is no field `replcias` in `deployment.spec`; did you mean `replicas`?

    hint: fields there are template, drain, meta, minHealthyTime, onFailure, progressDeadline, replicas, revisionHistoryLimit, rollbackWindow, schedule, service, stopAfterDisconnect, stopGracePeriod, stopSignal, strategy, suspend, tags, versionFrom, versions
    ");
    insta::assert_snapshot!(helium.run(&["wait", "deployment/web", "--for", "condition=Avaliable"]).expect_code(2).stderr, @r"
    error: invalid value 'condition=Avaliable' for '--for <WHAT>': there is no condition `Avaliable`; did you mean `Available`? There are Available, Progressing, ManualCounts, Locked

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(helium.run(&["get", "pods"]).expect_code(2).stderr, @r"
    error: there is no kind `pods`

    hint: kinds are deployments (deploy), canaries (can), hydrajobs (hj)
    ");
    helium.run(&["version"]).ok().expect("helium ");
}
