//! The keys of a node and of its services, followed by blocking queries: what is seen is noted on the disk, and what cannot be believed is not seen.
//!
//! A service whose keys are all gone has been wiped, and not changed: as long as it has no `version`, what was seen before counts. An assignment that
//! is gone is believed while the service itself is still there.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use consul_client::{Client, Error, KvPair, Read};
use helium_runtime::{backoff::wait_after, ports::Ports};
use tokio::sync::watch;

use super::{
    keys,
    wish::{self, Wish},
};

/// How long a blocking query waits.
const WAIT: Duration = Duration::from_mins(1);
/// How much longer its answer may take.
const SLACK: Duration = Duration::from_secs(15);
/// The wait after the first failure, at most, and after many.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// What is seen of a service.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    /// What is wanted, or was when it could be believed last.
    pub(crate) wish: Arc<Wish>,
    /// Whether Consul has told it in this life of the agent, and holds the service now.
    pub(crate) there: bool,
    /// Whether Consul has answered at all in this life of the agent.
    pub(crate) told: bool,
}

/// What this node is assigned; none if nothing is known, or the key is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Assignment {
    /// The services that the key names, or named when it could be asked last.
    pub(crate) services: Option<BTreeSet<String>>,
    /// Whether Consul has told it in this life of the agent.
    pub(crate) told: bool,
}

/// Follows keys below a prefix for ever: each new state of them is given to `take`.
async fn follow(client: &Client, ports: &Ports, prefix: &str, mut take: impl FnMut(Vec<KvPair>)) {
    let (mut index, mut failures) = (0, 0);
    loop {
        let read = if index == 0 { Read::default() } else { Read::blocking(index, WAIT) };
        let asked = tokio::time::timeout(WAIT + SLACK, client.kv_list(prefix, &read)).await;
        let words = match asked {
            Ok(Ok(reply)) => {
                if failures > 0 {
                    tracing::info!(prefix, "Consul tells its keys again");
                }
                failures = 0;
                // An index that went back is that of another life of Consul: begin anew.
                index = if reply.meta.index < index { 0 } else { reply.meta.index };
                take(reply.value);
                continue;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        failures += 1;
        if failures == 1 {
            tracing::warn!(prefix, words, "Consul does not tell its keys; what is known counts");
        }
        tokio::time::sleep(wait_after(failures, RETRY.0, RETRY.1, ports)).await;
    }
}

/// Follows the assignment of a node. `kept_at` is where it is noted.
pub(super) async fn follow_node(
    client: &Client,
    ports: &Ports,
    node: &str,
    kept_at: &Path,
    seen: &watch::Sender<Assignment>,
) {
    let key = keys::services(node);
    let prefix = keys::of_node(node);
    follow(client, ports, &prefix, |pairs| {
        let services = match pairs.iter().find(|pair| pair.key == key).map(|pair| wish::assigned(&pair.value)) {
            None => None,
            Some(Ok(services)) => Some(services),
            Some(Err(words)) => {
                tracing::error!(key, words, "what is assigned cannot be read and is not followed");
                return;
            }
        };
        if services.is_some()
            && let Err(error) = wish::save(kept_at, &services)
        {
            tracing::warn!(%error, "what is assigned cannot be noted");
        }
        seen.send_if_modified(|seen| {
            let now = Assignment { services, told: true };
            let changed = *seen != now;
            *seen = now;
            changed
        });
    })
    .await;
}

/// Takes in the keys of a service.
fn take(service: &str, note: &Path, pairs: &[KvPair], seen: &watch::Sender<Seen>) {
    let wish = Wish::of(service, pairs);
    if wish.version.is_none() {
        tracing::warn!(service, "its key `version` is not there or of no use; what was seen last counts");
        seen.send_if_modified(|seen| std::mem::take(&mut seen.there) | !std::mem::replace(&mut seen.told, true));
        return;
    }
    if let Err(error) = wish::save(note, &wish) {
        tracing::warn!(service, %error, "what is wanted cannot be noted");
    }
    seen.send_if_modified(|seen| {
        let changed = !seen.there || *seen.wish != wish;
        *seen = Seen { wish: Arc::new(wish), there: true, told: true };
        changed
    });
}

/// The keys of one service.
pub(super) struct ServiceKeys {
    pub(super) client: Client,
    pub(super) ports: Ports,
    pub(super) service: String,
    /// Where they are noted.
    pub(super) note: PathBuf,
    pub(super) seen: watch::Sender<Seen>,
    /// One at a time takes in what was read.
    pub(super) turn: Mutex<()>,
}

impl ServiceKeys {
    fn take(&self, pairs: &[KvPair]) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        take(&self.service, &self.note, pairs, &self.seen);
    }

    /// What is noted, for a begin.
    pub(super) fn noted(note: &Path) -> Seen {
        let wish = wish::load::<Wish>(note).unwrap_or_else(|error| {
            tracing::warn!(%error, "what was wanted last cannot be read");
            None
        });
        Seen { wish: Arc::new(wish.unwrap_or_default()), there: false, told: false }
    }

    /// Follows them for ever.
    pub(super) async fn follow(&self) {
        let prefix = keys::of_service(&self.service);
        follow(&self.client, &self.ports, &prefix, |pairs| self.take(&pairs)).await;
    }

    /// Reads them now, as they are at the leader of Consul.
    pub(super) async fn read(&self) -> Result<(), Error> {
        let reply = self.client.kv_list(&keys::of_service(&self.service), &Read::consistent()).await?;
        self.take(&reply.value);
        Ok(())
    }
}
