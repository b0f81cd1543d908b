//! The sources of production: which file answers which question.

use consul_client::Client;
use futures::future::{BoxFuture, FutureExt as _, join};
use helium_crds::{
    Period,
    keys::Keys,
    measurement::{Ask, Found, Query, Reading},
};
use helium_runtime::ports::Ports;
use jiff::Timestamp;
use rustls::RootCertStore;

use crate::{
    consul, gate, http_json,
    measure::Measure,
    posting::{self, Post, Refusal},
    prometheus,
    secrets::{Secrets, Vault},
    tls,
    web::Web,
    why::Why,
};

/// One kind of metric source: a new one implements this in a file of its own.
pub(crate) trait Source: Send + Sync {
    /// Looks once. The error is told as the reading's.
    fn look<'a>(&'a self, tools: &'a Tools, at: Moment) -> BoxFuture<'a, Result<Reading, Why>>;
}

/// When a look is taken. The canary and the stable version are looked at as of one instant, so that they can be compared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// The instant.
    pub(crate) now: Timestamp,
    /// A number that its source dates further back than this is stale.
    pub(crate) max_age: Period,
}

impl Moment {
    /// A number of `of` as a reading: stale if it is too old. One of the future counts as of now.
    pub(crate) fn judge(&self, of: Timestamp, reading: Reading) -> Reading {
        let oldest = self.now.checked_sub(self.max_age.as_signed()).unwrap_or(Timestamp::MIN);
        if of < oldest { Reading::Stale { of } } else { reading }
    }
}

/// What the sources share.
pub(crate) struct Tools {
    pub(crate) web: Web,
    pub(crate) consul: Client,
    pub(crate) keys: Keys,
}

/// Asks Prometheus, HTTP servers and Consul.
pub struct Sources {
    tools: Tools,
    ports: Ports,
}

impl Sources {
    /// Sources with the certificates that this system trusts, which are read now: this blocks for some milliseconds.
    ///
    /// # Errors
    /// The settings of TLS that this program was built with do not fit together.
    pub fn new(consul: Client, keys: Keys, secrets: Secrets, ports: Ports) -> Result<Self, rustls::Error> {
        Self::trusting(tls::system_roots(), consul, keys, secrets, ports)
    }

    /// Sources that trust these certificates alone.
    ///
    /// # Errors
    /// As for [`Sources::new`].
    pub fn trusting(
        roots: RootCertStore,
        consul: Client,
        keys: Keys,
        secrets: Secrets,
        ports: Ports,
    ) -> Result<Self, rustls::Error> {
        let vault = Vault { consul: consul.clone(), keys: keys.clone() };
        let web = Web::new(roots, secrets, vault, ports.clone())?;
        Ok(Self { tools: Tools { web, consul, keys }, ports })
    }

    /// Posts a document to somebody who is to be told something, once.
    ///
    /// # Errors
    /// It was not taken: why, and whether it may be in a moment.
    pub async fn post(&self, post: &Post<'_>) -> Result<(), Refusal> {
        posting::post(&self.tools.web, post).await
    }

    /// What requests are sent with.
    pub(crate) fn web(&self) -> &Web {
        &self.tools.web
    }

    async fn look(&self, query: &Query, at: Moment) -> Reading {
        let source = source(query);
        let looked = source.look(&self.tools, at).await;
        looked.unwrap_or_else(|why| Reading::Error { why: why.into() })
    }

    async fn answer(&self, ask: &Ask) -> Found {
        match ask {
            Ask::Metric { canary, stable, max_age, .. } => {
                let at = Moment { now: self.ports.wall(), max_age: *max_age };
                let stable = async {
                    match stable {
                        Some(stable) => Some(self.look(stable, at).await),
                        None => None,
                    }
                };
                let (canary, stable) = join(self.look(canary, at), stable).await;
                Found::Metric { canary, stable }
            }
            Ask::Webhook(webhook, document) => Found::Gate(gate::webhook(&self.tools, webhook, document).await),
            Ask::Kv(value) => Found::Gate(gate::kv(&self.tools, value).await),
        }
    }
}

/// The file that answers a query.
fn source(query: &Query) -> Box<dyn Source + '_> {
    match query {
        Query::Prometheus(prometheus, window) => Box::new(prometheus::Look { prometheus, window: *window }),
        Query::Http(http) => Box::new(http_json::Look(http)),
        Query::Consul(service) => Box::new(consul::Look(service)),
    }
}

impl Measure for Sources {
    fn measure<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Found> {
        self.answer(ask).boxed()
    }
}
