//! What every server of Helium has: signals that stop it, and a small HTTP face for those who watch over it.

use std::{net::SocketAddr, path::PathBuf, pin::Pin, sync::Arc};

use axum::{Router, http::StatusCode, routing::get};
use consul_client::Client;
use helium_analysis::{Secrets, Sources};
use helium_engine::{Readiness, metrics::SharedRegistry};
use helium_runtime::shutdown::{Shutdown, Trigger};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{
    output::{Exit, Failure},
    session::Session,
};

/// The signals that ask a server to stop: Ctrl-C and SIGTERM. Listened for from one place on, so that none is missed in between.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// Heard by daemons, so that it does not end them.
    hangup: Option<Signal>,
}

impl Signals {
    /// Listens from now on.
    pub(super) fn listen() -> Result<Self, Failure> {
        Ok(Self { interrupt: of(SignalKind::interrupt())?, terminate: of(SignalKind::terminate())?, hangup: None })
    }

    /// The same for what goes on when its terminal is gone, or when somebody who is used to other daemons asks it by SIGHUP to read a file again:
    /// it has none, so nothing follows.
    pub(super) fn of_daemon() -> Result<Self, Failure> {
        Ok(Self { hangup: Some(of(SignalKind::hangup())?), ..Self::listen()? })
    }

    /// Waits for the next one and says which it was.
    pub(super) async fn next(&mut self) -> &'static str {
        loop {
            tokio::select! {
                biased;
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.terminate.recv() => return "SIGTERM",
                () = heard(&mut self.hangup) => tracing::info!("SIGHUP changes nothing here; SIGTERM ends it"),
            }
        }
    }

    /// Runs a server to its end. The first signal asks it to stop, the second ends the wait for that at once.
    pub(super) async fn obeyed_by<T>(
        &mut self,
        mut run: Pin<&mut impl Future<Output = T>>,
        trigger: &Trigger,
    ) -> Result<T, Failure> {
        tokio::select! {
            biased;
            signal = self.next() => tracing::info!(signal, "stopping; a second signal ends it at once"),
            ended = &mut run => return Ok(ended),
        }
        trigger.trigger();
        tokio::select! {
            biased;
            _ = self.next() => Err(Failure::new(Exit::Interrupted, "ended at once: what was under way was left as it is")),
            ended = run => Ok(ended),
        }
    }
}

fn of(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::internal(format!("cannot listen for signals: {error}")))
}

async fn heard(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// The signal that asks a server to look at everything again: SIGHUP. From here on it ends nothing.
pub(super) fn hangups() -> Result<Signal, Failure> {
    of(SignalKind::hangup())
}

/// What a controller asks about metrics and gates, with the secrets of a folder and of this process.
pub(super) fn metric_sources(
    client: Client,
    secrets: Option<PathBuf>,
    session: &Session,
) -> Result<Arc<Sources>, Failure> {
    let sources = Sources::new(client, session.keys(), Secrets::of_process(secrets), session.ports.clone());
    sources.map(Arc::new).map_err(|error| Failure::internal(error.to_string()))
}

/// Serves `/metrics`, `/healthz` and `/readyz` until it is asked to stop.
pub(super) async fn serve(
    listener: TcpListener,
    readiness: Readiness,
    registry: SharedRegistry,
    shutdown: Shutdown,
) -> Result<(), Failure> {
    axum::serve(listener, routes(readiness, registry))
        .with_graceful_shutdown(async move { shutdown.cancelled().await })
        .await
        .map_err(|error| Failure::internal(format!("cannot serve HTTP: {error}")))
}

fn routes(readiness: Readiness, registry: SharedRegistry) -> Router {
    let metrics = move || {
        let page = helium_engine::metrics::render(&registry);
        async move { ([("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")], page) }
    };
    let ready = move || {
        let status = readiness.status();
        async move {
            match status {
                Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
                Err(reasons) => (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n"),
            }
        }
    };
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
}

/// Listens on an address.
pub(super) async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::internal(format!("cannot listen on {address}: {error}")).hint("`--http-addr` names another address")
    })
}
