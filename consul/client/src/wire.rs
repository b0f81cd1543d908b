//! The JSON of those parts of the API whose typed form differs from it. All of it reads and writes.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{
    catalog::{Node, Service},
    health::HealthCheck,
    kv::KvPair,
    lenient::{is_zero, null_default},
    txn::{CatalogVerb, TxnError, TxnOp},
};

/// A value as KV carries it: base64 in a string. `null` and `""` are the empty value, which is written as `null`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Base64(pub Bytes);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if self.0.is_empty() { to.serialize_none() } else { to.serialize_str(&STANDARD.encode(&self.0)) }
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Option::<std::borrow::Cow<'de, str>>::deserialize(from)?.unwrap_or_default();
        STANDARD.decode(text.as_bytes()).map(|bytes| Self(bytes.into())).map_err(D::Error::custom)
    }
}

/// One row of a KV answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct KvPairWire {
    /// How often the key was locked.
    #[serde(default)]
    pub lock_index: u64,
    /// The key.
    pub key: String,
    /// The writer's number.
    #[serde(default)]
    pub flags: u64,
    /// The value.
    #[serde(default)]
    pub value: Base64,
    /// The session that holds the lock; absent if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The index of the creation.
    #[serde(default)]
    pub create_index: u64,
    /// The index of the last change.
    #[serde(default)]
    pub modify_index: u64,
}

impl From<KvPairWire> for KvPair {
    fn from(wire: KvPairWire) -> Self {
        let KvPairWire { lock_index, key, flags, value, session, create_index, modify_index } = wire;
        let session = session.filter(|id| !id.is_empty());
        Self { key, value: value.0, create_index, modify_index, lock_index, flags, session }
    }
}

impl From<KvPair> for KvPairWire {
    fn from(pair: KvPair) -> Self {
        let KvPair { key, value, create_index, modify_index, lock_index, flags, session } = pair;
        Self { lock_index, key, flags, value: Base64(value), session, create_index, modify_index }
    }
}

/// One operation in the body of `PUT /v1/txn`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum TxnOpWire {
    /// On a key.
    #[serde(rename = "KV")]
    Kv(KvOpWire),
    /// On a node.
    Node(NodeOpWire),
    /// On a service.
    Service(ServiceOpWire),
    /// On a check.
    Check(CheckOpWire),
}

/// What to do with a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct KvOpWire {
    /// `set`, `cas`, `lock`, `unlock`, `get`, `get-tree`, `check-index`, `check-session`, `check-not-exists`, `delete`,
    /// `delete-tree`, `delete-cas`; a string, so that a server can name an unknown one.
    pub verb: String,
    /// The key or prefix.
    #[serde(default)]
    pub key: String,
    /// The new value.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub value: Base64,
    /// The new flags.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub flags: u64,
    /// The modify index to compare with.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub index: u64,
    /// The session to lock with or to compare with.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub session: String,
}

fn is_empty(value: &Base64) -> bool {
    value.0.is_empty()
}

/// What to do with a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct NodeOpWire {
    /// What.
    pub verb: CatalogVerb,
    /// With which.
    pub node: Node,
}

/// What to do with a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ServiceOpWire {
    /// What.
    pub verb: CatalogVerb,
    /// On which node.
    pub node: String,
    /// With which.
    pub service: Service,
}

/// What to do with a check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CheckOpWire {
    /// What.
    pub verb: CatalogVerb,
    /// With which.
    pub check: HealthCheck,
}

/// The answer to a transaction: 200 with results, 409 with errors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TxnAnswerWire {
    /// What the operations gave back; those that only check or delete give nothing.
    #[serde(deserialize_with = "null_default", serialize_with = "null_if_empty")]
    pub results: Vec<TxnResultWire>,
    /// What refused the transaction.
    #[serde(deserialize_with = "null_default", serialize_with = "null_if_empty")]
    pub errors: Vec<TxnError>,
}

fn null_if_empty<S: Serializer, T: Serialize>(rows: &Vec<T>, to: S) -> Result<S::Ok, S::Error> {
    if rows.is_empty() { to.serialize_none() } else { rows.serialize(to) }
}

/// What one operation gave back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum TxnResultWire {
    /// A key; written ones come without their value.
    #[serde(rename = "KV")]
    Kv(KvPairWire),
    /// A node.
    Node(Node),
    /// A service.
    Service(Service),
    /// A check.
    Check(HealthCheck),
}

impl From<&TxnOp> for TxnOpWire {
    fn from(op: &TxnOp) -> Self {
        match op.clone() {
            TxnOp::Node { verb, node } => Self::Node(NodeOpWire { verb, node }),
            TxnOp::Service { verb, node, service } => Self::Service(ServiceOpWire { verb, node, service }),
            TxnOp::Check { verb, check } => Self::Check(CheckOpWire { verb, check }),
            other => Self::Kv(kv_op(other)),
        }
    }
}

