//! The values of the watched keys: specs and requests, reports, nodes and heartbeats.

use std::sync::Arc;

use helium_crds::{
    AnyObject, Canary, Deployment, HydraJob, Kind, Metadata, ObjectKey,
    control::{self, Heard},
    features::Features,
    instance::Report,
    keys::SpecKey,
    limits,
    node::{Heartbeat, NodeRecord},
    object::Object,
};
use helium_runtime::snapshot::{Decode, InvalidRow};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::json;

/// A key under `spec/`.
#[derive(Clone, Debug)]
pub enum SpecRow {
    /// A Deployment that can be followed.
    Deployment(Box<Deployment>),
    /// A Canary that can be followed.
    Canary(Box<Canary>),
    /// A HydraJob that can be followed.
    HydraJob(Box<HydraJob>),
    /// People's requests.
    Control(Heard),
    /// An object that cannot be followed.
    Invalid(InvalidSpec),
}

/// What can be told of an object that does not parse or validate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InvalidSpec {
    /// Its uid, if that much can be read.
    pub uid: String,
    /// Its generation, if that much can be read.
    pub generation: u64,
    /// Its template's label, if that much can be read.
    pub version: String,
    /// The mark of its deletion, if that much can be read and it is there.
    pub deletion_requested_at: Option<Timestamp>,
    /// What is wrong with it.
    pub problem: String,
}

impl Decode for SpecRow {
    fn decode(key: &str, bytes: &[u8]) -> Result<Self, InvalidRow> {
        let most = match SpecKey::under_any_root(key) {
            Some(SpecKey::Control(..)) => return Ok(Self::Control(within_limits(control::hear(key, bytes)))),
            Some(SpecKey::Object(kind, _)) => limits::most_bytes(kind),
            None => usize::MAX,
        };
        if bytes.len() > most {
            return Ok(Self::Invalid(InvalidSpec::salvage(bytes, &limits::too_large(bytes.len(), most))));
        }
        Ok(match AnyObject::from_json(bytes) {
            Ok(AnyObject::Deployment(deployment)) => Self::Deployment(Box::new(deployment)),
            Ok(AnyObject::Canary(canary)) => Self::Canary(Box::new(canary)),
            Ok(AnyObject::HydraJob(job)) => Self::HydraJob(Box::new(job)),
            Err(error) => Self::Invalid(InvalidSpec::salvage(bytes, &error.to_string())),
        })
    }
}

/// Requests with no more words than an answer to them can repeat.
fn within_limits(mut heard: Heard) -> Heard {
    let cut = |text: &str| limits::cut(text, limits::LONGEST_REASON);
    for request in &mut heard.requests {
        request.by = cut(&request.by);
        request.reason = request.reason.as_deref().map(cut);
    }
    for unreadable in &mut heard.unreadable {
        (unreadable.id, unreadable.by) = (cut(&unreadable.id), cut(&unreadable.by));
        unreadable.problem = limits::cut(&unreadable.problem, limits::LONGEST_PROBLEM);
    }
    heard
}

impl InvalidSpec {
    /// A Deployment that can be read and yet not be followed.
    pub(crate) fn of(deployment: &Deployment, problem: &str) -> Self {
        Self {
            uid: deployment.metadata.uid.clone(),
            generation: deployment.metadata.generation,
            version: deployment.spec.template.version.clone(),
            deletion_requested_at: None,
            problem: limits::cut(problem, limits::LONGEST_PROBLEM),
        }
    }

    /// What can be told of bytes that are no valid object.
    fn salvage(bytes: &[u8], problem: &str) -> Self {
        let value: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
        let text = |path: &str| value.pointer(path).and_then(|found| found.as_str()).unwrap_or_default().to_owned();
        Self {
            uid: text("/metadata/uid"),
            generation: value.pointer("/metadata/generation").and_then(serde_json::Value::as_u64).unwrap_or(0),
            version: text("/spec/template/version"),
            deletion_requested_at: text("/metadata/deletionRequestedAt").parse().ok(),
            problem: limits::cut(problem, limits::LONGEST_PROBLEM),
        }
    }

