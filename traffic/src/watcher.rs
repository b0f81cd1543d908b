//! Follows one service in Consul's catalog by long polls, and says what is wanted of its backend.

use std::{collections::BTreeSet, time::Duration};

use consul_client::{Client, Error, Read, Reply, ServiceHealth};
use helium_runtime::{
    backoff::{Backoff as _, Exponential},
    ports::Ports,
};

use crate::{
    catalog::Instances,
    server::{Backend, Who},
    sight::{Heard, Sight, Wanted},
};

/// How long a poll waits for a change.
const WAIT: Duration = Duration::from_secs(25);
/// The same while what was heard is in doubt and is to be looked at again.
const WAIT_IN_DOUBT: Duration = Duration::from_secs(5);
/// An answer of a server that has not heard of its leader for so long is not believed.
const STALE_AFTER: Duration = Duration::from_secs(10);
/// The wait after the first failed poll, at most, and after many.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
const RETRY_FLOOR: Duration = Duration::from_millis(100);
/// The service of Consul's own servers. Whoever may read services and nodes sees it, so it tells lost rights from an empty service.
const PROOF: &str = "consul";

/// Follows one service.
pub(crate) struct Watcher {
    client: Client,
    ports: Ports,
    service: String,
    who: Who,
    sight: Sight,
    index: u64,
    unusable: BTreeSet<String>,
    /// What is in doubt, as it was said last.
    said: Option<String>,
}

impl Watcher {
    /// Has not looked yet.
    pub(crate) fn new(client: Client, ports: Ports, backend: &Backend, sight: Sight) -> Self {
        let (service, who) = (backend.service.clone(), backend.who);
        Self { client, ports, service, who, sight, index: 0, unusable: BTreeSet::new(), said: None }
    }

    /// What is wanted.
    pub(crate) fn wanted(&self) -> &Wanted {
        self.sight.wanted()
    }

    /// Looks for ever, and tells after each look.
    pub(crate) async fn run(mut self, mut tell: impl FnMut(&Wanted)) {
        let mut backoff = Exponential::new(RETRY.0, RETRY.1, self.ports.child("watcher")).at_least(RETRY_FLOOR);
        loop {
            let looked = self.look().await;
            self.say_doubt();
            tell(self.wanted());
            match looked {
                Ok(()) => backoff.reset(),
                Err(_) => tokio::time::sleep(backoff.next()).await,
            }
        }
    }

    /// One look; waits for a change if there was one before. What failed is heard as well.
    pub(crate) async fn look(&mut self) -> Result<(), Error> {
        let wait = if self.wanted().doubt.is_some() { WAIT_IN_DOUBT } else { WAIT };
        let read = if self.index == 0 { Read::default() } else { Read::blocking(self.index, wait) };
        let heard = self.heard(&read).await;
        let now = self.ports.monotonic();
        match heard {
            Ok(heard) => {
                self.sight.hear(heard, now);
                Ok(())
            }
            Err(error) => {
                self.index = 0;
                self.sight.hear(Heard::Blind(error.to_string()), now);
                Err(error)
            }
        }
    }

    async fn heard(&mut self, read: &Read) -> Result<Heard, Error> {
        let reply = self.client.health_service(&self.service, read).await?;
        let went_back = reply.meta.index < self.index;
        // An index that went back begins anew: the next read does not block.
        self.index = if went_back { 0 } else { reply.meta.index };
        if let Some(reason) = disbelief(&reply) {
            return Ok(Heard::Blind(reason.to_owned()));
        }
        if !reply.value.is_empty() {
            return Ok(self.instances(&reply.value, went_back));
        }
        // A leader that was paused may tell of old times; a quorum does not.
        let again = self.client.health_service(&self.service, &Read::consistent()).await?;
        if !again.value.is_empty() {
            return Ok(self.instances(&again.value, went_back));
        }
        let proof = self.client.health_service(PROOF, &Read::consistent()).await?;
        let proven = [&again, &proof].into_iter().all(|reply| disbelief(reply).is_none()) && !proof.value.is_empty();
        Ok(Heard::Nothing { proven })
    }

    fn instances(&mut self, rows: &[ServiceHealth], went_back: bool) -> Heard {
        let instances = Instances::of(rows, self.who);
        let unusable: BTreeSet<String> = instances.unusable.iter().cloned().collect();
        for name in unusable.difference(&self.unusable) {
            tracing::warn!(
                service = self.service,
                instance = name,
                "has no IP address or no port, so it gets no requests"
            );
        }
        self.unusable = unusable;
        Heard::Instances { instances, went_back }
    }

    /// Says once why nothing is taken out, and once that it is over.
    fn say_doubt(&mut self) {
        let Wanted { servers, doubt } = self.sight.wanted();
        let doubt = doubt.as_ref().map(ToString::to_string);
        if doubt == self.said {
            return;
        }
        match &doubt {
            Some(reason) if servers.is_empty() => tracing::info!(service = self.service, reason, "has no servers"),
            Some(reason) => {
                tracing::warn!(
                    service = self.service,
                    servers = servers.len(),
                    reason,
                    "in doubt: no server is taken out"
                );
            }
            None => tracing::info!(service = self.service, servers = servers.len(), "seen"),
        }
        self.said = doubt;
    }
}

/// Why an answer is not to be believed.
fn disbelief<T>(reply: &Reply<T>) -> Option<&'static str> {
    if !reply.meta.known_leader || reply.meta.last_contact > STALE_AFTER {
        return Some("Consul has no leader");
    }
    reply.meta.filtered_by_acls.then_some("the token cannot see all of the catalog")
}
