//! What is told to the world outside: what was committed, once, by whoever committed it.

use std::sync::{Arc, Mutex};

use helium_crds::{
    DeploymentStatus, Kind, ObjectKey,
    event::Event,
    status::{HydraJobStatus, Reason},
};
use helium_engine::people::ObjectRef;
use helium_notify::Announce;

use crate::stage::{HELLO, Stage, log};

/// Keeps what is announced.
#[derive(Default)]
struct Heard(Mutex<Vec<(ObjectKey, DeploymentStatus, Event)>>);

impl Heard {
    fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap().iter().map(|(_, _, event)| event.clone()).collect()
    }
}

impl Announce for Heard {
    fn announce(&self, object: &ObjectKey, status: &DeploymentStatus, event: &Event) {
        self.0.lock().unwrap().push((object.clone(), status.clone(), event.clone()));
    }

    fn announce_job(&self, job: &ObjectKey, _: &[ObjectKey], _: &HydraJobStatus, _: &Event) {
        panic!("there is no {job}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_is_told_once_it_is_committed_and_by_the_leader_alone() {
    log();
    let stage = Stage::new();
    let hello = ObjectKey::new("default", "hello");
    let name = ObjectRef::new(Kind::Deployment, hello.clone());
    let (first, second) = (Arc::new(Heard::default()), Arc::new(Heard::default()));
    let leader = stage.controller_announcing("a", first.clone());
    stage.eventually("a leads", 60, async || *leader.leading.borrow()).await;
    let _standby = stage.controller_announcing("b", second.clone());
    let _agent = stage.agent("n1");
    stage.apply(HELLO).await;
    stage.until_healthy("hello", 60).await;
    let in_store = async || stage.people.events(&name).await.unwrap().events;
    let stored = in_store().await;
    assert!(stored.iter().any(|event| event.reason == "RolloutComplete"), "{stored:?}");
    assert_eq!((first.events(), second.events()), (stored.clone(), Vec::new()));
    let (object, status, _) = first.0.lock().unwrap().last().unwrap().clone();
    assert_eq!((object, status.current.version.as_str()), (hello.clone(), "1.0.0"));

    leader.kill().await;
    stage.apply(&HELLO.replace("1.0.0", "2.0.0")).await;
    let new = |status: &DeploymentStatus| status.stable.as_ref().is_some_and(|stable| stable.version == "2.0.0");
    stage.until("hello", 180, |status| new(status) && status.reason == Reason::AllHealthy).await;
    let all = in_store().await;
    assert_eq!(second.events(), all[stored.len()..], "the next leader tells what is new, and nothing old");
    assert_eq!(first.events(), stored);
}