fn kv_op(op: TxnOp) -> KvOpWire {
    let verb = |verb: &str, key: String| KvOpWire { verb: verb.to_owned(), key, ..KvOpWire::default() };
    match op {
        TxnOp::Set { key, value, flags } => KvOpWire { value: Base64(value), flags, ..verb("set", key) },
        TxnOp::Cas { key, value, flags, index } => KvOpWire { value: Base64(value), flags, index, ..verb("cas", key) },
        TxnOp::Lock { key, value, session } => KvOpWire { value: Base64(value), session, ..verb("lock", key) },
        TxnOp::Unlock { key, value, session } => KvOpWire { value: Base64(value), session, ..verb("unlock", key) },
        TxnOp::Get { key } => verb("get", key),
        TxnOp::GetTree { prefix } => verb("get-tree", prefix),
        TxnOp::CheckIndex { key, index } => KvOpWire { index, ..verb("check-index", key) },
        TxnOp::CheckSession { key, session } => KvOpWire { session, ..verb("check-session", key) },
        TxnOp::CheckNotExists { key } => verb("check-not-exists", key),
        TxnOp::Delete { key } => verb("delete", key),
        TxnOp::DeleteTree { prefix } => verb("delete-tree", prefix),
        TxnOp::DeleteCas { key, index } => KvOpWire { index, ..verb("delete-cas", key) },
        TxnOp::Node { .. } | TxnOp::Service { .. } | TxnOp::Check { .. } => KvOpWire::default(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{health::CheckStatus, session::Session};

    #[test]
    fn a_row_reads_with_null_as_the_empty_value_and_the_whole_range_of_flags() {
        let json = r#"{"LockIndex":0,"Key":"a","Flags":18446744073709551615,"Value":null,"CreateIndex":2,"ModifyIndex":3,"New":1}"#;
        let pair = KvPair::from(serde_json::from_str::<KvPairWire>(json).unwrap());
        assert_eq!((pair.flags, pair.value.len(), pair.modify_index, pair.session), (u64::MAX, 0, 3, None));
    }

    #[test]
    fn a_row_is_written_as_consul_writes_it() {
        let pair = KvPair { key: "a".to_owned(), value: "hi".into(), modify_index: 3, ..KvPair::default() };
        let json = serde_json::to_value(KvPairWire::from(pair)).unwrap();
        let expected = json!({"LockIndex":0,"Key":"a","Flags":0,"Value":"aGk=","CreateIndex":0,"ModifyIndex":3});
        assert_eq!(json, expected);
    }

    #[test]
    fn every_operation_has_its_verb() {
        let (key, session, value) = ("k".to_owned(), "s".to_owned(), Bytes::from_static(b"v"));
        let cases = [
            (
                TxnOp::Set { key: key.clone(), value: value.clone(), flags: 1 },
                json!({"Verb":"set","Value":"dg==","Flags":1}),
            ),
            (TxnOp::cas("k", "v", 5), json!({"Verb":"cas","Value":"dg==","Index":5})),
            (TxnOp::cas("k", "v", 0), json!({"Verb":"cas","Value":"dg=="})),
            (
                TxnOp::Lock { key: key.clone(), value: value.clone(), session: session.clone() },
                json!({"Verb":"lock","Value":"dg==","Session":"s"}),
            ),
            (
                TxnOp::Unlock { key: key.clone(), value, session: session.clone() },
                json!({"Verb":"unlock","Value":"dg==","Session":"s"}),
            ),
            (TxnOp::Get { key: key.clone() }, json!({"Verb":"get"})),
            (TxnOp::GetTree { prefix: key.clone() }, json!({"Verb":"get-tree"})),
            (TxnOp::CheckIndex { key: key.clone(), index: 5 }, json!({"Verb":"check-index","Index":5})),
            (TxnOp::CheckSession { key: key.clone(), session }, json!({"Verb":"check-session","Session":"s"})),
            (TxnOp::CheckNotExists { key: key.clone() }, json!({"Verb":"check-not-exists"})),
            (TxnOp::Delete { key: key.clone() }, json!({"Verb":"delete"})),
            (TxnOp::DeleteTree { prefix: key.clone() }, json!({"Verb":"delete-tree"})),
            (TxnOp::DeleteCas { key, index: 5 }, json!({"Verb":"delete-cas","Index":5})),
        ];
        for (op, mut expected) in cases {
            expected["Key"] = json!("k");
            let wire = TxnOpWire::from(&op);
            let json = serde_json::to_value(&wire).unwrap();
            assert_eq!(json, json!({ "KV": expected }));
            assert_eq!(serde_json::from_value::<TxnOpWire>(json).unwrap(), wire);
        }
    }

    #[test]
    fn a_refusal_writes_null_for_its_results() {
        let refusal =
            TxnAnswerWire { errors: vec![TxnError { op_index: 1, what: "x".to_owned() }], ..TxnAnswerWire::default() };
        let json = serde_json::to_value(&refusal).unwrap();
        assert_eq!(json, json!({"Results": null, "Errors": [{"OpIndex": 1, "What": "x"}]}));
        assert_eq!(serde_json::from_value::<TxnAnswerWire>(json).unwrap(), refusal);
    }

    #[test]
    fn null_lists_and_unknown_fields_are_no_trouble() {
        let json =
            r#"{"ID":"s1","Service":"s","Tags":null,"Address":"","Meta":null,"Port":1,"Proxy":{},"Weights":null}"#;
        let service: Service = serde_json::from_str(json).unwrap();
        assert!(service.tags.is_empty() && service.meta.is_empty());
        let check: HealthCheck = serde_json::from_str(r#"{"CheckID":"c","Status":"maintenance"}"#).unwrap();
        assert_eq!(check.status, CheckStatus::Critical);
        let session: Session =
            serde_json::from_str(r#"{"ID":"x","LockDelay":15000000000,"TTL":"","ServiceChecks":null}"#).unwrap();
        assert_eq!((session.lock_delay.as_secs(), session.ttl), (15, None));
    }
}
