//! A Consul, a Prometheus, instances of the sample, and somebody who asks.

use std::{path::PathBuf, time::Duration};

use consul_client::{Address, Client, Config};
use helium_analysis::{Measure, Secrets, Sources};
use helium_crds::{
    Number, Period,
    keys::Keys,
    measurement::{Ask, Found, Query, Reading},
    metric::{self, Criterion},
};
use helium_e2e::{Consul, Daemon, Helium, Http, eventually, ports};
use helium_runtime::ports::Ports;
use serde_json::json;

/// Requests that fail are a whole number of these for every error rate of the stories.
pub(crate) const REQUESTS: u32 = 40;

/// Who asks, as a controller does.
pub(crate) struct Asker {
    pub(crate) runtime: tokio::runtime::Runtime,
    sources: Sources,
}

impl Asker {
    /// With a folder for secrets.
    pub(crate) fn new(consul: &Consul, secrets: Option<PathBuf>) -> Self {
        let client =
            Client::new(Config::at(Address::Http { host: "127.0.0.1".to_owned(), port: consul.port() })).unwrap();
        let sources = Sources::new(client, Keys::default(), Secrets::new(secrets, []), Ports::real()).unwrap();
        Self { runtime: tokio::runtime::Runtime::new().unwrap(), sources }
    }

    /// Asks, with nothing older than `max_age`.
    pub(crate) async fn ask(&self, query: Query, max_age: Period) -> Reading {
        match self
            .sources
            .measure(&Ask::Metric { canary: query, stable: None, max_age, criterion: Criterion::default() })
            .await
        {
            Found::Metric { canary, .. } => canary,
            Found::Gate(_) => panic!("no gate was asked for"),
        }
    }

    /// The canary's number and the stable version's.
    pub(crate) fn both(&self, canary: Query, stable: Query) -> (Reading, Reading) {
        let ask = Ask::Metric {
            canary,
            stable: Some(stable),
            max_age: Period::from_secs(60),
            criterion: Criterion::default(),
        };
        match self.runtime.block_on(self.sources.measure(&ask)) {
            Found::Metric { canary, stable: Some(stable) } => (canary, stable),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn look(&self, query: &metric::Prometheus) -> Reading {
        self.runtime.block_on(self.ask(whole(query), Period::from_secs(60)))
    }

    /// The number that a query gives.
    #[track_caller]
    pub(crate) fn number(&self, query: &metric::Prometheus) -> f64 {
        match self.look(query) {
            Reading::Value { value } => value.value(),
            other => panic!("{}: {other:?}", query.query),
        }
    }

    /// Why a query gives none.
    #[track_caller]
    pub(crate) fn why(&self, query: &metric::Prometheus) -> String {
        match self.look(query) {
            Reading::Error { why } => why,
            other => panic!("{}: {other:?}", query.query),
        }
    }
}

/// A query over a window that holds all of a story.
pub(crate) fn whole(query: &metric::Prometheus) -> Query {
    Query::Prometheus(query.clone(), Period::from_secs(60))
}

pub(crate) fn query(url: &str, query: &str) -> metric::Prometheus {
    let (url, query) = (url.to_owned(), query.to_owned());
    let timeout = Period::from_secs(10);
    metric::Prometheus { url, query, aggregate: None, range: None, auth: None, timeout, retries: 0 }
}

pub(crate) fn value(number: f64) -> Reading {
    Reading::Value { value: Number::new(number).unwrap() }
}

/// One instance of the sample, in Consul's catalog as an agent of Helium puts it there.
pub(crate) struct Sample {
    pub(crate) daemon: Daemon,
    pub(crate) http: Http,
}

impl Sample {
    #[track_caller]
    pub(crate) fn start(helium: &Helium, consul: &Consul, version: &str, flags: &[&str]) -> Self {
        let port = ports::free();
        let text = port.to_string();
        let arguments = ["sample", "--port", &text, "--address", "127.0.0.1", "--version", version];
        let daemon = helium.start(&format!("sample-{port}"), &[&arguments, flags].concat());
        let http = Http::on(port);
        eventually("the sample serves", Duration::from_secs(30), || http.get("/health").ok().map(drop));
        let id = format!("shop-{port}");
        let meta = json!({
            "helium-namespace": "default", "helium-deployment": "shop", "helium-version": version,
            "helium-revision": format!("rev-{version}"), "helium-instance": id, "helium-node": "n1",
        });
        let service = json!({
            "ID": format!("helium-{id}"), "Name": "shop", "Address": "127.0.0.1", "Port": port, "Tags": ["stable"], "Meta": meta,
        });
        consul.http().put("/v1/agent/service/register", service.to_string());
        Self { daemon, http }
    }

    /// So many requests.
    #[track_caller]
    pub(crate) fn serve(&self, requests: u32) {
        for _ in 0..requests {
            self.http.get("/").unwrap();
        }
    }
}
