//! An object of whichever kind.

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Canary, Deployment, HydraJob, Kind, Metadata, ObjectKey,
    diagnose::{Finding, findings},
    object::API_VERSION,
};

/// An object of whichever kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[allow(clippy::large_enum_variant, reason = "few are held at a time, and nearly all of them are Deployments")]
pub enum AnyObject {
    /// A Deployment.
    Deployment(Deployment),
    /// A Canary.
    Canary(Canary),
    /// A HydraJob.
    HydraJob(HydraJob),
}

/// Why stored bytes are no valid object.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are not JSON, or not of the kind that they say.
    #[error("not a Helium object: {0}")]
    Json(#[from] serde_json::Error),
    /// An `apiVersion` that this Helium does not know: it was written by another one.
    #[error("apiVersion `{0}` is not known to this Helium")]
    UnknownApiVersion(String),
    /// A kind that this Helium does not know.
    #[error("kind `{0}` is not known to this Helium")]
    UnknownKind(String),
    /// The object reads well but cannot be followed.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<Finding>),
}

impl AnyObject {
    /// Reads an object as it is stored, and checks it by the rules that `helium apply` checks by.
    ///
    /// # Errors
    /// Bytes that are no object, and an object that breaks a rule.
    pub fn from_json(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::from_value(serde_json::from_slice(bytes)?)
    }

    pub(crate) fn from_value(value: serde_json::Value) -> Result<Self, DecodeError> {
        let text = |field: &str| value.get(field).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        if api_version != API_VERSION {
            return Err(DecodeError::UnknownApiVersion(api_version));
        }
        let kind =
            Kind::ALL.into_iter().find(|known| known.to_string() == kind).ok_or(DecodeError::UnknownKind(kind))?;
        let found = findings(kind, &value);
        if !found.is_empty() {
            return Err(DecodeError::Invalid(found));
        }
        Ok(Self::typed(kind, value)?)
    }

    /// The object of a kind, without any rule but those of the types.
    pub(crate) fn typed(kind: Kind, value: serde_json::Value) -> Result<Self, serde_json::Error> {
        fn read<T: DeserializeOwned>(value: serde_json::Value) -> Result<T, serde_json::Error> {
            serde_json::from_value(value)
        }
        Ok(match kind {
            Kind::Deployment => Self::Deployment(read(value)?),
            Kind::Canary => Self::Canary(read(value)?),
            Kind::HydraJob => Self::HydraJob(read(value)?),
        })
    }

    /// The object as canonical JSON: keys in order, defaults written out. This is what is stored.
    ///
    /// # Errors
    /// None in practice: every field has a JSON form.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&serde_json::to_value(self)?)
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Deployment(_) => Kind::Deployment,
            Self::Canary(_) => Kind::Canary,
            Self::HydraJob(_) => Kind::HydraJob,
        }
    }

    /// The metadata.
    pub fn metadata(&self) -> &Metadata {
        match self {
            Self::Deployment(object) => &object.metadata,
            Self::Canary(object) => &object.metadata,
            Self::HydraJob(object) => &object.metadata,
        }
    }

    /// The metadata, to be changed.
    pub fn metadata_mut(&mut self) -> &mut Metadata {
        match self {
            Self::Deployment(object) => &mut object.metadata,
            Self::Canary(object) => &mut object.metadata,
            Self::HydraJob(object) => &mut object.metadata,
        }
    }

    /// Where the object is found.
    pub fn key(&self) -> ObjectKey {
        self.metadata().key()
    }

    /// Whether both want the same: kind and spec are equal, whatever the metadata.
    pub fn same_spec(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Deployment(a), Self::Deployment(b)) => a.spec == b.spec,
            (Self::Canary(a), Self::Canary(b)) => a.spec == b.spec,
            (Self::HydraJob(a), Self::HydraJob(b)) => a.spec == b.spec,
            _ => false,
        }
    }

    /// Whether applying this over `stored` would change nothing: what people write is the same in both.
    pub fn same_as_written(&self, stored: &Self) -> bool {
        let (a, b) = (self.metadata(), stored.metadata());
        self.same_spec(stored) && a.key() == b.key() && a.labels == b.labels && a.annotations == b.annotations
    }
}

impl From<Deployment> for AnyObject {
    fn from(object: Deployment) -> Self {
        Self::Deployment(object)
    }
}

impl From<Canary> for AnyObject {
    fn from(object: Canary) -> Self {
        Self::Canary(object)
    }
}

impl From<HydraJob> for AnyObject {
    fn from(object: HydraJob) -> Self {
        Self::HydraJob(object)
    }
}

impl std::fmt::Display for AnyObject {
    /// `deployment/hello`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind().singular(), self.key())
    }
}

impl Metadata {
    /// Takes over from the stored object what Helium keeps: uid, generation, times, the deletion mark and managers. What people
    /// write (labels, annotations) stays as it is here.
    pub fn keep_from(&mut self, stored: &Metadata) {
        self.uid.clone_from(&stored.uid);
        self.generation = stored.generation;
        self.created_at = stored.created_at;
        self.deletion_requested_at = stored.deletion_requested_at;
        self.managers.clone_from(&stored.managers);
    }
}
