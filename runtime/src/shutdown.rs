//! A request to stop that every task of a process can wait for.

use tokio_util::sync::CancellationToken;

/// The receiving end of a request to stop; cheap to clone, and once cancelled it stays cancelled.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(CancellationToken);

/// The sending end: stops everything that holds a [`Shutdown`] made with it.
///
/// Dropping it asks nobody to stop.
#[derive(Clone, Debug)]
pub struct Trigger(CancellationToken);

impl Shutdown {
    /// A request that has not been made yet, and the trigger that makes it.
    pub fn new() -> (Trigger, Self) {
        let token = CancellationToken::new();
        (Trigger(token.clone()), Self(token))
    }

    /// A request that nobody will ever make.
    pub fn never() -> Self {
        Self::default()
    }

    /// A part that can be stopped alone, and that stops with the whole.
    pub fn child(&self) -> (Trigger, Self) {
        let token = self.0.child_token();
        (Trigger(token.clone()), Self(token))
    }

    /// Waits until the request is made; returns at once if it has been.
    pub async fn cancelled(&self) {
        self.0.cancelled().await;
    }

    /// Whether the request has been made.
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Runs `work` until it is done, or drops it and returns `None` when the request is made first.
    pub async fn unless_cancelled<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.0.run_until_cancelled(work).await
    }
}

impl Trigger {
    /// Makes the request. Doing it again changes nothing.
    pub fn trigger(&self) {
        self.0.cancel();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_trigger_wakes_every_clone_once_and_for_all() {
        let (trigger, shutdown) = Shutdown::new();
        let waiting = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.cancelled().await }
        });
        assert!(!shutdown.is_cancelled());
        trigger.trigger();
        trigger.trigger();
        waiting.await.unwrap();
        shutdown.cancelled().await;
        assert!(shutdown.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_child_stops_with_the_whole_but_not_the_whole_with_a_child() {
        let (trigger, whole) = Shutdown::new();
        let (first_trigger, first) = whole.child();
        let (_second_trigger, second) = whole.child();
        first_trigger.trigger();
        assert!(first.is_cancelled() && !whole.is_cancelled() && !second.is_cancelled());
        trigger.trigger();
        assert!(second.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn work_is_dropped_when_the_request_comes_first() {
        let (trigger, shutdown) = Shutdown::new();
        assert_eq!(shutdown.unless_cancelled(async { 7 }).await, Some(7));
        trigger.trigger();
        assert_eq!(shutdown.unless_cancelled(tokio::time::sleep(Duration::from_secs(9))).await, None);
    }
}
