//! Whether the files of a running instance are as its templates would make them now.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::work::{Outcome, Work};
use crate::{
    package::{
        asking::Seen,
        lookups::{InstanceLookup, Lookups},
    },
    shared::Shared,
};

/// How long after a vain try that may heal the files are made again.
const AGAIN: SignedDuration = SignedDuration::from_secs(30);

/// What is known of the files of one instance.
pub(crate) struct Freshness {
    settled: watch::Receiver<u64>,
    /// What they were made with; none if this run of the agent has not made them.
    seen: Option<Seen>,
    stale: bool,
    /// They could not be made: whatever changes next may mend that.
    failed: bool,
    /// They are not made again before this instant.
    after: Option<Timestamp>,
}

impl Freshness {
    /// Of an instance of which this run of the agent knows nothing yet.
    pub(crate) fn new(lookups: &Lookups) -> Self {
        Self { settled: lookups.settled(), seen: None, stale: true, failed: false, after: None }
    }

    /// Whether they may have to be made again now.
    pub(crate) fn is_stale(&self, now: Timestamp) -> bool {
        self.stale && self.after.is_none_or(|after| after <= now)
    }

    /// When a look is due, if they may have to be made again later.
    pub(crate) fn due(&self) -> Option<Timestamp> {
        self.after.filter(|_| self.stale)
    }

    /// Whether a burst of changes is over since the last look.
    pub(crate) fn has_news(&self) -> bool {
        self.settled.has_changed().unwrap_or(false)
    }

    /// Compares what is known now with what the files were made with.
    pub(crate) fn look(&mut self, shared: &Shared, namespace: &str, env: BTreeMap<String, String>) {
        self.settled.mark_unchanged();
        let answers = Arc::clone(&shared.lookups.latest().borrow());
        let lookup = InstanceLookup { answers, namespace: namespace.to_owned(), env: Arc::new(env) };
        self.stale |= self.failed || self.seen.as_ref().is_some_and(|seen| seen.is_old(&lookup));
    }

    /// They are being made.
    pub(crate) fn begun(&mut self) {
        self.stale = false;
        self.after = None;
    }

    /// They were made, or were not.
    pub(crate) fn ended(&mut self, work: Work, outcome: &Outcome, now: Timestamp) {
        match outcome {
            Ok(found) if matches!(work, Work::Prepare | Work::Refresh) => {
                // It may have been started with the files of before: then they are still to be made.
                let made = found.seen.is_some();
                self.seen.clone_from(&found.seen);
                (self.failed, self.stale) = (!made, self.stale || !made);
                self.after = (!made).then(|| now + AGAIN);
            }
            // What a person has to mend is tried again when something changes.
            Err(trouble) if work == Work::Refresh => {
                (self.failed, self.stale) = (true, trouble.may_heal);
                self.after = trouble.may_heal.then(|| now + AGAIN);
            }
            Ok(_) | Err(_) => {}
        }
    }

    /// Waits until a look is due. May be dropped and called again.
    pub(crate) async fn changed(&mut self) {
        if self.settled.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        // The look takes it up.
        self.settled.mark_changed();
    }
}
