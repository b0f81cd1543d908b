//! Metrics of a canary: where a number comes from, and which numbers are good.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{period::Period, quantity::Number, secret::Auth};

/// One metric: a number that is measured again and again while a canary runs. Exactly one source is given: `prometheus`, `http` or
/// `consul`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("oneOf" = [{ "required": ["prometheus"] }, { "required": ["http"] }, { "required": ["consul"] }]))]
pub struct Metric {
    /// The metric's name, unique in the Canary.
    #[schemars(
        regex(pattern = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"),
        extend("x-allowed" = "at most 63 of `a-z`, `0-9` and `-`, with a letter or digit at both ends")
    )]
    pub name: String,
    /// Source: a query to Prometheus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<Prometheus>,
    /// Source: a number in a JSON document that is fetched over HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpJson>,
    /// Source: the share of a service's instances that pass in Consul, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consul: Option<ConsulService>,
    /// Which numbers are good.
    pub criterion: Criterion,
    /// The time from one sample to the next. The first one is taken when the present weight has been there for this long. Default `30s`.
    #[serde(default = "default_interval")]
    #[schemars(extend("x-min" = "1s", "x-max" = "1d"))]
    pub interval: Period,
    /// How far back a query looks: `${WINDOW}` in it. It never reaches back behind the moment at which the present weight was
    /// reached, when it is shorter. Default: as long as `interval`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-min" = "1s", "x-max" = "1d", "x-default" = "as long as `interval`"))]
    pub window: Option<Period>,
    /// So many good samples of the present weight are needed before a step that looks at the canary is over. Default 1.
    #[serde(default = "default_min_samples")]
    #[schemars(range(min = 1, max = 1000))]
    pub min_samples: u32,
    /// Whether it decides. If false, it is measured and shown, and nothing hangs on it. Default true.
    #[serde(default = "default_true")]
    pub required: bool,
    /// Whether it is measured through all steps. If false, only in the `analysis` steps that name it. Default true.
    #[serde(default = "default_true")]
    pub background: bool,
    /// When samples are bad enough to act. Default: two failed ones in a row.
    #[serde(default)]
    pub limits: Limits,
    /// What a sample without any data counts as. Default `inconclusive`.
    #[serde(default)]
    pub when_no_data: Policy,
    /// What a sample that could not be taken counts as. Default `inconclusive`.
    #[serde(default)]
    pub when_error: Policy,
    /// What a sample that is too old counts as. Default `inconclusive`.
    #[serde(default)]
    pub when_stale: Policy,
    /// A number that its source dates further back than this is stale. Default `5m`.
    #[serde(default = "default_max_age")]
    #[schemars(extend("x-min" = "1s", "x-max" = "1d"))]
    pub max_age: Period,
}

/// A query to Prometheus, or to anything that answers its HTTP API. `${SERVICE}`, `${DEPLOYMENT}`, `${NAMESPACE}`, `${VERSION}`,
/// `${REVISION}`, `${ROLE}`, `${INSTANCES}` (the ids, with `|` between them) and `${WINDOW}` (such as `30s`) are replaced in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Prometheus {
    /// Where it is: `http://prometheus:9090`.
    #[schemars(
        regex(pattern = r"^https?://[^\s/?#@]+(/[^\s?#]*)?$"),
        extend("x-allowed" = "an address that begins with `http://` or `https://`, without a user, `?` or `#`")
    )]
    pub url: String,
    /// The query, in PromQL. It gives one number, or several of which `aggregate` makes one.
    #[schemars(length(min = 1, max = 4096))]
    pub query: String,
    /// What makes one number of several series. Default: none, and several series are an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aggregate: Option<Aggregate>,
    /// Asks for a series over the window, in place of one number at its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<Range>,
    /// How the request says who asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// How long one request may take. Default `10s`.
    #[serde(default = "default_timeout")]
    #[schemars(extend("x-min" = "10ms", "x-max" = "2m"))]
    pub timeout: Period,
    /// How often a request that failed is made again before the sample is an error. Default 2.
    #[serde(default = "default_retries")]
    #[schemars(range(min = 0, max = 10))]
    pub retries: u32,
}

/// A series over the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Range {
    /// The time from one point to the next.
    #[schemars(extend("x-min" = "1s", "x-max" = "1h"))]
    pub step: Period,
    /// What makes one number of the points.
    pub over_time: Aggregate,
}

