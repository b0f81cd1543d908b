//! The proof that the catalog could be seen: this controller's own entry, read after whatever is to be believed.
//!
//! One read proves it for everybody who had asked before it began, so a busy controller reads it far less often than it looks.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

/// Proofs, one read at a time.
#[derive(Debug, Default)]
pub(crate) struct Proof {
    /// How many reads have begun.
    begun: AtomicU64,
    /// The last read that was answered: its number, and what it showed.
    last: Mutex<Option<(u64, Result<(), String>)>>,
}

impl Proof {
    /// What a read shows that began after this call did: one of somebody else, or one by `read`.
    pub(crate) async fn after_now(&self, read: impl Future<Output = Result<(), String>>) -> Result<(), String> {
        let asked = self.begun.load(Ordering::Relaxed);
        let mut last = self.last.lock().await;
        if let Some((number, shown)) = &*last
            && *number > asked
        {
            return shown.clone();
        }
        let number = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
        let shown = read.await;
        *last = Some((number, shown.clone()));
        shown
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_during_a_read_waits_for_one_that_begins_later_and_shares_it() {
        let (proof, reads) = (Arc::new(Proof::default()), Arc::new(AtomicU64::new(0)));
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
        let proof = Proof::default();
        let never = proof.after_now(std::future::pending());
        assert!(tokio::time::timeout(Duration::from_secs(1), never).await.is_err());
        assert_eq!(proof.after_now(async { Ok(()) }).await, Ok(()));
    }
}
