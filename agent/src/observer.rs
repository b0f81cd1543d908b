//! Looks at the local Consul agent in rounds, tells every instance what is there of it, and removes what is left of instances
//! that are gone. This is what puts right what somebody deregistered by hand, or a restarted Consul agent forgot.

use std::{collections::BTreeSet, time::Duration};

use consul_client::{CheckStatus, Error};
use helium_crds::instance::service_id;
use helium_runtime::backoff::wait_after;

use crate::{registration::leftovers, shared::Shared};

/// The time between rounds while some check of ours is not passing.
const RESTLESS: Duration = Duration::from_millis(500);
/// The time between rounds at rest.
const AT_REST: Duration = Duration::from_secs(5);
/// The wait after the first failure, at most, and after many.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// Looks for ever. Drop it to end it.
pub(crate) async fn run(shared: &Shared) {
    let mut failures = 0_u32;
    loop {
        let seen = round(shared).await;
        shared.telemetry.heard("observer", seen.as_ref().map(|_| ()).map_err(ToString::to_string));
        let wait = match seen {
            Ok(restless) => {
                if failures > 0 {
                    tracing::info!("the local Consul agent answers again");
                }
                failures = 0;
                shared.ports.jittered(if restless { RESTLESS } else { AT_REST }, 20)
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                if failures == 1 {
                    tracing::warn!(%error, "the local Consul agent does not answer; everything runs on");
                }
                wait_after(failures, RETRY.0, RETRY.1, &shared.ports)
            }
        };
        tokio::select! {
            biased;
            () = shared.look.notified() => tokio::time::sleep(shared.ports.jittered(RESTLESS, 20)).await,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// One round; true if something of ours is not passing.
async fn round(shared: &Shared) -> Result<bool, Error> {
    let round = shared.next_round();
    let services = shared.client.agent_services().await?;
    let checks = shared.client.agent_checks().await?;
    shared.table.show(round, &services, &checks);
    let mut known = shared.table.ids();
    known.extend(shared.left_alone.iter().cloned());
    for id in leftovers(&shared.config, &services, &known) {
        tracing::info!(service = id, "removing a registration that no instance stands for");
        shared.client.agent_deregister_service(&id).await?;
    }
    let own: BTreeSet<String> = known.iter().map(service_id).collect();
    let ours = || checks.values().filter(|check| own.contains(&check.service_id));
    shared.telemetry.checks(ours());
    Ok(ours().any(|check| check.status != CheckStatus::Passing))
}
