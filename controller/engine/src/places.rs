//! Places on nodes that a plan has taken, from the moment it was decided until its transaction is answered.
//!
//! Design: two plans that make instances must not count on the same place. So such plans are made one at a time, in a lane from
//! capture to the reservation of their places here. What follows, the commit, needs no lane: whoever plans next finds the places
//! taken. The store takes milliseconds to answer, and one commit after another would be all that a fleet can start.
//!
//! After an answer that leaves it open whether the transaction happened, the places stay taken until the object is read again. All
//! of this is memory of one process: another controller that takes the lead reads what was committed, and nothing else was.

use std::sync::Mutex;

use helium_crds::ObjectKey;
use helium_planner::{Action, Plan};

use crate::{
    commit::lock,
    records::{Place, Records},
};

/// Places that are taken for one object; given up when this is dropped, unless what is held of the object is in doubt.
pub(crate) struct Reserved<'a> {
    records: &'a Mutex<Records>,
    object: &'a ObjectKey,
}

impl<'a> Reserved<'a> {
    /// Takes the places of all instances that `plan` makes.
    pub(crate) fn of(plan: &Plan, object: &'a ObjectKey, records: &'a Mutex<Records>) -> Self {
        let place = |action: &Action| match action {
            Action::Create(instance, assignment) => {
                Some(Place { node: instance.node.clone(), ports: assignment.template.fixed_ports().collect() })
            }
            _ => None,
        };
        lock(records).reserve(object, plan.actions.iter().filter_map(place).collect());
        Self { records, object }
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let mut records = lock(self.records);
        if !records.is_doubtful(self.object) {
            records.release(self.object);
        }
    }
}
