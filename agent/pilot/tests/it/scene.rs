//! A supervisor of jobs that run nothing, beside a Consul in this process that can be out of reach.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use consul_client::{Client, Transport, TransportError};
use consul_embedded::{Config, Server};
use futures::future::BoxFuture;
use helium_runtime::ports::Ports;
use helium_supervisor::{Handle, Job, JobSet, Options, Runner, Settings};
use http::{Request, Response};
use tokio::time::timeout;

/// Consul's transport, which can be cut and counts what goes through.
pub(crate) struct Line {
    inner: Arc<dyn Transport>,
    cut: AtomicBool,
    asked: AtomicUsize,
}

impl Line {
    pub(crate) fn cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::Relaxed);
    }

    /// How often it was asked for something.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Transport for Line {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.cut.load(Ordering::Relaxed) {
            return Box::pin(async { Err(TransportError::NotSent("the line is cut".to_owned())) });
        }
        self.inner.send(request)
    }
}

pub(crate) struct Scene {
    pub(crate) line: Arc<Line>,
    /// What somebody else sees.
    pub(crate) consul: Client,
    /// What the supervisor has.
    pub(crate) client: Client,
    pub(crate) handle: Handle,
    pub(crate) ports: Ports,
}

impl Scene {
    /// Called under paused time.
    pub(crate) fn of(jobs: &[&str]) -> Self {
        let server = Server::in_memory(&Config::default());
        let line =
            Arc::new(Line { inner: server.transport(), cut: AtomicBool::new(false), asked: AtomicUsize::new(0) });
        let jobs = jobs.iter().map(|name| Job::new(*name, None)).collect();
        let ports = Ports::real();
        let options = Options {
            ports: ports.clone(),
            output: Box::new(tokio::io::sink()),
            signals: false,
            ..Options::of_a_program()
        };
        let (runner, handle) = Runner::new(JobSet::new(jobs, Settings::default()).unwrap(), options);
        tokio::spawn(runner.run());
        Self {
            consul: Client::over(server.transport(), None),
            client: Client::over(line.clone(), None),
            line,
            handle,
            ports,
        }
    }
}

/// Waits for a condition, which is looked at every few milliseconds of paused time.
pub(crate) async fn eventually<T>(what: &str, limit: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(limit, found).await.unwrap_or_else(|_| panic!("it never came: {what}"))
}
