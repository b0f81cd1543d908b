//! Sees to it that the version of a service that is wanted now is the current one, and the active one, however long that takes.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use helium_runtime::backoff::wait_after;

use crate::shared::Shared;

/// The wait after the first activation in vain, at most, and after many. Each may run the scripts of two versions.
const RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(5));

/// Begins to see to it, in place of whoever does so for this service already. It ends once it is so, or with the agent.
pub(crate) fn follow(shared: &Arc<Shared>, service: &str) {
    let (weak, of) = (Arc::downgrade(shared), service.to_owned());
    let following = tokio::spawn(async move {
        let mut failures = 0_u32;
        loop {
            let Some(shared) = weak.upgrade() else { return };
            if settle(&shared, &of, failures).await {
                return;
            }
            failures = failures.saturating_add(1);
            let wait = RETRY.0 + wait_after(failures, RETRY.0, RETRY.1, &shared.ports);
            drop(shared);
            tokio::time::sleep(wait).await;
        }
    });
    // What the one before has begun goes on; what it waits for is waited for by this one.
    let mut followers = shared.packages.followers.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(before) = followers.insert(service.to_owned(), following.abort_handle()) {
        before.abort();
    }
}

/// Tries it; true if it is done.
async fn settle(shared: &Shared, service: &str, failures: u32) -> bool {
    let current = shared.packages.follow_current(service).await;
    let active = shared.packages.lead(service).await;
    let words = [current.err(), active.err().map(|trouble| trouble.words)];
    let mut words = words.into_iter().flatten().peekable();
    let done = words.peek().is_none();
    if failures == 0 {
        words.for_each(|words| {
            tracing::warn!(service, words, "its version is not the one that it should be; trying again");
        });
    }
    done
}
