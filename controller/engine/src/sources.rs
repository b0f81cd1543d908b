//! The watches: specs and requests, agents' reports, nodes and heartbeats, values, each with the trust that it deserves.
//!
//! Sixteen shards of specs and sixteen of reports, so that a change wakes a sixteenth of the world. What the controller itself
//! writes is not watched: see [`records`](crate::records).

use std::{collections::BTreeMap, sync::Arc};

use consul_client::Client;
use helium_crds::{
    Canary, Deployment, HydraJob, InstanceId, Kind, NodeName, ObjectKey,
    control::Heard,
    features::Features,
    instance::Report,
    keys::{self, Keys},
};
use helium_runtime::{
    ports::Ports,
    shutdown::Shutdown,
    snapshot::{Decode, Row, Snapshot, Trust, View},
    watch::Pace,
    watcher::{WatchConfig, WatchStats, watch_prefix},
};
use jiff::Timestamp;
use tokio::sync::watch::Receiver;

use crate::{
    config::EngineConfig,
    overrides::Overrides,
    rows::{HeartbeatRow, InvalidSpec, NodeRow, ReportRow, SpecRow},
};

/// One watched prefix.
#[derive(Clone, Debug)]
pub struct Source<T> {
    /// What people call it: `spec`, `report`, `node`, `alive`, `config`.
    pub name: &'static str,
    /// The prefix.
    pub prefix: String,
    /// What the watch shows.
    pub views: Receiver<View<T>>,
    /// What the watch has counted.
    pub stats: Arc<WatchStats>,
}

/// What a node says of itself that placement has to know.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// Whether it is in maintenance.
    pub in_maintenance: bool,
    /// What its machine has; none if it does not say.
    pub features: Option<Arc<Features>>,
}

/// Everything that is watched.
#[derive(Clone, Debug)]
pub struct Sources {
    keys: Keys,
    /// Specs and requests, by shard.
    pub specs: BTreeMap<String, Source<SpecRow>>,
    /// Reports, by shard.
    pub reports: BTreeMap<String, Source<ReportRow>>,
    /// Nodes.
    pub nodes: Source<NodeRow>,
    /// Heartbeats.
    pub heartbeats: Source<HeartbeatRow>,
    /// Values above packages' defaults.
    pub overrides: Arc<Overrides>,
}

/// What could not be seen, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{source_name}: {reason}")]
pub struct Unseen {
    /// Which source.
    pub source_name: &'static str,
    /// Why not.
    pub reason: String,
}

/// What people want of one object.
#[derive(Clone, Debug)]
pub struct Specs {
    /// The Deployment, or what can be told of one that cannot be followed, with its `ModifyIndex`.
    pub deployment: Option<(Result<Deployment, InvalidSpec>, u64)>,
    /// The Canary of the same name, likewise.
    pub canary: Option<(Result<Canary, InvalidSpec>, u64)>,
    /// Requests, oldest first.
    pub requests: Heard,
    /// The keys that hold them, each with its `ModifyIndex`.
    pub asked_in: Vec<(String, u64)>,
    /// Since when all that has been seen without a break.
    pub since: Timestamp,
}

/// A HydraJob as it is stored.
#[derive(Clone, Debug)]
pub struct JobRow {
    /// The object, or what can be told of one that cannot be followed.
    pub job: Result<HydraJob, InvalidSpec>,
    /// Its `ModifyIndex`.
    pub index: u64,
}

impl JobRow {
    /// Whether it is marked for deletion.
    pub fn is_deleting(&self) -> bool {
        match &self.job {
            Ok(job) => job.is_deleting(),
            Err(invalid) => invalid.deletion_requested_at.is_some(),
        }
    }
}

impl Sources {
    /// Starts every watch. They end with `shutdown`.
    pub fn watch(client: &Client, config: &EngineConfig, ports: &Ports, shutdown: &Shutdown) -> Self {
        let keys = config.keys.clone();
        let start = Start { client, config, ports, shutdown };
        let shards = || keys::shards().map(|shard| shard.to_string());
        Self {
            specs: shards().map(|shard| (shard.clone(), start.source("spec", keys.spec_shard(&shard)))).collect(),
            reports: shards().map(|shard| (shard.clone(), start.source("report", keys.report_shard(&shard)))).collect(),
            nodes: start.source("node", keys.nodes()),
            heartbeats: start.source("alive", keys.heartbeats()),
            overrides: Arc::new(watch_overrides(client, config, ports, shutdown)),
            keys,
        }
    }

