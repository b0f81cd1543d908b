//! The machine in its second life.

use std::cell::Cell;

use crate::{
    node::{self, KEEPER, KEEPERS},
    systemd::{self, AGENT, show},
    tool::{ensure, processes, stays, wait},
};

/// That of all units is started by itself.
pub(super) fn agent(first: &str) -> Result<String, String> {
    let boot = systemd::boot()?;
    ensure(boot != first, || "the machine was not restarted".to_owned())?;
    wait(120, || {
        let state = show(AGENT, "ActiveState")?;
        ensure(state == "active", || format!("the unit is {state}"))
    })?;
    let restarts = show(AGENT, "NRestarts")?;
    Ok(format!("active after {restarts} restarts"))
}

/// None is missing, and there are never more.
pub(super) fn instances() -> Result<String, String> {
    let most = Cell::new(0);
    let count = || {
        let found = processes(KEEPER).len();
        most.set(found.max(most.get()));
        found
    };
    wait(node::ROLLOUT, || {
        let found = count();
        ensure(found == KEEPERS, || format!("{found} instances"))
    })?;
    stays(15, || {
        let found = count();
        ensure(found == KEEPERS, || format!("{found} instances"))
    })?;
    ensure(most.get() == KEEPERS, || format!("{} instances at once", most.get()))?;
    node::joined()
}

/// The hails of before.
pub(super) fn hail() -> Result<String, String> {
    super::hail::is_back()
}
