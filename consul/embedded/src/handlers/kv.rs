//! `/v1/kv/`: single keys and prefixes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::call::{Call, require};
use crate::reply::{Failure, Page, Reply};
use crate::state::{Applied, Command, Entry, KvOp, State, Verb};
use crate::waiters::Interest;

/// The largest value, in bytes.
const MAX_VALUE: usize = 512 * 1024;

pub(crate) async fn handle(call: &Call<'_>) -> Result<Reply, Failure> {
    call.allow(&[Method::GET, Method::PUT, Method::DELETE])?;
    match call.method {
        Method::GET => get(call).await,
        Method::PUT => put(call),
        _ => delete(call),
    }
}

/// An entry as Consul shows it.
pub(crate) fn view(entry: &Entry) -> Value {
    let value = if entry.value.is_empty() { Value::Null } else { STANDARD.encode(&entry.value).into() };
    let mut shown = json!({
        "LockIndex": entry.lock_index, "Key": entry.key, "Flags": entry.flags, "Value": value,
        "CreateIndex": entry.create_index, "ModifyIndex": entry.modify_index,
    });
    if let Some(session) = &entry.session {
        shown["Session"] = session.as_str().into();
    }
    shown
}

async fn get(call: &Call<'_>) -> Result<Reply, Failure> {
    if call.param("keys").is_some() {
        let separator = call.param("separator").unwrap_or("");
        return call.read(|state| Ok(listing(call, state, separator))).await;
    }
    if call.param("recurse").is_some() {
        return call.read(|state| Ok(tree(call, state, |seen| seen.into_iter().map(view).collect()))).await;
    }
    let key = call.path_or("Missing key name")?;
    require(call.rights.reads_key(key))?;
    call.read(|state| Ok(single(call, state, key))).await
}

fn single(call: &Call<'_>, state: &State, key: &str) -> Page {
    let entry = state.kv().get(key);
    let interest = if entry.is_some() { Interest::Key(key.to_owned()) } else { Interest::AnyKey };
    let reply = match entry {
        None => Reply::empty(StatusCode::NOT_FOUND),
        Some(entry) if call.param("raw").is_some() => {
            Reply { status: StatusCode::OK, headers: Vec::new(), body: entry.value.clone() }
                .header("content-type", "text/plain")
                .header("x-content-type-options", "nosniff")
                .header("content-security-policy", "sandbox")
        }
        Some(entry) => Reply::json(&[view(entry)]),
    };
    Page { index: state.kv().key_index(key), interest, reply, shows_consistency: false }
}

/// A prefix, as far as the token sees it; nothing to see is 404.
fn tree<'s>(call: &'s Call<'_>, state: &'s State, show: impl FnOnce(Vec<&'s Entry>) -> Vec<Value>) -> Page {
    let prefix = &call.path;
    let index = state.kv().prefix_index(prefix);
    let interest =
        if state.kv().knows_nothing_of(prefix) { Interest::AnyKey } else { Interest::Prefix(prefix.clone()) };
    let seen: Vec<&Entry> = state.kv().under(prefix).filter(|entry| call.rights.reads_key(&entry.key)).collect();
    let reply = if seen.is_empty() { Reply::empty(StatusCode::NOT_FOUND) } else { Reply::json(&show(seen)) };
    Page { index, interest, reply, shows_consistency: false }
}

/// The keys under a prefix; of the root, none at all is a list too.
fn listing(call: &Call<'_>, state: &State, separator: &str) -> Page {
    let mut page = tree(call, state, |seen| names(&seen, &call.path, separator));
    if call.path.is_empty() && page.reply.status == StatusCode::NOT_FOUND {
        page.reply = Reply::json(&[""; 0]);
    }
    page
}

/// The keys alone; with a separator, each only up to the first one after the prefix.
fn names(seen: &[&Entry], prefix: &str, separator: &str) -> Vec<Value> {
    let cut = |key: &str| match key[prefix.len()..].find(separator) {
        Some(at) if !separator.is_empty() => key[..prefix.len() + at + separator.len()].to_owned(),
        _ => key.to_owned(),
    };
    let mut names: Vec<String> = seen.iter().map(|entry| cut(&entry.key)).collect();
    names.dedup();
    names.into_iter().map(Value::from).collect()
}

/// Refuses two flags that exclude each other, in Consul's words.
fn conflict(call: &Call<'_>, flags: &[&str]) -> Result<(), Failure> {
    let given: Vec<String> =
        flags.iter().filter_map(|flag| call.param(flag).map(|value| format!("{flag}={value}"))).collect();
    if given.len() < 2 { Ok(()) } else { Err(Failure::bad(format!("Conflicting flags: {}", given.join("&")))) }
}

fn number(call: &Call<'_>, name: &str) -> Result<Option<u64>, Failure> {
    let Some(text) = call.param(name) else { return Ok(None) };
    let failure = || Failure::internal(format!("strconv.ParseUint: parsing {text:?}: invalid syntax"));
    text.parse().map(Some).map_err(|_| failure())
}

fn put(call: &Call<'_>) -> Result<Reply, Failure> {
    let key = call.path_or("Missing key name")?;
    conflict(call, &["acquire", "cas", "release"])?;
    let mut op = KvOp::new(Verb::Set, key);
    op.flags = number(call, "flags")?.unwrap_or(0);
    if let Some(index) = number(call, "cas")? {
        (op.verb, op.index) = (Verb::Cas, index);
    }
    for (flag, verb) in [("acquire", Verb::Lock), ("release", Verb::Unlock)] {
        if let Some(session) = call.param(flag) {
            (op.verb, op.session) = (verb, session.to_owned());
        }
    }
    if call.body.len() > MAX_VALUE {
        return Err(Failure::too_large(call.body.len(), MAX_VALUE, "kv_max_value_size"));
    }
    op.value = call.body.clone();
    require(call.rights.writes_key(key))?;
    Ok(answer(&call.write(&Command::Kv(op))?))
}

fn delete(call: &Call<'_>) -> Result<Reply, Failure> {
    let recurse = call.param("recurse").is_some();
    if !recurse {
        call.path_or("Missing key name")?;
    }
    conflict(call, &["cas", "recurse"])?;
    let mut op = KvOp::new(if recurse { Verb::DeleteTree } else { Verb::Delete }, call.path.clone());
    if let Some(index) = number(call, "cas")? {
        (op.verb, op.index) = (Verb::DeleteCas, index);
    }
    let allowed = if recurse { call.rights.writes_tree(&op.key) } else { call.rights.writes_key(&op.key) };
    require(allowed)?;
    Ok(answer(&call.write(&Command::Kv(op))?))
}

fn answer(applied: &Applied) -> Reply {
    Reply::json(&!matches!(applied, Applied::Bool(false)))
}
