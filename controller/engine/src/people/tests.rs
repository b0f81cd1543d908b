//! What people do, on a store that behaves as Consul does, with a faulty line to it where the story needs one.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use consul_client::{Client, Put, Read, Transport, TransportError};
use consul_embedded::{Access, Config, Rules, Server, seeded_entropy};
use futures::future::BoxFuture;
use helium_crds::{
    AnyObject, Kind, ObjectKey, RevisionId, Source,
    control::{ControlRequests, Verb},
    deployment::VersionCount,
    keys::Keys,
    parse,
    revision::{Revision, revision_id},
    status::Reason,
    template::Template,
};
use helium_runtime::ports::Ports;
use http::{Request, Response};

use super::*;

mod edits;
mod pairs;
mod set;

const HELLO: &str = r#"
apiVersion: helium.dev/v1
kind: Deployment
metadata: {name: hello}
spec:
  replicas: 3
  template: {version: "1.0.0", exec: {command: [run]}}
"#;

fn objects(text: &str) -> Vec<AnyObject> {
    parse(&Source::new("test.yaml", text)).unwrap().into_iter().map(|parsed| parsed.object).collect()
}

fn hello() -> ObjectRef {
    ObjectRef::new(Kind::Deployment, ObjectKey::new("default", "hello"))
}

/// A store, and a person who uses it.
struct Desk {
    server: Server,
    people: People,
}

impl Desk {
    fn new() -> Self {
        let server = Server::in_memory(&Config { entropy: seeded_entropy(7), ..Config::default() });
        let people = Self::person(server.transport(), None);
        Self { server, people }
    }

    fn person(transport: Arc<dyn Transport>, token: Option<&str>) -> People {
        let ports = Ports::seeded(7, "2026-03-01T12:00:00Z".parse().unwrap());
        let who = Who { by: "alice@laptop".to_owned(), tool: "helium-apply".to_owned() };
        People::new(Client::over(transport, token.map(str::to_owned)), Keys::default(), ports, who)
    }

    /// A person whose first transaction that writes `hello` meets with `fault`.
    fn behind(&self, fault: Fault) -> People {
        self.behind_at("/deployment/hello", fault)
    }

    /// A person whose first transaction that holds `at` meets with `fault`.
    fn behind_at(&self, at: &'static str, fault: Fault) -> People {
        let line = Line { server: self.server.transport(), at, fault: Mutex::new(Some(fault)) };
        Self::person(Arc::new(line), None)
    }

    /// Writes a value as somebody who knows nothing of Helium.
    async fn put(&self, key: &str, value: &impl serde::Serialize) {
        let value = serde_json::to_vec(value).unwrap();
        assert!(self.people.client().kv_put(key, value, &Put::default()).await.unwrap());
    }

    async fn apply(&self, text: &str) -> Vec<Applied> {
        self.people.apply(&objects(text)).await.unwrap()
    }

    async fn hello(&self) -> Stored {
        self.people.existing(&hello()).await.unwrap().value
    }
}

/// What goes wrong on the line.
enum Fault {
    /// The transaction arrives, the answer does not.
    AnswerLost,
    /// The connection breaks before the transaction arrives.
    RequestLost,
    /// Somebody else writes this between the read and the transaction.
    Faster { key: String, value: Vec<u8> },
}

/// A line to the store on which the first transaction that holds `at` meets with a fault.
struct Line {
    server: Arc<dyn Transport>,
    at: &'static str,
    fault: Mutex<Option<Fault>>,
}

