//! The main job: what was applied comes to run, and then there is rest.

use helium_crds::{Kind, ObjectKey, Phase, status::Reason};
use helium_engine::people::ObjectRef;

use crate::stage::{HELLO, Stage, log, seconds};

#[tokio::test(start_paused = true)]
async fn a_first_deployment_becomes_healthy_and_then_nothing_is_written_any_more() {
    log();
    let stage = Stage::new();
    let controller = stage.controller("a");
    let _agents = (stage.agent("n1"), stage.agent("n2"));
    stage.apply(HELLO).await;
    let status = stage.until_healthy("hello", 60).await;
    assert_eq!((status.healthy, status.wanted), (3, 3));
    assert_eq!(status.stable.unwrap().version, "1.0.0");
    assert_eq!(stage.assignments().await.len(), 3);
    assert_eq!(controller.readiness.status(), Ok(()));

    seconds(5).await;
    let (index, writes) = (stage.kv_index().await, controller.metrics.writes.get());
    seconds(900).await;
    assert_eq!(stage.kv_index().await, index, "a converged system is written to");
    assert_eq!(controller.metrics.writes.get(), writes);
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_new_version_replaces_the_old_one() {
    log();
    let stage = Stage::new();
    let _controller = stage.controller("a");
    let _agent = stage.agent("n1");
    stage.apply(HELLO).await;
    stage.until_healthy("hello", 60).await;
    stage.apply(&HELLO.replace("1.0.0", "2.0.0")).await;
    let new = |status: &helium_crds::DeploymentStatus| {
        status.phase == Phase::Healthy && status.stable.as_ref().is_some_and(|stable| stable.version == "2.0.0")
    };
    stage.until("hello", 120, new).await;
    stage
        .eventually("the old instances are gone", 60, async || {
            let instances = stage.instances("hello").await;
            instances.len() == 3 && instances.iter().all(|instance| instance.version == "2.0.0")
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_instance_whose_assignment_was_deleted_gets_it_back_without_any_event() {
    log();
    let stage = Stage::new();
    let _controller = stage.controller("a");
    let _agent = stage.agent("n1");
    stage.apply(HELLO).await;
    stage.until_healthy("hello", 60).await;
    let lost = stage.assignments().await.remove(0);
    let key = stage.keys.assignment(&"n1".into(), &lost.id);
    assert!(stage.client.kv_delete(&key, None).await.unwrap());
    stage.eventually("the assignment is back", 400, async || stage.assignments().await.contains(&lost)).await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_deployment_is_taken_down_and_leaves_nothing() {
    log();
    let stage = Stage::new();
    let _controller = stage.controller("a");
    let _agent = stage.agent("n1");
    stage.apply(HELLO).await;
    stage.until_healthy("hello", 60).await;
    let key = ObjectKey::new("default", "hello");
    stage.delete(&ObjectRef::new(Kind::Deployment, key.clone())).await;
    stage.eventually("the status is gone", 60, async || stage.status("hello").await.is_none()).await;
    assert_eq!(stage.assignments().await, []);
    assert_eq!(stage.instances("hello").await, []);
    assert_eq!(stage.people.revisions(&key).await.unwrap(), []);
    assert_eq!(stage.people.objects().await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_forgets_everything_between_reconciles_gets_there_too() {
    log();
    let stage = Stage::new();
    let forgetful = stage.controller_over("a", stage.server.transport(), |config| {
        config.forget_between_reconciles = true;
        config.concurrency = 1;
    });
    let _agent = stage.agent("n1");
    stage.apply(HELLO).await;
    stage.until_healthy("hello", 120).await;
    seconds(5).await;
    let index = stage.kv_index().await;
    seconds(200).await;
    assert_eq!(stage.kv_index().await, index);
    drop(forgetful);
}

#[tokio::test(start_paused = true)]
async fn without_an_agent_the_status_says_what_it_waits_for_and_goes_on_when_one_joins() {
    log();
    let stage = Stage::new();
    let _controller = stage.controller("a");
    stage.apply(HELLO).await;
    let status = stage.until("hello", 30, |_| true).await;
    assert_eq!(status.reason, Reason::NoAgents);
    let _agent = stage.agent("n1");
    stage.until_healthy("hello", 60).await;
}

#[tokio::test(start_paused = true)]
async fn a_plan_too_large_for_one_transaction_is_committed_in_several() {
    log();
    let stage = Stage::new();
    let controller = stage.controller("a");
    let _agent = stage.agent("n1");
    stage.apply(&HELLO.replace("replicas: 3", "replicas: 100")).await;
    let status = stage.until_healthy("hello", 120).await;
    assert_eq!(status.healthy, 100);
    assert_eq!(stage.assignments().await.len(), 100);
    assert_eq!(status.next_ordinal, 101);
    assert!(controller.metrics.writes.get() >= 4);
}

#[tokio::test(start_paused = true)]
async fn a_broken_canary_is_rolled_back_and_the_stable_version_serves_throughout() {
    log();
    let stage = Stage::new();
    let _controller = stage.controller("a");
    let agent = stage.agent("n1");
    stage.apply(HELLO).await;
    stage.until_healthy("hello", 60).await;
    agent.set_broken("2.0.0", true);
    let canary = format!("{}---{CANARY}", HELLO.replace("1.0.0", "2.0.0"));
    stage.apply(&canary).await;
    let status = stage.until("hello", 120, |status| status.phase == Phase::Degraded).await;
    assert_eq!(status.reason, Reason::RolloutAborted);
    assert_eq!(status.stable.unwrap().version, "1.0.0");
    agent.set_broken("2.0.0", false);
    stage.apply(&canary.replace("2.0.0", "3.0.0")).await;
    let promoted = |status: &helium_crds::DeploymentStatus| {
        status.phase == Phase::Healthy && status.stable.as_ref().is_some_and(|stable| stable.version == "3.0.0")
    };
    stage.until("hello", 180, promoted).await;
}

/// A Canary of two steps.
const CANARY: &str = r"
apiVersion: helium.dev/v1
kind: Canary
metadata: {name: hello}
spec:
  steps: [{setWeight: 25%}, {soak: 10s}, {setWeight: 50%}, {soak: 10s}]
";
