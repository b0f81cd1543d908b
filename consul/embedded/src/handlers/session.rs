//! `/v1/session/`: create, renew, destroy, list.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::acl::Access;
use crate::call::{Call, require};
use crate::decode::{Fields, Problem};
use crate::reply::{Failure, Page, Reply};
use crate::state::{Applied, Behavior, Command, ServiceCheck, Session, State};
use crate::waiters::Interest;

const DEFAULT_LOCK_DELAY: Duration = Duration::from_secs(15);
const MIN_TTL: Duration = Duration::from_secs(10);
const MAX_TTL: Duration = Duration::from_hours(24);

pub(crate) async fn handle(call: &Call<'_>) -> Result<Reply, Failure> {
    let (what, rest) = call.path.split_once('/').unwrap_or((&call.path, ""));
    match what {
        "create" => {
            call.allow(&[Method::PUT])?;
            create(call)
        }
        "destroy" | "renew" => {
            call.allow(&[Method::PUT])?;
            let id = present(rest, "Missing session")?;
            // Of a session that is not there nobody's rights are asked.
            let exists = call.look(|state| state.sessions().get(id).is_ok_and(|session| session.is_some()))?;
            require(!exists || call.rights.sessions() == Access::Write)?;
            if what == "renew" { renew(call, id) } else { destroy(call, id) }
        }
        "info" => {
            call.allow(&[Method::GET])?;
            let id = present(rest, "Missing session")?;
            call.read(|state| {
                let session = state.sessions().get(id)?;
                Ok(page(call, state, session.into_iter()))
            })
            .await
        }
        "list" => {
            call.allow(&[Method::GET])?;
            call.read(|state| Ok(page(call, state, state.sessions().all()))).await
        }
        "node" => {
            call.allow(&[Method::GET])?;
            let node = present(rest, "Missing node name")?;
            call.read(|state| Ok(page(call, state, state.sessions().all().filter(|session| session.node == node))))
                .await
        }
        _ => Err(Failure::no_such_path()),
    }
}

fn present<'a>(rest: &'a str, words: &str) -> Result<&'a str, Failure> {
    if rest.is_empty() { Err(Failure::bad(words)) } else { Ok(rest) }
}

fn page<'a>(call: &Call<'_>, state: &State, sessions: impl Iterator<Item = &'a Session>) -> Page {
    let seen: Vec<&Session> = sessions.filter(|_| call.rights.sessions() >= Access::Read).collect();
    let index = state.sessions().index;
    Page { index, interest: Interest::Sessions, reply: Reply::json(&seen), shows_consistency: false }
}

fn renew(call: &Call<'_>, id: &str) -> Result<Reply, Failure> {
    match call.write(&Command::RenewSession { id: id.to_owned() })? {
        Applied::Session(Some(session)) => Ok(Reply::json(&[session])),
        _ => Err(Failure::new(StatusCode::NOT_FOUND, format!("Session id '{id}' not found"))),
    }
}

fn destroy(call: &Call<'_>, id: &str) -> Result<Reply, Failure> {
    call.write(&Command::DestroySession { id: id.to_owned() })?;
    Ok(Reply::json(&true))
}

fn create(call: &Call<'_>) -> Result<Reply, Failure> {
    let mut session = parse(call).map_err(|problem| {
        if problem.starts_with(BAD_BEHAVIOR) {
            Failure::internal(problem)
        } else {
            Failure::bad(format!("Request decode failed: {problem}"))
        }
    })?;
    check_ttl(&session.ttl)?;
    require(call.rights.sessions() == Access::Write)?;
    session.id = call.shared.uuid();
    call.write(&Command::CreateSession(session.clone()))?;
    Ok(Reply::json(&json!({"ID": session.id})))
}

/// Reads the wanted session. Unknown fields are let pass, as Consul does here and only here; a behaviour that does not exist
/// is Consul's 500.
fn parse(call: &Call<'_>) -> Result<Session, Problem> {
    let mut fields = if call.body.is_empty() { Fields::new(Value::Null)? } else { Fields::parse(&call.body)? };
    let checks = fields.strings("Checks")?;
    let node_checks = fields.strings("NodeChecks")?;
    let default_checks =
        if checks.as_ref().is_some_and(Vec::is_empty) { vec![] } else { vec!["serfHealth".to_owned()] };
    let node = fields.string("Node")?;
    let lock_delay = lock_delay(&mut fields)?;
    Ok(Session {
        id: String::new(),
        name: fields.string("Name")?,
        node: if node.is_empty() { call.node.to_owned() } else { node },
        lock_delay: u64::try_from(lock_delay.as_nanos()).unwrap_or(u64::MAX),
        behavior: behavior(&fields.string("Behavior")?)?,
        ttl: fields.string("TTL")?,
        node_checks: node_checks.unwrap_or(default_checks),
        service_checks: service_checks(&mut fields)?,
        checks: checks.filter(|checks| !checks.is_empty()),
        create_index: 0,
        modify_index: 0,
    })
}

/// A number below 1000 means seconds, any other nanoseconds; text is a duration.
fn lock_delay(fields: &mut Fields) -> Result<Duration, Problem> {
    match fields.take("LockDelay") {
        None => Ok(DEFAULT_LOCK_DELAY),
        Some(Value::String(text)) => {
            consul_client::duration::parse(&text).ok_or_else(|| format!("time: invalid duration {text:?}"))
        }
        Some(value) => match value.as_u64() {
            Some(number) if number < 1000 => Ok(Duration::from_secs(number)),
            Some(number) => Ok(Duration::from_nanos(number)),
            None => Err("unsupported LockDelay".into()),
        },
    }
}

fn service_checks(fields: &mut Fields) -> Result<Option<Vec<ServiceCheck>>, Problem> {
    let Some(value) = fields.take("ServiceChecks") else { return Ok(None) };
    let Value::Array(items) = value else { return Err("ServiceChecks must be a list".into()) };
    let read = |item| -> Result<ServiceCheck, Problem> {
        let mut fields = Fields::new(item)?;
        Ok(ServiceCheck { id: fields.string("ID")?, namespace: fields.string("Namespace")? })
    };
    items.into_iter().map(read).collect::<Result<_, _>>().map(Some)
}

fn behavior(text: &str) -> Result<Behavior, Problem> {
    match text {
        "" | "release" => Ok(Behavior::Release),
        "delete" => Ok(Behavior::Delete),
        other => Err(format!("{BAD_BEHAVIOR}'{other}'")),
    }
}

const BAD_BEHAVIOR: &str = "Invalid Behavior setting ";

fn check_ttl(text: &str) -> Result<(), Failure> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    if text.is_empty() {
        return Ok(());
    }
    let Some(ttl) = consul_client::duration::parse(digits) else {
        return Err(Failure::internal(format!("Session TTL '{text}' invalid: time: invalid duration {text:?}")));
    };
    let sign = if negative { "-" } else { "" };
    if ttl.is_zero() || (!negative && (MIN_TTL..=MAX_TTL).contains(&ttl)) {
        return Ok(());
    }
    let words = format!("Invalid Session TTL '{sign}{}', must be between [10s=24h0m0s]", ttl.as_nanos());
    Err(Failure::internal(words))
}
