//! The envelope that every kind shares: apiVersion, kind, metadata, spec.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::ObjectKey;

/// The only `apiVersion` there is so far.
pub const API_VERSION: &str = "helium.dev/v1";
/// The namespace of an object that names none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// The kinds of object that people can apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Kind {
    /// Keeps a number of instances of a template running.
    Deployment,
    /// Says how a new template of the Deployment of the same name is tried out.
    Canary,
    /// Gives Deployments the version that a job of Hydra has built last.
    HydraJob,
}

impl Kind {
    /// Every kind, in the order in which they are applied.
    pub const ALL: [Kind; 3] = [Kind::Deployment, Kind::Canary, Kind::HydraJob];
    /// The kinds of which those of one name make one whole: a Deployment and its Canary.
    pub const OF_A_ROLLOUT: [Kind; 2] = [Kind::Deployment, Kind::Canary];

    /// The name in key paths and on the command line: `deployment`.
    pub fn singular(self) -> &'static str {
        match self {
            Kind::Deployment => "deployment",
            Kind::Canary => "canary",
            Kind::HydraJob => "hydrajob",
        }
    }

    /// The plural, as in `helium get deployments`.
    pub fn plural(self) -> &'static str {
        match self {
            Kind::Deployment => "deployments",
            Kind::Canary => "canaries",
            Kind::HydraJob => "hydrajobs",
        }
    }

    /// The short name, as in `helium get deploy`.
    pub fn short(self) -> &'static str {
        match self {
            Kind::Deployment => "deploy",
            Kind::Canary => "can",
            Kind::HydraJob => "hj",
        }
    }

    /// The kind that a singular, plural or short name means, whatever its case.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        Kind::ALL.into_iter().find(|kind| [kind.singular(), kind.plural(), kind.short()].contains(&name.as_str()))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Deployment => "Deployment",
            Kind::Canary => "Canary",
            Kind::HydraJob => "HydraJob",
        })
    }
}

/// What every object says of itself. People write `name`, `namespace`, `labels` and `annotations`; Helium keeps the rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// The namespace: at most 63 characters of `a-z`, `0-9` and `-`. Default `default`.
    #[serde(default = "default_namespace")]
    #[schemars(
        regex(pattern = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"),
        extend("x-allowed" = "at most 63 of `a-z`, `0-9` and `-`, with a letter or digit at both ends")
    )]
    pub namespace: String,
    /// The name: at most 63 characters of `a-z`, `0-9` and `-`, beginning and ending with a letter or digit.
    #[schemars(
        regex(pattern = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"),
        extend("x-allowed" = "at most 63 of `a-z`, `0-9` and `-`, with a letter or digit at both ends")
    )]
    pub name: String,
    /// Kept by Helium: a random id given at the first apply; a deleted and re-created object has another.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(extend("readOnly" = true))]
    pub uid: String,
    /// Kept by Helium: raised by one whenever the spec changes.
    #[serde(default)]
    #[schemars(extend("readOnly" = true))]
    pub generation: u64,
    /// Names and values to find objects by. They do not change what runs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = {
        "pattern": r"^[A-Za-z0-9]([A-Za-z0-9._/-]{0,126}[A-Za-z0-9])?$",
        "x-allowed": "at most 128 letters, digits, `.`, `_`, `/` and `-`, with a letter or digit at both ends"
    }))]
    pub labels: BTreeMap<String, String>,
    /// Names and values for people and tools. They do not change what runs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = {
        "pattern": r"^[A-Za-z0-9]([A-Za-z0-9._/-]{0,126}[A-Za-z0-9])?$",
        "x-allowed": "at most 128 letters, digits, `.`, `_`, `/` and `-`, with a letter or digit at both ends"
    }))]
    pub annotations: BTreeMap<String, String>,
    /// Kept by Helium: when the object was first applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("readOnly" = true))]
    pub created_at: Option<Timestamp>,
    /// Kept by Helium: the mark that `helium delete` sets. Everything of the object is taken down, then the object goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("readOnly" = true))]
    pub deletion_requested_at: Option<Timestamp>,
    /// Kept by Helium: who last wrote the object, and when, by tool.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("readOnly" = true))]
    pub managers: BTreeMap<String, Manager>,
}

/// One writer of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Manager {
    /// The person or machine account: `alice@laptop`.
    pub by: String,
    /// When it last changed the spec.
    #[schemars(with = "String")]
    pub at: Timestamp,
}

/// The namespace of an object that names none.
pub(crate) fn default_namespace() -> String {
    DEFAULT_NAMESPACE.to_owned()
}

impl Metadata {
    /// Metadata that says no more than a name, as in the shortest YAML.
    pub fn named(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: String::new(),
            generation: 0,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            created_at: None,
            deletion_requested_at: None,
            managers: BTreeMap::new(),
        }
    }

    /// Where the object is found.
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(&self.namespace, &self.name)
    }
}

/// One object: the envelope around a spec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Object<S> {
    /// Always `helium.dev/v1`.
    pub api_version: String,
    /// The kind of this object.
    pub kind: Kind,
    /// What the object is called, and what Helium keeps about it.
    pub metadata: Metadata,
    /// What is wanted.
    pub spec: S,
}

impl<S> Object<S> {
    /// An object of `kind` around `spec`.
    pub fn new(kind: Kind, metadata: Metadata, spec: S) -> Self {
        Self { api_version: API_VERSION.to_owned(), kind, metadata, spec }
    }

    /// Where the object is found.
    pub fn key(&self) -> ObjectKey {
        self.metadata.key()
    }

    /// True once `helium delete` has marked the object.
    pub fn is_deleting(&self) -> bool {
        self.metadata.deletion_requested_at.is_some()
    }
}
