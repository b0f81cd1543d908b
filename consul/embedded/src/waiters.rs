//! Blocked readers, and what each of them waits for.
//!
//! A reader that finds nothing new leaves its interest here, under the same lock under which it read, so no change
//! can slip between. A change wakes those whose interest it meets, in the order in which they came.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use crate::state::Touched;

/// What a reader waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// A change of one key.
    Key(String),
    /// A change of any key under a prefix.
    Prefix(String),
    /// Any change of the key table.
    AnyKey,
    /// Any change of a session.
    Sessions,
    /// Any change of a node.
    Nodes,
    /// Any change of an instance.
    Services,
    /// Any change of a node or an instance.
    NodesAndServices,
    /// Any change of a check.
    Checks,
    /// A change of a check that was in a state or is in it now.
    ChecksIn(String),
    /// A change that moves one service.
    Service(String),
    /// Any change of the catalog.
    Catalog,
}

impl Interest {
    fn meets(&self, touched: &Touched) -> bool {
        match self {
            Self::Key(key) => touched.keys.contains(key),
            Self::Prefix(prefix) => touched.keys.iter().any(|key| key.starts_with(prefix)),
            Self::AnyKey => !touched.keys.is_empty(),
            Self::Sessions => touched.sessions,
            Self::Nodes => touched.nodes,
            Self::Services => touched.services,
            Self::NodesAndServices => touched.nodes || touched.services,
            Self::Checks => touched.checks,
            Self::ChecksIn(state) => touched.check_states.contains(state),
            Self::Service(name) => touched.service_names.contains(name),
            Self::Catalog => touched.nodes || touched.services || touched.checks,
        }
    }
}

/// Why a reader woke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// Something that it waits for changed: look again.
    Changed,
    /// The whole state was replaced: answer with what was seen last, as Consul does when a snapshot is restored.
    Abandoned,
}

/// The blocked readers.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    next_id: u64,
    waiting: BTreeMap<u64, (Interest, oneshot::Sender<Wake>)>,
}

impl Waiters {
    /// Enters a reader. It must be removed by [`Waiters::remove`] if it goes without having been woken.
    pub(crate) fn enter(&mut self, interest: Interest) -> (u64, oneshot::Receiver<Wake>) {
        let (sender, receiver) = oneshot::channel();
        self.next_id += 1;
        self.waiting.insert(self.next_id, (interest, sender));
        (self.next_id, receiver)
    }

    /// Takes a reader out.
    pub(crate) fn remove(&mut self, id: u64) {
        self.waiting.remove(&id);
    }

    /// Wakes all readers whose interest a change meets.
    pub(crate) fn wake(&mut self, touched: &Touched) {
        let woken: Vec<u64> =
            self.waiting.iter().filter(|(_, (interest, _))| interest.meets(touched)).map(|(id, _)| *id).collect();
        for id in woken {
            self.dismiss(id, Wake::Changed);
        }
    }

    /// Wakes all readers because the state is another.
    pub(crate) fn abandon(&mut self) {
        let all: Vec<u64> = self.waiting.keys().copied().collect();
        for id in all {
            self.dismiss(id, Wake::Abandoned);
        }
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    fn dismiss(&mut self, id: u64, wake: Wake) {
        if let Some((_, sender)) = self.waiting.remove(&id) {
            // A reader that went away in this moment needs no waking.
            let _gone = sender.send(wake);
        }
    }
}
