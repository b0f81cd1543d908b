//! A wire into the simulated Consul at which somebody listens: after each write the recorder looks, before anything else happens.

use std::sync::Arc;

use bytes::Bytes;
use consul_client::{Client, Transport, TransportError};
use consul_embedded::Server;
use futures::future::{BoxFuture, FutureExt as _};
use http::{Method, Request, Response};

use super::record::Recorder;

/// The wire.
pub(super) struct Tap {
    server: Server,
    inner: Arc<dyn Transport>,
    recorder: Arc<Recorder>,
}

impl Tap {
    /// A client of the agent of a Consul node.
    pub(super) fn client(server: &Server, node: &str, recorder: &Arc<Recorder>) -> Client {
        let (inner, recorder) = (server.transport_as(node), Arc::clone(recorder));
        Client::over(Arc::new(Self { server: server.clone(), inner, recorder }), None)
    }
}

impl Transport for Tap {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
        let heard = request.method() != Method::GET && !is_heartbeat(request.uri().path());
        async move {
            let answer = self.inner.send(request).await;
            if heard {
                self.server.with_state(|state| self.recorder.look(state));
            }
            answer
        }
        .boxed()
    }
}

/// Whether a write says no more than that a controller is alive.
fn is_heartbeat(path: &str) -> bool {
    path.starts_with("/v1/session/") || path.starts_with("/v1/agent/check/update/helium-controller-")
}
