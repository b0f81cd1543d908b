//! The heartbeat: keeps this controller registered with its Consul agent, and its TTL check passing.

use std::time::Duration;

use consul_client::{CheckDefinition, CheckStatus, Client, Error, ServiceDefinition};
use tokio::{sync::Notify, time::timeout};
use tracing::{info, warn};

use super::{ElectorConfig, Times};
use crate::ports::Ports;

/// How long the agent keeps the registration of a controller whose heartbeat has stopped. Long after its session has ended: until then
/// the critical check is how the others learn of its death. One that is only cut off registers itself anew when it is heard again.
const FORGET_AFTER: Duration = Duration::from_mins(10);

/// The registration of this controller and its heartbeat.
pub(super) struct Heartbeat {
    client: Client,
    definition: ServiceDefinition,
    check_id: String,
    times: Times,
    ports: Ports,
    /// Told after each heartbeat that arrived.
    pub(super) registered: Notify,
}

impl Heartbeat {
    pub(super) fn new(client: &Client, config: &ElectorConfig, ports: &Ports) -> Self {
        let check = CheckDefinition {
            id: config.check_id(),
            name: "heartbeat".to_owned(),
            ttl: Some(config.times.check_ttl),
            status: Some(CheckStatus::Passing),
            deregister_critical_service_after: Some(FORGET_AFTER),
            ..CheckDefinition::default()
        };
        let definition = ServiceDefinition {
            id: config.service_id(),
            name: config.service.clone(),
            port: config.port,
            meta: config.meta.clone(),
            checks: Some(vec![check]),
            ..ServiceDefinition::default()
        };
        let (client, times, ports) = (client.clone(), config.times.clone(), ports.clone());
        Self { client, definition, check_id: config.check_id(), times, ports, registered: Notify::new() }
    }

    /// Says that we live, as often as agreed, and registers us whenever the agent does not know us.
    ///
    /// The output is always the same: only a change of the status shall reach the catalog.
    pub(super) async fn beat_for_ever(&self) {
        let mut heard = true;
        loop {
            let began = self.ports.monotonic();
            let beat = timeout(self.times.beat_every, self.beat()).await;
            let pause = match beat {
                Ok(Ok(())) => {
                    if !heard {
                        info!("the agent hears our heartbeat again");
                    }
                    heard = true;
                    self.registered.notify_one();
                    self.times.beat_every
                }
                Ok(Err(error)) => {
                    if heard {
                        warn!(%error, "the agent refuses our heartbeat, or cannot be reached");
                    }
                    heard = false;
                    self.ports.jittered(self.times.retry, 50)
                }
                // The next try goes out at once: it shall be waiting in the agent's socket when a stopped agent goes on.
                Err(_) => {
                    if heard {
                        warn!("the agent does not answer our heartbeat");
                    }
                    heard = false;
                    Duration::ZERO
                }
            };
            self.ports.sleep_until(began + pause).await;
        }
    }

    async fn beat(&self) -> Result<(), Error> {
        match self.client.agent_update_ttl(&self.check_id, CheckStatus::Passing, "").await {
            Err(Error::NotFound { .. }) => {
                info!(service = %self.definition.id, "registering this controller");
                self.client.agent_register_service(&self.definition, true).await
            }
            outcome => outcome,
        }
    }
}