impl Transport for Line {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
        let body = String::from_utf8_lossy(request.body());
        let writes_spec = request.uri().path() == "/v1/txn" && body.contains(self.at);
        let fault = if writes_spec { self.fault.lock().unwrap().take() } else { None };
        Box::pin(async move {
            match fault {
                None => self.server.send(request).await,
                Some(Fault::AnswerLost) => {
                    self.server.send(request).await?;
                    Err(TransportError::Lost("reset".to_owned()))
                }
                Some(Fault::RequestLost) => Err(TransportError::Lost("reset".to_owned())),
                Some(Fault::Faster { key, value }) => {
                    let other = Client::over(Arc::clone(&self.server), None);
                    assert!(other.kv_put(&key, value, &Put::default()).await.unwrap());
                    self.server.send(request).await
                }
            }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_apply_makes_the_store_ready_and_the_second_writes_nothing() {
    let desk = Desk::new();
    let first = desk.apply(HELLO).await;
    assert_eq!(first[0].outcome, Outcome::Created);
    assert!(desk.people.missing_sentinels().await.unwrap().is_empty());
    let (before, index) = (desk.hello().await, desk.server.index());
    assert_eq!((before.metadata.generation, before.metadata.uid.len()), (1, 32));
    let second = desk.apply(HELLO).await;
    assert_eq!(second[0].outcome, Outcome::Unchanged);
    assert_eq!(desk.server.index(), index, "nothing was written");
}

#[tokio::test(start_paused = true)]
async fn a_changed_template_is_a_new_generation_of_the_same_object() {
    let desk = Desk::new();
    desk.apply(HELLO).await;
    let before = desk.hello().await;
    let applied = desk.apply(&HELLO.replace("1.0.0", "2.0.0")).await;
    assert_eq!(applied[0].versions, Some(("1.0.0".to_owned(), "2.0.0".to_owned())));
    let after = desk.hello().await;
    assert_eq!((after.metadata.generation, &after.metadata.uid), (2, &before.metadata.uid));
    assert_eq!(after.metadata.managers["helium-apply"].by, "alice@laptop");
}

#[tokio::test(start_paused = true)]
async fn a_changed_label_is_written_and_is_no_new_generation() {
    let desk = Desk::new();
    desk.apply(HELLO).await;
    let applied = desk.apply(&HELLO.replace("{name: hello}", "{name: hello, labels: {team: web}}")).await;
    assert_eq!(applied[0].outcome, Outcome::Configured);
    assert_eq!(desk.hello().await.metadata.generation, 1);
}

#[tokio::test(start_paused = true)]
async fn a_preview_tells_all_and_writes_nothing_even_to_an_empty_store() {
    let desk = Desk::new();
    let index = desk.server.index();
    let preview = desk.people.preview(&objects(HELLO)).await.unwrap();
    assert_eq!(preview[0].outcome, Outcome::Created);
    assert_eq!(desk.people.condition().await.unwrap(), Condition::New);
    assert_eq!(desk.server.index(), index);
}

#[tokio::test(start_paused = true)]
async fn two_deployments_of_one_service_are_refused_and_nothing_is_written() {
    let desk = Desk::new();
    desk.apply(HELLO).await;
    let index = desk.server.index();
    let other = HELLO.replace("name: hello", "name: other").replace("replicas: 3", "service: hello");
    let fresh = HELLO.replace("name: hello", "name: fresh");
    let refusal = desk.people.apply(&objects(&format!("{fresh}---{other}"))).await.unwrap_err();
    assert_eq!(refusal.to_string(), "deployment/other and deployment/hello would both be the Consul service `hello`");
    assert_eq!(desk.server.index(), index, "not even the sound one was written");
}

#[tokio::test(start_paused = true)]
async fn many_objects_take_several_transactions_and_are_unchanged_the_next_time() {
    let desk = Desk::new();
    let many =
        (0..150).map(|number| HELLO.replace("name: hello", &format!("name: hello-{number}"))).collect::<Vec<_>>();
    let many = many.join("---");
    assert!(desk.apply(&many).await.iter().all(|applied| applied.outcome == Outcome::Created));
    let index = desk.server.index();
    assert!(desk.apply(&many).await.iter().all(|applied| applied.outcome == Outcome::Unchanged));
    assert_eq!(desk.server.index(), index);
}

#[tokio::test(start_paused = true)]
async fn a_canary_is_checked_against_the_deployment_that_is_stored() {
    let desk = Desk::new();
    desk.apply(HELLO).await;
    let canary =
        "{apiVersion: helium.dev/v1, kind: Canary, metadata: {name: hello}, spec: {steps: [{setWeight: 10%}]}}";
    let applied = desk.apply(canary).await;
    assert_eq!(applied[0].warnings, ["step 1 asks for 10% and gets 25% (1 of 4)"]);
    let exact = canary.replace("spec: {", "spec: {exact: true, ");
    assert!(matches!(desk.people.apply(&objects(&exact)).await, Err(PeopleError::WeightNotPossible { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_conflict_is_given_back_and_the_other_ones_write_stays() {
    let desk = Desk::new();
    desk.apply(HELLO).await;
    let mut theirs = desk.hello().await;
    theirs.spec["replicas"] = 7.into();
    let key = desk.people.keys().spec(Kind::Deployment, &hello().key);
    let faster = Fault::Faster { key, value: serde_json::to_vec(&theirs).unwrap() };
    let refusal = desk.behind(faster).apply(&objects(&HELLO.replace("1.0.0", "2.0.0"))).await.unwrap_err();
    assert!(matches!(&refusal, PeopleError::Conflict { objects } if objects == &[hello()]), "{refusal:?}");
    assert_eq!(desk.hello().await.spec["replicas"], 7);
}

#[tokio::test(start_paused = true)]
async fn scaling_goes_on_top_of_a_faster_write() {
    let desk = Desk::new();
    desk.apply(HELLO).await;
    let mut theirs = desk.hello().await;
    theirs.spec["minHealthyTime"] = "1s".into();
    let key = desk.people.keys().spec(Kind::Deployment, &hello().key);
    let faster = Fault::Faster { key, value: serde_json::to_vec(&theirs).unwrap() };
    desk.behind(faster).scale(&[(hello().key, 10)]).await.unwrap();
    let spec = desk.hello().await.spec;
    assert_eq!((&spec["replicas"], &spec["minHealthyTime"]), (&10.into(), &"1s".into()));
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_looked_up_and_never_sent_again_blindly() {
    let desk = Desk::new();
    desk.apply(HELLO).await;
    let done = desk.behind(Fault::AnswerLost).apply(&objects(&HELLO.replace("1.0.0", "2.0.0"))).await.unwrap();
    assert_eq!(done[0].outcome, Outcome::Configured);
    let lost = desk.behind(Fault::RequestLost).apply(&objects(&HELLO.replace("1.0.0", "3.0.0"))).await.unwrap_err();
    assert!(matches!(lost, PeopleError::Store(_)), "{lost:?}");
    let stored = desk.hello().await;
    assert_eq!((stored.metadata.generation, &stored.spec["template"]["version"]), (2, &"2.0.0".into()));
}

#[tokio::test(start_paused = true)]
async fn a_deleted_object_is_marked_once_and_takes_no_more_applies() {
    let desk = Desk::new();
    desk.apply(HELLO).await;
    let deleted = |already| [Deleted { object: hello(), already }];
    assert_eq!(desk.people.delete(&[hello()]).await.unwrap(), deleted(false));
    let index = desk.server.index();
    assert_eq!(desk.people.delete(&[hello()]).await.unwrap(), deleted(true));
    let refusal = desk.people.apply(&objects(HELLO)).await.unwrap_err();
    assert!(matches!(refusal, PeopleError::Deleting(_)), "{refusal:?}");
    assert!(matches!(desk.people.scale(&[(hello().key, 1)]).await, Err(PeopleError::Deleting(_))));
    assert_eq!(desk.server.index(), index);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_was_left_half_made_is_finished_and_one_that_lost_its_layout_is_not() {
    let desk = Desk::new();
    let half = layout::Layout { schema: layout::SCHEMA, uid: "half".to_owned(), complete: false };
    let key = desk.people.keys().layout();
    desk.people.client().kv_put(&key, serde_json::to_vec(&half).unwrap(), &Put::default()).await.unwrap();
    assert_eq!(desk.people.condition().await.unwrap(), Condition::HalfMade);
    let layout = desk.people.initialise().await.unwrap();
    assert_eq!((layout.uid.as_str(), layout.complete), ("half", true));
    desk.apply(HELLO).await;
    desk.people.client().kv_delete(&key, None).await.unwrap();
    assert_eq!(desk.people.condition().await.unwrap(), Condition::LayoutLost);
    assert!(matches!(desk.people.apply(&objects(HELLO)).await, Err(PeopleError::LayoutLost { .. })));
    assert_eq!(desk.people.repair().await.unwrap()[0], key);
    let sentinel = desk.people.keys().sentinels().remove(0);
    desk.people.client().kv_delete(&sentinel, None).await.unwrap();
    assert_eq!(desk.people.condition().await.unwrap(), Condition::SentinelsLost(vec![sentinel]));
    assert_eq!(desk.people.repair().await.unwrap().len(), 1);
    assert!(matches!(desk.people.condition().await.unwrap(), Condition::Sound(_)));
    desk.apply(HELLO).await;
}

#[tokio::test(start_paused = true)]
async fn a_deployer_cannot_make_a_store_but_can_use_one() {
    let desk = Desk::new();
    let rules = Rules {
        keys: [("helium/v1/".to_owned(), Access::Read), ("helium/v1/spec/".to_owned(), Access::Write)].into(),
        ..Rules::default()
    };
    let table = [("root".to_owned(), Rules::all()), ("deployer".to_owned(), rules)];
    desk.server.set_acl(Some(table.into()));
    let deployer = Desk::person(desk.server.transport(), Some("deployer"));
    assert!(matches!(deployer.apply(&objects(HELLO)).await, Err(PeopleError::NotInitialised { .. })));
    Desk::person(desk.server.transport(), Some("root")).initialise().await.unwrap();
    assert_eq!(deployer.apply(&objects(HELLO)).await.unwrap()[0].outcome, Outcome::Created);
}

/// Puts a revision into the history of `hello`, as the controller does.
async fn remember(desk: &Desk, number: u64, id: &RevisionId, template: Template) {
    let revision =
        Revision { id: id.clone(), number, formerly: Vec::new(), template, created_at: desk.people.ports().now() };
    desk.put(&desk.people.keys().revision(&hello().key, id), &revision).await;
}

/// What a controller says of `hello` that has looked at this generation of it.
async fn looked_at(desk: &Desk, generation: u64, more: serde_json::Value) {
    let mut status = serde_json::json!({
        "uid": desk.hello().await.metadata.uid, "observedGeneration": generation, "phase": "Healthy",
        "reason": "AllHealthy", "message": "", "wanted": 3, "healthy": 3,
        "current": {"version": "1.0.0", "revision": "r1-1"}, "nextOrdinal": 1, "nextRevision": 1,
    });
    if let (Some(status), serde_json::Value::Object(more)) = (status.as_object_mut(), more) {
        status.extend(more);
    }
    desk.put(&desk.people.keys().status(Kind::Deployment, &hello().key), &status).await;
}

/// A history of two versions, as the controller keeps it.
async fn with_history(desk: &Desk) {
    desk.apply(HELLO).await;
    for (number, version) in [(1, "1.0.0"), (2, "2.0.0")] {
        let AnyObject::Deployment(deployment) = objects(&HELLO.replace("1.0.0", version)).remove(0) else { return };
        let template: Template = deployment.spec.template;
        remember(desk, number, &revision_id(&template), template).await;
    }
    desk.apply(&HELLO.replace("1.0.0", "2.0.0")).await;
}

#[tokio::test(start_paused = true)]
async fn undo_puts_the_version_before_back_and_knows_what_there_is() {
    let desk = Desk::new();
    with_history(&desk).await;
    let undone = desk.people.undo(&hello().key, None).await.unwrap();
    assert_eq!((undone.to.number, desk.hello().await.spec["template"]["version"].as_str()), (1, Some("1.0.0")));
    let refusal = desk.people.undo(&hello().key, Some(9)).await.unwrap_err();
    assert_eq!(refusal.to_string(), "deployment/hello has no revision 9 in its history; there is 1 (1.0.0), 2 (2.0.0)");
}

#[tokio::test(start_paused = true)]
async fn counts_by_version_take_only_versions_that_there_are() {
    let desk = Desk::new();
    with_history(&desk).await;
    let count = |version: &str, replicas| VersionCount { version: version.to_owned(), replicas };
    let unknown = desk.people.scale_versions(&hello().key, &[count("v23", 1)]).await.unwrap_err();
    assert!(matches!(unknown, PeopleError::NoRevision { .. }), "{unknown:?}");
    let counts = [count("1.0.0", 2), count("2.0.0", 5)];
    let after = desk.people.scale_versions(&hello().key, &counts).await.unwrap().after;
    assert_eq!(after.spec.get("replicas"), None);
    assert_eq!(after.spec["versions"][1]["replicas"], 5);
    let results = desk.people.scale(&[(hello().key, 4)]).await.unwrap();
    let after = &results[0].after.spec;
    assert_eq!((after.get("versions"), &after["replicas"]), (None, &4.into()));
    let over = "counts by version are over; every instance is to be 2.0.0, the version of the template";
    assert_eq!(results[0].warnings, [over]);
}

#[tokio::test(start_paused = true)]
async fn a_request_is_kept_until_it_is_answered_and_then_makes_room() {
    let desk = Desk::new();
    desk.apply(HELLO).await;
    let first = desk.people.request(&hello().key, Verb::Restart, None).await.unwrap().unwrap();
    let key = desk.people.keys().control(Kind::Deployment, &hello().key);
    let ids = async || {
        let pair = desk.people.client().kv_get(&key, &Read::default()).await.unwrap().value.unwrap();
        let requests: ControlRequests = serde_json::from_slice(&pair.value).unwrap();
        requests.requests.into_iter().map(|request| request.id).collect::<Vec<_>>()
    };
    assert_eq!(ids().await, std::slice::from_ref(&first.id));
    let answer = serde_json::json!({"id": first.id, "verb": "restart", "by": "alice", "at": "2026-03-01T12:00:00Z"});
    looked_at(&desk, 1, serde_json::json!({"control": [answer]})).await;
    assert_eq!(desk.people.status(&hello().key).await.unwrap().unwrap().reason, Reason::AllHealthy);
    let second = desk.people.request(&hello().key, Verb::Restart, None).await.unwrap().unwrap();
    assert_eq!(ids().await, [second.id]);
    assert_eq!(desk.people.answer(&hello().key, &first.id).await.unwrap().refused, None);
    let index = desk.server.index();
    assert_eq!(desk.people.request(&hello().key, Verb::Abort, None).await.unwrap(), None, "nothing to abort");
    assert!(matches!(desk.people.request(&hello().key, Verb::Promote, None).await, Err(PeopleError::Refused(_))));
    assert_eq!(desk.server.index(), index);
}
