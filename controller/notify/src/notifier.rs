//! Everybody who is told: filters, and a bounded queue for each.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use helium_analysis::Sources;
use helium_crds::{
    DeploymentStatus, ObjectKey,
    event::Event,
    notification::{Notification, Notifications},
    status::HydraJobStatus,
};
use helium_runtime::{ports::Ports, shutdown::Shutdown};
use prometheus_client::registry::Registry;
use tokio::{
    sync::broadcast::{self, Receiver, Sender},
    task::JoinSet,
    time::timeout,
};

use crate::{
    announce::Announce,
    delivery::{Delivery, Queued},
    metrics::{Outcome, Outcomes},
    news::News,
};

/// How much waits for one receiver. A power of two, so that no more fits than it says.
const QUEUE: usize = 256;
/// How long what is queued is told after the shutdown.
const GRACE: Duration = Duration::from_secs(5);

/// Tells receivers of events, each from a queue of its own: one that is slow keeps nobody waiting but those who wait for it.
pub struct Notifier {
    queues: Vec<Queue>,
    /// Their other ends, until they are run.
    deliveries: Mutex<Vec<(Delivery, Receiver<Queued>)>>,
    outcomes: Outcomes,
    ports: Ports,
}

/// The end of a queue at which news come in. It is a channel that drops the oldest when it is full, so that nobody ever waits here.
struct Queue {
    settings: Notification,
    sender: Sender<Queued>,
}

impl Notifier {
    /// Receivers as the settings say, told by the means of metric sources.
    pub fn new(settings: Notifications, sources: &Arc<Sources>, ports: &Ports) -> Self {
        let (mut queues, mut deliveries, outcomes) = (Vec::new(), Vec::new(), Outcomes::default());
        for settings in settings.notifications {
            outcomes.begin(&settings.name);
            let (sender, receiver) = broadcast::channel(QUEUE);
            queues.push(Queue { settings: settings.clone(), sender });
            let (sources, outcomes, ports) = (Arc::clone(sources), outcomes.clone(), ports.clone());
            deliveries.push((Delivery { settings, sources, outcomes, ports }, receiver));
        }
        Self { queues, deliveries: Mutex::new(deliveries), outcomes, ports: ports.clone() }
    }

    /// Puts what is counted into a registry.
    pub fn register(&self, registry: &mut Registry) {
        self.outcomes.register(registry);
    }

    /// Tells what is announced until `shutdown`, and then what is left for a few seconds. To be run once.
    pub async fn run(&self, shutdown: Shutdown) {
        let (last_call, end) = Shutdown::new();
        let mut receivers = JoinSet::new();
        let deliveries = std::mem::take(&mut *self.deliveries.lock().unwrap_or_else(PoisonError::into_inner));
        for (delivery, queue) in deliveries {
            receivers.spawn(delivery.run(queue, shutdown.clone(), end.clone()));
        }
        shutdown.unless_cancelled(all(&mut receivers)).await;
        if timeout(GRACE, all(&mut receivers)).await.is_err() {
            last_call.trigger();
            all(&mut receivers).await;
        }
    }
}

/// Waits until all have ended. One that panics is a bug, which is told; the others go on.
async fn all(receivers: &mut JoinSet<()>) {
    while let Some(ended) = receivers.join_next().await {
        if let Err(panicked) = ended {
            tracing::error!(%panicked, "a receiver of notifications is told nothing any more");
        }
    }
}

impl Notifier {
    /// Puts news into the queue of everybody who wants them.
    fn queue(&self, wants: impl Fn(&Notification) -> bool, news: impl FnOnce() -> News) {
        let mut wanting = self.queues.iter().filter(|queue| wants(&queue.settings)).peekable();
        if wanting.peek().is_none() {
            return;
        }
        let queued = Queued { news: Arc::new(news()), since: self.ports.monotonic() };
        for queue in wanting {
            if queue.sender.send(queued.clone()).is_err() {
                self.outcomes.count(&queue.settings.name, Outcome::Dropped, 1);
            }
        }
    }
}

impl Announce for Notifier {
    fn announce(&self, object: &ObjectKey, status: &DeploymentStatus, event: &Event) {
        self.queue(|settings| settings.wants(object, event), || News::of(object, status, event));
    }

    fn announce_job(&self, job: &ObjectKey, deployments: &[ObjectKey], status: &HydraJobStatus, event: &Event) {
        let wants = |settings: &Notification| settings.wants_of_job(job, deployments, event);
        self.queue(wants, || News::of_job(job, status, event));
    }
}
