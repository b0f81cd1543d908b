//! What cannot be seen is not acted on.

use consul_client::Put;
use helium_crds::{ObjectKey, Phase, keys};

use crate::stage::{HELLO, Stage, log, seconds};

#[tokio::test(start_paused = true)]
async fn a_missing_sentinel_blinds_until_it_is_repaired() {
    log();
    let stage = Stage::new();
    let controller = stage.controller("a");
    let _agent = stage.agent("n1");
    stage.apply(HELLO).await;
    stage.until_healthy("hello", 60).await;
    let shard = keys::shard(&ObjectKey::new("default", "hello"));
    let sentinel = format!("{}{}", stage.keys.spec_shard(shard), keys::SENTINEL);
    assert!(stage.client.kv_delete(&sentinel, None).await.unwrap());
    stage.eventually("not ready", 30, async || controller.readiness.status().is_err()).await;
    let reasons = controller.readiness.status().unwrap_err();
    assert!(reasons[0].contains("MissingSentinel"), "{reasons:?}");

    stage.apply(&HELLO.replace("replicas: 3", "replicas: 1")).await;
    seconds(120).await;
    assert_eq!(stage.assignments().await.len(), 3, "a blind controller changes nothing");

    assert_eq!(stage.people.repair().await.unwrap(), [sentinel]);
    stage.until("hello", 60, |status| status.wanted == 1 && status.phase == Phase::Healthy).await;
    assert_eq!(controller.readiness.status(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_status_that_vanished_beside_instances_is_no_first_deploy() {
    log();
    let stage = Stage::new();
    let first = stage.controller("a");
    let _agent = stage.agent("n1");
    stage.apply(HELLO).await;
    stage.until_healthy("hello", 60).await;
    first.stop().await;
    let status = stage.keys.status(helium_crds::Kind::Deployment, &ObjectKey::new("default", "hello"));
    assert!(stage.client.kv_delete(&status, None).await.unwrap());
    let before = stage.instances("hello").await;
    let second = stage.controller("b");
    seconds(120).await;
    assert_eq!(stage.instances("hello").await, before);
    assert_eq!(stage.status("hello").await, None);
    drop(second);
}

#[tokio::test(start_paused = true)]
async fn a_controller_whose_layout_is_gone_changes_nothing_and_says_so() {
    log();
    let stage = Stage::new();
    let first = stage.controller("a");
    let _agent = stage.agent("n1");
    stage.apply(HELLO).await;
    stage.until_healthy("hello", 60).await;
    first.stop().await;
    assert!(stage.client.kv_delete(&stage.keys.layout(), None).await.unwrap());
    let second = stage.controller("b");
    seconds(30).await;
    let reasons = second.readiness.status().unwrap_err();
    assert!(reasons.iter().any(|reason| reason.contains("layout")), "{reasons:?}");
    stage.client.kv_put("unrelated", "x", &Put::default()).await.unwrap();
    assert_eq!(stage.assignments().await.len(), 3);
}
