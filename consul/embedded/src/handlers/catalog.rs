//! `/v1/catalog/`: nodes, services and instances, and writing them without an agent.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use serde_json::{Value, json};

use super::definition::{check_in_catalog, service_in_catalog};
use crate::acl::Access;
use crate::call::Call;
use crate::decode::{Fields, Problem};
use crate::reply::{Failure, Page, Reply};
use crate::state::{Command, Node, Registration, State};
use crate::waiters::Interest;

pub(crate) async fn handle(call: &Call<'_>) -> Result<Reply, Failure> {
    let (what, rest) = call.path.split_once('/').unwrap_or((&call.path, ""));
    let writes = matches!(what, "register" | "deregister");
    call.allow(if writes { &[Method::PUT] } else { &[Method::GET] })?;
    match what {
        "register" => register(call),
        "deregister" => deregister(call),
        "datacenters" => Ok(Reply::json(&[&call.shared.datacenter])),
        "nodes" => call.read(|state| Ok(nodes(call, state))).await,
        "services" => call.read(|state| Ok(services(call, state))).await,
        "service" if rest.is_empty() => Err(Failure::bad("Missing service name")),
        "service" => call.read(|state| Ok(service(call, state, rest))).await,
        "node" if rest.is_empty() => Err(Failure::bad("Missing node name")),
        "node" => call.read(|state| Ok(node(call, state, rest))).await,
        _ => Err(Failure::no_such_path()),
    }
}

/// Whether the token sees the catalog.
pub(super) fn sees(call: &Call<'_>) -> bool {
    call.rights.catalog() >= Access::Read
}

/// The `node-meta=key:value` parameters, all of which a node must have.
pub(super) fn fits_meta(call: &Call<'_>, node: &Node) -> bool {
    let has = |pair: &str| {
        let (key, value) = pair.split_once(':').unwrap_or((pair, ""));
        node.meta.as_ref().and_then(|meta| meta.get(key)).is_some_and(|own| own == value)
    };
    call.params("node-meta").all(has)
}

fn nodes(call: &Call<'_>, state: &State) -> Page {
    let seen: Vec<&Node> = state.catalog().nodes().filter(|node| sees(call) && fits_meta(call, node)).collect();
    page(state.catalog().nodes_index(), Interest::Nodes, &seen)
}

fn services(call: &Call<'_>, state: &State) -> Page {
    let mut seen: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for service in state.catalog().all_services().filter(|_| sees(call)) {
        seen.entry(&service.service).or_default().extend(service.tags.iter().map(String::as_str));
    }
    page(state.catalog().services_index(), Interest::Services, &seen)
}

fn service(call: &Call<'_>, state: &State, name: &str) -> Page {
    let tags: Vec<&str> = call.params("tag").collect();
    let instances = state.catalog().instances(name);
    let seen = instances.filter(|(node, service)| {
        sees(call) && fits_meta(call, node) && tags.iter().all(|tag| service.tags.iter().any(|own| own == tag))
    });
    let seen: Vec<Value> = seen.map(|(node, service)| service.catalog_view(node)).collect();
    page(state.catalog().service_index(name), service_interest(state, name), &seen)
}

/// A service without instances is waited for by watching everything.
pub(super) fn service_interest(state: &State, name: &str) -> Interest {
    let exists = state.catalog().instances(name).next().is_some();
    if exists { Interest::Service(name.to_owned()) } else { Interest::Catalog }
}

fn node(call: &Call<'_>, state: &State, name: &str) -> Page {
    let catalog = state.catalog();
    let Some(node) = catalog.node(name).filter(|_| sees(call)) else {
        return page(0, Interest::NodesAndServices, &Value::Null);
    };
    let services: BTreeMap<&str, _> =
        catalog.services_of(name).map(|service| (service.id.as_str(), service.health_view())).collect();
    let index = catalog.nodes_index().max(catalog.services_index());
    page(index, Interest::NodesAndServices, &json!({"Node": node, "Services": services}))
}

pub(super) fn page(index: u64, interest: Interest, body: &impl serde::Serialize) -> Page {
    Page { index, interest, reply: Reply::json(body), shows_consistency: true }
}

fn bad_body(problem: &Problem) -> Failure {
    Failure::bad(format!("Request decode failed: {problem}"))
}

fn own_datacenter(call: &Call<'_>, name: &str) -> Result<(), Failure> {
    if name.is_empty() || name == call.shared.datacenter {
        return Ok(());
    }
    Err(Failure::internal("No path to datacenter"))
}

fn register(call: &Call<'_>) -> Result<Reply, Failure> {
    let registration = registration(call).map_err(|problem| bad_body(&problem))?;
    own_datacenter(call, &registration.node.datacenter)?;
    call.require_agent_write()?;
    call.write(&Command::Register(registration))?;
    Ok(Reply::json(&true))
}

fn registration(call: &Call<'_>) -> Result<Registration, Problem> {
    let mut fields = Fields::parse(&call.body)?;
    let datacenter = fields.string("Datacenter")?;
    let node = Node {
        id: fields.string("ID")?,
        node: fields.string("Node")?,
        address: fields.string("Address")?,
        datacenter: if datacenter.is_empty() { call.shared.datacenter.clone() } else { datacenter },
        tagged_addresses: fields.meta("TaggedAddresses")?,
        meta: fields.meta("NodeMeta")?,
        ..Node::default()
    };
    let service = fields.object("Service")?.map(service_in_catalog).transpose()?;
    let one = fields.object("Check")?;
    let mut checks = Vec::new();
    for check in one.into_iter().chain(fields.objects("Checks")?) {
        checks.push(check_in_catalog(check, &node.node)?);
    }
    let skip_node_update = fields.bool("SkipNodeUpdate")?;
    fields.finish()?;
    Ok(Registration { node, skip_node_update, service, checks })
}

fn deregister(call: &Call<'_>) -> Result<Reply, Failure> {
    let (datacenter, command) = deregistration(call).map_err(|problem| bad_body(&problem))?;
    own_datacenter(call, &datacenter)?;
    call.require_agent_write()?;
    if matches!(&command, Command::Deregister { node, .. } if node.is_empty()) {
        return Err(Failure::internal("Must provide node"));
    }
    call.write(&command)?;
    Ok(Reply::json(&true))
}

fn deregistration(call: &Call<'_>) -> Result<(String, Command), Problem> {
    let mut fields = Fields::parse(&call.body)?;
    let datacenter = fields.string("Datacenter")?;
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    let command = Command::Deregister {
        node: fields.string("Node")?,
        service: some(fields.string("ServiceID")?),
        check: some(fields.string("CheckID")?),
    };
    fields.string("Address")?;
    fields.string("Namespace")?;
    fields.finish()?;
    Ok((datacenter, command))
}
