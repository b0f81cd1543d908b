//! Whether the files of a running instance are as its templates would make them now.
//!
//! Changes of what is asked on this machine are waited for until they rest ([`Quiet`]); then it is looked whether any of them concerns these files.
//! If so they are made again, at once or after a lot of up to `splay`. Since the next look is a rest later, there is at most one making in each.

use std::{sync::Arc, time::Duration};

use helium_crds::template::Template;
use helium_lookups::Answers;
use helium_runtime::ports::Ports;
use helium_templates::quiet::{Quiet, Wait};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::work::{Outcome, Work};
use crate::package::{asking::Seen, lookups::InstanceLookup};

/// How long after a vain try that may heal the files are made again, unless changes are to rest for longer.
const AGAIN: SignedDuration = SignedDuration::from_secs(30);

/// What is known of the files of one instance.
pub(crate) struct Freshness {
    ports: Ports,
    latest: watch::Receiver<Arc<Answers>>,
    quiet: Quiet,
    pace: Pace,
    /// What they were made with; none if this run of the agent has not made them.
    seen: Option<Seen>,
    stale: bool,
    /// They could not be made: whatever changes next may mend that.
    failed: bool,
    /// They are not made again before this instant.
    after: Option<Timestamp>,
}

/// How fast an instance takes up new files.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    /// How long no change may have come, and how long after the first that is not waited for any more.
    wait: Wait,
    /// The longest time, by lot, before files that are to be others are made.
    splay: Duration,
}

impl Pace {
    fn of(template: &Template) -> Self {
        let templates = template.templates.as_ref();
        let (min, max) = templates.map(|templates| templates.quiet.clone()).unwrap_or_default().bounds();
        let splay = templates.map(|templates| templates.splay.as_duration()).unwrap_or_default();
        Self { wait: Wait::of(min.as_duration()).at_most(max.as_duration()), splay }
    }
}

impl Freshness {
    /// Of an instance of which this run of the agent knows nothing yet. `latest` are the answers as they come.
    pub(crate) fn new(
        template: &Template,
        latest: watch::Receiver<Arc<Answers>>,
        ports: &Ports,
        now: Timestamp,
    ) -> Self {
        let pace = Pace::of(template);
        let mut new = Self {
            ports: ports.clone(),
            latest,
            quiet: Quiet::new(pace.wait),
            pace,
            seen: None,
            stale: true,
            failed: false,
            after: None,
        };
        // What has changed while no agent ran is taken up as slowly as anything else.
        new.after = new.lot(now);
        new
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
    pub(crate) fn has_news(&mut self) -> bool {
        self.hear();
        self.quiet.take(self.ports.monotonic())
    }

    /// Compares what is known now with what the files were made with.
    pub(crate) fn look(&mut self, known: &InstanceLookup, now: Timestamp) {
        let old = self.failed || self.seen.as_ref().is_some_and(|seen| seen.is_old(known));
        if old && !self.stale {
            self.stale = true;
            self.after = self.lot(now);
        }
    }

    /// They are being made.
    pub(crate) fn begun(&mut self) {
        self.stale = false;
        self.after = None;
    }

    /// They were made, by these answers if by any, or were not.
    pub(crate) fn ended(&mut self, work: Work, outcome: &Outcome, seen: Option<Seen>, now: Timestamp) {
        let again = AGAIN.max(SignedDuration::try_from(self.pace.wait.min).unwrap_or(AGAIN));
        match outcome {
            Ok(_) if matches!(work, Work::Prepare | Work::Refresh) => {
                // It may have been started with the files of before: then they are still to be made.
                let made = seen.is_some();
                self.seen = seen;
                (self.failed, self.stale) = (!made, self.stale || !made);
                self.after = (!made).then(|| now + again);
            }
            // What a person has to mend is tried again when something changes.
            Err(trouble) if work == Work::Refresh => {
                (self.failed, self.stale) = (true, trouble.may_heal);
                self.after = trouble.may_heal.then(|| now + again);
            }
            Ok(_) | Err(_) => {}
        }
    }

    /// Waits until a look is due. May be dropped and called again.
    pub(crate) async fn changed(&mut self) {
        loop {
            self.hear();
            let due = self.quiet.due();
            let over = async {
                match due {
                    Some(due) => self.ports.sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = over => return,
                changed = self.latest.changed() => {
                    if changed.is_err() {
                        std::future::pending::<()>().await;
                    }
                    self.quiet.changed(self.ports.monotonic(), &self.ports);
                }
            }
        }
    }

    /// Takes note of answers that have come.
    fn hear(&mut self) {
        if self.latest.has_changed().unwrap_or(false) {
            self.latest.mark_unchanged();
            self.quiet.changed(self.ports.monotonic(), &self.ports);
        }
    }

    /// Before when nothing is taken up; none where nobody waits.
    fn lot(&self, now: Timestamp) -> Option<Timestamp> {
        let lot = SignedDuration::try_from(self.ports.up_to(self.pace.splay)).ok()?;
        (!lot.is_zero()).then(|| now + lot)
    }
}

#[cfg(test)]
#[path = "freshness_tests.rs"]
mod tests;
