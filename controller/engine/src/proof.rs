//! The proof that the catalog could be seen: this controller's own entry, read after whatever is to be believed.
//!
//! One read proves it for everybody who had asked before it began, so a busy controller reads it far less often than it looks.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use helium_runtime::ports::Ports;
use tokio::sync::Mutex;

/// Proofs, one read at a time.
#[derive(Debug)]
pub(crate) struct Proof {
    ports: Ports,
    /// How many reads have begun.
    begun: AtomicU64,
    last: Mutex<Option<Shown>>,
}

/// A read that was answered.
#[derive(Clone, Debug)]
struct Shown {
    number: u64,
    /// When it began, on the monotonic clock.
    begun: Duration,
    what: Result<(), String>,
}

impl Proof {
    /// None yet.
    pub(crate) fn new(ports: Ports) -> Self {
        Self { ports, begun: AtomicU64::new(0), last: Mutex::default() }
    }

    /// What a read shows that began after this call did: one of somebody else, or one by `read`.
    pub(crate) async fn after_now(&self, read: impl Future<Output = Result<(), String>>) -> Result<(), String> {
        let asked = self.begun.load(Ordering::Relaxed);
        self.unless(|shown| shown.number > asked, read).await
    }

    /// What a read shows that began within a span before this call, or after it. Enough for whoever has read nothing that it would
    /// have to prove.
    pub(crate) async fn lately(
        &self,
        span: Duration,
        read: impl Future<Output = Result<(), String>>,
    ) -> Result<(), String> {
        let since = self.ports.monotonic().saturating_sub(span);
        self.unless(|shown| shown.begun >= since, read).await
    }

    /// The last read if it is good enough, or else another one.
    async fn unless(
        &self,
        good_enough: impl FnOnce(&Shown) -> bool,
        read: impl Future<Output = Result<(), String>>,
    ) -> Result<(), String> {
        let mut last = self.last.lock().await;
        if let Some(shown) = last.as_ref().filter(|shown| good_enough(shown)) {
            return shown.what.clone();
        }
        let (number, begun) = (self.begun.fetch_add(1, Ordering::Relaxed) + 1, self.ports.monotonic());
        let what = read.await;
        *last = Some(Shown { number, begun, what: what.clone() });
        what
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn proof() -> Proof {
        Proof::new(Ports::seeded(1, jiff::Timestamp::UNIX_EPOCH))
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_during_a_read_waits_for_one_that_begins_later_and_shares_it() {
        let (proof, reads) = (Arc::new(proof()), Arc::new(AtomicU64::new(0)));
        let ask = |at: u64| {
            let (proof, reads) = (Arc::clone(&proof), Arc::clone(&reads));
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(at)).await;
                let read = async {
                    let number = reads.fetch_add(1, Ordering::Relaxed) + 1;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    Err(number.to_string())
                };
                proof.after_now(read).await.unwrap_err()
            })
        };
        let asked = [0, 10, 20, 99, 150, 250].map(ask);
        let mut shown = Vec::new();
        for one in asked {
            shown.push(one.await.unwrap());
        }
        assert_eq!(shown, ["1", "2", "2", "2", "3", "4"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_is_given_up_keeps_nobody_waiting() {
        let proof = proof();
        let never = proof.after_now(std::future::pending());
        assert!(tokio::time::timeout(Duration::from_secs(1), never).await.is_err());
        assert_eq!(proof.after_now(async { Ok(()) }).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_proof_of_lately_is_enough_for_who_has_nothing_to_prove() {
        let proof = proof();
        assert_eq!(proof.lately(Duration::from_secs(1), async { Ok(()) }).await, Ok(()));
        let other = || async { Err("another read".to_owned()) };
        assert_eq!(proof.lately(Duration::from_secs(1), other()).await, Ok(()));
        tokio::time::sleep(Duration::from_millis(1001)).await;
        assert!(proof.lately(Duration::from_secs(1), other()).await.is_err());
    }
}
