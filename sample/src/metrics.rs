//! What the sample counts, as Prometheus text.

use std::time::Duration;

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// The upper bounds of the histogram, in seconds.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByCode {
    version: String,
    code: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByVersion {
    version: String,
}

/// The counts of one sample.
#[derive(Debug)]
pub(crate) struct Metrics {
    version: String,
    requests: Family<ByCode, Counter>,
    seconds: Family<ByVersion, Histogram>,
    registry: Registry,
}

impl Metrics {
    pub(crate) fn new(version: &str) -> Self {
        let mut registry = Registry::default();
        let requests = Family::<ByCode, Counter>::default();
        let seconds = Family::<ByVersion, Histogram>::new_with_constructor(|| Histogram::new(BUCKETS));
        let info = Family::<ByVersion, Gauge>::default();
        info.get_or_create(&ByVersion { version: version.to_owned() }).set(1);
        // A series that begins at 0 gives a rate from its first error on.
        for code in [200, 500] {
            drop(requests.get_or_create(&ByCode { version: version.to_owned(), code }));
        }
        drop(seconds.get_or_create(&ByVersion { version: version.to_owned() }));
        registry.register("http_requests", "Requests of / by code", requests.clone());
        registry.register("http_request_duration_seconds", "Time to answer a request of /", seconds.clone());
        registry.register("sample_info", "Always 1; the version is a label", info);
        Self { version: version.to_owned(), requests, seconds, registry }
    }

    pub(crate) fn count(&self, code: u16, took: Duration) {
        let version = self.version.clone();
        self.requests.get_or_create(&ByCode { version: version.clone(), code }).inc();
        self.seconds.get_or_create(&ByVersion { version }).observe(took.as_secs_f64());
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
