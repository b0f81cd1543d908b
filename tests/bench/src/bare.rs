//! The bare client: the same records in the same dependent phases, as fast as transactions go.

use consul_client::{Client, Error, TxnOp};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use helium_crds::{
    Deployment, DeploymentStatus, NodeName, Phase,
    event::{Event, EventLog, Severity},
    instance::{Assignment, Desired, Instance, Role, ServiceEntry, instance_id, service_id},
    keys::Keys,
    object::Kind,
    revision::{Revision, revision_id},
    status::{Condition, ConditionKind, Reason, VersionRef, VersionStatus},
};
use helium_runtime::ports::Ports;
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    fleet,
    world::{self, Size},
};

/// Transactions in flight.
const IN_FLIGHT: usize = 8;
/// Consul's limit of operations a transaction, up to 1.13.
pub(crate) const MAX_OPS: usize = 64;

/// Writes everything, phase after phase.
pub(crate) async fn run(client: &Client, size: Size, ports: &Ports) -> Result<(), Box<dyn std::error::Error>> {
    let keys = Keys::default();
    let now = ports.now();
    let deployments = (0..size.deployments).map(|number| world::deployment(number, size.replicas));
    let deployments = deployments.collect::<Result<Vec<_>, _>>()?;
    let nodes: Vec<NodeName> = size.nodes().collect();
    fleet::join(client, &nodes).await?;

    let specs = deployments.iter().map(|one| set(keys.spec(Kind::Deployment, &one.key()), one));
    write(client, specs.collect::<Result<Vec<_>, _>>()?, 1).await?;

    let pairs: Vec<(Instance, Assignment)> = deployments.iter().flat_map(|one| pairs(one, &nodes, now)).collect();
    let mut records = Vec::with_capacity(pairs.len() * 2);
    for (instance, assignment) in &pairs {
        records.push(set(keys.instance(&instance.deployment, &instance.id), instance)?);
        records.push(set(keys.assignment(&instance.node, &instance.id), assignment)?);
    }
    write(client, records, 2).await?;

    let mut answers = Vec::with_capacity(pairs.len() * fleet::OPS_AN_INSTANCE);
    for (instance, assignment) in &pairs {
        answers.extend(fleet::answer(&keys, &instance.node, assignment, now)?);
    }
    write(client, answers, fleet::OPS_AN_INSTANCE).await?;

    let mut words = Vec::with_capacity(deployments.len() * 3);
    for one in &deployments {
        let revision = revision(one, now);
        words.push(set(keys.revision(&one.key(), &revision.id), &revision)?);
        words.push(set(keys.events(Kind::Deployment, &one.key()), &events(one, now))?);
        words.push(set(keys.status(Kind::Deployment, &one.key()), &status(one, now))?);
    }
    write(client, words, 3).await?;
    Ok(())
}

fn set(key: String, value: &impl Serialize) -> Result<TxnOp, serde_json::Error> {
    Ok(TxnOp::set(key, serde_json::to_vec(value)?))
}

/// Writes operations in transactions that keep `unit` of them together, several in flight.
async fn write(client: &Client, ops: Vec<TxnOp>, unit: usize) -> Result<(), Error> {
    let size = MAX_OPS / unit * unit;
    let batches = ops.chunks(size).map(|batch| client.txn(batch));
    stream::iter(batches).buffer_unordered(IN_FLIGHT).try_for_each(|_| async { Ok(()) }).await
}

fn pairs(deployment: &Deployment, nodes: &[NodeName], now: Timestamp) -> Vec<(Instance, Assignment)> {
    let revision = revision_id(&deployment.spec.template);
    let replicas = deployment.spec.wanted();
    (1..=u64::from(replicas)).map(|ordinal| pair(deployment, nodes, &revision, ordinal, now)).collect()
}

fn pair(
    deployment: &Deployment,
    nodes: &[NodeName],
    revision: &helium_crds::RevisionId,
    ordinal: u64,
    now: Timestamp,
) -> (Instance, Assignment) {
    let key = deployment.key();
    let id = instance_id(&key, &key.name, revision, ordinal);
    let place = usize::try_from(ordinal).unwrap_or_default() % nodes.len();
    let meta = [("helium-instance", id.as_str()), ("helium-deployment", key.name.as_str())];
    let service = ServiceEntry {
        name: key.name.clone(),
        id: service_id(&id),
        tags: vec!["stable".to_owned()],
        meta: meta.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        weight: None,
    };
    let instance = Instance {
        id: id.clone(),
        deployment: key.clone(),
        uid: key.name.clone(),
        revision: revision.clone(),
        version: deployment.spec.template.version.clone(),
        node: nodes[place].clone(),
        desired: Desired::Run,
        role: Role::Stable,
        created_at: now,
        healthy_since: Some(now),
        check_index: 1,
        has_been_healthy: true,
        serves_since: None,
        node_missing_since: None,
    };
    let assignment = Assignment {
        id,
        deployment: key.clone(),
        uid: key.name,
        revision: revision.clone(),
        template: deployment.spec.template.clone(),
        desired: Desired::Run,
        role: Role::Stable,
        service,
        stop_signal: deployment.spec.stop_signal,
        drain: deployment.spec.drain,
        stop_after_disconnect: deployment.spec.stop_after_disconnect,
        stop_grace_period: deployment.spec.stop_grace_period,
        created_at: now,
    };
    (instance, assignment)
}

fn revision(deployment: &Deployment, now: Timestamp) -> Revision {
    let template = deployment.spec.template.clone();
    Revision { id: revision_id(&template), number: 1, formerly: Vec::new(), template, created_at: now }
}

fn events(deployment: &Deployment, now: Timestamp) -> EventLog {
    let version = &deployment.spec.template.version;
    let event = |reason: &str, message: String| Event {
        at: now,
        severity: Severity::Normal,
        reason: reason.to_owned(),
        message,
    };
    let events = vec![
        event("RolloutStarted", format!("rollout of {version} began")),
        event("RolloutCompleted", format!("{version} is the stable version")),
    ];
    EventLog { events }
}

fn status(deployment: &Deployment, now: Timestamp) -> DeploymentStatus {
    let version = deployment.spec.template.version.clone();
    let current = VersionRef { version: version.clone(), revision: revision_id(&deployment.spec.template) };
    let wanted = deployment.spec.wanted();
    let condition = |kind, status| Condition {
        kind,
        status,
        reason: "AllHealthy".to_owned(),
        message: format!("{wanted} of {wanted} healthy"),
        last_transition_time: now,
    };
    let counts = VersionStatus {
        version: version.clone(),
        revision: current.revision.clone(),
        role: Role::Stable,
        desired: wanted,
        assigned: wanted,
        registered: wanted,
        healthy: wanted,
        standby: 0,
    };
    DeploymentStatus {
        uid: deployment.metadata.name.clone(),
        observed_generation: 1,
        phase: Phase::Healthy,
        reason: Reason::AllHealthy,
        message: format!("{version}: {wanted}/{wanted} healthy"),
        wanted,
        healthy: wanted,
        conditions: vec![condition(ConditionKind::Available, true), condition(ConditionKind::Progressing, false)],
        stable: Some(current.clone()),
        current,
        rollout: None,
        versions: vec![counts],
        waiting_on: Vec::new(),
        control: Vec::new(),
        next_ordinal: u64::from(wanted) + 1,
        next_revision: 2,
        written: None,
        served: Vec::new(),
        lock: None,
        restart_before: None,
    }
}