    /// What people want of `object`.
    pub fn specs_of(&self, object: &ObjectKey) -> Result<Specs, Unseen> {
        let source = shard_of(&self.specs, &keys::shard(object))?;
        let (snapshot, since) = source.trusted()?;
        let (deployment_key, canary_key) =
            (self.keys.spec(Kind::Deployment, object), self.keys.spec(Kind::Canary, object));
        let deployment = snapshot.row(&deployment_key).map(|row| (deployment_of(row), row.modify_index));
        let canary = snapshot.row(&canary_key).map(|row| (canary_of(row), row.modify_index));
        let (mut requests, mut asked_in) = (Heard::default(), Vec::new());
        for kind in Kind::OF_A_ROLLOUT {
            let key = self.keys.control(kind, object);
            let Some(row) = snapshot.row(&key) else { continue };
            if let Some(SpecRow::Control(found)) = row.get() {
                requests.requests.extend(found.requests.iter().cloned());
                requests.unreadable.extend(found.unreadable.iter().cloned());
                asked_in.push((key, row.modify_index));
            }
        }
        requests.requests.sort_by_key(|request| request.at);
        Ok(Specs { deployment, canary, requests, asked_in, since })
    }

    /// Every object of which there is a spec, whether it can be trusted or not.
    pub fn objects(&self) -> Vec<ObjectKey> {
        let mut found = Vec::new();
        for source in self.specs.values() {
            let snapshot = Arc::clone(&source.views.borrow().snapshot);
            found.extend(snapshot.rows.keys().filter_map(|key| self.object_of(key)));
        }
        found.sort();
        found.dedup();
        found
    }

    /// The object that a key under `spec/` belongs to.
    pub fn object_of(&self, key: &str) -> Option<ObjectKey> {
        match self.keys.parse_spec(key)? {
            keys::SpecKey::Object(kind, object) | keys::SpecKey::Control(kind, object) => {
                Kind::OF_A_ROLLOUT.contains(&kind).then_some(object)
            }
        }
    }

    /// Every HydraJob. What cannot be seen is an error: a job that is not in the answer is not there.
    pub fn hydra_jobs(&self) -> Result<BTreeMap<ObjectKey, JobRow>, Unseen> {
        let mut jobs = BTreeMap::new();
        for source in self.specs.values() {
            let (snapshot, _) = source.trusted()?;
            for (key, row) in &snapshot.rows {
                let Some(keys::SpecKey::Object(Kind::HydraJob, object)) = self.keys.parse_spec(key) else { continue };
                let job = match row.value.as_ref() {
                    Ok(SpecRow::HydraJob(job)) => Ok(job.as_ref().clone()),
                    other => Err(invalid(other, Kind::HydraJob)),
                };
                jobs.insert(object, JobRow { job, index: row.modify_index });
            }
        }
        Ok(jobs)
    }

    /// The Deployments that take their version from a HydraJob.
    pub fn taking_versions_of(&self, job: &ObjectKey) -> Vec<ObjectKey> {
        let mut found = Vec::new();
        for source in self.specs.values() {
            let snapshot = Arc::clone(&source.views.borrow().snapshot);
            let deployments = snapshot.rows.values().filter_map(|row| match row.get() {
                Some(SpecRow::Deployment(deployment)) => Some(deployment.as_ref()),
                _ => None,
            });
            let takes = |deployment: &&Deployment| {
                let from = deployment.spec.version_from.as_ref();
                deployment.metadata.namespace == job.namespace && from.is_some_and(|from| from.hydra_job == job.name)
            };
            found.extend(deployments.filter(takes).map(Deployment::key));
        }
        found.sort();
        found
    }

    /// The reports of these instances, and since when they have been seen.
    pub fn reports_of<'a>(
        &self,
        instances: impl Iterator<Item = (&'a InstanceId, &'a NodeName)>,
    ) -> Result<(BTreeMap<InstanceId, Report>, Option<Timestamp>), Unseen> {
        let mut reports = BTreeMap::new();
        let mut latest = None;
        for (id, node) in instances {
            let source = shard_of(&self.reports, &keys::node_shard(node))?;
            let (snapshot, since) = source.trusted()?;
            latest = latest.max(Some(since));
            let key = self.keys.report(node, id);
            if let Some(row) = snapshot.row(&key) {
                let report = (*row.value).as_ref().map_err(|invalid| source.unseen(format!("{key}: {invalid}")))?;
                reports.insert(id.clone(), report.0.clone());
            }
        }
        Ok((reports, latest))
    }

    /// Every node that has joined and whether its heartbeat is there, and since when that has been seen.
    pub fn nodes(&self) -> Result<(BTreeMap<NodeName, bool>, Timestamp), Unseen> {
        let (nodes, since) = self.nodes.trusted()?;
        let (heartbeats, alive_since) = self.heartbeats.trusted()?;
        let names = nodes.rows.values().filter_map(|row| row.get()).map(|row| row.record.name.clone());
        let alive =
            |node: &NodeName| heartbeats.row(&self.keys.heartbeat(node)).is_some_and(|row| row.session.is_some());
        Ok((names.map(|node| (node.clone(), alive(&node))).collect(), since.max(alive_since)))
    }

    /// What the nodes say of themselves, those that have been seen.
    pub fn said_of_nodes(&self) -> BTreeMap<NodeName, Said> {
        let Ok((nodes, _)) = self.nodes.trusted() else { return BTreeMap::new() };
        let rows = nodes.rows.values().filter_map(|row| row.get());
        let said =
            |row: &NodeRow| Said { in_maintenance: row.record.maintenance.is_some(), features: row.features.clone() };
        rows.map(|row| (row.record.name.clone(), said(row))).collect()
    }

    /// How often an index has gone back in any of the watches.
    pub fn resets(&self) -> u64 {
        let specs: u64 = self.specs.values().map(|source| source.views.borrow().resets).sum();
        let reports: u64 = self.reports.values().map(|source| source.views.borrow().resets).sum();
        let values = self.overrides.source().map_or(0, |source| source.views.borrow().resets);
        values + specs + reports + self.nodes.views.borrow().resets + self.heartbeats.views.borrow().resets
    }

    /// What the watches of each sort of source have counted together.
    pub fn counts(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        let specs = self.specs.values().map(|source| (source.name, &source.stats));
        let reports = self.reports.values().map(|source| (source.name, &source.stats));
        let others = [(self.nodes.name, &self.nodes.stats), (self.heartbeats.name, &self.heartbeats.stats)];
        let mut counts = BTreeMap::new();
        let values = self.overrides.source().map(|source| (source.name, &source.stats));
        for (source, stats) in specs.chain(reports).chain(others).chain(values) {
            for (what, count) in stats.counts() {
                *counts.entry((source, what)).or_default() += count;
            }
        }
        counts
    }

    /// Why each sort of source cannot be seen; none for one that can.
    pub fn problems(&self) -> BTreeMap<&'static str, Option<String>> {
        let first = |mut reasons: Vec<Option<String>>| reasons.iter_mut().find_map(Option::take);
        BTreeMap::from([
            ("spec", first(self.specs.values().map(Source::problem).collect())),
            ("report", first(self.reports.values().map(Source::problem).collect())),
            ("node", self.nodes.problem()),
            ("alive", self.heartbeats.problem()),
            ("config", self.overrides.source().and_then(Source::problem)),
        ])
    }
}

