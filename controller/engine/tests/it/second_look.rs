//! What relies on health is decided by health read past every cache, at that instant: what a cache shows has been true once.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use consul_client::{Transport, TransportError};
use futures::future::{BoxFuture, FutureExt};
use helium_crds::{DeploymentStatus, ObjectKey, control::Verb, status::Reason};
use helium_planner::{Decision, World, plan};
use http::{Request, Response};

use crate::stage::{HELLO, Stage, log};

/// A Canary that waits at its first weight.
const PAUSED: &str = r"
apiVersion: helium.dev/v1
kind: Canary
metadata: {name: hello}
spec:
  steps: [{setWeight: 25%}, {pause: {}}]
  analysis: {health: {failuresInARow: 1000}}
";

/// Once frozen, all that it tells of the health of `hello`, and of anything critical, is what it has told last; unless it is asked for a
/// consistent answer.
struct Lagging {
    inner: Arc<dyn Transport>,
    frozen: Arc<AtomicBool>,
    last: Mutex<std::collections::BTreeMap<String, Response<Bytes>>>,
}

impl Transport for Lagging {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
        async move {
            let (path, query) = (request.uri().path().to_owned(), request.uri().query().unwrap_or_default().to_owned());
            let lags = path.ends_with("/health/service/hello") || path.contains("/health/state/");
            if !lags || query.contains("consistent") {
                return self.inner.send(request).await;
            }
            let told = || self.last.lock().unwrap().get(&path).cloned().filter(|_| self.frozen.load(Ordering::Relaxed));
            if let Some(known) = told() {
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                return Ok(known);
            }
            let answer = self.inner.send(request).await?;
            // It may have been frozen while the answer was waited for.
            if let Some(known) = told() {
                return Ok(known);
            }
            self.last.lock().unwrap().insert(path, answer.clone());
            Ok(answer)
        }
        .boxed()
    }
}

/// A planner that takes what a cache shows for true.
fn careless(world: &World) -> Decision {
    match plan(world) {
        Decision::Go(mut plan) => {
            plan.needs_fresh_health = false;
            Decision::Go(plan)
        }
        blind @ Decision::Blind { .. } => blind,
    }
}

/// A canary fails, no cache has heard of it yet, and a person promotes it in full. Gives the refusal, if there was one.
async fn promotion_of_a_canary_that_failed_unseen(planner: fn(&World) -> Decision) -> Option<String> {
    log();
    let stage = Stage::new();
    let frozen = Arc::new(AtomicBool::new(false));
    let transport = Lagging { inner: stage.server.transport(), frozen: Arc::clone(&frozen), last: Mutex::default() };
    let _controller = stage.controller_over("a", Arc::new(transport), |config| config.planner = planner);
    let agent = stage.agent("n1");
    // Of four at a quarter none is beyond its share: what takes nothing down relies on nothing but the word of its plan.
    let hello = HELLO.replace("replicas: 3", "replicas: 4");
    stage.apply(&hello).await;
    stage.until_healthy("hello", 60).await;
    stage.apply(&format!("{}---{PAUSED}", hello.replace("1.0.0", "2.0.0"))).await;
    let paused = |status: &DeploymentStatus| status.reason == Reason::PausedAtStep;
    stage.until("hello", 60, paused).await;
    crate::stage::seconds(10).await;

    frozen.store(true, Ordering::Relaxed);
    agent.set_broken("2.0.0", true);
    crate::stage::seconds(3).await;
    assert_eq!(stage.status("hello").await.unwrap().reason, Reason::PausedAtStep, "the failure is not hidden");
    let hello = ObjectKey::new("default", "hello");
    let request = stage.people.request(&hello, Verb::PromoteFull, None).await.unwrap().unwrap();
    stage.people.answer(&hello, &request.id).await.unwrap().refused
}

#[tokio::test(start_paused = true)]
async fn a_promotion_is_decided_by_the_second_read_and_not_by_what_a_cache_shows() {
    let refused = promotion_of_a_canary_that_failed_unseen(plan).await;
    assert_eq!(refused.as_deref(), Some("0 of 1 canary passing (needs 1)"));
}

/// The same world without the second read: if the canary were not promoted here, the test above would prove nothing.
#[tokio::test(start_paused = true)]
async fn without_the_second_read_the_failed_canary_would_be_promoted() {
    assert_eq!(promotion_of_a_canary_that_failed_unseen(careless).await, None);
}
