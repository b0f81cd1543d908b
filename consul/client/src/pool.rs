//! Connections to one address: kept open, reused, and never more than agreed.
//!
//! A connection is driven by the request that uses it and by nobody else: no task is spawned for it, so that an abandoned
//! request closes its socket at once and the count of open sockets is exact. The price: a server that closes an idle
//! connection is noticed when the connection is taken out again.
//!
//! The bound: a permit is held by each request in flight; connections in use and idle ones together are at most the
//! permits, because one is opened only when none is idle, and goes back before its permit does. Long polls may hold four
//! fifths of the permits, so that a lease can be renewed however many watches there are.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::FutureExt;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout},
};

use crate::{config::Address, net::Tls, transport::TransportError};

/// An idle connection is closed after this time.
const IDLE: Duration = Duration::from_mins(1);

/// How long connecting may take, the TLS handshake included.
const CONNECT: Duration = Duration::from_secs(5);

/// The most that a connection holds of what it has received and nobody has taken yet. An answer may be larger; it comes in parts of this size. A
/// connection keeps this much for as long as it lives, so that a larger one makes a client with ten long polls larger by megabytes.
const BUFFER: usize = 64 * 1024;

pub(crate) struct Pool {
    address: Address,
    tls: Option<Tls>,
    all: Semaphore,
    long: Semaphore,
    idle: Mutex<Vec<Connection>>,
    open: Arc<AtomicUsize>,
    opened: AtomicUsize,
}

/// What came of an attempt over one connection.
enum Attempt {
    Answered(Response<Bytes>),
    /// The connection was dead; the request did not leave.
    Unsent(Request<Bytes>),
    Failed(TransportError),
}

impl Pool {
    pub(crate) fn new(address: Address, tls: Option<Tls>, max: usize) -> Self {
        let max = max.max(1);
        // Example: of 90, long polls hold at most 72 and short requests always have 18.
        let long = (max - max / 5).max(1);
        let (all, long) = (Semaphore::new(max), Semaphore::new(long));
        Self { address, tls, all, long, idle: Mutex::default(), open: Arc::default(), opened: AtomicUsize::new(0) }
    }

    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    pub(crate) fn opened(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }

    /// Sends a request over an idle connection or a new one, waiting for room first.
    pub(crate) async fn send(
        &self,
        mut request: Request<Bytes>,
        long: bool,
    ) -> Result<Response<Bytes>, TransportError> {
        let _long = if long { Some(permit(&self.long).await?) } else { None };
        let _permit = permit(&self.all).await?;
        while let Some(mut connection) = self.take_idle() {
            // A server may close an idle connection just as it is used again. What was not sent is sent anew; what was
            // sent and only reads, too. A write that was sent is the caller's to judge.
            let spare = (request.method() == Method::GET).then(|| request.clone());
            match connection.exchange(request).await {
                Attempt::Answered(answer) => {
                    self.give_back(connection);
                    return Ok(answer);
                }
                Attempt::Unsent(unsent) => request = unsent,
                Attempt::Failed(error) => request = spare.ok_or(error)?,
            }
        }
        let mut connection = self.connect().await?;
        match connection.exchange(request).await {
            Attempt::Answered(answer) => {
                self.give_back(connection);
                Ok(answer)
            }
            Attempt::Unsent(_) => Err(TransportError::NotSent("the connection closed at once".to_owned())),
            Attempt::Failed(error) => Err(error),
        }
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|connection| connection.since.elapsed() < IDLE);
        while let Some(mut connection) = idle.pop() {
            if connection.is_usable() {
                return Some(connection);
            }
        }
        None
    }

    fn give_back(&self, mut connection: Connection) {
        if connection.is_usable() {
            connection.since = Instant::now();
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }

    async fn connect(&self) -> Result<Connection, TransportError> {
        let failed = |reason: String| TransportError::Connect { address: self.address.to_string(), reason };
        let connecting = async {
            match &self.address {
                Address::Unix(path) => {
                    self.start(UnixStream::connect(path).await.map_err(|error| failed(error.to_string()))?).await
                }
                Address::Http { host, port } | Address::Https { host, port } => {
                    let connected = TcpStream::connect((host.as_str(), *port)).await;
                    let stream = connected.map_err(|error| failed(error.to_string()))?;
                    stream.set_nodelay(true).map_err(|error| failed(error.to_string()))?;
                    match &self.tls {
                        None => self.start(stream).await,
                        Some((config, name)) => {
                            let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
                            let shaken = connector.connect(name.clone(), stream).await;
                            self.start(shaken.map_err(|error| failed(format!("TLS: {error}")))?).await
                        }
                    }
                }
            }
        };
        match timeout(CONNECT, connecting).await {
            Ok(outcome) => outcome,
            Err(_) => Err(failed(format!("no connection within {CONNECT:?}"))),
        }
    }

    async fn start(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Result<Connection, TransportError> {
        let count = Count::new(&self.open);
        self.opened.fetch_add(1, Ordering::SeqCst);
        let shaken = http1::Builder::new().max_buf_size(BUFFER).handshake(TokioIo::new(stream)).await;
        let (sender, driver) = shaken.map_err(|error| TransportError::NotSent(error.to_string()))?;
        let driver = Driver { future: Box::pin(driver.map(drop)), finished: false };
        Ok(Connection { sender, driver, since: Instant::now(), _count: count })
    }
}

async fn permit(semaphore: &Semaphore) -> Result<SemaphorePermit<'_>, TransportError> {
    semaphore.acquire().await.map_err(|error| TransportError::NotSent(error.to_string()))
}

/// Counts one open socket as long as it lives.
struct Count(Arc<AtomicUsize>);

impl Count {
    fn new(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(open))
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: Driver,
    since: Instant,
    _count: Count,
}

impl Connection {
    async fn exchange(&mut self, request: Request<Bytes>) -> Attempt {
        let sending = self.sender.try_send_request(request.map(Full::new));
        let answer = match self.driver.along(sending).await {
            Ok(answer) => answer,
            Err(mut refused) => {
                let (message, error) = (refused.take_message(), refused.into_error());
                return match message {
                    Some(request) => Attempt::Unsent(recover(request).await),
                    None => Attempt::Failed(broken(&error)),
                };
            }
        };
        let (head, body) = answer.into_parts();
        match self.driver.along(body.collect()).await {
            Ok(body) => Attempt::Answered(Response::from_parts(head, body.to_bytes())),
            Err(error) => Attempt::Failed(broken(&error)),
        }
    }

    /// Whether it takes another request now: lets it notice that the other side has closed it.
    fn is_usable(&mut self) -> bool {
        matches!(self.driver.along(self.sender.ready()).now_or_never(), Some(Ok(())))
    }
}

async fn recover(request: Request<Full<Bytes>>) -> Request<Bytes> {
    let (head, body) = request.into_parts();
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(never) => match never {},
    };
    Request::from_parts(head, body)
}

fn broken(error: &hyper::Error) -> TransportError {
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        reason = format!("{reason}: {cause}");
        source = cause.source();
    }
    if error.is_parse() { TransportError::Malformed(reason) } else { TransportError::Lost(reason) }
}

/// The half of a connection that moves bytes while somebody waits for them.
struct Driver {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    finished: bool,
}

impl Driver {
    /// Runs `work` to its end and the connection along with it.
    async fn along<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|context| {
            if !self.finished && self.future.as_mut().poll(context).is_ready() {
                self.finished = true;
            }
            work.as_mut().poll(context)
        })
        .await
    }
}
