//! A plan as writes: which keys it changes, in which order, and which of them must change together.
//!
//! Design: the status goes first, since it permits the rest; with it go the history and the events. After that come the units: an
//! instance's record and its assignment are one unit and never parted by a transaction's end. A key that is as it should be
//! already is not written: a plan that changes nothing has no writes at all.

use bytes::Bytes;
use helium_crds::{
    DeploymentStatus, InstanceId, NodeName, ObjectKey,
    event::{Event, EventLog},
    instance::{Assignment, Instance},
};
use helium_planner::{Action, Plan};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    batch::MAX_TXN_BYTES,
    records::{Held, KnownEvents, Raw, Slot},
};

/// The largest status, in bytes. Twenty metrics that cannot be read, with ten long reasons each, are more than a transaction takes.
const MOST_STATUS: usize = MAX_TXN_BYTES - 8 * 1024;

/// One key to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Which of the object's keys.
    pub slot: Slot,
    /// Its new value; none removes it.
    pub value: Option<Bytes>,
    /// The `ModifyIndex` that it must have; 0 for one that must not be there.
    pub index: u64,
}

/// The writes of one plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    /// What goes into the first transaction: status, history, events.
    pub head: Vec<Write>,
    /// What follows, in order; the writes of one unit are never parted.
    pub units: Vec<Vec<Write>>,
    /// Whether, after all that, everything of the object is removed.
    pub remove_object: bool,
}

/// Why a plan cannot be turned into writes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DraftError {
    /// A value cannot be written as JSON.
    #[error("{what} cannot be written as JSON: {why}")]
    Encode {
        /// What.
        what: String,
        /// Why not.
        why: String,
    },
}

impl Draft {
    /// The writes that turn what is `held` into what `plan` says.
    pub fn of(plan: &Plan, held: &Held) -> Result<Self, DraftError> {
        let mut draft = Self::default();
        for action in &plan.actions {
            draft.action(action, held)?;
        }
        if !draft.remove_object {
            let history = std::mem::take(&mut draft.head);
            draft.head.extend(status_write(&plan.status, held)?);
            draft.head.extend(history);
            draft.head.extend(events_write(&plan.events, held)?);
        }
        Ok(draft)
    }

    /// The writes that only say something about an object: a status and events, and nothing that runs is touched.
    pub fn words(status: &DeploymentStatus, events: &[Event], held: &Held) -> Result<Self, DraftError> {
        let mut draft = Self::default();
        draft.head.extend(status_write(status, held)?);
        draft.head.extend(events_write(events, held)?);
        Ok(draft)
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.head.is_empty() && self.units.is_empty() && !self.remove_object
    }

    /// The log of events as it will be, if there is one to add.
    pub(crate) fn events(&self) -> Option<&Bytes> {
        self.head.iter().find(|write| write.slot == Slot::Events).and_then(|write| write.value.as_ref())
    }

    fn action(&mut self, action: &Action, held: &Held) -> Result<(), DraftError> {
        match action {
            Action::RecordRevision(revision) => {
                let slot = Slot::Revision(revision.id.clone());
                self.head.extend(change(slot, revision.as_ref(), held.revisions.get(&revision.id))?);
            }
            Action::ForgetRevision(id) => {
                self.head.extend(removal(Slot::Revision(id.clone()), held.revisions.get(id)));
            }
            Action::Create(instance, assignment) => self.unit(creation(instance, assignment)?),
            Action::Stop(instance, assignment, _)
            | Action::Expose(instance, assignment)
            | Action::Withdraw(instance, assignment)
            | Action::Restore(instance, assignment) => {
                let assigned = held.assignments.get(&assignment.id).map(|placed| &placed.raw);
                let mut unit = Vec::new();
                unit.extend(change(Slot::Instance(instance.id.clone()), instance, held.instances.get(&instance.id))?);
                unit.extend(change(assignment_slot(&instance.node, &assignment.id), assignment, assigned)?);
                self.unit(unit);
            }
            Action::Note(instance) => {
                let slot = Slot::Instance(instance.id.clone());
                self.unit(change(slot, instance, held.instances.get(&instance.id))?.into_iter().collect());
            }
            Action::Forget(instance) => {
                let mut unit = Vec::new();
                unit.extend(removal(Slot::Instance(instance.id.clone()), held.instances.get(&instance.id)));
                if let Some(placed) = held.assignments.get(&instance.id) {
                    unit.extend(removal(assignment_slot(&placed.node, &instance.id), Some(&placed.raw)));
                }
                self.unit(unit);
            }
            Action::RemoveObject => self.remove_object = true,
        }
        Ok(())
    }

    fn unit(&mut self, writes: Vec<Write>) {
        if !writes.is_empty() {
            self.units.push(writes);
        }
    }
}

/// Record and assignment of a new instance, neither of which may be there yet.
fn creation(instance: &Instance, assignment: &Assignment) -> Result<Vec<Write>, DraftError> {
    let record = Slot::Instance(instance.id.clone());
    let assigned = assignment_slot(&instance.node, &assignment.id);
    Ok(vec![
        Write { value: Some(encode(&record, instance)?), slot: record, index: 0 },
        Write { value: Some(encode(&assigned, assignment)?), slot: assigned, index: 0 },
    ])
}

fn assignment_slot(node: &NodeName, id: &InstanceId) -> Slot {
    Slot::Assignment(node.clone(), id.clone())
}

