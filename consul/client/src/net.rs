//! The transport of production: HTTP/1.1 over TCP, TLS or a unix socket.

use std::{io::Read as _, sync::Arc};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use futures::future::BoxFuture;
use http::{HeaderValue, Request, Response, header};

use crate::{
    config::{Address, Config, ConfigError},
    pool::Pool,
    tls,
    transport::{LongPoll, Transport, TransportError},
};

/// Keeps connections to one address and sends requests over them. See [`Config::max_connections`].
pub struct HttpTransport {
    pool: Pool,
    host: HeaderValue,
    /// Whether to ask for packed answers: over a network they are worth the server's time.
    gzip: bool,
}

impl HttpTransport {
    /// Reads the TLS files; connects to nothing yet.
    ///
    /// # Errors
    /// [`ConfigError`] names the file that cannot be used.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        let host = match &config.address {
            Address::Unix(_) => "localhost".to_owned(),
            address @ (Address::Http { .. } | Address::Https { .. }) => {
                address.to_string().split_once("://").map(|(_, rest)| rest.to_owned()).unwrap_or_default()
            }
        };
        let bad = |reason: &str| ConfigError::Address { text: host.clone(), reason: reason.to_owned() };
        let header = HeaderValue::from_str(&host).map_err(|_| bad("not a host name"))?;
        let tls = match &config.address {
            Address::Https { host, .. } => {
                let settings = config.tls.clone().unwrap_or_default();
                Some((tls::client_config(&settings)?, tls::server_name(&settings, host)?))
            }
            Address::Http { .. } | Address::Unix(_) => None,
        };
        let gzip = config.gzip.unwrap_or(!config.address.is_local());
        Ok(Self { pool: Pool::new(config.address.clone(), tls, config.max_connections), host: header, gzip })
    }

    /// How many connections are open now, idle ones included.
    pub fn open_connections(&self) -> usize {
        self.pool.open()
    }

    /// How many connections have been opened so far; a number that grows fast means that they do not last.
    pub fn opened_connections(&self) -> usize {
        self.pool.opened()
    }
}

impl Transport for HttpTransport {
    fn send(&self, mut request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
        Box::pin(async move {
            let long = request.extensions().get::<LongPoll>().is_some();
            request.headers_mut().insert(header::HOST, self.host.clone());
            if self.gzip {
                request.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
            }
            unpack(self.pool.send(request, long).await?)
        })
    }
}

fn unpack(mut answer: Response<Bytes>) -> Result<Response<Bytes>, TransportError> {
    let zipped = answer.headers().get(header::CONTENT_ENCODING).is_some_and(|coding| coding == "gzip");
    if !zipped {
        return Ok(answer);
    }
    let mut plain = Vec::with_capacity(answer.body().len() * 4);
    let mut decoder = MultiGzDecoder::new(answer.body().as_ref());
    decoder.read_to_end(&mut plain).map_err(|error| TransportError::Malformed(format!("gzip: {error}")))?;
    answer.headers_mut().remove(header::CONTENT_ENCODING);
    answer.headers_mut().remove(header::CONTENT_LENGTH);
    *answer.body_mut() = plain.into();
    Ok(answer)
}

/// The TLS settings and the name to verify.
pub(crate) type Tls = (Arc<rustls::ClientConfig>, rustls::pki_types::ServerName<'static>);
