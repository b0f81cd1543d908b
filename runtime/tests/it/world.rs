//! The embedded server under paused time, behind a transport that can fail, hang and lie.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use consul_client::{Client, Put, Transport, TransportError};
use consul_embedded::{Config, Server, seeded_entropy};
use futures::future::{BoxFuture, FutureExt};
use helium_runtime::{
    ports::Ports,
    shutdown::Shutdown,
    snapshot::View,
    watcher::{WatchConfig, watch_prefix},
};
use http::{Request, Response};
use tokio::sync::watch;

/// What happens to requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Road {
    /// They arrive.
    Open,
    /// They are lost at once.
    Broken,
    /// They are never answered, those under way included.
    Frozen,
    /// Lists that no quorum has confirmed come back without the rows named `row-*`.
    Lying,
}

/// A store, and a road to it.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) ports: Ports,
    road: watch::Sender<Road>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl World {
    /// An empty store. To be made inside a runtime whose time is paused.
    pub(crate) fn new() -> Self {
        let server = Server::in_memory(&Config { entropy: seeded_entropy(7), ..Config::default() });
        let ports = Ports::seeded(7, "2026-01-01T00:00:00Z".parse().unwrap());
        Self { server, ports, road: watch::Sender::new(Road::Open), requests: Arc::default() }
    }

    /// A client whose requests take the road.
    pub(crate) fn client(&self) -> Client {
        self.client_as(None)
    }

    /// The same with a token.
    pub(crate) fn client_as(&self, token: Option<&str>) -> Client {
        let (road, requests) = (self.road.subscribe(), Arc::clone(&self.requests));
        let to = Arc::new(Traveller { inner: self.server.transport(), road, requests });
        Client::over(to, token.map(str::to_owned))
    }

    /// A client that always arrives, and is not counted.
    pub(crate) fn user(&self) -> Client {
        Client::over(self.server.transport(), None)
    }

    pub(crate) fn set_road(&self, road: Road) {
        self.road.send_replace(road);
    }

    /// The requests since the last call.
    pub(crate) fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }

    pub(crate) async fn put(&self, key: &str, value: &str) {
        assert!(self.user().kv_put(key, value.to_owned(), &Put::default()).await.unwrap());
    }

    pub(crate) fn watch(&self, config: WatchConfig) -> watch::Receiver<View<serde_json::Value>> {
        watch_prefix(self.client(), config, self.ports.clone(), Shutdown::never())
    }
}

struct Traveller {
    inner: Arc<dyn Transport>,
    road: watch::Receiver<Road>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Transport for Traveller {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
        let mut road = self.road.clone();
        let what = format!("{} {}", request.method(), request.uri());
        self.requests.lock().unwrap().push(what.clone());
        async move {
            if *road.borrow() == Road::Broken {
                return Err(TransportError::Lost("the road is broken".to_owned()));
            }
            let answer = tokio::select! {
                biased;
                Ok(_) = road.wait_for(|road| matches!(road, Road::Broken)) => {
                    return Err(TransportError::Lost("the road broke".to_owned()));
                }
                answer = self.inner.send(request) => answer?,
            };
            // An answer waits while the road is frozen.
            let _ = road.wait_for(|road| *road != Road::Frozen).await;
            let lying = *road.borrow() == Road::Lying && !what.contains("consistent");
            Ok(if lying { without_rows(answer) } else { answer })
        }
        .boxed()
    }
}

/// The answer of an ex-leader that has forgotten half of the state.
fn without_rows(answer: Response<Bytes>) -> Response<Bytes> {
    answer.map(|body| match serde_json::from_slice::<Vec<serde_json::Value>>(&body) {
        Ok(rows) => {
            let kept: Vec<_> =
                rows.into_iter().filter(|row| !row["Key"].as_str().unwrap_or_default().contains("/row-")).collect();
            serde_json::to_vec(&kept).unwrap().into()
        }
        Err(_) => body,
    })
}

/// Waits for a condition to become true, at most this long of paused time.
pub(crate) async fn within<T: 'static>(
    limit: Duration,
    receiver: &mut watch::Receiver<T>,
    what: &str,
    holds: impl FnMut(&T) -> bool,
) {
    let seen = tokio::time::timeout(limit, receiver.wait_for(holds)).await;
    drop(seen.unwrap_or_else(|_| panic!("not within {limit:?}: {what}")).unwrap());
}
