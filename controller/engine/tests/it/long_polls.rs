//! Long polls are never abandoned: Consul holds the connection of one until its wait is over, and refuses the 201st of an address.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use consul_client::{LongPoll, Transport, TransportError};
use futures::future::{BoxFuture, FutureExt};
use http::{Request, Response};

use crate::stage::{HELLO, Stage, log};

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
