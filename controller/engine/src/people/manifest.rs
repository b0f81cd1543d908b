//! An object as it is stored, and what it is called.

use std::fmt;

use helium_crds::{AnyObject, Kind, Object, ObjectKey};
use serde_json::Value;

/// An object as it is stored: the spec is canonical JSON. A spec that this version of Helium cannot read is still one.
pub type Stored = Object<Value>;

/// What an object is called: `deployment/hello`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// The kind.
    pub kind: Kind,
    /// Namespace and name.
    pub key: ObjectKey,
}

impl ObjectRef {
    /// A name from its parts.
    pub fn new(kind: Kind, key: ObjectKey) -> Self {
        Self { kind, key }
    }

    /// The name of a stored object.
    pub fn of<S>(object: &Object<S>) -> Self {
        Self { kind: object.kind, key: object.key() }
    }

    /// The name of an object of whichever kind.
    pub fn of_any(object: &AnyObject) -> Self {
        Self { kind: object.kind(), key: object.key() }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.singular(), self.key)
    }
}

/// Reads a stored object as its kind; the error says what does not fit.
pub fn typed(stored: &Stored) -> Result<AnyObject, serde_json::Error> {
    let value = serde_json::to_value(stored)?;
    Ok(match stored.kind {
        Kind::Deployment => AnyObject::Deployment(serde_json::from_value(value)?),
        Kind::Canary => AnyObject::Canary(serde_json::from_value(value)?),
        Kind::HydraJob => AnyObject::HydraJob(serde_json::from_value(value)?),
    })
}

/// The stored form of an object: defaults are written out and keys are sorted.
pub fn stored(object: &AnyObject) -> Result<Stored, serde_json::Error> {
    let spec = match object {
        AnyObject::Deployment(object) => serde_json::to_value(&object.spec)?,
        AnyObject::Canary(object) => serde_json::to_value(&object.spec)?,
        AnyObject::HydraJob(object) => serde_json::to_value(&object.spec)?,
    };
    Ok(Object::new(object.kind(), object.metadata().clone(), spec))
}
