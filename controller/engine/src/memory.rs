//! When the records have to be read again: at each take-over, after an index went back, on the resync, and in doubt.
//!
//! Reconciles hold the gate open while they work; reading everything again closes it for them all, so that no commit falls between
//! the reading and the taking over of what was read.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    time::Duration,
};

use helium_crds::ObjectKey;
use helium_runtime::ports::Ports;
use tokio::sync::{RwLock, RwLockReadGuard};

use crate::{
    commit::lock,
    layout::{LayoutError, LayoutKeeper},
    metrics::Metrics,
    records::{KnownEvents, Records},
    reread::{Reader, RereadError},
};

/// How old what a standby plans from may be. Its plans are only counted, so it need not cost the store much.
const STANDBY_REREAD: Duration = Duration::from_secs(15);

/// Why the records are not up to date.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// They could not be read.
    #[error(transparent)]
    Reread(#[from] RereadError),
    /// The layout cannot be relied on.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

/// Whose and which memory it is: another one means reading everything again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Era {
    /// The session that leads; none on a standby.
    pub session: Option<String>,
    /// How often an index has gone back.
    pub resets: u64,
    /// Counts the resyncs.
    pub resync: u64,
}

/// The records in memory and what keeps them true.
pub struct Memory {
    reader: Reader,
    layout: LayoutKeeper,
    ports: Ports,
    metrics: Metrics,
    /// What was read, last.
    pub records: Mutex<Records>,
    gate: RwLock<Loaded>,
    /// When single objects were last read again, on the monotonic clock.
    rereads: Mutex<BTreeMap<ObjectKey, Duration>>,
    missed: Mutex<BTreeSet<ObjectKey>>,
}

/// What the records in memory were read for.
#[derive(Clone, Debug, Default)]
struct Loaded {
    era: Option<Era>,
    /// The uid of the store's layout.
    layout: Option<String>,
    /// When they were read, on the monotonic clock.
    at: Duration,
}

/// While this is held, nobody reads everything again.
pub struct Open<'a> {
    _gate: RwLockReadGuard<'a, Loaded>,
}

impl Memory {
    /// An empty memory.
    pub fn new(reader: Reader, layout: LayoutKeeper, ports: Ports, metrics: Metrics) -> Self {
        let (records, gate) = (Mutex::default(), RwLock::default());
        let (rereads, missed) = (Mutex::default(), Mutex::default());
        Self { reader, layout, ports, metrics, records, gate, rereads, missed }
    }

    /// Makes an unused store ready. Without that no watch can be trusted.
    pub async fn prepare(&self) -> Result<(), LayoutError> {
        let mut gate = self.gate.write().await;
        if gate.layout.is_none() {
            gate.layout = Some(self.layout.prepare().await?.uid);
        }
        Ok(())
    }

    /// Waits until the records are those of `era` and there is no doubt about `object`; reads what has to be read.
    ///
    /// A standby commits nothing and so does not hear what the leader writes: it reads an object again from time to time.
    pub async fn up_to_date(&self, object: &ObjectKey, era: &Era) -> Result<Open<'_>, MemoryError> {
        let mut gate = self.gate.read().await;
        if gate.era.as_ref() != Some(era) {
            drop(gate);
            self.load(era).await?;
            gate = self.gate.read().await;
        }
        let read_at = lock(&self.rereads).get(object).copied().unwrap_or_default().max(gate.at);
        let old = era.session.is_none() && self.ports.monotonic() >= read_at + STANDBY_REREAD;
        if old || lock(&self.records).is_doubtful(object) {
            self.reread(object).await?;
        }
        Ok(Open { _gate: gate })
    }

    /// The events of one object, read from the store if they have not been yet.
    pub async fn events(&self, object: &ObjectKey) -> Result<KnownEvents, RereadError> {
        let held = lock(&self.records).held(object);
        if held.events != KnownEvents::Unread {
            return Ok(held.events.clone());
        }
        Ok(KnownEvents::Read(self.reader.events(object).await?))
    }

    /// The objects whose records turned out to be others than were held, once.
    pub fn take_missed(&self) -> BTreeSet<ObjectKey> {
        std::mem::take(&mut lock(&self.missed))
    }

    /// Forgets everything, as a controller that was just started has nothing.
    pub async fn forget(&self) {
        *self.gate.write().await = Loaded::default();
    }

    /// Makes an unused store ready, or makes sure that it is the one that was used before; then reads everything.
    async fn load(&self, era: &Era) -> Result<(), MemoryError> {
        let mut gate = self.gate.write().await;
        if gate.era.as_ref() == Some(era) {
            return Ok(());
        }
        let before = gate.era.take();
        match &gate.layout {
            Some(known) => self.layout.check(known).await?,
            None => gate.layout = Some(self.layout.prepare().await?.uid),
        }
        let objects = self.reader.everything().await?;
        tracing::debug!(objects = objects.len(), ?era, "read all records");
        let records = Records::of(objects);
        let resync = before.is_some_and(|before| before.session == era.session && before.resets == era.resets);
        let held = std::mem::replace(&mut *lock(&self.records), records);
        if resync && era.session.is_some() {
            let missed = held.differences(&lock(&self.records));
            self.note_missed(missed);
        }
        lock(&self.rereads).clear();
        gate.era = Some(era.clone());
        gate.at = self.ports.monotonic();
        Ok(())
    }

    fn note_missed(&self, objects: BTreeSet<ObjectKey>) {
        if !objects.is_empty() {
            tracing::warn!(?objects, "somebody else has written the controller's own records");
            self.metrics.missed_changes.inc_by(u64::try_from(objects.len()).unwrap_or(u64::MAX));
            lock(&self.missed).extend(objects);
        }
    }

    async fn reread(&self, object: &ObjectKey) -> Result<(), RereadError> {
        let nodes = lock(&self.records).held(object).nodes();
        let held = self.reader.object(object, &nodes).await?;
        lock(&self.records).replace(object.clone(), held);
        lock(&self.rereads).insert(object.clone(), self.ports.monotonic());
        Ok(())
    }
}
