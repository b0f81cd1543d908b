//! Versions that Hydra gives, with real processes, and with no more rights than `helium acl policy` prints.

use std::time::Duration;

use helium_e2e::{Hydra, eventually, ports};

use crate::{
    fleet::{Fleet, ROLLOUT},
    rights::guarded,
    specs::canary,
};

/// `helium:pw`, as `Authorization: Basic` has it.
const LOGIN: &str = "Basic aGVsaXVtOnB3";
/// The longest that it may take until something is told that is asked every second.
const TOLD: Duration = Duration::from_secs(30);

fn documents(url: &str) -> String {
    let job = format!(
        "apiVersion: helium.dev/v1\nkind: HydraJob\nmetadata: {{name: web}}\nspec:\n  url: {url}\n  interval: 1s\n  \
         auth: {{basic: {{username: helium, password: {{kv: hydra}}}}}}\n---\n"
    );
    let web = r"apiVersion: helium.dev/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  versionFrom: {hydraJob: web}
  template:
    exec:
      command:
        - /bin/sh
        - -c
        - 'case ${VERSION} in *broken*) exit 1;; esac; exec ${HELIUM_BIN} sample --port ${PORT_http} --version ${VERSION}'
    ports: [{name: http}]
    checks: [{name: up, http: {port: http, path: /health}, interval: 1s, timeout: 1s}]
  strategy: {rolling: {maxSurge: 1, maxUnavailable: 0}}
  minHealthyTime: 1s
  progressDeadline: 30s
";
    format!("{job}{web}{}", canary("web", "[{setWeight: 50%}, {soak: 2s}]"))
}

#[track_caller]
fn serves(fleet: &Fleet, version: &str) {
    eventually(&format!("{version} serves"), ROLLOUT, || {
        let status = fleet.status("web");
        (status["phase"] == "Healthy" && status["stable"]["version"] == version).then_some(())
    });
    assert_eq!(fleet.of_version(version).len(), 2);
}

#[test]
fn a_new_build_is_rolled_out_a_broken_one_goes_back_for_good_and_hydra_may_be_away() {
    let port = ports::free();
    let hydra = Hydra::on(port, LOGIN);
    let (fleet, _admin) = guarded(1);
    fleet.apply_only(&documents(&hydra.job()));
    eventually("it waits for its password", TOLD, || {
        fleet.helium.run(&["explain", "hydrajob/web"]).says("which holds the secret, is not there").then_some(())
    });
    fleet.consul.http().put("/v1/kv/helium/v1/secret/hydra", "pw");
    eventually("it waits for the first build", TOLD, || {
        let told = fleet.helium.run(&["explain", "deployment/web"]);
        (told.says("waits for the first build of hydrajob/web") && told.says("Hydra knows no such job")).then_some(())
    });
    let first = hydra.builds(1, "web-1.0");
    serves(&fleet, &first);
    let second = hydra.builds(2, "web-2.0");
    serves(&fleet, &second);

    let broken = hydra.builds(3, "web-broken");
    fleet.await_phase("web", "Degraded");
    let asked = hydra.asked();
    eventually("Hydra is asked again and again", TOLD, || (hydra.asked() > asked + 4).then_some(()));
    let status = fleet.status("web");
    assert_eq!((&status["reason"], &status["stable"]["version"]), (&"RolloutAborted".into(), &second.as_str().into()));
    fleet
        .helium
        .run(&["explain", "deployment/web"])
        .ok()
        .expect("the version comes from hydrajob/web: build 3")
        .expect(&broken);

    drop(hydra);
    let state = || fleet.helium.run(&["get", "hydrajobs"]).stdout;
    eventually("Hydra is away", TOLD, || state().contains("Unreachable").then_some(()));
    fleet.helium.run(&["describe", "hydrajob/web"]).ok().expect("cannot be reached").expect("BuildFound");
    assert_eq!(fleet.of_version(&second).len(), 2, "what runs runs on");

    let hydra = Hydra::on(port, LOGIN);
    let fourth = hydra.builds(4, "web-4.0");
    serves(&fleet, &fourth);
    assert!(state().contains(&fourth) && state().contains("Ready"));
    fleet.helium.run_for(ROLLOUT, &["rollout", "undo", "web", "--to-revision", "2", "--wait"]).ok().expect("-> ");
    serves(&fleet, &second);
    // The same file again knows nothing of that, and takes nothing back.
    fleet.apply(&documents(&hydra.job())).ok();
    serves(&fleet, &second);
    fleet.helium.run(&["delete", "hydrajob/web", "--wait"]).ok();
    fleet.helium.run(&["explain", "deployment/web"]).ok().expect("is not there: the version that it has is kept");
    assert_eq!(fleet.of_version(&second).len(), 2);
}