impl<T> Source<T> {
    /// The snapshot and since when it can be trusted.
    pub fn trusted(&self) -> Result<(Arc<Snapshot<T>>, Timestamp), Unseen> {
        let view = self.views.borrow();
        match view.trust {
            Trust::Trusted { since } => Ok((Arc::clone(&view.snapshot), since)),
            Trust::Blind { reason, .. } => Err(self.unseen(reason.as_str().to_owned())),
        }
    }

    fn problem(&self) -> Option<String> {
        let reason = self.views.borrow().trust.blind_reason()?;
        Some(format!("{} ({})", reason.as_str(), self.prefix))
    }

    fn unseen(&self, reason: String) -> Unseen {
        Unseen { source_name: self.name, reason }
    }
}

/// What every watch is started with.
struct Start<'a> {
    client: &'a Client,
    config: &'a EngineConfig,
    ports: &'a Ports,
    shutdown: &'a Shutdown,
}

impl Start<'_> {
    fn source<T: Decode>(&self, name: &'static str, prefix: String) -> Source<T> {
        let pace = Pace { wait: self.config.wait, ..Pace::default() };
        let watch = WatchConfig { pace, ..WatchConfig::new(&prefix) };
        let stats = Arc::clone(&watch.stats);
        let views = watch_prefix(self.client.clone(), watch, self.ports.clone(), self.shutdown.clone());
        Source { name, prefix, views, stats }
    }
}

/// A watch of values that begins when somebody asks for some.
fn watch_overrides(client: &Client, config: &EngineConfig, ports: &Ports, shutdown: &Shutdown) -> Overrides {
    let (client, config, ports, shutdown) = (client.clone(), config.clone(), ports.clone(), shutdown.clone());
    Overrides::new(config.keys.clone(), move || {
        let start = Start { client: &client, config: &config, ports: &ports, shutdown: &shutdown };
        start.source("config", config.keys.overrides_root())
    })
}

fn shard_of<'a, T>(sources: &'a BTreeMap<String, Source<T>>, shard: &str) -> Result<&'a Source<T>, Unseen> {
    sources.get(shard).ok_or_else(|| Unseen { source_name: "spec", reason: format!("there is no shard {shard}") })
}

fn deployment_of(row: &Row<SpecRow>) -> Result<Deployment, InvalidSpec> {
    match row.value.as_ref() {
        Ok(SpecRow::Deployment(deployment)) => Ok(deployment.as_ref().clone()),
        other => Err(invalid(other, Kind::Deployment)),
    }
}

fn canary_of(row: &Row<SpecRow>) -> Result<Canary, InvalidSpec> {
    match row.value.as_ref() {
        Ok(SpecRow::Canary(canary)) => Ok(canary.as_ref().clone()),
        other => Err(invalid(other, Kind::Canary)),
    }
}

/// What is wrong with a row that should be an object of `kind`.
fn invalid<E: std::fmt::Display>(row: &Result<SpecRow, E>, kind: Kind) -> InvalidSpec {
    match row {
        Ok(SpecRow::Invalid(invalid)) => invalid.clone(),
        Ok(_) => InvalidSpec { problem: format!("the value under this key is not a {kind}"), ..InvalidSpec::default() },
        Err(error) => InvalidSpec { problem: error.to_string(), ..InvalidSpec::default() },
    }
}
