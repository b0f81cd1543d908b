//! Consul: the share of a service's instances that pass, in percent.

use consul_client::{CheckStatus, Read, ServiceHealth};
use futures::future::{BoxFuture, FutureExt as _};
use helium_crds::{Number, measurement::Reading, metric::ConsulService};

use crate::{
    sources::{Moment, Source, Tools},
    why::Why,
};

/// One service to be looked at.
pub(crate) struct Look<'q>(pub(crate) &'q ConsulService);

impl Source for Look<'_> {
    fn look<'a>(&'a self, tools: &'a Tools, _at: Moment) -> BoxFuture<'a, Result<Reading, Why>> {
        async move { self.read(tools).await.map_err(|error| Why::of(&error)) }.boxed()
    }
}

impl Look<'_> {
    async fn read(&self, tools: &Tools) -> Result<Reading, Error> {
        let ConsulService { service, tag } = self.0;
        let read = Read { tag: tag.clone(), ..Read::consistent() };
        let reply = tools.consul.health_service(service, &read).await?;
        if !reply.meta.known_leader {
            return Err(Error::NoLeader { service: service.clone() });
        }
        if reply.meta.filtered_by_acls {
            return Err(Error::Filtered { service: service.clone() });
        }
        Ok(share(&reply.value))
    }
}

/// The share of these instances that pass all their checks: 3 of 4 are 75.
fn share(instances: &[ServiceHealth]) -> Reading {
    let passes = |instance: &&ServiceHealth| instance.checks.iter().all(|check| check.status == CheckStatus::Passing);
    let passing = instances.iter().filter(passes).count();
    #[allow(clippy::cast_precision_loss, reason = "no service has 2^53 instances")]
    let percent = 100.0 * passing as f64 / instances.len() as f64;
    // Of no instances it is 0/0, which is no number.
    Number::new(percent).map_or(Reading::NoData, |value| Reading::Value { value })
}

/// Why Consul's answer says nothing of a service.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("Consul: {0}")]
    Consul(#[from] consul_client::Error),
    #[error("Consul knows no leader: what it says of {service} may be old")]
    NoLeader { service: String },
    #[error("Consul shows the controller's token only a part of {service}: it needs `service:read` and `node:read`")]
    Filtered { service: String },
}
