//! What a write asks Consul to do, as the checkers look at it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One operation on one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Op {
    /// What to do, in Consul's word.
    pub verb: String,
    /// With which key or prefix.
    pub key: String,
    /// The new value, in base64.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// The number that belongs to the writer.
    pub flags: u64,
    /// The index of the verbs that compare.
    pub index: u64,
    /// The session of the verbs that lock.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub session: String,
}

/// All operations of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Whether it is a transaction.
    pub is_txn: bool,
    /// The operations on keys.
    pub ops: Vec<Op>,
    /// The path, for a request that does not touch keys.
    pub path: String,
    /// Its body.
    pub body: Bytes,
}

impl Op {
    /// An operation that writes a value.
    pub fn set(key: String, value: &[u8]) -> Self {
        Self { verb: "set".to_owned(), key, value: STANDARD.encode(value), ..Self::default() }
    }

    /// Whether it changes anything.
    pub fn writes(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "get-tree" | "check-index" | "check-session" | "check-not-exists")
    }

    /// The new value.
    pub fn bytes(&self) -> Vec<u8> {
        STANDARD.decode(&self.value).unwrap_or_default()
    }
}

impl Written {
    /// Whether it may change a key below `prefix`.
    pub fn may_touch(&self, prefix: &str) -> bool {
        self.ops.iter().any(|op| op.writes() && (op.key.starts_with(prefix) || prefix.starts_with(&op.key)))
    }
}

/// What a request asks for.
pub fn of_request(method: &Method, path: &str, body: &Bytes) -> Written {
    let plain = path.split('?').next().unwrap_or(path);
    let written = Written { path: path.to_owned(), body: body.clone(), ..Written::default() };
    if plain == "/v1/txn" {
        return Written { is_txn: true, ops: parse(body), ..written };
    }
    let Some(key) = plain.strip_prefix("/v1/kv/") else { return written };
    let verb = match *method {
        Method::DELETE if path.contains("recurse") => "delete-tree",
        Method::DELETE => "delete",
        _ if path.contains("acquire=") => "lock",
        _ if path.contains("release=") => "unlock",
        _ => "set",
    };
    let op = Op { verb: verb.to_owned(), key: key.to_owned(), value: STANDARD.encode(body), ..Op::default() };
    Written { ops: vec![op], ..written }
}

/// The operations as the body of a transaction.
pub fn body(ops: &[Op]) -> Bytes {
    let items: Vec<Value> = ops.iter().map(|op| serde_json::json!({ "KV": op })).collect();
    serde_json::to_vec(&items).unwrap_or_default().into()
}

fn parse(body: &[u8]) -> Vec<Op> {
    #[derive(Deserialize)]
    struct Item {
        #[serde(rename = "KV")]
        kv: Op,
    }
    let items: Vec<Item> = serde_json::from_slice(body).unwrap_or_default();
    items.into_iter().map(|item| item.kv).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_the_same_after_taking_apart_and_putting_together() {
        let ops =
            vec![Op::set("a/b".to_owned(), b"x"), Op { verb: "check-index".to_owned(), index: 4, ..Op::default() }];
        let again = of_request(&Method::PUT, "/v1/txn", &body(&ops));
        assert!(again.is_txn && again.ops == ops);
        assert!(ops.first().is_some_and(Op::writes) && !ops.last().is_some_and(Op::writes));
    }

    #[test]
    fn single_requests_are_told_apart() {
        let verb = |method, path| of_request(&method, path, &Bytes::new()).ops.first().map(|op| op.verb.clone());
        assert_eq!(verb(Method::DELETE, "/v1/kv/a?recurse").as_deref(), Some("delete-tree"));
        assert_eq!(verb(Method::PUT, "/v1/kv/a?acquire=x").as_deref(), Some("lock"));
        assert_eq!(verb(Method::PUT, "/v1/agent/service/register"), None);
    }
}
