//! A controller that dies at any of its transactions, before or after the store has taken it, leaves a world that the next one
//! brings to the same end.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use bytes::Bytes;
use consul_client::{Transport, TransportError};
use futures::future::{BoxFuture, FutureExt, pending};
use helium_crds::Phase;
use http::{Request, Response};

use crate::stage::{HELLO, Stage, log, seconds};

/// Carries requests until the transaction `last`, and never answers again.
struct Doomed {
    inner: Arc<dyn Transport>,
    /// The number of the last transaction, from 0.
    last: u32,
    /// Whether the store still takes that one.
    arrives: bool,
    count: AtomicU32,
    dead: Arc<AtomicBool>,
}

impl Transport for Doomed {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
        async move {
            // What is read goes on until the end, what the elector does too: a session that is not renewed ends by itself.
            let is_txn = request.uri().path() == "/v1/txn";
            if self.dead.load(Ordering::Relaxed) {
                return pending().await;
            }
            if is_txn && self.count.fetch_add(1, Ordering::Relaxed) == self.last {
                self.dead.store(true, Ordering::Relaxed);
                if self.arrives {
                    self.inner.send(request).await?;
                }
                return pending().await;
            }
            self.inner.send(request).await
        }
        .boxed()
    }
}

/// One roll from 1.0.0 to 2.0.0, in which the first controller dies. Says whether it did.
async fn roll_with_crash(last: u32, arrives: bool) -> bool {
    let stage = Stage::new();
    let dead = Arc::new(AtomicBool::new(false));
    let transport =
        Doomed { inner: stage.server.transport(), last, arrives, count: AtomicU32::new(0), dead: Arc::clone(&dead) };
    let first = stage.controller_over("a", Arc::new(transport), |_| {});
    let _agent = stage.agent("n1");
    stage.apply(HELLO).await;
    for _ in 0..300 {
        if dead.load(Ordering::Relaxed) || stage.status("hello").await.is_some_and(|status| status.stable.is_some()) {
            break;
        }
        seconds(1).await;
    }
    stage.apply(&HELLO.replace("1.0.0", "2.0.0")).await;
    for _ in 0..120 {
        if dead.load(Ordering::Relaxed) {
            break;
        }
        seconds(1).await;
    }
    first.kill().await;
    let _second = stage.controller("b");
    let promoted = |status: &helium_crds::DeploymentStatus| {
        status.phase == Phase::Healthy && status.stable.as_ref().is_some_and(|stable| stable.version == "2.0.0")
    };
    stage.until("hello", 300, promoted).await;
    stage
        .eventually("three instances of the new version and no other", 60, async || {
            let instances = stage.instances("hello").await;
            instances.len() == 3 && instances.iter().all(|instance| instance.version == "2.0.0")
        })
        .await;
    assert_eq!(stage.assignments().await.len(), 3, "crash at transaction {last}, arrives: {arrives}");
    dead.load(Ordering::Relaxed)
}

async fn crash_everywhere(arrives: bool) {
    log();
    let mut points = 0;
    while roll_with_crash(points, arrives).await {
        points += 1;
    }
    assert!(points > 10, "only {points} crash points were reached");
}

#[tokio::test(start_paused = true)]
async fn a_crash_before_any_transaction_is_made_good_by_the_next_controller() {
    crash_everywhere(false).await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_after_any_transaction_is_made_good_by_the_next_controller() {
    crash_everywhere(true).await;
}
