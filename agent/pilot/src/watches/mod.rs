//! Services and keys of Consul: what follows from a change, pure, and a task each that looks.
//!
//! A watch is a blocking query, so a change is heard of when it comes about, whatever `interval` says. While Consul does not answer, the last state
//! stays, and no event comes.

mod follow;
mod seen;

use std::collections::BTreeMap;

use consul_client::Client;
use helium_containerpilot::config::Watch;
use helium_runtime::ports::Ports;
use helium_supervisor::Handle;
use tokio::{sync::watch, task::AbortHandle};

/// How many instances each watched service has, by the name of its watch.
pub type Counts = watch::Sender<BTreeMap<String, usize>>;

/// All watches of a supervisor, each with a task of its own; dropped, it ends them.
pub struct Watches {
    client: Client,
    handle: Handle,
    ports: Ports,
    counts: Counts,
    kept: Vec<(Watch, AbortHandle)>,
}

impl Watches {
    /// None yet. How many instances there are is told to `counts`.
    pub fn new(client: Client, handle: Handle, ports: Ports, counts: Counts) -> Self {
        Self { client, handle, ports, counts, kept: Vec::new() }
    }

    /// From now on these. One that is the same goes on and remembers what it has seen.
    pub fn keep(&mut self, watches: &[Watch]) {
        self.kept.retain(|(watch, task)| {
            let stays = watches.contains(watch);
            if !stays {
                task.abort();
            }
            stays
        });
        self.counts.send_modify(|counts| counts.retain(|name, _| watches.iter().any(|watch| watch.name == *name)));
        for watch in watches {
            if !self.kept.iter().any(|(kept, _)| kept == watch) {
                let (client, handle, ports) = (self.client.clone(), self.handle.clone(), self.ports.clone());
                let task = tokio::spawn(follow::follow(watch.clone(), client, handle, ports, self.counts.clone()));
                self.kept.push((watch.clone(), task.abort_handle()));
            }
        }
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        self.kept.iter().for_each(|(_, task)| task.abort());
    }
}
