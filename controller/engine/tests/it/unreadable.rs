//! Objects in the store that cannot be read: what runs is left alone, and what needs no reading of them goes on.

use helium_crds::{
    Kind, ObjectKey, Phase,
    control::Verb,
    instance::Desired,
    status::{self, Reason},
};
use helium_engine::people::ObjectRef;

use crate::stage::{HELLO, Stage, log, seconds};

/// A Canary that waits for a person at a quarter.
const CANARY: &str = r"
apiVersion: helium.dev/v1
kind: Canary
metadata: {name: hello}
spec:
  steps: [{setWeight: 25%}, {pause: {}}]
";

fn hello() -> ObjectKey {
    ObjectKey::new("default", "hello")
}

/// Overwrites the spec of an object with one that nobody can follow; its metadata stays.
async fn break_spec(stage: &Stage, kind: Kind) {
    let key = stage.keys.spec(kind, &hello());
    let stored = stage.client.kv_get(&key, &consul_client::Read::default()).await.unwrap().value.unwrap();
    let mut value: serde_json::Value = serde_json::from_slice(&stored.value).unwrap();
    value["spec"] = serde_json::json!({ "steps": "none", "template": 7 });
    let garbage = serde_json::to_vec(&value).unwrap();
    stage.client.kv_put(&key, garbage, &consul_client::Put::default()).await.unwrap();
}

/// Writes a request of each verb by hand, as somebody without the CLI would.
async fn ask_by_hand(stage: &Stage, verbs: &[&str]) {
    let at = stage.ports.now();
    let request = |(number, verb): (usize, &&str)| serde_json::json!({ "id": format!("by-hand-{number}"), "by": "bob", "at": at, "verb": verb });
    let requests: Vec<_> = verbs.iter().enumerate().map(request).collect();
    let value = serde_json::json!({ "requests": requests }).to_string().into_bytes();
    let key = stage.keys.control(Kind::Deployment, &hello());
    stage.client.kv_put(&key, value, &consul_client::Put::default()).await.unwrap();
}

