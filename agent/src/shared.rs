//! What all instances of an agent share.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use consul_client::Client;
use helium_crds::{ids::InstanceId, maintenance::Maintenance};
use helium_runtime::ports::Ports;
use helium_templates::guard::Believed;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, watch};

use crate::{
    config::AgentConfig,
    features::FeaturesHere,
    instance::{machine::Contact, table::Table},
    maintenance::MaintenanceState,
    package::{lookups::Lookups, packages::Packages},
    reporter::Reporter,
    telemetry::Telemetry,
};

/// What all instances of an agent share.
pub(crate) struct Shared {
    pub(crate) config: AgentConfig,
    pub(crate) client: Client,
    pub(crate) ports: Ports,
    pub(crate) table: Table,
    pub(crate) reporter: Reporter,
    pub(crate) packages: Packages,
    pub(crate) lookups: Arc<Lookups>,
    /// Where control groups are made.
    pub(crate) cgroups: helium_cgroups::Root,
    /// What this machine has.
    pub(crate) features: FeaturesHere,
    /// What of this node is in maintenance.
    pub(crate) maintenance: MaintenanceState,
    /// What is told of all that happens.
    pub(crate) telemetry: Telemetry,
    /// Asks the observer for a round soon.
    pub(crate) look: Notify,
    /// Whether Consul answers. Time in which the agent did not run does not count.
    pub(crate) contact: watch::Sender<Contact>,
    /// Asks for the node record to be compared with the store soon.
    pub(crate) look_at_node: Notify,
    /// The variables that are passed on from the agent's own environment.
    pub(crate) inherited: BTreeMap<String, String>,
    /// Instances whose record cannot be read; nothing of theirs is touched.
    pub(crate) left_alone: BTreeSet<InstanceId>,
    /// The wall clock, and the monotonic one, when the agent started. Within one run of it time does not jump: an agent has waits and no
    /// schedules, so it has no need to follow a clock that is set.
    pub(crate) began: (Timestamp, Duration),
    rounds: AtomicU64,
}

impl Shared {
    /// What the instances of a new agent share. Of its own environment the first variables are passed on to all, the second ones to Nix alone.
    pub(crate) fn new(
        config: AgentConfig,
        client: Client,
        ports: Ports,
        (inherited, for_nix): (BTreeMap<String, String>, BTreeMap<String, String>),
        left_alone: BTreeSet<InstanceId>,
        believed: BTreeMap<String, Believed>,
        maintenance: Maintenance,
    ) -> Self {
        let telemetry = Telemetry::new(ports.clone());
        let table = Table::default();
        Self {
            maintenance: MaintenanceState::new(maintenance),
            reporter: Reporter::new(
                client.clone(),
                ports.clone(),
                config.keys.clone(),
                config.node.clone(),
                telemetry.clone(),
            ),
            lookups: Arc::new(Lookups::new(client.clone(), ports.clone(), &config, believed)),
            packages: Packages::new(
                config.package_root.clone(),
                config.netrc.clone(),
                (inherited.clone(), for_nix),
                ports.clone(),
                Some(telemetry.clone()),
            )
            .of(&table),
            table,
            cgroups: helium_cgroups::Root::here().within(config.cgroup.clone()),
            features: FeaturesHere::default(),
            telemetry,
            look: Notify::new(),
            contact: watch::Sender::new(Contact::Unknown),
            look_at_node: Notify::new(),
            inherited,
            left_alone,
            began: (ports.now(), ports.monotonic()),
            rounds: AtomicU64::new(0),
            config,
            client,
            ports,
        }
    }

    /// The present instant: the wall clock at the start, and what has passed since.
    pub(crate) fn now(&self) -> Timestamp {
        let passed = self.ports.monotonic().saturating_sub(self.began.1);
        let passed = SignedDuration::try_from(passed).unwrap_or(SignedDuration::ZERO);
        self.began.0.checked_add(passed).unwrap_or(self.began.0)
    }

    /// Begins a round of the observer.
    pub(crate) fn next_round(&self) -> u64 {
        self.rounds.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// The last round that has begun. What it sees may be older than a call that ends now.
    pub(crate) fn round(&self) -> u64 {
        self.rounds.load(Ordering::SeqCst)
    }
}
