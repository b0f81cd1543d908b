//! S3: what is not the controller's is never changed. S7: nothing is deleted without the mark. S9: every write carries the fence.

use consul_embedded::state::State;
use helium_crds::{Kind, instance::Instance, keys::Keys};

use super::{Checkers, Commit};
use crate::{
    ops::{Op, Written},
    truth,
    wire::Actor,
};

/// The rooms of the store that a controller writes to.
const ROOMS: [&str; 5] = ["status/", "inst/", "assign/", "revision/", "events/"];

impl Checkers {
    /// S3, for keys and for the catalog.
    pub(super) fn check_ownership(&mut self, actor: Actor, written: &Written, before: &State) {
        let stranger = written.ops.iter().filter(|op| op.writes()).find(|op| !is_own(op, before));
        if let Some(op) = stranger {
            self.fail("S3", format!("{actor} did `{}` to {}, which is not its own", op.verb, op.key));
        }
        if let Some(service) = foreign_service(actor, written) {
            self.fail("S3", format!("{actor} changed the service {service}, which is not its own"));
        }
    }

    /// S9: a transaction that writes proves that the session that it names holds the lock, and that one does.
    pub(super) fn check_fence(&mut self, written: &Written, before: &State) {
        let keys = Keys::default();
        let lock = keys.controller_lock();
        // The lock itself is what the fence is made of; the layout is made once, before there is any.
        let exempt = |op: &&Op| op.key == lock || op.key == keys.layout() || op.key.ends_with("/.keep");
        let Some(first) = written.ops.iter().filter(|op| op.writes()).find(|op| !exempt(op)) else { return };
        let holder = before.kv().get(&lock).and_then(|entry| entry.session.clone());
        let fences = |op: &Op| op.verb == "check-session" && op.key == lock && Some(&op.session) == holder.as_ref();
        if !written.ops.iter().any(fences) {
            self.fail("S9", format!("`{}` of {} carries no fence of the session that leads", first.verb, first.key));
        }
    }

    /// S7: a spec is deleted only if it bears the mark, and nothing is taken down of an object whose spec is not there.
    pub(super) fn check_deletions(&mut self, commit: &Commit<'_>) {
        let keys = Keys::default();
        let deletes = |key: &str| commit.written.ops.iter().any(|op| op.verb.starts_with("delete") && op.key == key);
        let deployment = commit.before.deployment.as_ref();
        let marked = deployment.is_some_and(helium_crds::Deployment::is_deleting);
        if deletes(&keys.spec(Kind::Deployment, &commit.object)) && !marked {
            self.fail("S7", format!("the spec of {} was deleted, and nobody asked for that", commit.object));
        }
        let canary_marked = commit.before.canary.as_ref().is_some_and(helium_crds::Canary::is_deleting);
        if deletes(&keys.spec(Kind::Canary, &commit.object)) && !canary_marked {
            self.fail("S7", format!("the Canary of {} was deleted, and nobody asked for that", commit.object));
        }
        let taken = commit.stopped().first().or(commit.forgotten().first()).map(|instance| instance.id.clone());
        if let (Some(id), false) = (taken, commit.before.has_spec) {
            self.fail("S7", format!("{id} was taken down, and the spec of {} is not there", commit.object));
        }
    }
}

impl Checkers {
    /// L1, at once: what is forgotten does not run any more, for nobody would ever stop it; unless its node is lost.
    pub(super) fn check_forgotten(&mut self, commit: &Commit<'_>) {
        let now = commit.net.now();
        let table = commit.net.fleet.table();
        let runs = |instance: &&&Instance| {
            table.get(&instance.node, &instance.id).is_some()
                && truth::heartbeat(commit.state_before, &instance.node)
                && self.history.alive_for(&instance.node, now) > self.staleness(now)
        };
        if let Some(instance) = commit.forgotten().iter().find(runs) {
            let message = format!("{}: {} was forgotten while it runs", commit.object, instance.id);
            self.fail("L1", message);
        }
    }
}

/// Whether a controller may write to a key: its rooms, its lock, the layout that it makes, and marked specs.
fn is_own(op: &Op, before: &State) -> bool {
    let keys = Keys::default();
    let Some(rest) = op.key.strip_prefix(keys.root()) else { return false };
    let makes_layout = rest == "layout" || (rest.ends_with("/.keep") && before.kv().get(&op.key).is_none());
    let sentinel = rest.ends_with("/.keep");
    let own = ROOMS.iter().any(|room| rest.starts_with(room)) && !sentinel;
    // What is deleted under spec/ is for S7 to judge; nothing there is ever written.
    let removed = rest.starts_with("spec/") && op.verb.starts_with("delete") && !sentinel;
    own || removed || rest == "lock/controller" || (makes_layout && !op.verb.starts_with("delete"))
}

/// The service that a request to an agent changes, if it is not the controller's.
fn foreign_service(actor: Actor, written: &Written) -> Option<String> {
    let Actor::Controller(number) = actor else { return None };
    let own = format!("helium-controller-c{number}-");
    let path = written.path.split('?').next().unwrap_or_default();
    let service = if path == "/v1/agent/service/register" {
        let body: serde_json::Value = serde_json::from_slice(&written.body).unwrap_or_default();
        body.get("ID").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
    } else if let Some(id) = path.strip_prefix("/v1/agent/service/deregister/") {
        id.to_owned()
    } else if path.starts_with("/v1/catalog/") {
        format!("of {path}")
    } else {
        return None;
    };
    (!service.starts_with(&own)).then_some(service)
}

/// The keys and services that stand for everybody else's: S3 looks at them in the end too.
pub fn strangers_untouched(state: &State) -> bool {
    state.kv().get("app/colour").is_some_and(|entry| entry.value.as_ref() == b"green")
        && truth::value::<u64>(state, "app/size") == Some(7)
        && state.catalog().all_services().any(|service| service.id == "billing-1")
}