/// A number in a JSON document that is fetched over HTTP. `url` and `body` may use the variables that a query to Prometheus may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpJson {
    /// The document's address.
    #[schemars(
        regex(pattern = r"^https?://[^\s@]+$"),
        extend("x-allowed" = "an address that begins with `http://` or `https://`, without a user")
    )]
    pub url: String,
    /// What is posted; without it, the document is fetched with GET.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16384))]
    pub body: Option<String>,
    /// Where in the document the number is, as JSONPath (RFC 9535): `$.data.p99`. A text that is a number is read as one.
    #[schemars(
        regex(pattern = r"^\$"),
        length(max = 1024),
        extend("x-allowed" = "a JSONPath, which begins with `$`")
    )]
    pub value: String,
    /// Where in the document the number's time is: a text as RFC 3339 has it, or seconds since 1970. Default: the number is of now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        regex(pattern = r"^\$"),
        length(max = 1024),
        extend("x-allowed" = "a JSONPath, which begins with `$`", "x-default" = "the number is of now")
    )]
    pub timestamp: Option<String>,
    /// What makes one number of several. Default: none, and several numbers are an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aggregate: Option<Aggregate>,
    /// How the request says who asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// How long one request may take. Default `10s`.
    #[serde(default = "default_timeout")]
    #[schemars(extend("x-min" = "10ms", "x-max" = "2m"))]
    pub timeout: Period,
    /// How often a request that failed is made again before the sample is an error. Default 2.
    #[serde(default = "default_retries")]
    #[schemars(range(min = 0, max = 10))]
    pub retries: u32,
}

/// A service in Consul: the share of its instances that pass, in percent; no data while it has none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConsulService {
    /// The service's name; `${SERVICE}` is the Deployment's own.
    #[schemars(length(min = 1, max = 256))]
    pub service: String,
    /// Only instances with this tag, such as `canary`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub tag: Option<String>,
}

/// What makes one number of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Aggregate {
    /// The mean.
    Avg,
    /// The greatest.
    Max,
    /// The least.
    Min,
    /// The sum.
    Sum,
    /// The last.
    Last,
}

/// Which numbers are good. At least one of the names below is given, and all that are given must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Criterion {
    /// Good from this number on upwards, itself included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<Number>,
    /// Good up to this number, itself included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Number>,
    /// The canary's number less the stable version's, over the same window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference_to_stable: Option<Bounds>,
    /// The canary's number divided by the stable version's, over the same window. Nothing divided by nothing is 1; anything else divided
    /// by nothing is beyond every `max`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio_to_stable: Option<Bounds>,
    /// Numbers beyond `min` and `max`, but not beyond these, are inconclusive, neither good nor failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marginal: Option<Bounds>,
}

/// Bounds, both included; at least one is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bounds {
    /// The least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<Number>,
    /// The greatest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Number>,
}

/// When samples are bad enough to act. Each acts at the sample that reaches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// So many failed samples in a row fail the rollout. Default 2.
    #[serde(default = "default_failures_in_a_row")]
    #[schemars(range(min = 1, max = 1000))]
    pub failures_in_a_row: u32,
    /// So many failed samples in all fail the rollout. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub failures: Option<u32>,
    /// So many samples in a row that could not be taken fail the rollout. Default: none, and it is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000), extend("x-default" = "none, and it is held"))]
    pub errors_in_a_row: Option<u32>,
    /// So many inconclusive samples in all have the rollout wait for a person. Default: none, and it goes on when samples are good again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000), extend("x-default" = "none, and it goes on when samples are good again"))]
    pub inconclusive: Option<u32>,
    /// So many good samples in a row are needed in place of `minSamples`, and the failed ones before them are forgiven. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub passing_streak: Option<u32>,
}

/// What a sample that is no number counts as. It is never good: promotion needs evidence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Policy {
    /// Neither good nor failed; the rollout comes no further on it.
    #[default]
    Inconclusive,
    /// Failed.
    Fail,
    /// As if it had not been taken.
    Ignore,
}

impl Metric {
    /// How far back a query looks at most.
    pub fn longest_window(&self) -> Period {
        self.window.unwrap_or(self.interval)
    }
}

impl Criterion {
    /// Whether the stable version is measured too.
    pub fn compares(&self) -> bool {
        self.difference_to_stable.is_some() || self.ratio_to_stable.is_some()
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            failures_in_a_row: default_failures_in_a_row(),
            failures: None,
            errors_in_a_row: None,
            inconclusive: None,
            passing_streak: None,
        }
    }
}

fn default_interval() -> Period {
    Period::from_secs(30)
}

fn default_min_samples() -> u32 {
    1
}

fn default_true() -> bool {
    true
}

fn default_max_age() -> Period {
    Period::from_secs(300)
}

pub(crate) fn default_timeout() -> Period {
    Period::from_secs(10)
}

pub(crate) fn default_retries() -> u32 {
    2
}

fn default_failures_in_a_row() -> u32 {
    2
}
