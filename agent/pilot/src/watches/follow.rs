//! The task of one watch: one blocking query after the other.

use std::time::Duration;

use consul_client::{Blocking, Client, Error, Meta, Read};
use helium_containerpilot::config::{Watch, Watched};
use helium_runtime::{
    backoff::{Backoff as _, Exponential},
    ports::Ports,
};
use helium_supervisor::{Code, Event, Handle};

use super::{Counts, seen::Seen};

/// How long a query waits for a change.
const WAIT: Duration = Duration::from_secs(25);
/// The shortest time between two queries, however fast changes come.
const LEAST: Duration = Duration::from_millis(100);
/// The waits while Consul does not answer.
const RETRY: Duration = Duration::from_millis(500);
const RETRY_MOST: Duration = Duration::from_secs(10);

/// Follows a watch until the supervisor has ended.
pub(super) async fn follow(watch: Watch, client: Client, handle: Handle, ports: Ports, counts: Counts) {
    let mut seen = Seen::default();
    let mut index = 0;
    let mut backoff = Exponential::new(RETRY, RETRY_MOST, ports.clone()).at_least(LEAST);
    let mut away = false;
    loop {
        let asked_at = ports.monotonic();
        match ask(&watch, &client, index, &mut seen).await {
            Ok((codes, meta)) => {
                if std::mem::replace(&mut away, false) {
                    tracing::info!(watch = %watch.name, "Consul answers the watch again");
                }
                backoff.reset();
                if matches!(watch.what, Watched::Service { .. }) {
                    counts.send_modify(|counts| {
                        counts.insert(watch.name.clone(), seen.count());
                    });
                }
                for code in codes {
                    if handle.happened(Event::of_watch(code, &watch.name)).await.is_err() {
                        return;
                    }
                }
                // An index that goes back is of a store that was restored: begin anew.
                index = if meta.index < index { 0 } else { meta.index };
                ports.sleep_until(asked_at + LEAST).await;
            }
            Err(error) => {
                if !std::mem::replace(&mut away, true) {
                    tracing::warn!(watch = %watch.name, %error, "Consul does not answer the watch; what was seen last counts on");
                }
                index = 0;
                tokio::time::sleep(backoff.next()).await;
            }
        }
    }
}

/// Asks once, and says what follows.
async fn ask(watch: &Watch, client: &Client, index: u64, seen: &mut Seen) -> Result<(Vec<Code>, Meta), Error> {
    let read = Read {
        blocking: (index > 0).then_some(Blocking { index, wait: WAIT }),
        datacenter: watch.datacenter.clone(),
        ..Read::default()
    };
    match &watch.what {
        Watched::Service { tag } => {
            let read = Read { tag: tag.clone(), passing: true, ..read };
            let reply = client.health_service(&watch.name, &read).await?;
            Ok((seen.services(reply.value), reply.meta))
        }
        Watched::Key(key) => {
            let reply = client.kv_get(key, &read).await?;
            Ok((seen.keys(reply.value.into_iter().collect()), reply.meta))
        }
        Watched::Prefix(prefix) => {
            let reply = client.kv_list(prefix, &read).await?;
            Ok((seen.keys(reply.value), reply.meta))
        }
    }
}
