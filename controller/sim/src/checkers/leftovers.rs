//! L1, the rest of the world: nothing is left of what is gone, and whatever runs is known.

use std::collections::BTreeSet;

use consul_embedded::state::State;
use helium_crds::{
    InstanceId, Kind, NodeName, ObjectKey,
    instance::Report,
    keys::{Keys, SENTINEL},
};

use crate::{
    agent::UNASSIGNED,
    fleet::{Behaviour, Table},
    truth::{self, Truth},
};

/// Keys and services of what is gone, processes that should run and do not, and those that nobody knows of.
pub(super) fn leftover(state: &State, table: &Table, objects: &[ObjectKey]) -> Option<String> {
    orphaned_key(state, objects)
        .or_else(|| idle(state, table, objects))
        .or_else(|| unknown_process(state, table))
        .or_else(|| stale_report(state, table))
        .or_else(|| stale_service(state, table))
}

/// A key of an object that is gone.
fn orphaned_key(state: &State, objects: &[ObjectKey]) -> Option<String> {
    let root = Keys::default().root().to_owned();
    let known: BTreeSet<&ObjectKey> = objects.iter().collect();
    for room in ["inst/", "status/", "revision/", "events/"] {
        for entry in state.kv().under(&format!("{root}{room}")) {
            let parts: Vec<&str> = entry.key.strip_prefix(&root)?.split('/').collect();
            let object = match (room, parts.as_slice()) {
                ("inst/" | "revision/", [_, _, namespace, name, _]) | (_, [_, _, namespace, _, name]) => {
                    ObjectKey::new(*namespace, *name)
                }
                _ => continue,
            };
            // A HydraJob is an object of its own, whoever takes its versions.
            let of_a_job = parts.get(3) == Some(&Kind::HydraJob.singular());
            let is_job = of_a_job && state.kv().get(&Keys::default().spec(Kind::HydraJob, &object)).is_some();
            if !is_job && !known.contains(&object) {
                return Some(format!("{} is left of an object that is gone", entry.key));
            }
        }
    }
    None
}

/// An instance that should run and does not.
fn idle(state: &State, table: &Table, objects: &[ObjectKey]) -> Option<String> {
    objects.iter().find_map(|object| {
        Truth::of(state, object).running().find_map(|instance| {
            let runs = table.get(&instance.node, &instance.id).is_some();
            let ends = !Behaviour::of(&instance.version).is_sound();
            (!ends && !runs).then(|| format!("{} does not run", instance.id))
        })
    })
}

/// A process that is neither recorded nor assigned where it runs, and whose agent does not say so.
fn unknown_process(state: &State, table: &Table) -> Option<String> {
    let keys = Keys::default();
    table.running().find_map(|((node, id), process)| {
        let recorded = truth::instance(state, &process.deployment, id).is_some_and(|one| one.node == *node);
        let report: Option<Report> = truth::value(state, &keys.report(node, id));
        let is_told = report.is_some_and(|report| report.message.as_deref() == Some(UNASSIGNED));
        (!recorded && !is_told && !is_assigned(state, node, id))
            .then(|| format!("{id} runs on {node}, and nobody knows"))
    })
}

/// A report about what is neither assigned there nor runs there.
fn stale_report(state: &State, table: &Table) -> Option<String> {
    let prefix = format!("{}report/", Keys::default().root());
    let mut entries = state.kv().under(&prefix).filter(|entry| !entry.key.ends_with(SENTINEL));
    entries.find_map(|entry| {
        let mut parts = entry.key.rsplit('/');
        let (id, node) = (InstanceId::from(parts.next()?), NodeName::from(parts.next()?));
        (!exists(state, table, &node, &id)).then(|| format!("{} is left of an instance that is gone", entry.key))
    })
}

/// A service of what is neither assigned there nor runs there.
fn stale_service(state: &State, table: &Table) -> Option<String> {
    state.catalog().all_services().find_map(|service| {
        let meta = |key: &str| service.meta.as_ref().and_then(|meta| meta.get(key)).map(String::as_str);
        let (node, id) = (NodeName::from(meta("helium-node")?), InstanceId::from(meta("helium-instance")?));
        (!exists(state, table, &node, &id)).then(|| format!("the service {} is left in the catalog", service.id))
    })
}

fn exists(state: &State, table: &Table, node: &NodeName, id: &InstanceId) -> bool {
    is_assigned(state, node, id) || table.knows(node, id)
}

fn is_assigned(state: &State, node: &NodeName, id: &InstanceId) -> bool {
    state.kv().get(&Keys::default().assignment(node, id)).is_some()
}
