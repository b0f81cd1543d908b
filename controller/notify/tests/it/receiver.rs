//! A small HTTP server on loopback that takes events, or does not.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
};
use serde_json::Value;
use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle};

use crate::until;

/// What it was told once.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

/// A server on a port of its own; gone when dropped.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

struct Shared {
    told: Mutex<Vec<Told>>,
    /// The answers to the first requests; any further one is taken.
    answers: Mutex<Vec<StatusCode>>,
    /// Requests that may be answered.
    permits: Semaphore,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Receiver {
    /// Takes everything.
    pub(crate) async fn start() -> Self {
        Self::answering(&[]).await
    }

    /// Answers the first requests so, and takes the others.
    pub(crate) async fn answering(answers: &[u16]) -> Self {
        Self::on("127.0.0.1:0".parse().unwrap(), answers, Semaphore::MAX_PERMITS).await
    }

    /// Answers nobody until it is let go.
    pub(crate) async fn stuck() -> Self {
        Self::on("127.0.0.1:0".parse().unwrap(), &[], 0).await
    }

    /// Listens on an address.
    pub(crate) async fn on(address: SocketAddr, answers: &[u16], permits: usize) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let answers = answers.iter().rev().map(|status| StatusCode::from_u16(*status).unwrap()).collect();
        let (told, answers) = (Mutex::default(), Mutex::new(answers));
        let shared = Arc::new(Shared { told, answers, permits: Semaphore::new(permits) });
        let routes = Router::new().fallback(take).with_state(Arc::clone(&shared));
        let serving = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { address, shared, serving }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All that it was told so far.
    pub(crate) fn told(&self) -> Vec<Told> {
        self.shared.told.lock().unwrap().clone()
    }

    /// The messages of the events.
    pub(crate) fn messages(&self) -> Vec<String> {
        self.told().iter().map(|told| told.body["message"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until it was told so often.
    pub(crate) async fn until_told(&self, number: usize) -> Vec<Told> {
        until(&format!("told {number} times"), || self.told().len() >= number).await;
        self.told()
    }

    /// Answers everybody from now on.
    pub(crate) fn let_go(&self) {
        self.shared.permits.add_permits(Semaphore::MAX_PERMITS >> 1);
    }
}

async fn take(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap, body: Bytes) -> (StatusCode, String) {
    let told = Told { path: uri.to_string(), headers, body: serde_json::from_slice(&body).unwrap_or(Value::Null) };
    let said = format!("{} {:?}", told.path, told.headers);
    shared.told.lock().unwrap().push(told);
    shared.permits.acquire().await.unwrap().forget();
    let status = shared.answers.lock().unwrap().pop().unwrap_or(StatusCode::OK);
    // Whoever is refused is told all that it said.
    (status, if status.is_success() { "ok".to_owned() } else { said })
}
