//! A picture of a fleet: which processes run, and which keys were written when. What happens to nobody leaves it as it is.

use std::{collections::BTreeMap, time::Duration};

use helium_e2e::{eventually, wait};

use crate::fleet::{Fleet, ROLLOUT};

/// The rooms of the store whose keys nobody writes at rest. Locks and heartbeats follow their sessions.
const ROOMS: [&str; 7] = ["spec", "status", "inst", "assign", "report", "revision", "events"];
/// How long nothing must be written before a fleet counts as at rest: the last event of a rollout comes after its outcome.
const QUIET: Duration = Duration::from_secs(2);

/// What runs and what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    /// The pids of all instances, by id.
    pub(crate) pids: BTreeMap<String, u32>,
    /// The `ModifyIndex` of every key, by key.
    keys: BTreeMap<String, u64>,
}

impl Picture {
    /// Of a fleet as it is now.
    pub(crate) fn of(fleet: &Fleet) -> Self {
        let rooms = ROOMS.map(|room| format!("helium/v1/{room}/"));
        Self { pids: fleet.pids(), keys: fleet.consul.indexes(&rooms) }
    }

    /// Of a fleet in which nothing has changed for two seconds.
    #[track_caller]
    pub(crate) fn at_rest(fleet: &Fleet) -> Self {
        let (mut last, mut since) = (Self::of(fleet), wait::now());
        eventually("the fleet is at rest", ROLLOUT, || {
            let now = Self::of(fleet);
            if now != last {
                (last, since) = (now, wait::now());
            }
            (wait::now() - since >= QUIET).then(|| last.clone())
        })
    }

    /// Whether the fleet still is what the picture shows; if not, what has changed.
    pub(crate) fn still_holds(&self, fleet: &Fleet) -> Result<(), String> {
        let now = Self::of(fleet);
        if *self == now {
            return Ok(());
        }
        let before = (changed(&self.pids, &now.pids), changed(&self.keys, &now.keys));
        let after = (changed(&now.pids, &self.pids), changed(&now.keys, &self.keys));
        Err(format!("{before:?} became {after:?}"))
    }
}

/// What one map has and the other has not.
fn changed<T: Copy + PartialEq>(one: &BTreeMap<String, T>, other: &BTreeMap<String, T>) -> BTreeMap<String, T> {
    one.iter().filter(|(key, value)| other.get(*key) != Some(value)).map(|(key, value)| (key.clone(), *value)).collect()
}