fn status_write(status: &DeploymentStatus, held: &Held) -> Result<Option<Write>, DraftError> {
    let write = change(Slot::Status, status, held.status.as_ref())?;
    match &write {
        Some(Write { value: Some(value), .. }) if value.len() > MOST_STATUS => {
            change(Slot::Status, &without_old_samples(status), held.status.as_ref())
        }
        _ => Ok(write),
    }
}

/// A status whose metrics have only their last sample. All others are for people to read: what they counted for is kept in numbers.
fn without_old_samples(status: &DeploymentStatus) -> DeploymentStatus {
    let mut status = status.clone();
    let metrics = status.rollout.iter_mut().flat_map(|rollout| rollout.analysis.metrics.values_mut());
    for metric in metrics {
        metric.samples.drain(..metric.samples.len().saturating_sub(1));
    }
    status
}

fn events_write(events: &[Event], held: &Held) -> Result<Option<Write>, DraftError> {
    if events.is_empty() {
        return Ok(None);
    }
    let before = match &held.events {
        KnownEvents::Read(raw) => raw.as_ref(),
        KnownEvents::Unread => None,
    };
    // A log that cannot be read is begun anew: it is for people only, and nothing depends on it.
    let mut log: EventLog = before.and_then(|raw| serde_json::from_slice(&raw.value).ok()).unwrap_or_default();
    log.extend(events.iter().cloned());
    change(Slot::Events, &log, before)
}

/// The write that makes a key hold `wanted`; none if it does already.
fn change<T>(slot: Slot, wanted: &T, held: Option<&Raw>) -> Result<Option<Write>, DraftError>
where
    T: Serialize + DeserializeOwned + PartialEq,
{
    let same = |raw: &Raw| serde_json::from_slice::<T>(&raw.value).is_ok_and(|value| value == *wanted);
    if held.is_some_and(same) {
        return Ok(None);
    }
    let value = Some(encode(&slot, wanted)?);
    Ok(Some(Write { slot, value, index: held.map_or(0, |raw| raw.index) }))
}

/// The write that removes a key; none if it is not there.
fn removal(slot: Slot, held: Option<&Raw>) -> Option<Write> {
    held.map(|raw| Write { slot, value: None, index: raw.index })
}

fn encode<T: Serialize>(slot: &Slot, value: &T) -> Result<Bytes, DraftError> {
    let what = |why: serde_json::Error| DraftError::Encode { what: format!("{slot:?}"), why: why.to_string() };
    serde_json::to_vec(value).map(Bytes::from).map_err(what)
}

/// Whether a plan makes instances, and so has to be the only one that does until it is committed.
pub fn places_instances(plan: &Plan) -> bool {
    plan.actions.iter().any(|action| matches!(action, Action::Create(..)))
}

/// The Deployment that a status is of waits for a node that can take an instance.
pub fn waits_for_place(status: &DeploymentStatus) -> bool {
    use helium_crds::status::WaitingOn;
    status.waiting_on.iter().any(|on| matches!(on, WaitingOn::Agents | WaitingOn::Place { .. }))
}

/// What people see of an object's key in messages: `deployment/hello`.
pub fn display(object: &ObjectKey) -> String {
    format!("deployment/{object}")
}

#[cfg(test)]
mod tests {
    use helium_crds::{Kind, limits};
    use serde_json::json;

    use super::*;

    /// A status with the steps of the largest Canary, and as many words about as many metrics as there may be.
    fn wordy(samples: usize) -> DeploymentStatus {
        let at = "2026-01-01T10:00:00Z";
        let url = format!("https://gate/{}", "x".repeat(limits::most_bytes(Kind::Canary) / 100 - 100));
        let steps = vec![json!({"gate": {"webhook": {"url": url}, "interval": "10s", "onTimeout": "abort"}}); 100];
        let error = json!({"is": "error", "why": "é".repeat(400)});
        let sample =
            json!({"at": at, "canary": error, "stable": error, "verdict": "inconclusive", "why": "é".repeat(400)});
        let metric = json!({"query": "x".repeat(4096), "samples": vec![sample; samples]});
        let metrics: serde_json::Map<_, _> =
            (0..20).map(|number| (format!("metric-{number}"), metric.clone())).collect();
        let version = json!({"version": "2", "revision": "r1-00"});
        let status = json!({
            "uid": "u", "observedGeneration": 1, "phase": "Progressing", "reason": "CanaryStep", "message": "",
            "wanted": 4, "healthy": 4, "current": version, "nextOrdinal": 5, "nextRevision": 3,
            "rollout": {
                "id": "r", "revision": "r1-00", "version": "2", "kind": "canary", "stage": "steps", "steps": steps,
                "stepStartedAt": at, "startedAt": at, "progressAt": at, "analysis": {"metrics": metrics},
            },
        });
        serde_json::from_value(status).unwrap()
    }

    #[test]
    fn a_status_with_more_words_than_a_transaction_takes_leaves_old_samples_out() {
        for (samples, kept) in [(1, 1), (10, 1)] {
            let write = status_write(&wordy(samples), &Held::default()).unwrap().unwrap();
            let value = write.value.unwrap();
            assert!(value.len() <= MOST_STATUS, "{} bytes", value.len());
            let status: DeploymentStatus = serde_json::from_slice(&value).unwrap();
            let metrics = status.rollout.unwrap().analysis.metrics;
            assert!(metrics.len() == 20 && metrics.values().all(|metric| metric.samples.len() == kept));
        }
    }
}
