//! The routes of the control socket.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
    http::StatusCode,
    middleware::{self, Next},
    response::Response,
    routing::{get, post},
};
use serde_json::{Map, Value};
use tokio::net::UnixListener;

use crate::run::Pilot;

type Reply = (StatusCode, String);

/// Answers until it is dropped.
pub async fn serve(listener: UnixListener, pilot: Arc<Pilot>) {
    let enable = |State(pilot): State<Arc<Pilot>>| maintenance(pilot, true);
    let disable = |State(pilot): State<Arc<Pilot>>| maintenance(pilot, false);
    let status = |State(pilot): State<Arc<Pilot>>| async move { pilot.status() };
    let routes = Router::new()
        .route("/v3/environ", post(environ))
        .route("/v3/env", post(environ))
        .route("/v3/metric", post(metric))
        .route("/v3/reload", post(reload))
        .route("/v3/maintenance/enable", post(enable))
        .route("/v3/maintenance/disable", post(disable))
        .route("/v3/ping", get(|| async { "\n" }))
        .route("/v3/status", get(status))
        .layer(middleware::from_fn_with_state(Arc::clone(&pilot), count))
        .with_state(pilot);
    if let Err(error) = axum::serve(listener, routes).await {
        tracing::error!(%error, "the control socket has ended");
    }
}

/// Counts a request by its answer. A path that is no route is not remembered: anybody could fill the memory with them.
async fn count(State(pilot): State<Arc<Pilot>>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    let code = response.status().as_u16();
    pilot.metrics().answered(code, if code == 404 { "other" } else { &path });
    response
}

async fn environ(State(pilot): State<Arc<Pilot>>, body: Bytes) -> Reply {
    let Some(object) = object(&body) else {
        return refused("an object of texts should be here, as {\"NAME\": \"value\"}");
    };
    let mut variables = BTreeMap::new();
    for (name, value) in object {
        let value = match value {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            Value::Bool(truth) => truth.to_string(),
            _ => return refused(&format!("the value of `{name}` should be a text")),
        };
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return refused(&format!("`{name}` cannot be a variable: a name is not empty and has no equals sign"));
        }
        variables.insert(name, value);
    }
    pilot.put_variables(variables);
    done()
}

async fn metric(State(pilot): State<Arc<Pilot>>, body: Bytes) -> Reply {
    let Some(object) = object(&body) else { return refused("an object of numbers should be here, as {\"name\": 1.5}") };
    let mut wrong = Vec::new();
    for (name, value) in object {
        let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
        match number.filter(|number| number.is_finite()) {
            Some(number) => wrong.extend(pilot.metrics().measure(&name, number).err().map(|error| error.to_string())),
            None => wrong.push(format!("the value of `{name}` should be a number")),
        }
    }
    if wrong.is_empty() { done() } else { refused(&wrong.join("\n")) }
}

async fn reload(State(pilot): State<Arc<Pilot>>) -> Reply {
    match pilot.reload().await {
        Ok(()) => done(),
        Err(error) => {
            tracing::error!("the file was not taken, and all stays as it is:\n{error}");
            refused(&error.to_string())
        }
    }
}

async fn maintenance(pilot: Arc<Pilot>, on: bool) -> Reply {
    pilot.maintain(on).await;
    done()
}

fn object(body: &Bytes) -> Option<Map<String, Value>> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Some(object),
        _ => None,
    }
}

fn done() -> Reply {
    (StatusCode::OK, "\n".to_owned())
}

fn refused(why: &str) -> Reply {
    (StatusCode::UNPROCESSABLE_ENTITY, format!("{why}\n"))
}
