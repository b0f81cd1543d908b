//! Bugs on the wire: what a controller asks for, and what it is told, is changed.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use bytes::Bytes;
use consul_embedded::Server;
use helium_crds::{
    Kind,
    keys::{Keys, SENTINEL, SpecKey},
};
use http::{Request, Response, StatusCode};
use serde_json::{Value, json};

use super::{Defect, values};
use crate::{
    agent::node_name,
    ops::{self, Op, Written},
};

/// Changes a controller's request on the wire.
pub(crate) fn rewrite(defect: Defect, request: &mut Request<Bytes>, written: &mut Written, server: &Server) {
    if !written.is_txn {
        return;
    }
    match defect {
        Defect::S3 => {
            let key = "app/colour".to_owned();
            written.ops.push(Op { verb: "delete".to_owned(), key, ..Op::default() });
        }
        Defect::S4 => assign_twice(written, server),
        Defect::S7Canary => remove_canary(written, server),
        Defect::S7Unguarded => look_at_no_spec(written),
        Defect::L2Refused => refuse_new_words(written, server),
        Defect::S9 => written.ops.retain(|op| op.verb != "check-session"),
        _ => return,
    }
    *request.body_mut() = ops::body(&written.ops);
}

fn assign_twice(written: &mut Written, server: &Server) {
    let keys = Keys::default();
    let root = keys.assignments_root();
    let index = server.index();
    let other = node_name(usize::try_from(index % 3).unwrap_or(0));
    let made = written.ops.iter().filter(|op| op.verb == "cas" && op.index == 0 && op.key.starts_with(&root));
    let doubles = made.filter_map(|op| {
        let id = op.key.rsplit('/').next()?;
        Some(Op::set(format!("{root}{other}/{id}"), &op.bytes()))
    });
    let doubles: Vec<Op> = doubles.collect();
    written.ops.extend(doubles);
}

fn remove_canary(written: &mut Written, server: &Server) {
    let keys = Keys::default();
    let object = written.ops.iter().find_map(|op| match keys.parse_spec(&op.key)? {
        SpecKey::Object(Kind::Deployment, object) => Some(object),
        _ => None,
    });
    let Some(key) = object.map(|object| keys.spec(Kind::Canary, &object)) else { return };
    if server.with_state(|state| state.kv().get(&key).is_some()) == Some(true) {
        written.ops.push(Op { verb: "delete".to_owned(), key, ..Op::default() });
    }
}

/// A look at the spec that never fails takes the place of the guard.
fn look_at_no_spec(written: &mut Written) {
    for op in written.ops.iter_mut().filter(|op| op.verb == "check-index" && op.key.contains("/spec/")) {
        *op = Op { verb: "get-tree".to_owned(), key: op.key.clone(), ..Op::default() };
    }
}

/// A transaction that changes nothing but the status's message is refused, as if somebody had been faster.
fn refuse_new_words(written: &mut Written, server: &Server) {
    let writes = written.ops.iter().filter(|op| op.writes()).count();
    let only_words = |op: &Op| {
        let new = serde_json::from_slice::<Value>(&op.bytes()).ok();
        let old = server.with_state(|state| {
            let entry = state.kv().get(&op.key)?;
            serde_json::from_slice::<Value>(&entry.value).ok()
        });
        same_but_for_words(old.flatten(), new)
    };
    if let Some(op) = written.ops.iter_mut().find(|op| op.verb == "cas" && op.key.contains("/status/"))
        && writes == 1
        && only_words(op)
    {
        op.index += 1;
    }
}

fn same_but_for_words(old: Option<Value>, new: Option<Value>) -> bool {
    let (Some(mut old), Some(mut new)) = (old, new) else { return false };
    for status in [&mut old, &mut new] {
        let wordy = ["message", "conditions", "updatedAt"];
        if let Some(fields) = status.as_object_mut() {
            fields.retain(|name, _| !wordy.contains(&name.as_str()));
        }
    }
    old == new
}

thread_local! {
    /// The specs that a controller once saw, by key.
    static SPECS: RefCell<BTreeMap<String, Value>> = const { RefCell::new(BTreeMap::new()) };
}

/// Forgets what defects on the wire remember.
pub(super) fn reset() {
    SPECS.with_borrow_mut(BTreeMap::clear);
}

/// Changes the answer to a controller's read on the wire.
pub(crate) fn pretend(defect: Defect, path: &str, answer: Response<Bytes>) -> Response<Bytes> {
    values::note(path, &answer);
    match (defect, path.strip_prefix("/v1/kv/")) {
        (Defect::S6Sentinel, Some(rest)) => with_sentinel(rest, answer),
        (Defect::S7Unguarded, Some(rest)) if rest.contains("/spec/") => with_old_specs(rest, answer),
        _ => answer,
    }
}

/// Specs that were there once are there for ever.
fn with_old_specs(rest: &str, answer: Response<Bytes>) -> Response<Bytes> {
    let prefix = rest.split('?').next().unwrap_or(rest);
    let (parts, body) = answer.into_parts();
    let rows: Option<Vec<Value>> = serde_json::from_slice(&body).ok();
    let Some(mut rows) = rows.filter(|_| rest.contains("recurse")) else { return Response::from_parts(parts, body) };
    let key = |row: &Value| row.get("Key").and_then(Value::as_str).unwrap_or_default().to_owned();
    SPECS.with_borrow_mut(|known| {
        known.extend(rows.iter().map(|row| (key(row), row.clone())));
        let there: BTreeSet<String> = rows.iter().map(key).collect();
        let gone = known.iter().filter(|(name, _)| name.starts_with(prefix) && !there.contains(*name));
        rows.extend(gone.map(|(_, row)| row.clone()));
    });
    Response::from_parts(parts, serde_json::to_vec(&rows).unwrap_or_default().into())
}

fn with_sentinel(rest: &str, answer: Response<Bytes>) -> Response<Bytes> {
    let (key, query) = rest.split_once('?').unwrap_or((rest, ""));
    let pair =
        |key: &str| json!({"Key": key, "Value": null, "Flags": 0, "LockIndex": 0, "CreateIndex": 1, "ModifyIndex": 1});
    let (mut parts, body) = answer.into_parts();
    let rows: Option<Vec<Value>> = serde_json::from_slice(&body).ok();
    let rows = match (rows, query.contains("recurse")) {
        (None, false) if key.ends_with(SENTINEL) && parts.status == StatusCode::NOT_FOUND => {
            parts.status = StatusCode::OK;
            vec![pair(key)]
        }
        (Some(mut rows), true) if !rows.iter().any(|row| ends_with_sentinel(row, key)) => {
            rows.push(pair(&format!("{key}{SENTINEL}")));
            rows
        }
        _ => return Response::from_parts(parts, body),
    };
    Response::from_parts(parts, serde_json::to_vec(&rows).unwrap_or_default().into())
}

fn ends_with_sentinel(row: &Value, prefix: &str) -> bool {
    row.get("Key").and_then(Value::as_str) == Some(&format!("{prefix}{SENTINEL}"))
}
