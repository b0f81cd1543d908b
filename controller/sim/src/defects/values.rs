//! Bugs around values in Consul: planners that take them otherwise than they should. What is in the store they know from what controllers were
//! told on the wire.

use std::{cell::RefCell, collections::BTreeMap};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use helium_crds::{ObjectKey, keys::Keys};
use helium_engine::overrides::Values;
use helium_planner::{Action, Decision, Plan, World, plan};
use http::Response;
use serde_json::Value;

thread_local! {
    /// The values of all Deployments, as a controller was told of them last; none before anybody was.
    static TOLD: RefCell<Option<BTreeMap<ObjectKey, Values>>> = const { RefCell::new(None) };
}

/// Forgets what was told.
pub(super) fn reset() {
    TOLD.with_borrow_mut(|told| *told = None);
}

/// Notes what a controller is told of values, if that is what it asked for.
pub(super) fn note(path: &str, answer: &Response<Bytes>) {
    let keys = Keys::default();
    let asked = path.strip_prefix("/v1/kv/").filter(|rest| rest.contains("recurse"));
    if !asked.is_some_and(|rest| rest.starts_with(&keys.overrides_root())) {
        return;
    }
    let Ok(rows) = serde_json::from_slice::<Vec<Value>>(answer.body()) else { return };
    let mut told: BTreeMap<ObjectKey, Values> = BTreeMap::new();
    for row in rows {
        let key = row.get("Key").and_then(Value::as_str).unwrap_or_default();
        let bytes = row.get("Value").and_then(Value::as_str).and_then(|text| STANDARD.decode(text).ok());
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        let Some((object, text)) = keys.overridden(key).zip(text) else { continue };
        let name = key[keys.overrides(&object).len()..].to_owned();
        told.entry(object).or_default().insert(name, text);
    }
    TOLD.with_borrow_mut(|known| *known = Some(told));
}

/// What was told of the values of the Deployment of a world; none if it takes none.
fn told_for(world: &World) -> Option<Values> {
    if !world.deployment.spec.template.takes_overrides() || world.deployment.is_deleting() {
        return None;
    }
    let object = world.deployment.metadata.key();
    TOLD.with_borrow(|told| told.as_ref().map(|told| told.get(&object).cloned().unwrap_or_default()))
}

fn plan_with(world: &World, values: Values) -> Decision {
    let mut world = world.clone();
    world.deployment.spec.template.overrides = values;
    plan(&world)
}

/// S17: values are taken as they are seen, without a rest.
pub(super) fn plan_without_rest(world: &World) -> Decision {
    match told_for(world).filter(|told| !told.is_empty()) {
        Some(told) => plan_with(world, told),
        None => plan(world),
    }
}

/// S17: that all values are gone is believed at once.
pub(super) fn plan_believing_a_wipe(world: &World) -> Decision {
    match told_for(world).filter(Values::is_empty) {
        Some(none) => plan_with(world, none),
        None => plan(world),
    }
}

/// S17: what cannot be seen is taken for empty.
pub(super) fn plan_with_unseen_as_empty(world: &World) -> Decision {
    if world.values_problem.is_some() { plan_with(world, Values::new()) } else { plan(world) }
}

/// S16: what is made gets the values that are in the store, and not those of its revision.
pub(super) fn give_the_newest(world: &World, plan: &mut Plan) {
    let Some(told) = told_for(world) else { return };
    for action in &mut plan.actions {
        if let Action::Create(_, assigned) = action {
            assigned.template.overrides.clone_from(&told);
        }
    }
}

/// L1: the values of the present revision hold for ever.
pub(super) fn plan_with_old_values(world: &World) -> Decision {
    let current = world.status.as_ref().and_then(|status| world.revisions.get(&status.current.revision));
    let written = world.deployment.spec.template.as_written();
    match current.filter(|current| current.template.as_written() == written) {
        Some(current) => plan_with(world, current.template.overrides.clone()),
        None => plan(world),
    }
}
