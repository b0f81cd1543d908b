//! The checks that a package brings: `helium/checks/*.json` in Consul's own format, and its hook `health`.
//!
//! What Consul can look at by itself (HTTP, TCP) it does. Scripts are run by the agent, which tells Consul what came of them by a check with a
//! time to live: so Consul needs no right to run scripts, and a failure is told at once.

mod read;
mod scripts;

use std::time::Duration;

use consul_client::{CheckDefinition, CheckStatus};
use helium_crds::{ids::InstanceId, instance::check_id};
pub(crate) use helium_instance::checks::{CheckKind, PackageCheck};
pub(crate) use read::{of_health, read};
pub(crate) use scripts::{Around, Scripts};

/// What is added to the time that two runs of a script may be apart, before Consul calls a silent agent's script critical.
const TTL_MARGIN: Duration = Duration::from_secs(10);

/// How a check of a package is registered. It begins critical.
pub(crate) fn definition(check: &PackageCheck, instance: &InstanceId) -> CheckDefinition {
    definition_as(check, check_id(instance, &check.name))
}

/// How one is registered under an id in Consul.
pub(crate) fn definition_as(check: &PackageCheck, id: String) -> CheckDefinition {
    let mut definition = CheckDefinition {
        id,
        name: check.name.clone(),
        notes: check.notes.clone(),
        status: Some(CheckStatus::Critical),
        ..CheckDefinition::default()
    };
    match &check.kind {
        CheckKind::Script(_) | CheckKind::Health => {
            definition.ttl = Some(check.interval.saturating_mul(2) + check.timeout + TTL_MARGIN);
            return definition;
        }
        CheckKind::Ttl(ttl) => {
            definition.ttl = Some(*ttl);
            return definition;
        }
        CheckKind::Http { url, method, header, tls_skip_verify } => {
            definition.http.clone_from(url);
            definition.method.clone_from(method);
            definition.header.clone_from(header);
            definition.tls_skip_verify = *tls_skip_verify;
        }
        CheckKind::Tcp(address) => definition.tcp.clone_from(address),
    }
    definition.interval = Some(check.interval);
    definition.timeout = Some(check.timeout);
    definition.success_before_passing = check.success_before_passing;
    definition.failures_before_critical = check.failures_before_critical;
    definition
}