async fn versions(stage: &Stage) -> Vec<String> {
    let mut versions: Vec<String> = stage.instances("hello").await.into_iter().map(|one| one.version).collect();
    versions.sort();
    versions
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_read_is_refused_visibly_and_the_others_are_carried_out() {
    log();
    let stage = Stage::new();
    let _controller = stage.controller("a");
    let _agent = stage.agent("n1");
    stage.apply(HELLO).await;
    stage.until_healthy("hello", 60).await;
    ask_by_hand(&stage, &["promoet", "lock"]).await;
    let status = stage.until("hello", 30, |status| status.control.len() == 2).await;
    assert_eq!(status.lock.map(|lock| lock.by).as_deref(), Some("bob"));
    let refusal = status.control.iter().find(|answer| answer.id == "by-hand-0").unwrap().refused.clone().unwrap();
    let key = stage.keys.control(Kind::Deployment, &hello());
    let place = format!("{key}: requests[0].verb: unknown variant `promoet`, expected one of `promote`");
    assert!(refusal.starts_with(&place), "{refusal}");
    let object = ObjectRef::new(Kind::Deployment, hello());
    let refused = async || {
        let log = stage.people.events(&object).await.unwrap();
        log.events.into_iter().filter(|event| event.reason == "RequestRefused").map(|event| event.message).collect()
    };
    let messages: Vec<String> = refused().await;
    assert_eq!(messages, [format!("a request by bob cannot be read: {refusal}")]);
    let index = stage.kv_index().await;
    seconds(120).await;
    assert_eq!(stage.kv_index().await, index, "nothing is written again because of it");

    // Whoever asks next takes out what has been answered, and the refusal goes with it.
    stage.people.request(&hello(), Verb::Unlock, None).await.unwrap();
    let status = stage.until("hello", 30, |status| status.lock.is_none()).await;
    assert!(status.control.iter().all(|answer| answer.verb.is_some()), "{:?}", status.control);
    assert_eq!(refused().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_value_that_is_no_list_of_requests_is_refused_and_gives_way_to_the_next_request() {
    log();
    let stage = Stage::new();
    let _controller = stage.controller("a");
    let _agent = stage.agent("n1");
    stage.apply(HELLO).await;
    stage.until_healthy("hello", 60).await;
    let key = stage.keys.control(Kind::Deployment, &hello());
    stage.client.kv_put(&key, b"promote".to_vec(), &consul_client::Put::default()).await.unwrap();
    let status = stage.until("hello", 30, |status| !status.control.is_empty()).await;
    assert!(status.control[0].refused.as_ref().unwrap().starts_with(&key), "{:?}", status.control);
    stage.people.request(&hello(), Verb::Lock, None).await.unwrap();
    stage.until("hello", 30, |status| status.lock.is_some()).await;
}

#[tokio::test(start_paused = true)]
async fn a_spec_that_cannot_be_followed_is_said_so_and_what_runs_is_left_alone() {
    log();
    let stage = Stage::new();
    let _controller = stage.controller("a");
    let _agent = stage.agent("n1");
    stage.apply(HELLO).await;
    stage.until_healthy("hello", 60).await;
    let before = stage.assignments().await;
    let key = stage.keys.spec(Kind::Deployment, &ObjectKey::new("default", "hello"));
    let garbage = br#"{"apiVersion":"helium.dev/v1","kind":"Deployment","spec":{}}"#.to_vec();
    stage.client.kv_put(&key, garbage, &consul_client::Put::default()).await.unwrap();
    let status = stage.until("hello", 30, |status| status.phase == Phase::Invalid).await;
    assert_eq!(status.reason, Reason::InvalidSpec);
    seconds(120).await;
    assert_eq!(stage.assignments().await, before);
    assert!(before.iter().all(|assignment| assignment.desired == Desired::Run));
}

#[tokio::test(start_paused = true)]
async fn while_the_canary_cannot_be_read_an_abort_goes_through() {
    log();
    let stage = Stage::new();
    let _controller = stage.controller("a");
    let _agent = stage.agent("n1");
    stage.apply(HELLO).await;
    stage.until_healthy("hello", 60).await;
    stage.apply(&format!("{}---{CANARY}", HELLO.replace("1.0.0", "2.0.0"))).await;
    stage.until("hello", 60, |status| status.reason == Reason::PausedAtStep).await;
    break_spec(&stage, Kind::Canary).await;
    let status = stage.until("hello", 30, |status| status.phase == Phase::Invalid).await;
    assert!(status.reason == Reason::InvalidSpec && status.message.starts_with("its Canary: "), "{status:#?}");
    assert_eq!(versions(&stage).await, ["1.0.0", "1.0.0", "1.0.0", "2.0.0"]);
    stage.people.request(&hello(), Verb::Abort, None).await.unwrap();
    let aborted = |status: &helium_crds::DeploymentStatus| {
        status.rollout.as_ref().is_some_and(|rollout| rollout.stage == status::Stage::Aborted)
    };
    let status = stage.until("hello", 60, aborted).await;
    assert_eq!(status.reason, Reason::RolloutAborted);
    assert_eq!(versions(&stage).await, ["1.0.0", "1.0.0", "1.0.0"]);
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_cannot_be_read_blocks_no_deletion_neither_the_deployment_s_nor_its_own() {
    log();
    let stage = Stage::new();
    let _controller = stage.controller("a");
    let _agent = stage.agent("n1");
    stage.apply(&format!("{HELLO}---{CANARY}")).await;
    stage.until_healthy("hello", 60).await;
    break_spec(&stage, Kind::Canary).await;
    stage.until("hello", 30, |status| status.phase == Phase::Invalid).await;
    stage.delete(&ObjectRef::new(Kind::Canary, hello())).await;
    stage.until_healthy("hello", 30).await;
    let canary = stage.keys.spec(Kind::Canary, &hello());
    assert_eq!(stage.client.kv_get(&canary, &consul_client::Read::default()).await.unwrap().value, None);
    stage.apply(CANARY).await;
    break_spec(&stage, Kind::Canary).await;
    stage.delete(&ObjectRef::new(Kind::Deployment, hello())).await;
    stage.eventually("the status is gone", 60, async || stage.status("hello").await.is_none()).await;
    assert_eq!((stage.assignments().await, stage.instances("hello").await), (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_deployment_that_cannot_be_read_is_taken_down_when_it_is_marked_for_deletion() {
    log();
    let stage = Stage::new();
    let _controller = stage.controller("a");
    let _agent = stage.agent("n1");
    stage.apply(HELLO).await;
    stage.until_healthy("hello", 60).await;
    break_spec(&stage, Kind::Deployment).await;
    stage.until("hello", 30, |status| status.phase == Phase::Invalid).await;
    assert_eq!(stage.assignments().await.len(), 3);
    stage.delete(&ObjectRef::new(Kind::Deployment, hello())).await;
    stage.eventually("the status is gone", 60, async || stage.status("hello").await.is_none()).await;
    assert_eq!((stage.assignments().await, stage.instances("hello").await), (vec![], vec![]));
    assert_eq!(stage.people.revisions(&hello()).await.unwrap(), []);
    let spec = stage.keys.spec(Kind::Deployment, &hello());
    assert_eq!(stage.client.kv_get(&spec, &consul_client::Read::default()).await.unwrap().value, None);
}
