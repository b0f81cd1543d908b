//! Long polls are never abandoned: Consul holds the connection of one until its wait is over, and refuses the 201st of an address.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use consul_client::{LongPoll, Transport, TransportError};
use futures::future::{BoxFuture, FutureExt};
use http::{Request, Response};

use tokio::time::{Duration, Instant};

use crate::stage::{HELLO, Stage, log, seconds};

/// Counts the long polls that nobody waited for to the end.
struct Counting {
    inner: Arc<dyn Transport>,
    abandoned: Arc<AtomicU64>,
}

/// One request under way; counts itself if it is dropped before its answer.
struct UnderWay<'a> {
    abandoned: Option<&'a AtomicU64>,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(abandoned) = self.abandoned {
            abandoned.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Transport for Counting {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
        async move {
            let is_long = request.extensions().get::<LongPoll>().is_some();
            let mut under_way = UnderWay { abandoned: is_long.then_some(&*self.abandoned) };
            let answer = self.inner.send(request).await;
            under_way.abandoned = None;
            answer
        }
        .boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn services_that_come_to_rest_do_not_have_their_long_polls_cut_off() {
    log();
    let stage = Stage::new();
    let abandoned = Arc::new(AtomicU64::new(0));
    let transport = Counting { inner: stage.server.transport(), abandoned: Arc::clone(&abandoned) };
    let controller = stage.controller_over("a", Arc::new(transport), |config| config.health_polls = 3);
    stage.eventually("it leads", 20, async || *controller.leading.borrow()).await;
    let _agent = stage.agent("n1");
    let name = |number: u32| format!("hello-{number}");
    for number in 0..12 {
        stage.apply(&HELLO.replace("name: hello}", &format!("name: {}}}", name(number)))).await;
    }
    for number in 0..12 {
        stage.until_healthy(&name(number), 120).await;
    }
    assert_eq!(abandoned.load(Ordering::Relaxed), 0);
}

/// When the long polls of `hello` were sent and answered.
#[derive(Clone, Default)]
struct Times(Arc<Mutex<Vec<(Instant, Instant)>>>);

/// Takes the times of long polls.
struct Timing {
    inner: Arc<dyn Transport>,
    times: Times,
}

impl Transport for Timing {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
        async move {
            let is_long = request.extensions().get::<LongPoll>().is_some();
            let is_meant = is_long && request.uri().path() == "/v1/health/service/hello";
            let sent = Instant::now();
            let answer = self.inner.send(request).await;
            if is_meant {
                self.times.0.lock().unwrap().push((sent, Instant::now()));
            }
            answer
        }
        .boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn where_nothing_is_new_one_long_poll_follows_the_other_without_a_gap_in_which_a_failure_goes_unseen() {
    log();
    let stage = Stage::new();
    let times = Times::default();
    let transport = Timing { inner: stage.server.transport(), times: times.clone() };
    let _controller = stage.controller_over("a", Arc::new(transport), |_| {});
    let _agent = stage.agent("n1");
    let canary = "---\napiVersion: helium.dev/v1\nkind: Canary\nmetadata: {name: hello}\nspec:\n  steps: [{setWeight: 50%}, {soak: 1h}]\n";
    stage.apply(&format!("{HELLO}{canary}")).await;
    stage.until_healthy("hello", 60).await;
    stage.apply(&HELLO.replace("1.0.0", "2.0.0")).await;
    stage.until("hello", 120, |status| status.rollout.as_ref().is_some_and(|rollout| rollout.step == 1)).await;
    seconds(10).await;
    times.0.lock().unwrap().clear();
    seconds(60).await;
    let times = times.0.lock().unwrap().clone();
    assert!(times.len() >= 5, "{times:?}");
    let gaps: Vec<Duration> = times.windows(2).map(|pair| pair[1].0 - pair[0].1).collect();
    assert!(gaps.iter().all(Duration::is_zero), "{gaps:?}");
}
