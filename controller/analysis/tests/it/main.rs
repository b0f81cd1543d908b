//! The sources against real servers on loopback, and the embedded Consul.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod consul;
mod gate;
mod http_json;
mod hydra;
mod prometheus;
mod secrets;
mod server;
mod tls;
mod web;

use std::{path::PathBuf, time::Duration};

use consul_client::{Client, Put};
use consul_embedded::{Config, Server as Consul, seeded_entropy};
use helium_analysis::{Measure, Secrets, Sources};
use helium_crds::{
    Number, Period,
    gate::Webhook,
    keys::Keys,
    measurement::{Ask, Found, GateReading, Query, Reading},
    metric::{Aggregate, Criterion, HttpJson, Prometheus},
    secret::{Auth, SecretRef},
};
use helium_runtime::ports::Ports;
use rustls::RootCertStore;

/// The secret of these tests, with what is written differently in a URL and in JSON.
const SECRET: &str = "t0p\"s3cret/+";
/// When these tests are: the clock stands there at first.
const NOW: &str = "2026-01-01T00:10:00Z";

/// Sources, and the Consul behind them.
struct World {
    consul: Client,
    server: Consul,
    sources: Sources,
}

impl World {
    fn new() -> Self {
        Self::with(None, RootCertStore::empty())
    }

    /// With a folder for secrets, and certificates to trust.
    fn with(folder: Option<PathBuf>, roots: RootCertStore) -> Self {
        let server = Consul::in_memory(&Config { entropy: seeded_entropy(7), ..Config::default() });
        let consul = Client::over(server.transport(), None);
        Self::over(server, consul, folder, roots)
    }

    /// With another client than one of the embedded Consul.
    fn over(server: Consul, consul: Client, folder: Option<PathBuf>, roots: RootCertStore) -> Self {
        let variables = [("HELIUM_SECRET_TOKEN", SECRET), ("HELIUM_SECRET_NONE", " \n"), ("HOME", SECRET)];
        let secrets = Secrets::new(folder, variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let ports = Ports::seeded(7, NOW.parse().unwrap());
        let sources = Sources::trusting(roots, consul.clone(), Keys::default(), secrets, ports).unwrap();
        Self { consul, server, sources }
    }

    /// One reading of a query; nothing may be older than a minute.
    async fn look(&self, query: Query) -> Reading {
        let ask = Ask::Metric {
            canary: query,
            stable: None,
            max_age: Period::from_secs(60),
            criterion: Criterion::default(),
        };
        match self.sources.measure(&ask).await {
            Found::Metric { canary, stable: None } => canary,
            other => panic!("{other:?}"),
        }
    }

    /// Why there is no reading.
    async fn why(&self, query: Query) -> String {
        match self.look(query).await {
            Reading::Error { why } => why,
            other => panic!("{other:?}"),
        }
    }

    async fn gate(&self, ask: Ask) -> GateReading {
        match self.sources.measure(&ask).await {
            Found::Gate(reading) => reading,
            Found::Metric { .. } => panic!("a gate was asked for"),
        }
    }

    async fn put(&self, key: &str, value: &str) {
        assert!(self.consul.kv_put(key, value.to_owned(), &Put::default()).await.unwrap());
    }
}

fn value(number: f64) -> Reading {
    Reading::Value { value: Number::new(number).unwrap() }
}

/// A query of the simplest kind, without any retry.
fn prometheus(url: &str) -> Prometheus {
    let (url, query) = (url.to_owned(), "up".to_owned());
    let timeout = Period::from_secs(10);
    Prometheus { url, query, aggregate: None, range: None, auth: None, timeout, retries: 0 }
}

/// A document of which `$.n` is wanted, without any retry.
fn http(url: &str) -> HttpJson {
    let (url, value) = (url.to_owned(), "$.n".to_owned());
    let timeout = Period::from_secs(10);
    HttpJson { url, body: None, value, timestamp: None, aggregate: None, auth: None, timeout, retries: 0 }
}

/// A webhook without any retry.
fn webhook(url: &str) -> Webhook {
    Webhook { url: url.to_owned(), auth: None, timeout: Period::from_secs(10), retries: 0 }
}

fn token() -> Auth {
    Auth::Bearer(SecretRef::Env("HELIUM_SECRET_TOKEN".to_owned()))
}
