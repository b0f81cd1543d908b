//! Who is told of events: settings of a controller, which no spec can change.
//!
//! A receiver is told what a filter lets through, and a filter that is not given lets everything through. No list may be empty: one that
//! lets nothing through would look like a receiver that is told.

use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    diagnose::{Code, Finding, Path, Report, one_document},
    event::{Event, EventReason, Severity},
    ids::ObjectKey,
    metric::default_timeout,
    period::Period,
    schema::{Shape, settings_schema, shape_of},
    secret::{Auth, SecretRef},
    source::Source,
};

/// Everybody who is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Notifications {
    /// Who is told of what.
    #[schemars(length(min = 1, max = 64))]
    pub notifications: Vec<Notification>,
}

/// One receiver, and what it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Notification {
    /// Its name in logs and metrics.
    #[schemars(
        regex(pattern = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"),
        extend("x-allowed" = "at most 63 of `a-z`, `0-9` and `-`, not beginning or ending with `-`")
    )]
    pub name: String,
    /// Where it is told.
    pub webhook: Receiver,
    /// The events that it is told of. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1), extend("x-default" = "all"))]
    pub events: Vec<EventReason>,
    /// The least severity that it is told of. Default `normal`, which is everything.
    #[serde(default)]
    pub severity: Severity,
    /// The namespaces whose events it is told of. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1), extend("x-default" = "all"))]
    pub namespaces: Vec<String>,
    /// The names of the Deployments whose events it is told of. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1), extend("x-default" = "all"))]
    pub deployments: Vec<String>,
}

/// An HTTP server that takes events. Exactly one of `url` and `urlFrom` is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("oneOf" = [{ "required": ["url"] }, { "required": ["urlFrom"] }]))]
pub struct Receiver {
    /// Where events are posted to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        regex(pattern = r"^https?://[^\s@/?#]+[^\s@]*$"),
        extend("x-allowed" = "an address that begins with `http://` or `https://`, without a user")
    )]
    pub url: Option<String>,
    /// Where the address is found if it is a secret itself, as that of a Slack webhook is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_from: Option<SecretRef>,
    /// How the request says who asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// The form of what is posted. Default `json`.
    #[serde(default)]
    pub format: Format,
    /// How long one request may take. Default `10s`.
    #[serde(default = "default_timeout")]
    #[schemars(extend("x-min" = "10ms", "x-max" = "2m"))]
    pub timeout: Period,
    /// For how long an event that was not taken is posted again. Default `10m`.
    #[serde(default = "default_give_up_after")]
    #[schemars(extend("x-min" = "0s", "x-max" = "1d"))]
    pub give_up_after: Period,
}

/// The form of what is posted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Format {
    /// A JSON document with the event and where its rollout stands.
    #[default]
    Json,
    /// A message as Slack's incoming webhooks take it.
    Slack,
}

fn default_give_up_after() -> Period {
    Period::from_secs(600)
}

impl Notification {
    /// Whether it is told of this event of this Deployment.
    pub fn wants(&self, object: &ObjectKey, event: &Event) -> bool {
        let named = |names: &[String], name: &str| names.is_empty() || names.iter().any(|known| known == name);
        let asked_for = self.events.is_empty() || self.events.iter().any(|reason| reason.as_str() == event.reason);
        asked_for
            && event.severity >= self.severity
            && named(&self.namespaces, &object.namespace)
            && named(&self.deployments, &object.name)
    }
}

impl Notification {
    /// Whether it is told of this event of a HydraJob, from which these Deployments take their version: those that it is told of are meant.
    pub fn wants_of_job(&self, job: &ObjectKey, deployments: &[ObjectKey], event: &Event) -> bool {
        let about = |object: &ObjectKey| self.wants(object, event);
        if self.deployments.is_empty() { about(job) } else { deployments.iter().any(about) }
    }
}

impl Notifications {
    /// Reads the settings.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn parse(source: &Source) -> Result<Self, Report> {
        static SHAPE: LazyLock<Shape> = LazyLock::new(|| shape_of(&settings_schema::<Notifications>()));
        one_document(source, &SHAPE, names_differ)
    }
}

/// Two receivers of one name would be one in the metrics.
fn names_differ(settings: &Value) -> Vec<Finding> {
    let list = settings.get("notifications").and_then(Value::as_array);
    let name = |item: &'_ Value| item.get("name").and_then(Value::as_str).map(str::to_owned);
    let names: Vec<Option<String>> = list.into_iter().flatten().map(name).collect();
    let is_repeated = |index: usize, name: &String| names[..index].iter().flatten().any(|earlier| earlier == name);
    let repeated = names.iter().enumerate().filter_map(|(index, name)| Some((index, name.as_ref()?)));
    repeated
        .filter(|(index, name)| is_repeated(*index, name))
        .map(|(index, name)| Finding {
            path: Path::of(&["notifications"]).index(index).field("name"),
            at_key: false,
            code: Code::DuplicateName,
            message: format!("two notifications bear the name `{name}`"),
            help: Some("give each a name of its own".to_owned()),
        })
        .collect()
}
