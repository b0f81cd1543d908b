//! Services in Consul: what Consul is to know, pure, and a task each that sees to it.
//!
//! A service is registered with its first passing check, or at once where the file has an `initial_status`. Each passing check renews its TTL, each
//! failing one is told as critical at once, with its output. Every few seconds what Consul's agent has is compared with what it is to have, and
//! put right in place; an agent that has forgotten the TTL says so at the next check, and is told again without waiting.

mod keeper;
mod wanted;

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use consul_client::{CheckDefinition, CheckStatus, Client, ServiceDefinition};
use helium_runtime::ports::Ports;
use helium_supervisor::Handle;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, timeout_at},
};

use self::keeper::Keeper;

/// How long Consul may take to hear of the end of services when the supervisor ends.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A service as it is to be in Consul.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The job whose health it has; empty for the telemetry.
    pub job: String,
    /// Unique on the machine: `<name>-<hostname>`.
    pub id: String,
    /// The service.
    pub name: String,
    /// Where it is.
    pub address: IpAddr,
    /// 1 to 65535.
    pub port: u16,
    /// Its tags.
    pub tags: Vec<String>,
    /// Whether tags that others set in the catalog stay.
    pub enable_tag_override: bool,
    /// After how long in a critical state Consul drops it.
    pub deregister_after: Option<Duration>,
    /// How long a passing check counts.
    pub ttl: Duration,
    /// With what it is registered at once.
    pub initial: Option<Initial>,
    /// What renews its TTL.
    pub beat: Beat,
}

/// With what a service is registered before its first check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initial {
    /// `passing`
    Passing,
    /// `warning`
    Warning,
    /// `critical`
    Critical,
}

impl Initial {
    fn status(self) -> CheckStatus {
        match self {
            Initial::Passing => CheckStatus::Passing,
            Initial::Warning => CheckStatus::Warning,
            Initial::Critical => CheckStatus::Critical,
        }
    }
}

/// What renews the TTL of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// The checks of its job.
    Checks,
    /// So often, as long as the process of its job runs.
    WhileItRuns(Duration),
    /// So often, until the supervisor ends.
    Always(Duration),
}

impl Beat {
    fn interval(self) -> Option<Duration> {
        match self {
            Beat::Checks => None,
            Beat::WhileItRuns(interval) | Beat::Always(interval) => Some(interval),
        }
    }
}

impl Registration {
    /// The id of its check.
    pub fn check_id(&self) -> String {
        format!("service:{}", self.id)
    }

    /// What Consul's agent is told.
    fn definition(&self, status: CheckStatus) -> ServiceDefinition {
        let check = CheckDefinition {
            id: self.check_id(),
            name: format!("{} TTL", self.name),
            notes: format!("TTL for {} set by helium", self.name),
            ttl: Some(self.ttl),
            status: Some(status),
            deregister_critical_service_after: self.deregister_after,
            ..CheckDefinition::default()
        };
        ServiceDefinition {
            id: self.id.clone(),
            name: self.name.clone(),
            address: self.address.to_string(),
            port: self.port,
            tags: self.tags.clone(),
            enable_tag_override: self.enable_tag_override,
            check: Some(check),
            ..ServiceDefinition::default()
        }
    }
}

/// All services of a supervisor, each with a task of its own.
pub struct Registrar {
    client: Client,
    handle: Handle,
    ports: Ports,
    maintenance: watch::Receiver<bool>,
    kept: BTreeMap<String, watch::Sender<Option<Registration>>>,
    tasks: JoinSet<()>,
}

impl Registrar {
    /// One without services.
    pub fn new(client: Client, handle: Handle, ports: Ports, maintenance: watch::Receiver<bool>) -> Self {
        Self { client, handle, ports, maintenance, kept: BTreeMap::new(), tasks: JoinSet::new() }
    }

    /// From now on these services. One that is there already is changed in place; one that is no longer here is deregistered.
    pub fn keep(&mut self, registrations: Vec<Registration>) {
        let mut wanted: BTreeMap<String, Registration> = BTreeMap::new();
        for registration in registrations {
            wanted.entry(registration.id.clone()).or_insert(registration);
        }
        while self.tasks.try_join_next().is_some() {}
        self.kept.retain(|id, kept| {
            let stays = wanted.contains_key(id);
            if !stays {
                kept.send_replace(None);
            }
            stays
        });
        for (id, registration) in wanted {
            match self.kept.get(&id) {
                Some(kept) => {
                    kept.send_if_modified(|now| {
                        let changed = now.as_ref() != Some(&registration);
                        *now = Some(registration);
                        changed
                    });
                }
                None => self.begin(id, registration),
            }
        }
    }

    fn begin(&mut self, id: String, registration: Registration) {
        let (kept, see) = watch::channel(Some(registration.clone()));
        self.kept.insert(id, kept);
        let keeper = Keeper::new(registration, see, self.client.clone(), self.handle.clone(), self.ports.clone());
        self.tasks.spawn(keeper.run(self.maintenance.clone()));
    }

    /// Deregisters all, within a moment: what Consul does not hear by then it finds out by the TTL.
    pub async fn end(mut self) {
        for kept in self.kept.values() {
            kept.send_replace(None);
        }
        let until = Instant::now() + LAST_WORDS;
        while let Ok(Some(_)) = timeout_at(until, self.tasks.join_next()).await {}
    }
}
