//! What cannot be seen is not acted on.

use std::collections::BTreeMap;

use consul_client::{Put, Read};
use consul_embedded::{Access, AclTable, Rules};
use helium_crds::{ObjectKey, Phase, control::Verb, keys};

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
    stage.eventually("ready again", 5, async || controller.readiness.status().is_ok()).await;
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

#[tokio::test(start_paused = true)]
async fn a_token_that_loses_its_rights_changes_nothing_and_the_reason_is_named() {
    log();
    let stage = Stage::new();
    let all = || AclTable::from([(String::new(), Rules::all()), ("controller".to_owned(), Rules::all())]);
    stage.server.set_acl(Some(all()));
    let controller = stage.controller_with_token("a", "controller");
    let _agent = stage.agent("n1");
    stage.apply(HELLO).await;
    stage.until_healthy("hello", 60).await;
    seconds(5).await;

    let before = stage.written().await;
    stage
        .server
        .set_acl(Some(AclTable::from([(String::new(), Rules::all()), ("controller".to_owned(), Rules::default())])));
    stage.eventually("not ready", 60, async || controller.readiness.status().is_err()).await;
    seconds(300).await;
    let reasons = controller.readiness.status().unwrap_err().join("; ");
    assert!(reasons.contains("MissingSentinel") || reasons.contains("Denied"), "{reasons}");
    assert_eq!(stage.written().await, before, "nothing was touched");

    stage.server.set_acl(Some(all()));
    stage.apply(&HELLO.replace("replicas: 3", "replicas: 4")).await;
    stage.until("hello", 30, |status| status.wanted == 4 && status.phase == Phase::Healthy).await;
    stage.eventually("ready again", 30, async || controller.readiness.status().is_ok()).await;
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_may_not_write_is_red_only_while_it_leads() {
    log();
    let stage = Stage::new();
    let table = |writes: bool| {
        let access = if writes { Access::Write } else { Access::Read };
        let keys = BTreeMap::from([(String::new(), access)]);
        let controller = Rules { keys, ..Rules::all() };
        AclTable::from([(String::new(), Rules::all()), ("controller".to_owned(), controller)])
    };
    stage.server.set_acl(Some(table(true)));
    let first = stage.controller_with_token("a", "controller");
    stage.eventually("the first one leads", 20, async || *first.leading.borrow()).await;
    let second = stage.controller("b");
    let _agent = stage.agent("n1");
    stage.apply(HELLO).await;
    stage.until_healthy("hello", 60).await;

    stage.server.set_acl(Some(table(false)));
    stage.apply(&HELLO.replace("replicas: 3", "replicas: 4")).await;
    let says_write = async || first.readiness.status().is_err_and(|why| why.iter().any(|one| one.starts_with("write")));
    stage.eventually("the refusal is told", 30, says_write).await;
    let lock = stage.client.kv_get(&stage.keys.controller_lock(), &Read::default()).await.unwrap().value.unwrap();
    stage.client.session_destroy(&lock.session.unwrap()).await.unwrap();
    stage.eventually("the second one leads", 30, async || *second.leading.borrow()).await;
    stage.until("hello", 60, |status| status.wanted == 4 && status.phase == Phase::Healthy).await;
    seconds(2).await;
    assert_eq!(first.readiness.status(), Ok(()), "a standby has nothing to write");
}

#[tokio::test(start_paused = true)]
async fn instances_on_a_consul_node_that_leaves_are_not_replaced_and_count_again_when_it_returns() {
    log();
    let stage = Stage::new();
    stage.server.join("far", "10.0.0.2");
    let _controller = stage.controller("a");
    let _agent = stage.agent_on("n1", "far");
    stage.apply(HELLO).await;
    stage.until_healthy("hello", 60).await;
    let before = stage.assignments().await;

    stage.server.leave("far");
    seconds(30).await;
    assert_eq!(stage.assignments().await, before, "unknown is not gone");
    stage.server.join("far", "10.0.0.2");
    let _agent = stage.agent_on("n1", "far");
    stage.until_healthy("hello", 120).await;
    assert_eq!(stage.assignments().await, before);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_a_restored_snapshot_does_not_know_is_not_followed() {
    log();
    let stage = Stage::new();
    let _controller = stage.controller("a");
    let _agent = stage.agent("n1");
    let paused = "---\napiVersion: helium.dev/v1\nkind: Canary\nmetadata: {name: hello}\nspec:\n  steps: [{setWeight: 50%}, {pause: {}}]\n";
    stage.apply(&format!("{HELLO}{paused}")).await;
    stage.until_healthy("hello", 60).await;
    stage.apply(&HELLO.replace("1.0.0", "2.0.0")).await;
    stage.until("hello", 120, |status| status.phase == Phase::Paused).await;
    seconds(60).await;
    let snapshot = stage.server.state();
    stage.people.request(&ObjectKey::new("default", "hello"), Verb::Promote, None).await.unwrap();
    stage.until_healthy("hello", 120).await;

    // The watch of the specs waits on an index that the restored store has not reached: it still shows the request.
    stage.server.restore(snapshot);
    seconds(120).await;
    let status = stage.status("hello").await.unwrap();
    assert_eq!((status.phase, status.control.len()), (Phase::Paused, 0), "{status:#?}");
}

#[tokio::test(start_paused = true)]
async fn instances_of_a_lost_node_start_elsewhere() {
    log();
    let stage = Stage::new();
    let _controller = stage.controller("a");
    let (first, _second) = (stage.agent("n1"), stage.agent("n2"));
    stage.apply(HELLO).await;
    stage.until_healthy("hello", 60).await;
    first.vanish().await;
    seconds(50).await;
    assert!(stage.instances("hello").await.iter().any(|instance| instance.node.as_str() == "n1"), "too early");
    stage
        .eventually("three healthy instances on the other node", 120, async || {
            let running = stage.assignments().await;
            let there = stage.instances("hello").await;
            let there = there.iter().filter(|instance| instance.node.as_str() == "n2");
            let wanted = there.filter(|instance| instance.desired == helium_crds::instance::Desired::Run).count();
            wanted == 3 && running.len() >= 3
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_wiped_store_is_not_taken_for_a_new_one_by_a_controller_that_runs() {
    log();
    let stage = Stage::new();
    let controller = stage.controller("a");
    let _agent = stage.agent("n1");
    stage.apply(HELLO).await;
    stage.until_healthy("hello", 60).await;
    assert!(stage.client.kv_delete_tree(stage.keys.root()).await.unwrap());
    seconds(120).await;
    assert!(controller.readiness.status().is_err());
    let left =
        stage.client.kv_keys(&stage.keys.assignments_root(), None, &consul_client::Read::default()).await.unwrap();
    assert_eq!(left.value, Vec::<String>::new(), "nothing was written into a store that was wiped");
}
