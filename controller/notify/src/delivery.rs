//! One receiver and what waits for it: posted one after the other, and again where that may help.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use helium_analysis::{Post, Refusal, Sources, To};
use helium_crds::notification::{Format, Notification};
use helium_runtime::{
    backoff::{Backoff as _, Exponential},
    ports::Ports,
    shutdown::Shutdown,
};
use tokio::sync::broadcast::{
    Receiver,
    error::{RecvError, TryRecvError},
};

use crate::{
    metrics::{Outcome, Outcomes},
    news::News,
    slack,
};

/// The ceilings of the waits between two tries, and the least wait: a receiver that fails is not pressed.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LAST_WAIT: Duration = Duration::from_secs(30);
const LEAST_WAIT: Duration = Duration::from_millis(100);

/// News that waits to be told.
#[derive(Clone, Debug)]
pub(crate) struct Queued {
    pub(crate) news: Arc<News>,
    /// Since when, by the monotonic clock.
    pub(crate) since: Duration,
}

/// How one receiver is told.
pub(crate) struct Delivery {
    pub(crate) settings: Notification,
    pub(crate) sources: Arc<Sources>,
    pub(crate) outcomes: Outcomes,
    pub(crate) ports: Ports,
}

impl Delivery {
    /// Tells what is queued until `shutdown`, and then what is left until `end`.
    pub(crate) async fn run(self, mut queue: Receiver<Queued>, shutdown: Shutdown, end: Shutdown) {
        while let Some(queued) = self.next(&mut queue, &shutdown).await {
            let told = end.unless_cancelled(self.tell(&queued)).await;
            self.count(told.unwrap_or(Outcome::Dropped), 1);
        }
    }

    /// The next of the queue; none after the shutdown, when it is empty.
    async fn next(&self, queue: &mut Receiver<Queued>, shutdown: &Shutdown) -> Option<Queued> {
        loop {
            let next = match shutdown.unless_cancelled(queue.recv()).await {
                Some(next) => next,
                None => match queue.try_recv() {
                    Ok(queued) => Ok(queued),
                    Err(TryRecvError::Lagged(lost)) => Err(RecvError::Lagged(lost)),
                    Err(TryRecvError::Empty | TryRecvError::Closed) => return None,
                },
            };
            match next {
                Ok(queued) => return Some(queued),
                Err(RecvError::Closed) => return None,
                Err(RecvError::Lagged(lost)) => {
                    tracing::warn!(
                        name = self.settings.name,
                        lost,
                        "a queue of notifications was full: the oldest went"
                    );
                    self.count(Outcome::Dropped, lost);
                }
            }
        }
    }

    /// Posts until it is taken, there is no sense in posting again, or it has waited for too long.
    async fn tell(&self, queued: &Queued) -> Outcome {
        let Queued { news, since } = queued;
        let (name, reason) = (&self.settings.name, &news.reason);
        let last = *since + self.settings.webhook.give_up_after.as_duration();
        let mut backoff = Exponential::new(FIRST_WAIT, LAST_WAIT, self.ports.clone()).at_least(LEAST_WAIT);
        let mut tries = 0;
        loop {
            tries += 1;
            let Err(Refusal { why, may_heal }) = self.post(news).await else { return Outcome::Sent };
            let next = self.ports.monotonic() + backoff.next();
            if !may_heal || next > last {
                tracing::warn!(name, reason, tries, why, "a notification was not taken and is given up");
                return Outcome::Failed;
            }
            if tries == 1 {
                tracing::warn!(name, reason, why, "a notification was not taken and is posted again");
            }
            self.ports.sleep_until(next).await;
        }
    }

    async fn post(&self, news: &News) -> Result<(), Refusal> {
        let receiver = &self.settings.webhook;
        let document = match receiver.format {
            Format::Json => serde_json::to_vec(news),
            Format::Slack => serde_json::to_vec(&slack::message(news)),
        };
        let refusal = |why: String| Refusal { why, may_heal: false };
        let body = Bytes::from(document.map_err(|error| refusal(error.to_string()))?);
        let to = match (&receiver.url, &receiver.url_from) {
            (Some(url), _) => To::Url(url),
            (None, Some(secret)) => To::Secret(secret),
            (None, None) => return Err(refusal("it has neither `url` nor `urlFrom`".to_owned())),
        };
        self.sources.post(&Post { to, auth: receiver.auth.as_ref(), body, timeout: receiver.timeout }).await
    }

    fn count(&self, outcome: Outcome, number: u64) {
        self.outcomes.count(&self.settings.name, outcome, number);
    }
}
