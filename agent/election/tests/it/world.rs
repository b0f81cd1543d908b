//! The embedded server, and clients of it that can be cut off.

use std::{sync::Arc, time::Duration};

use consul_client::{
    CheckDefinition, CheckStatus, Client, Error, Put, Read, ServiceDefinition, Transport, TransportError,
};
use consul_embedded::{Config, Server, seeded_entropy};
use futures::future::{BoxFuture, FutureExt};
use helium_runtime::ports::Ports;
use tempfile::TempDir;
use tokio::sync::watch;

pub(crate) const S: fn(u64) -> Duration = Duration::from_secs;

/// A store with an instance `shop-1` and its check `up`, which passes. To be made inside a runtime whose time is paused.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) ports: Ports,
    pub(crate) folder: TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        let server = Server::in_memory(&Config { entropy: seeded_entropy(7), ..Config::default() });
        let ports = Ports::seeded(7, "2026-01-01T00:00:00Z".parse().unwrap());
        let world = Self { server, ports, folder: tempfile::tempdir().unwrap() };
        let check = CheckDefinition {
            id: "up".to_owned(),
            name: "up".to_owned(),
            ttl: Some(S(86_400)),
            status: Some(CheckStatus::Passing),
            ..CheckDefinition::default()
        };
        let service = ServiceDefinition {
            id: "shop-1".to_owned(),
            name: "shop".to_owned(),
            checks: Some(vec![check]),
            ..ServiceDefinition::default()
        };
        world.user().agent_register_service(&service, true).await.unwrap();
        world
    }

    /// A client that always arrives.
    pub(crate) fn user(&self) -> Client {
        Client::over(self.server.transport(), None)
    }

    /// A client, and the switch that cuts it off: nothing arrives and nothing is answered while it is true.
    pub(crate) fn client(&self) -> (Client, watch::Sender<bool>) {
        let (cut, is_cut) = watch::channel(false);
        (Client::over(Arc::new(Road { inner: self.server.transport(), is_cut }), None), cut)
    }

    /// How long ago that was on the monotonic clock.
    pub(crate) fn since(&self, then: Duration) -> Duration {
        self.ports.monotonic().saturating_sub(then)
    }

    pub(crate) async fn value(&self, key: &str) -> Result<Option<serde_json::Value>, Error> {
        let pair = self.user().kv_get(key, &Read::default()).await?.value;
        Ok(pair.and_then(|pair| serde_json::from_slice(&pair.value).ok()))
    }

    pub(crate) async fn put(&self, key: &str, value: &str) {
        assert!(self.user().kv_put(key, value.to_owned(), &Put::default()).await.unwrap());
    }
}

/// A road on which something happens to single requests.
pub(crate) struct Tricky {
    pub(crate) inner: Arc<dyn Transport>,
    /// Said before each request: what is answered in its place, if anything.
    pub(crate) trick: Box<dyn Fn(String) -> BoxFuture<'static, Option<http::Response<bytes::Bytes>>> + Send + Sync>,
}

impl Transport for Tricky {
    fn send(
        &self,
        request: http::Request<bytes::Bytes>,
    ) -> BoxFuture<'_, Result<http::Response<bytes::Bytes>, TransportError>> {
        async move {
            match (self.trick)(request.uri().path().to_owned()).await {
                Some(answer) => Ok(answer),
                None => self.inner.send(request).await,
            }
        }
        .boxed()
    }
}

struct Road {
    inner: Arc<dyn Transport>,
    is_cut: watch::Receiver<bool>,
}

impl Transport for Road {
    fn send(
        &self,
        request: http::Request<bytes::Bytes>,
    ) -> BoxFuture<'_, Result<http::Response<bytes::Bytes>, TransportError>> {
        let mut is_cut = self.is_cut.clone();
        async move {
            let _ = is_cut.wait_for(|cut| !cut).await;
            let answer = self.inner.send(request).await;
            let _ = is_cut.wait_for(|cut| !cut).await;
            answer
        }
        .boxed()
    }
}
