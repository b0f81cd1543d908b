//! Writes the reports: only what differs from what is in the store, many in one transaction, and again after a failure. When each is due its
//! [slot](Slot) knows.
//!
//! The store is read at the start and from time to time, so that an agent that was restarted writes nothing that is there
//! already, and a report that somebody deleted comes back.

mod slot;

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use consul_client::{Client, Error, MAX_TXN_OPS, Read, TxnOp};
use helium_crds::{
    ids::{InstanceId, NodeName},
    instance::Report,
    keys::{Keys, SENTINEL},
};
use helium_runtime::{backoff::wait_after, ports::Ports};
use tokio::sync::Notify;

use crate::telemetry::Telemetry;
use slot::{Due, Slot, Wanted};

/// How often the store is read again.
const READ_AGAIN: Duration = Duration::from_mins(1);
/// At most so many bytes of values in one transaction; Consul takes 512 KiB of JSON.
const MOST_BYTES: usize = 200_000;
/// The wait after the first failure, at most, and after many.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// The reports of this agent.
pub(crate) struct Reporter {
    client: Client,
    ports: Ports,
    keys: Keys,
    node: NodeName,
    slots: Mutex<BTreeMap<InstanceId, Slot>>,
    changed: Notify,
    settled: Notify,
    read_soon: AtomicBool,
    /// Everything that differs is to be written, whatever it is: nobody will do it later.
    hurry: AtomicBool,
    telemetry: Telemetry,
}

