//! `/v1/agent/`: the services and checks of the node whose agent is asked.

use std::collections::BTreeMap;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::definition;
use crate::acl::Access;
use crate::call::{Call, require};
use crate::decode::{Fields, Problem};
use crate::reply::{Failure, Reply};
use crate::state::{Agent, AgentCheck, Check, CheckDefinition, CheckKind, Command, State};

pub(crate) fn handle(call: &Call<'_>) -> Result<Reply, Failure> {
    let parts: Vec<&str> = call.path.splitn(3, '/').collect();
    let reads = matches!(parts[..], ["self" | "services" | "checks" | "members"])
        || (parts.len() == 2 && parts[0] == "service" && !matches!(parts[1], "register"));
    call.allow(if reads { &[Method::GET] } else { &[Method::PUT] })?;
    if reads {
        return read(call, &parts);
    }
    if let ["check", "update" | "pass" | "warn" | "fail", id] = parts[..] {
        require_known(call, id)?;
    }
    call.require_agent_write()?;
    match parts[..] {
        ["service", "register"] => register_service(call),
        ["service", "deregister", ""] => Err(Failure::internal("ServiceID missing")),
        ["service", "deregister", id] => {
            write(call, &Command::AgentDeregister { node: node(call), service: id.to_owned() })
        }
        ["service", "maintenance", id] => maintenance(call, id),
        ["check", "register"] => register_check(call),
        ["check", "deregister", id] => {
            write(call, &Command::AgentDeregisterCheck { node: node(call), check: id.to_owned() })
        }
        ["check", "update", id] => update(call, id),
        ["check", "pass", id] => say(call, id, "passing", call.param("note").unwrap_or("")),
        ["check", "warn", id] => say(call, id, "warning", call.param("note").unwrap_or("")),
        ["check", "fail", id] => say(call, id, "critical", call.param("note").unwrap_or("")),
        _ => Err(Failure::no_such_path()),
    }
}

/// Whose check it is decides who may tell it, so where there are rights a check that is not there is refused first.
fn require_known(call: &Call<'_>, id: &str) -> Result<(), Failure> {
    let known = call.look(|state| state.agent(call.node).is_ok_and(|agent| agent.checks().contains_key(id)))?;
    if known || !call.shared.acl_enabled() { Ok(()) } else { Err(Failure::internal(format!("Unknown check {id:?}"))) }
}

fn node(call: &Call<'_>) -> String {
    call.node.to_owned()
}

/// Writes; agents answer with nothing.
fn write(call: &Call<'_>, command: &Command) -> Result<Reply, Failure> {
    call.write(command)?;
    Ok(Reply::empty(StatusCode::OK))
}

fn bad_body(problem: &Problem) -> Failure {
    Failure::bad(format!("Request decode failed: {problem}"))
}

fn read(call: &Call<'_>, parts: &[&str]) -> Result<Reply, Failure> {
    let sees = call.rights.catalog() >= Access::Read;
    match parts {
        ["self"] => {
            require(sees)?;
            call.look(|state| Ok(Reply::json(&about(call, state.agent(call.node)?))))?
        }
        ["members"] => call.look(|state| Ok(Reply::json(&members(state, sees))))?,
        ["services"] => call.look(|state| {
            let own = state.agent(call.node)?.services().iter().filter(|_| sees);
            let shown: BTreeMap<&String, Value> = own.map(|(id, service)| (id, service.agent_view())).collect();
            Ok(Reply::json(&shown))
        })?,
        ["checks"] => call.look(|state| {
            let known = state.agent(call.node)?.checks().iter().filter(|_| sees);
            let shown: BTreeMap<&String, _> = known.map(|(id, own)| (id, own.check.view())).collect();
            Ok(Reply::json(&shown))
        })?,
        ["service", id] => call.look(|state| match state.agent(call.node)?.services().get(*id) {
            Some(service) => require(sees).map(|()| Reply::json(&service.agent_view())),
            None => Err(Failure::new(StatusCode::NOT_FOUND, format!("unknown service ID: {id}"))),
        })?,
        _ => Err(Failure::no_such_path()),
    }
}

/// What the agent says of itself: as much as clients look at.
fn about(call: &Call<'_>, agent: &Agent) -> Value {
    let node = agent.node();
    let server = call.node == call.shared.node;
    json!({
        "Config": {
            "Datacenter": node.datacenter, "NodeName": node.node, "NodeID": node.id, "Revision": "embedded",
            "Server": server, "Version": "1.8.7",
        },
        "Member": member(agent, server),
        "Stats": {"consul": {"leader": server.to_string(), "server": server.to_string()}},
        "Meta": node.meta,
    })
}

