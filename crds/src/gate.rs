//! Gates: a rollout goes through only when somebody or something lets it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    metric::{default_retries, default_timeout},
    period::Period,
    secret::Auth,
};

/// A wait until a person, a webhook or a key in Consul KV lets the rollout through. Exactly one of `person`, `webhook` and `kv` is given.
/// The canary is looked at meanwhile, and can be given up at any time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("oneOf" = [{ "required": ["person"] }, { "required": ["webhook"] }, { "required": ["kv"] }]))]
pub struct Gate {
    /// A person: `helium canary promote`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<Person>,
    /// Open when a request is answered with a 2xx status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
    /// Open when a key in Consul KV holds a value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv: Option<KvValue>,
    /// How long it may stay shut. Default: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-min" = "1s", "x-max" = "30d", "x-default" = "for ever"))]
    pub timeout: Option<Period>,
    /// What happens when it has been shut for that long. Default `abort`.
    #[serde(default)]
    pub on_timeout: OnTimeout,
    /// The time from one look at a webhook or a key to the next. Default `10s`.
    #[serde(default = "default_gate_interval")]
    #[schemars(extend("x-min" = "1s", "x-max" = "1h"))]
    pub interval: Period,
}

impl fmt::Display for Gate {
    /// What has to open it, in a few words: `POST https://...` or `release/hello = open`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.webhook, &self.kv) {
            // A query may hold what is nobody's business.
            (Some(Webhook { url, .. }), _) => write!(f, "POST {}", url.split(['?', '#']).next().unwrap_or(url)),
            (_, Some(KvValue { key, equals })) => write!(f, "{key} = {equals}"),
            _ => f.write_str("a person"),
        }
    }
}

/// A person has no settings: `person: {}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Person {}

/// A POST of a JSON document that says which rollout is at which step. A 2xx status opens the gate; any other keeps it shut, and the head
/// of the answer is shown as the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Webhook {
    /// Where it is posted to.
    #[schemars(
        regex(pattern = r"^https?://[^\s@]+$"),
        extend("x-allowed" = "an address that begins with `http://` or `https://`, without a user")
    )]
    pub url: String,
    /// How the request says who asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// How long one request may take. Default `10s`.
    #[serde(default = "default_timeout")]
    #[schemars(extend("x-min" = "10ms", "x-max" = "2m"))]
    pub timeout: Period,
    /// How often a request that was not answered is made again at once. Default 2.
    #[serde(default = "default_retries")]
    #[schemars(range(min = 0, max = 10))]
    pub retries: u32,
}

/// A key in Consul KV, and the value that opens the gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KvValue {
    /// The whole key. The controller's token must be allowed to read it.
    #[schemars(
        regex(pattern = r"^[^\s/][^\s]{0,511}$"),
        extend("x-allowed" = "a key of at most 512 characters without white space, not beginning with `/`")
    )]
    pub key: String,
    /// The value that opens the gate; white space around it does not count. Default `open`.
    #[serde(default = "default_value")]
    #[schemars(length(min = 1, max = 512))]
    pub equals: String,
}

/// What happens when a gate has been shut for too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnTimeout {
    /// The rollout has failed.
    #[default]
    Abort,
    /// It goes on, if the canary is healthy.
    Continue,
    /// It waits for a person.
    Hold,
}

fn default_gate_interval() -> Period {
    Period::from_secs(10)
}

fn default_value() -> String {
    "open".to_owned()
}