impl Reporter {
    /// No reports yet.
    pub(crate) fn new(client: Client, ports: Ports, keys: Keys, node: NodeName, telemetry: Telemetry) -> Self {
        let (slots, changed, settled) = <(Mutex<_>, Notify, Notify)>::default();
        Self {
            client,
            ports,
            keys,
            node,
            slots,
            changed,
            settled,
            read_soon: AtomicBool::new(true),
            hurry: AtomicBool::new(false),
            telemetry,
        }
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that there is such an instance, and nothing of its report yet: whatever is in the store stays.
    pub(crate) fn know(&self, id: &InstanceId) {
        self.slots().entry(id.clone()).or_default();
    }

    /// Says what the report of an instance should be; none: there should be none.
    pub(crate) fn set(&self, id: &InstanceId, report: Wanted) {
        let mut slots = self.slots();
        if slots.entry(id.clone()).or_default().say(report, self.ports.monotonic()) {
            self.changed.notify_one();
        }
    }

    /// Has the store read again before anything else: what was written may be gone.
    pub(crate) fn read_soon(&self) {
        self.read_soon.store(true, Ordering::SeqCst);
        self.changed.notify_one();
    }

    /// Has everything written that differs and waits until the store holds it, or `limit` has passed.
    pub(crate) async fn flush(&self, limit: Duration) {
        self.hurry.store(true, Ordering::SeqCst);
        let settled = async {
            loop {
                let next = self.settled.notified();
                if self.pending().is_empty() {
                    return;
                }
                self.changed.notify_one();
                next.await;
            }
        };
        let _ = tokio::time::timeout(limit, settled).await;
    }

    /// Writes for ever. Drop it to end it.
    pub(crate) async fn run(&self) {
        let mut failures = 0_u32;
        let mut read_at = self.ports.monotonic();
        loop {
            let read_due = self.read_soon.swap(false, Ordering::SeqCst) || self.ports.monotonic() >= read_at;
            let outcome = if read_due { self.read().await } else { self.write().await };
            self.telemetry.heard("reports", outcome.as_ref().copied().map_err(ToString::to_string));
            match outcome {
                Ok(()) if read_due => {
                    failures = 0;
                    read_at = self.ports.monotonic() + self.ports.jittered(READ_AGAIN, 10);
                }
                Ok(()) => {
                    failures = 0;
                    let next = self.next_due().map_or(read_at, |due| due.min(read_at));
                    tokio::select! {
                        biased;
                        () = self.changed.notified() => {}
                        () = self.ports.sleep_until(next) => {}
                    }
                }
                Err(error) => {
                    self.read_soon.fetch_or(read_due, Ordering::SeqCst);
                    failures = failures.saturating_add(1);
                    if failures == 1 {
                        tracing::warn!(%error, "reports cannot be written; trying again");
                    }
                    let again = tokio::time::sleep(wait_after(failures, RETRY.0, RETRY.1, &self.ports));
                    // One report that is too large for Consul must not make the others late.
                    let is_of_one = matches!(error, Error::TooLarge { .. });
                    tokio::select! {
                        biased;
                        () = again => {}
                        () = self.changed.notified(), if is_of_one => {}
                    }
                }
            }
        }
    }

    /// Learns what is in the store. What nobody here stands for is to be deleted.
    async fn read(&self) -> Result<(), Error> {
        let prefix = self.keys.reports(&self.node);
        let rows = self.client.kv_list(&prefix, &Read::default()).await?.value;
        let mut found: BTreeMap<InstanceId, Option<Report>> = BTreeMap::new();
        for row in rows {
            let name = row.key.strip_prefix(&prefix).unwrap_or_default();
            if !name.is_empty() && name != SENTINEL {
                found.insert(InstanceId::from(name), serde_json::from_slice(&row.value).ok());
            }
        }
        self.take_found(&mut found);
        self.delete_strangers(found.into_keys().collect()).await
    }

    /// Notes what the store holds of our reports, and leaves those in `found` that are not ours.
    fn take_found(&self, found: &mut BTreeMap<InstanceId, Option<Report>>) {
        for (id, slot) in self.slots().iter_mut() {
            slot.found(found.remove(id).flatten());
        }
    }

    /// The operations that delete those of `strangers` that are still unknown here.
    fn deletions(&self, strangers: &[InstanceId]) -> Vec<TxnOp> {
        let slots = self.slots();
        let strange = strangers.iter().filter(|id| !slots.contains_key(*id));
        strange.map(|id| TxnOp::Delete { key: self.keys.report(&self.node, id) }).collect()
    }

    /// Deletes reports of instances that this agent does not know, unless one of them was added meanwhile.
    async fn delete_strangers(&self, strangers: Vec<InstanceId>) -> Result<(), Error> {
        for chunk in strangers.chunks(MAX_TXN_OPS) {
            self.client.txn(&self.deletions(chunk)).await?;
        }
        Ok(())
    }

    /// How many reports the store does not hold yet though it should, as far as is known.
    pub(crate) fn backlog(&self) -> usize {
        self.pending().len()
    }

    /// Those that are to be written now, or all that differ where nobody will write them later.
    fn pending(&self) -> Vec<(InstanceId, Wanted)> {
        let (slots, now) = (self.slots(), self.ports.monotonic());
        let hurry = self.hurry.load(Ordering::SeqCst);
        let due = slots.iter().filter(|(_, slot)| match slot.due(now) {
            Due::Now => true,
            Due::At(_) => hurry,
            Due::Never => false,
        });
        due.filter_map(|(id, slot)| Some((id.clone(), slot.wanted()?.clone()))).collect()
    }

    /// When the next one is due that may not be written yet.
    fn next_due(&self) -> Option<Duration> {
        let (slots, now) = (self.slots(), self.ports.monotonic());
        let due = slots.values().filter_map(|slot| match slot.due(now) {
            Due::At(at) => Some(at),
            Due::Now => Some(now),
            Due::Never => None,
        });
        due.min()
    }

    /// Writes all that differs. What is wrong with one transaction keeps no other from being written; the first error is told at the end.
    async fn write(&self) -> Result<(), Error> {
        let pending = self.pending();
        let (mut rest, mut outcome) = (pending.as_slice(), Ok(()));
        while !rest.is_empty() {
            let (ops, taken) = self.batch(rest);
            let (these, later) = rest.split_at(taken);
            match self.client.txn(&ops).await {
                Ok(_) => self.note(these),
                Err(error) => outcome = outcome.and(Err(error)),
            }
            rest = later;
        }
        self.slots().retain(|_, slot| !slot.is_over());
        outcome?;
        self.settled.notify_waiters();
        Ok(())
    }

    /// The operations of one transaction, and how many of the pending ones they are.
    fn batch(&self, pending: &[(InstanceId, Wanted)]) -> (Vec<TxnOp>, usize) {
        let mut ops = Vec::new();
        let mut bytes = 0;
        for (id, report) in pending.iter().take(MAX_TXN_OPS) {
            let key = self.keys.report(&self.node, id);
            let value = report.as_ref().map(|report| serde_json::to_vec(report).unwrap_or_default());
            bytes += value.as_ref().map_or(0, Vec::len);
            if bytes > MOST_BYTES && !ops.is_empty() {
                break;
            }
            ops.push(match value {
                Some(value) => TxnOp::set(key, value),
                None => TxnOp::Delete { key },
            });
        }
        let taken = ops.len();
        (ops, taken)
    }

    fn note(&self, done: &[(InstanceId, Wanted)]) {
        let (mut slots, now) = (self.slots(), self.ports.monotonic());
        for (id, report) in done {
            if let Some(slot) = slots.get_mut(id) {
                slot.wrote(report, now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        instance::{
            record::Record,
            report::{Extras, report},
        },
        testing,
    };

    #[tokio::test(start_paused = true)]
    async fn a_report_that_is_too_large_keeps_no_other_from_being_written() {
        let server = consul_embedded::Server::in_memory(&consul_embedded::Config::default());
        let client = Client::over(server.transport(), None);
        let (config, ports) = (testing::config(), Ports::seeded(1, testing::instant(0)));
        let telemetry = Telemetry::new(ports.clone());
        let reporter = Reporter::new(client.clone(), ports, config.keys.clone(), config.node.clone(), telemetry);
        let ids = ["a-0", "b-0", "c-0"].map(InstanceId::from);
        for id in &ids {
            let record = Record::admit(testing::assignment(id.as_str()), testing::instant(0));
            let mut one = report(&config.node, &record, Extras::default());
            if id.as_str() == "b-0" {
                one.address = "x".repeat(600_000);
            }
            reporter.set(id, Some(one));
        }
        let outcome = reporter.write().await;
        assert!(matches!(outcome, Err(Error::TooLarge { .. })), "{outcome:?}");
        let left: Vec<InstanceId> = reporter.pending().into_iter().map(|(id, _)| id).collect();
        assert_eq!(left, [ids[1].clone()]);
        let rows = client.kv_list(&config.keys.reports(&config.node), &Read::default()).await.unwrap().value;
        assert_eq!(rows.len(), 2);
    }
}
