//! `/v1/health/`: checks by service, node and state, and instances with their checks.

use http::Method;
use serde::Serialize;

use super::catalog::{fits_meta, page, sees, service_interest};
use crate::call::Call;
use crate::reply::{Failure, Page, Reply};
use crate::state::{Check, Node, State};
use crate::waiters::Interest;

pub(crate) async fn handle(call: &Call<'_>) -> Result<Reply, Failure> {
    call.allow(&[Method::GET])?;
    let (what, rest) = call.path.split_once('/').unwrap_or((&call.path, ""));
    let missing = match what {
        "service" | "checks" => "Missing service name",
        "node" => "Missing node name",
        "state" => "Missing check state",
        _ => return Err(Failure::no_such_path()),
    };
    if rest.is_empty() {
        return Err(Failure::bad(missing));
    }
    match what {
        "service" => {
            let passing = only_passing(call)?;
            call.read(|state| Ok(service(call, state, rest, passing))).await
        }
        "checks" => call.read(|state| Ok(checks(call, state, |check| check.service_name == rest))).await,
        "node" => call.read(|state| Ok(checks(call, state, |check| check.node == rest))).await,
        _ => call.read(|state| Ok(in_state(call, state, rest))).await,
    }
}

/// `?passing` alone means true.
fn only_passing(call: &Call<'_>) -> Result<bool, Failure> {
    match call.param("passing") {
        None | Some("0" | "f" | "F" | "false" | "False" | "FALSE") => Ok(false),
        Some("" | "1" | "t" | "T" | "true" | "True" | "TRUE") => Ok(true),
        Some(_) => Err(Failure::bad("Invalid value for ?passing")),
    }
}

/// An instance with its node and the checks that decide whether it is healthy.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Seen<'a, Service, Check> {
    node: &'a Node,
    service: Service,
    checks: Vec<Check>,
}

fn service(call: &Call<'_>, state: &State, name: &str, passing: bool) -> Page {
    let catalog = state.catalog();
    let tags: Vec<&str> = call.params("tag").collect();
    let mut seen = Vec::new();
    for (node, service) in catalog.instances(name) {
        let fits =
            sees(call) && fits_meta(call, node) && tags.iter().all(|tag| service.tags.iter().any(|own| own == tag));
        let checks = catalog.checks_for(&node.node, &service.id);
        if fits && (!passing || checks.iter().all(|check| check.status == "passing")) {
            let checks = checks.into_iter().map(Check::view).collect();
            seen.push(Seen { node, service: service.health_view(), checks });
        }
    }
    page(catalog.service_index(name), service_interest(state, name), &seen)
}

/// A state that no check is in is waited for by watching all checks.
fn in_state(call: &Call<'_>, state: &State, wanted: &str) -> Page {
    let mut page = checks(call, state, |check| wanted == "any" || check.status == wanted);
    if state.catalog().all_checks().any(|check| check.status == wanted) {
        page.interest = Interest::ChecksIn(wanted.to_owned());
    }
    page
}

fn checks(call: &Call<'_>, state: &State, fits: impl Fn(&Check) -> bool) -> Page {
    let seen: Vec<_> =
        state.catalog().all_checks().filter(|check| sees(call) && fits(check)).map(Check::view).collect();
    page(state.catalog().checks_index(), Interest::Checks, &seen)
}