    /// A Deployment of which nothing is to be read but that it is marked for deletion: all that taking it down needs. None without that
    /// mark, and none without its uid, since nobody could tell what belongs to it.
    pub fn taken_down(&self, object: &ObjectKey) -> Option<Deployment> {
        let marked = self.deletion_requested_at.filter(|_| !self.uid.is_empty())?;
        let template = json!({ "version": self.version, "exec": { "command": ["unknown"] } });
        let spec = serde_json::from_value(json!({ "template": template })).ok()?;
        let mut metadata = Metadata::named(&object.namespace, &object.name);
        metadata.uid.clone_from(&self.uid);
        metadata.generation = self.generation;
        metadata.deletion_requested_at = Some(marked);
        Some(Object::new(Kind::Deployment, metadata, spec))
    }
}

/// A key under `report/`.
#[derive(Clone, Debug)]
pub struct ReportRow(pub Report);

impl Decode for ReportRow {
    fn decode(_key: &str, bytes: &[u8]) -> Result<Self, InvalidRow> {
        read(bytes).map(Self)
    }
}

/// A key under `node/`.
#[derive(Clone, Debug)]
pub struct NodeRow {
    /// The record, but for the features.
    pub record: NodeRecord,
    /// What the machine has, which every plan looks at.
    pub features: Option<Arc<Features>>,
}

impl Decode for NodeRow {
    fn decode(_key: &str, bytes: &[u8]) -> Result<Self, InvalidRow> {
        let mut record: NodeRecord = read(bytes)?;
        let features = record.features.take().map(Arc::new);
        Ok(Self { record, features })
    }
}

/// A key under `alive/`. What counts is the session that holds it; the value is for people.
#[derive(Clone, Debug)]
pub struct HeartbeatRow(pub Option<Heartbeat>);

impl Decode for HeartbeatRow {
    fn decode(_key: &str, bytes: &[u8]) -> Result<Self, InvalidRow> {
        Ok(Self(read(bytes).ok()))
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, InvalidRow> {
    serde_json::from_slice(bytes).map_err(|error| InvalidRow::new("$", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_cannot_be_followed_still_says_whose_it_is() {
        let bytes =
            br#"{"kind":"Deployment","metadata":{"name":"x","uid":"u1","generation":7},"spec":{"replicas":-1}}"#;
        let row = SpecRow::decode("helium/v1/spec/0/default/deployment/x", bytes).unwrap();
        let SpecRow::Invalid(invalid) = row else { panic!("{row:?}") };
        assert_eq!((invalid.uid.as_str(), invalid.generation), ("u1", 7));
        assert!(!invalid.problem.is_empty());
    }

    #[test]
    fn an_object_that_cannot_be_followed_can_be_taken_down_only_if_it_is_marked_and_says_whose_it_is() {
        let object = ObjectKey::new("default", "x");
        let salvaged = |metadata: serde_json::Value| {
            let bytes = json!({ "kind": "Deployment", "metadata": metadata, "spec": 7 }).to_string();
            InvalidSpec::salvage(bytes.as_bytes(), "no spec").taken_down(&object)
        };
        let mark = "2026-01-01T00:00:00Z";
        let found = salvaged(json!({ "uid": "u1", "generation": 7, "deletionRequestedAt": mark })).unwrap();
        assert_eq!((found.key(), found.metadata.uid.as_str(), found.is_deleting()), (object.clone(), "u1", true));
        assert_eq!(salvaged(json!({ "uid": "u1" })), None);
        assert_eq!(salvaged(json!({ "deletionRequestedAt": mark })), None);
        assert_eq!(salvaged(json!({ "uid": "u1", "deletionRequestedAt": "soon" })), None);
    }

    #[test]
    fn requests_are_told_from_objects_by_their_key() {
        let row = SpecRow::decode("helium/v1/spec/0/default/deployment/x/control", br#"{"requests":[]}"#).unwrap();
        assert!(matches!(row, SpecRow::Control(heard) if heard == Heard::default()));
    }

    #[test]
    fn an_object_that_is_called_control_is_an_object() {
        let deployment = br#"{"apiVersion":"helium.dev/v1","kind":"Deployment","metadata":{"name":"control"},
            "spec":{"template":{"version":"1","exec":{"command":["run"]}}}}"#;
        let row = SpecRow::decode("helium/v1/spec/0/default/deployment/control", deployment).unwrap();
        assert!(matches!(row, SpecRow::Deployment(_)), "{row:?}");
        let row =
            SpecRow::decode("helium/v1/spec/0/default/deployment/control/control", br#"{"requests":[]}"#).unwrap();
        assert!(matches!(row, SpecRow::Control(_)), "{row:?}");
    }
}