fn member(agent: &Agent, server: bool) -> Value {
    let node = agent.node();
    let role = if server { "consul" } else { "node" };
    json!({
        "Name": node.node, "Addr": node.address, "Port": 8301,
        "Tags": {"build": "1.8.7:embedded", "dc": node.datacenter, "id": node.id, "role": role},
        "Status": if agent.is_connected() { 1 } else { 3 },
        "ProtocolMin": 1, "ProtocolMax": 5, "ProtocolCur": 2, "DelegateMin": 2, "DelegateMax": 5, "DelegateCur": 4,
    })
}

fn members(state: &State, sees: bool) -> Vec<Value> {
    let agents = state.agents().values().filter(|_| sees);
    agents.map(|agent| member(agent, state.catalog().service(&agent.node().node, "consul").is_some())).collect()
}

fn register_service(call: &Call<'_>) -> Result<Reply, Failure> {
    let replace_checks = call.param("replace-existing-checks").is_some_and(|value| matches!(value, "" | "true" | "1"));
    let fields = Fields::parse(&call.body).map_err(|problem| bad_body(&problem))?;
    let (service, checks) = definition::service(fields, call.node)?;
    write(call, &Command::AgentRegister { node: node(call), service, checks, replace_checks })
}

fn register_check(call: &Call<'_>) -> Result<Reply, Failure> {
    let fields = Fields::parse(&call.body).map_err(|problem| bad_body(&problem))?;
    let check = definition::check(fields, call.node)?;
    if check.check.name.is_empty() {
        return Err(Failure::bad("Missing check name"));
    }
    write(call, &Command::AgentRegisterCheck { node: node(call), check })
}

fn update(call: &Call<'_>, id: &str) -> Result<Reply, Failure> {
    let read = || -> Result<(String, String), Problem> {
        let mut fields = Fields::parse(&call.body)?;
        let said = (fields.string("Status")?, fields.string("Output")?);
        fields.finish()?;
        Ok(said)
    };
    let (status, output) = read().map_err(|problem| bad_body(&problem))?;
    if !matches!(status.as_str(), "passing" | "warning" | "critical") {
        return Err(Failure::bad(format!("Invalid check status: '{status}'")));
    }
    say(call, id, &status, &output)
}

fn say(call: &Call<'_>, id: &str, status: &str, output: &str) -> Result<Reply, Failure> {
    let command = Command::UpdateCheck {
        node: node(call),
        check: id.to_owned(),
        status: status.to_owned(),
        output: output.to_owned(),
        by_ttl: true,
    };
    write(call, &command)
}

/// Puts a service out of use, or back: a critical check of its own that nobody runs.
fn maintenance(call: &Call<'_>, id: &str) -> Result<Reply, Failure> {
    if id.is_empty() {
        return Err(Failure::bad("Missing service ID"));
    }
    let enable = match call.param("enable") {
        None => return Err(Failure::bad("Missing value for enable")),
        Some("1" | "t" | "true" | "True") => true,
        Some("0" | "f" | "false" | "False") => false,
        Some(other) => return Err(Failure::bad(format!("Invalid value for enable: {other:?}"))),
    };
    let check_id = format!("_service_maintenance:{id}");
    let (known, marked) = call.look(|state| {
        let told = state.agent(call.node);
        told.map(|agent| (agent.services().contains_key(id), agent.checks().contains_key(&check_id)))
    })??;
    if !known {
        let words = format!("No service registered with ID {id:?}");
        return Err(Failure::new(StatusCode::NOT_FOUND, words));
    }
    if enable && marked {
        return Ok(Reply::empty(StatusCode::OK));
    }
    if !enable {
        return write(call, &Command::AgentDeregisterCheck { node: node(call), check: check_id });
    }
    let reason = call.param("reason").filter(|reason| !reason.is_empty());
    let check = Check {
        node: node(call),
        check_id,
        name: "Service Maintenance Mode".into(),
        status: "critical".into(),
        notes: reason.unwrap_or(DEFAULT_REASON).into(),
        service_id: id.to_owned(),
        kind: CheckKind::Maintenance.name().into(),
        ..Check::default()
    };
    let check = AgentCheck::new(check, CheckDefinition::new(CheckKind::Maintenance));
    write(call, &Command::AgentRegisterCheck { node: node(call), check })
}

const DEFAULT_REASON: &str = "Maintenance mode is enabled for this service, but no reason was provided. \
                              This is a default message.";
