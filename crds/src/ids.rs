//! Names that must not be mixed up: each is a string with a type of its own.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Defines a string newtype that serialises as the plain string.
macro_rules! string_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Wraps a string that is already known to be a valid name of this sort.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
    };
}

string_id! {
    /// One instance of a Deployment: at most 63 characters of `[a-z0-9-]`, ending in a hash.
    InstanceId
}
string_id! {
    /// A Helium node: one agent. Several may share one Consul agent, so this is not a Consul node name.
    NodeName
}
string_id! {
    /// A revision: the scheme's version, a dash, and the hash of the canonical template (`r1-<64 hex digits>`).
    RevisionId
}

impl RevisionId {
    /// The first eight digits of the hash: what people see and may type.
    pub fn short(&self) -> &str {
        let digits = self.0.split_once('-').map_or(self.0.as_str(), |(_, hash)| hash);
        digits.get(..8).unwrap_or(digits)
    }
}

/// Where an object is found: its namespace and its name. A Canary bears its Deployment's name, so one key names both.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectKey {
    /// The namespace, `default` unless given.
    pub namespace: String,
    /// The name, unique in its namespace and kind.
    pub name: String,
}

impl ObjectKey {
    /// A key from its two parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectKey {
    /// `hello` in the default namespace, `team/hello` elsewhere.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace == crate::object::DEFAULT_NAMESPACE {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}
