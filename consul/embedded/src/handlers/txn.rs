//! `/v1/txn`: many operations at once.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::kv;
use crate::call::Call;
use crate::decode::{self, Fields, Problem};
use crate::reply::{Failure, Reply};
use crate::state::{Applied, Command, KvOp, MAX_OPS, Refusal, TxnError, TxnOp, Verb};

/// The largest body, in bytes.
const MAX_BODY: usize = 512 * 1024;

pub(crate) fn handle(call: &Call<'_>) -> Result<Reply, Failure> {
    call.allow(&[Method::PUT])?;
    if call.body.len() > MAX_BODY {
        return Err(Failure::too_large(call.body.len(), MAX_BODY, "txn_max_req_len"));
    }
    let ops = parse(&call.body).map_err(|problem| Failure::bad(format!("Failed to parse body: {problem}")))?;
    if ops.len() > MAX_OPS {
        let words = format!("Transaction contains too many operations ({} > {MAX_OPS})", ops.len());
        return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, words));
    }
    let writes = ops.iter().any(TxnOp::writes);
    let denied = denied(call, &ops);
    if !denied.is_empty() {
        return Ok(refused(&denied, writes));
    }
    match call.shared.try_commit(&Command::Txn(ops))? {
        Ok(Applied::Txn(entries)) => {
            let results: Vec<Value> = entries.iter().map(|entry| json!({"KV": kv::view(entry)})).collect();
            Ok(answer(StatusCode::OK, &json!({"Results": results, "Errors": null}), writes))
        }
        Ok(_) => Err(Failure::internal("a transaction gave no result")),
        Err(Refusal::Txn(errors)) => Ok(refused(&errors, writes)),
        Err(other) => Err(other.into()),
    }
}

fn parse(body: &[u8]) -> Result<Vec<TxnOp>, Problem> {
    let mut ops = Vec::new();
    let Value::Array(items) = decode::parse(body)? else {
        return Err("json: cannot unmarshal into Go value of type api.TxnOps".into());
    };
    for item in items {
        let mut fields = Fields::new(item)?;
        if let Some(op) = fields.object("KV")? {
            ops.push(kv_op(op)?);
        }
        for unsupported in ["Node", "Service", "Check"] {
            if fields.take(unsupported).is_some() {
                return Err(format!("{unsupported} operations in transactions are not served by the embedded server"));
            }
        }
        fields.finish()?;
    }
    Ok(ops)
}

fn kv_op(mut fields: Fields) -> Result<TxnOp, Problem> {
    let verb = fields.string("Verb")?;
    let value = fields.string("Value")?;
    let value = STANDARD.decode(value).map_err(|error| match error {
        base64::DecodeError::InvalidByte(at, _) => format!("illegal base64 data at input byte {at}"),
        _ => "illegal base64 data".to_owned(),
    })?;
    let op = KvOp {
        verb: Verb::Get,
        key: fields.string("Key")?,
        value: Bytes::from(value),
        flags: fields.number("Flags")?,
        index: fields.number("Index")?,
        session: fields.string("Session")?,
    };
    fields.string("Namespace")?;
    fields.finish()?;
    Ok(match Verb::parse(&verb) {
        Some(verb) => TxnOp::Kv(KvOp { verb, ..op }),
        None => TxnOp::Unknown(verb),
    })
}

/// The operations that the token may not do.
fn denied(call: &Call<'_>, ops: &[TxnOp]) -> Vec<TxnError> {
    let allowed = |op: &TxnOp| match op {
        TxnOp::Unknown(_) => true,
        TxnOp::Kv(op) if op.verb == Verb::GetTree => true,
        TxnOp::Kv(op) if op.verb == Verb::DeleteTree => call.rights.writes_tree(&op.key),
        TxnOp::Kv(op) if op.verb.writes() => call.rights.writes_key(&op.key),
        TxnOp::Kv(op) => call.rights.reads_key(&op.key),
    };
    let denied = ops.iter().enumerate().filter(|(_, op)| !allowed(op));
    denied.map(|(op_index, _)| TxnError { op_index, what: "Permission denied".into() }).collect()
}

fn refused(errors: &[TxnError], writes: bool) -> Reply {
    let errors: Vec<Value> =
        errors.iter().map(|error| json!({"OpIndex": error.op_index, "What": error.what})).collect();
    answer(StatusCode::CONFLICT, &json!({"Results": null, "Errors": errors}), writes)
}

/// A transaction that only reads has the marks of a read on its answer, and no index.
fn answer(status: StatusCode, body: &Value, writes: bool) -> Reply {
    if writes {
        return Reply::json_with(status, body);
    }
    let mut body = body.clone();
    body["Index"] = 0.into();
    body["LastContact"] = 0.into();
    body["KnownLeader"] = true.into();
    body["ConsistencyLevel"] = "".into();
    Reply::json_with(status, &body).header("x-consul-knownleader", "true").header("x-consul-lastcontact", "0")
}
