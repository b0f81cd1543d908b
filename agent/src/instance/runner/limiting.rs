//! The limits of an instance: a control group for what is shared by all of its processes, and what the system bounds for each of them.
//!
//! The group is noted in the record before it is made, so that whoever comes after a killed agent knows of it. The process is moved in while it
//! stands at its gate, and so is all that it ever starts. Whatever does not hold is told in the report; the instance runs all the same.

use std::{collections::BTreeMap, time::Duration};

use helium_cgroups::{Controller, Limits, Made};
use helium_crds::{
    resources::Resources,
    size::{Bytes, Cores},
};
use helium_processes::{Gated, Limit, Resource};

use super::{DISK_RETRY, Runner};
use crate::instance::{record::Record, system, table::AssignedCell};

/// How long the processes of a group may take to end once they are killed.
const END_LIMIT: Duration = Duration::from_secs(2);

/// What the group of an instance limits.
fn of_group(resources: &Resources) -> Limits {
    Limits {
        memory: resources.memory.map(Bytes::count),
        cpu: resources.cpu.map(Cores::millis),
        processes: resources.processes,
    }
}

/// What is bounded for each process of an instance, by the name of the field.
fn of_each(resources: &Resources) -> impl Iterator<Item = (&'static str, Limit)> {
    let files = resources.open_files.map(|most| (Resource::OpenFiles, u64::from(most)));
    let dump = resources.core_dump.map(|most| (Resource::CoreDump, most.count()));
    let named = [("openFiles", files), ("coreDump", dump)];
    named.into_iter().filter_map(|(name, limit)| limit.map(|(resource, most)| (name, Limit { resource, most })))
}

/// The field that a controller is asked for by.
fn field(controller: Controller) -> &'static str {
    match controller {
        Controller::Memory => "memory",
        Controller::Cpu => "cpu",
        Controller::Pids => "processes",
    }
}

impl Runner {
    /// Makes the group of the process that is to be started, once the record knows of it.
    ///
    /// # Errors
    /// In words: what an earlier process has left in the group of before does not end, or the record cannot be written.
    pub(super) async fn make_group(&mut self) -> Result<Made, String> {
        self.end_group().await?;
        let limits = of_group(&self.record.assignment.template.resources);
        let planned = self.shared.cgroups.plan(self.id.as_str(), &limits);
        if !planned.folders.is_empty() {
            let next = Record { group: Some(system::note_of_group(planned)), ..self.record.clone() };
            self.save(next).await.map_err(|error| format!("the local record cannot be written: {error}"))?;
        }
        Ok(self.shared.cgroups.make(self.id.as_str(), &limits))
    }

    /// Limits a process at its gate, and notes what does not hold.
    pub(super) fn limit(&mut self, gated: &Gated, mut made: Made) {
        made.take(gated.identity().pid);
        let of_group = made.unheld.into_iter().map(|(controller, why)| (field(controller).to_owned(), why));
        let mut unheld: BTreeMap<String, String> = of_group.collect();
        for (name, limit) in of_each(&self.record.assignment.template.resources) {
            if let Err(error) = gated.limit(&limit) {
                unheld.insert(name.to_owned(), format!("the agent cannot set it: {error}"));
            }
        }
        for (name, why) in &unheld {
            tracing::warn!(instance = %self.id, limit = name, why, "a limit does not hold");
        }
        self.record.unheld = unheld;
    }

    /// Removes the group of a process that has ended, with all that it left there, and takes note of whom the lack of memory has cost its life.
    ///
    /// # Errors
    /// In words, what is left. It is to be tried again: until then its end is not noted, nothing is started, and it is not forgotten.
    pub(super) async fn end_group(&mut self) -> Result<(), String> {
        let Some(group) = self.record.group.as_ref().map(system::group) else { return Ok(()) };
        self.record.memory_kills = group.memory_kills();
        match group.end(END_LIMIT).await {
            Ok(()) => {
                self.record.group = None;
                Ok(())
            }
            Err(error) => {
                tracing::warn!(instance = %self.id, %error, "its control group is left over");
                Err(format!("what it has left in its control group does not end: {error}"))
            }
        }
    }

    /// Tells people what is left of a process that has ended, and waits before that is tried again.
    pub(super) async fn wait_for_the_rest(&mut self, words: String, assigned: &AssignedCell) {
        self.record.message = Some(words);
        self.publish(assigned);
        tokio::time::sleep(DISK_RETRY).await;
    }
}
