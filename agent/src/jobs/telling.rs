//! What Consul is told of the jobs of one instance: when, and how soon again.

use std::{future::Future, sync::Arc, time::Duration};

use consul_client::CheckStatus;
use helium_crds::template::Template;
use helium_runtime::{backoff::wait_after, ports::Ports};
use tokio::sync::{Notify, watch};

use super::{protocol::States, standing};

/// How often Consul is told what it should know already: an agent of Consul that was restarted does not.
const TELL_AGAIN: Duration = Duration::from_secs(20);
/// The wait after Consul took nothing for the first time, at least, and at most after many times.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// What is told, and what it is told of.
pub(super) struct Telling {
    pub(super) ports: Ports,
    pub(super) template: Template,
    pub(super) states: watch::Receiver<Option<States>>,
    /// Whether the service is in Consul, as far as anybody knows. While it is not there is nobody to tell.
    pub(super) is_registered: watch::Receiver<bool>,
    /// It was registered: its checks begin critical.
    pub(super) anew: Arc<Notify>,
}

impl Telling {
    /// Tells what the states of the jobs mean, whenever that changes or the service was registered, and from time to time. `tell` says whether it was
    /// taken. Ends when nobody knows of the jobs any more.
    pub(super) async fn run<F: Future<Output = bool>>(mut self, mut tell: impl FnMut(CheckStatus, String) -> F) {
        let mut failures = 0_u32;
        let mut again = Duration::ZERO;
        loop {
            tokio::select! {
                biased;
                changed = self.states.changed() => if changed.is_err() { return },
                changed = self.is_registered.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    failures = 0;
                }
                () = self.anew.notified() => failures = 0,
                () = tokio::time::sleep(again) => {}
            }
            let states = self.states.borrow_and_update().clone();
            let Some(states) = states.filter(|_| *self.is_registered.borrow_and_update()) else {
                again = TELL_AGAIN;
                continue;
            };
            let (verdict, words) = standing::verdict(&self.template, &states);
            let taken = tell(verdict, words).await;
            failures = if taken { 0 } else { failures.saturating_add(1) };
            again = if taken { TELL_AGAIN } else { RETRY.0 + wait_after(failures, RETRY.0, RETRY.1, &self.ports) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;
    use crate::testing;

    /// A telling with all that it looks at, and a count of what it has said.
    struct Told {
        states: watch::Sender<Option<States>>,
        is_registered: watch::Sender<bool>,
        anew: Arc<Notify>,
        takes: Arc<AtomicBool>,
        count: Arc<AtomicUsize>,
    }

    impl Told {
        fn begin(registered: bool) -> Self {
            let (states, see_states) = watch::channel(Some(States::default()));
            let (is_registered, see_registered) = watch::channel(registered);
            let told =
                Self { states, is_registered, anew: Arc::default(), takes: Arc::default(), count: Arc::default() };
            let telling = Telling {
                ports: Ports::seeded(1, testing::instant(0)),
                template: testing::assignment("hello-0").template,
                states: see_states,
                is_registered: see_registered,
                anew: Arc::clone(&told.anew),
            };
            let (count, takes) = (Arc::clone(&told.count), Arc::clone(&told.takes));
            tokio::spawn(telling.run(move |_, _| {
                count.fetch_add(1, Ordering::Relaxed);
                std::future::ready(takes.load(Ordering::Relaxed))
            }));
            told
        }

        /// How often something is said within a time.
        async fn within(&self, seconds: u64) -> usize {
            self.count.store(0, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            self.count.load(Ordering::Relaxed)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_taken_is_told_again_after_waits_that_grow() {
        let told = Told::begin(true);
        let first = told.within(60).await;
        assert!((8..=25).contains(&first), "{first}");
        let later = told.within(600).await;
        assert!((600 / 11..=600 / 3).contains(&later), "{later}");
        told.takes.store(true, Ordering::Relaxed);
        assert_eq!(told.within(15).await, 1);
        let calm = told.within(200).await;
        assert!((9..=11).contains(&calm), "{calm}");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_told_while_the_service_is_not_registered_and_at_once_when_it_is() {
        let told = Told::begin(false);
        told.takes.store(true, Ordering::Relaxed);
        assert_eq!(told.within(600).await, 0);
        told.states.send_replace(Some(States::default()));
        assert_eq!(told.within(1).await, 0, "whatever happens to its jobs");
        told.is_registered.send_replace(true);
        assert_eq!(told.within(1).await, 1);
        told.anew.notify_one();
        assert_eq!(told.within(1).await, 1, "its checks begin critical again");
    }
}
