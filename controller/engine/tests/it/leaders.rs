//! Two controllers, of which one writes; and writes whose answer is lost.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use bytes::Bytes;
use consul_client::{Transport, TransportError};
use futures::future::{BoxFuture, FutureExt};
use helium_crds::Phase;
use http::{Request, Response};

use crate::stage::{HELLO, Stage, log, seconds};

#[tokio::test(start_paused = true)]
async fn a_standby_plans_and_writes_nothing_and_takes_over_when_the_leader_stops() {
    log();
    let stage = Stage::new();
    let first = stage.controller("a");
    stage.eventually("the first one leads", 20, async || *first.leading.borrow()).await;
    let second = stage.controller("b");
    let _agent = stage.agent("n1");
    stage.apply(HELLO).await;
    stage.until_healthy("hello", 60).await;
    assert_eq!(second.metrics.writes.get(), 0);
    assert!(second.metrics.plans_dropped.get() > 0, "the standby did not plan");
    assert!(!*second.leading.borrow());
    first.stop().await;
    stage.apply(&HELLO.replace("replicas: 3", "replicas: 4")).await;
    stage.until("hello", 60, |status| status.wanted == 4 && status.phase == Phase::Healthy).await;
    assert!(*second.leading.borrow());
}

#[tokio::test(start_paused = true)]
async fn a_killed_leader_is_replaced_and_what_it_began_is_finished() {
    log();
    let stage = Stage::new();
    let first = stage.controller("a");
    stage.eventually("the first one leads", 20, async || *first.leading.borrow()).await;
    let second = stage.controller("b");
    let _agent = stage.agent("n1");
    stage.apply(HELLO).await;
    stage.eventually("an instance is on its way", 20, async || !stage.assignments().await.is_empty()).await;
    first.kill().await;
    let status = stage.until_healthy("hello", 120).await;
    assert_eq!(status.healthy, 3);
    assert_eq!(stage.instances("hello").await.len(), 3, "nothing was made twice");
    assert!(second.metrics.writes.get() > 0);
}

/// Carries every request, and loses the answer of every other transaction once it is told to.
struct Lossy {
    inner: Arc<dyn Transport>,
    losing: Arc<AtomicBool>,
    lost: Arc<AtomicU32>,
    count: AtomicU32,
}

impl Transport for Lossy {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
        async move {
            let is_txn = request.uri().path() == "/v1/txn";
            let answer = self.inner.send(request).await?;
            let every_other = is_txn && self.count.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
            if every_other && self.losing.load(Ordering::Relaxed) {
                self.lost.fetch_add(1, Ordering::Relaxed);
                return Err(TransportError::Lost("the answer was lost".to_owned()));
            }
            Ok(answer)
        }
        .boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_whose_answer_is_lost_is_read_back_and_not_done_twice() {
    log();
    let stage = Stage::new();
    let (losing, lost) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let transport = Lossy {
        inner: stage.server.transport(),
        losing: Arc::clone(&losing),
        lost: Arc::clone(&lost),
        count: AtomicU32::new(0),
    };
    let controller = stage.controller_over("a", Arc::new(transport), |_| {});
    let _agent = stage.agent("n1");
    stage.eventually("it leads", 20, async || *controller.leading.borrow()).await;
    losing.store(true, Ordering::Relaxed);
    stage.apply(HELLO).await;
    let status = stage.until_healthy("hello", 180).await;
    assert!(lost.load(Ordering::Relaxed) > 1, "no answer was lost");
    assert_eq!(stage.instances("hello").await.len(), 3);
    assert_eq!(status.next_ordinal, 4, "each instance was made once");
    seconds(1).await;
    drop(controller);
}

/// Carries requests, and holds them back while the store is frozen, as a stopped server does.
struct Freezer {
    inner: Arc<dyn Transport>,
    frozen: tokio::sync::watch::Receiver<bool>,
}

impl Transport for Freezer {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
        async move {
            let mut frozen = self.frozen.clone();
            let thawed = async |frozen: &mut tokio::sync::watch::Receiver<bool>| {
                frozen.wait_for(|frozen| !frozen).await.map(drop).map_err(|_| TransportError::NotSent(String::new()))
            };
            thawed(&mut frozen).await?;
            let answer = self.inner.send(request).await?;
            thawed(&mut frozen).await?;
            Ok(answer)
        }
        .boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stands_still_for_twenty_seconds_changes_nothing() {
    log();
    let stage = Stage::new();
    let (freeze, frozen) = tokio::sync::watch::channel(false);
    let transport = Freezer { inner: stage.server.transport(), frozen };
    let controller = stage.controller_over("a", Arc::new(transport), |_| {});
    let _agent = stage.agent("n1");
    stage.apply(HELLO).await;
    stage.until_healthy("hello", 60).await;
    seconds(5).await;
    let before = (stage.written().await, stage.people.leader().await.unwrap());
    freeze.send(true).unwrap();
    seconds(20).await;
    freeze.send(false).unwrap();
    seconds(120).await;
    assert_eq!((stage.written().await, stage.people.leader().await.unwrap()), before);
    stage.eventually("ready again", 10, async || controller.readiness.status().is_ok()).await;
    assert!(*controller.leading.borrow());
}
