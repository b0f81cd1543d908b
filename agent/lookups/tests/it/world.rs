//! The embedded server behind a road that can break, and what tests wait for.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use consul_client::{Client, Put, Transport, TransportError};
use consul_embedded::{Config, Server, seeded_entropy};
use futures::future::{BoxFuture, FutureExt};
use helium_runtime::ports::Ports;
use http::{Request, Response};
use tokio::sync::watch;

/// A store, and a road to it.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) ports: Ports,
    road: watch::Sender<bool>,
    requests: Arc<Mutex<Vec<String>>>,
    under_way: watch::Sender<usize>,
}

impl World {
    /// An empty store in the time of the test's runtime.
    pub(crate) fn new() -> Self {
        let server = Server::in_memory(&Config { entropy: seeded_entropy(7), ..Config::default() });
        let ports = Ports::seeded(7, "2026-01-01T00:00:00Z".parse().unwrap());
        let (road, under_way) = (watch::Sender::new(true), watch::Sender::new(0));
        Self { server, ports, road, requests: Arc::default(), under_way }
    }

    /// A client whose requests take the road.
    pub(crate) fn client(&self) -> Client {
        self.client_as(None)
    }

    /// The same with a token.
    pub(crate) fn client_as(&self, token: Option<&str>) -> Client {
        let road = Road {
            inner: self.server.transport(),
            open: self.road.subscribe(),
            requests: Arc::clone(&self.requests),
            under_way: self.under_way.clone(),
        };
        Client::over(Arc::new(road), token.map(str::to_owned))
    }

    /// A client that always arrives, and is not counted.
    pub(crate) fn user(&self) -> Client {
        Client::over(self.server.transport(), None)
    }

    /// Whether requests arrive.
    pub(crate) fn open_road(&self, open: bool) {
        self.road.send_replace(open);
    }

    /// The requests since the last call.
    pub(crate) fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }

    /// How many requests are under way: each holds a connection.
    pub(crate) fn under_way(&self) -> usize {
        *self.under_way.borrow()
    }

    pub(crate) async fn put(&self, key: &str, value: &str) {
        assert!(self.user().kv_put(key, value.to_owned(), &Put::default()).await.unwrap());
    }

    pub(crate) async fn delete(&self, key: &str) {
        assert!(self.user().kv_delete(key, None).await.unwrap());
    }
}

struct Road {
    inner: Arc<dyn Transport>,
    open: watch::Receiver<bool>,
    requests: Arc<Mutex<Vec<String>>>,
    under_way: watch::Sender<usize>,
}

/// Counts a request for as long as it is under way.
struct Counted(watch::Sender<usize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Transport for Road {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
        let mut open = self.open.clone();
        self.requests.lock().unwrap().push(request.uri().to_string());
        self.under_way.send_modify(|count| *count += 1);
        let counted = Counted(self.under_way.clone());
        async move {
            let _counted = counted;
            tokio::select! {
                biased;
                _ = open.wait_for(|open| !open) => Err(TransportError::Lost("the road is broken".to_owned())),
                answer = self.inner.send(request) => answer,
            }
        }
        .boxed()
    }
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let came = tokio::time::timeout(Duration::from_mins(2), waiting).await;
    assert!(came.is_ok(), "it never came to this: {what}");
}
