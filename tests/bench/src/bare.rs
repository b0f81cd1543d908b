//! The bare client: the same records in the same dependent phases, as fast as transactions go.

use consul_client::{Client, Error, TxnOp};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use helium_crds::{
    Deployment, DeploymentStatus, NodeName, Phase,
    instance::{Assignment, Desired, Instance, Role, ServiceEntry, instance_id, service_id},
    keys::Keys,
    object::Kind,
    revision::revision_id,
    status::{Reason, VersionRef},
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

    let statuses = deployments.iter().map(|one| set(keys.status(Kind::Deployment, &one.key()), &status(one)));
    write(client, statuses.collect::<Result<Vec<_>, _>>()?, 1).await?;
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
        stop_grace_period: deployment.spec.stop_grace_period,
        created_at: now,
    };
    (instance, assignment)
}

fn status(deployment: &Deployment) -> DeploymentStatus {
    let current = VersionRef {
        version: deployment.spec.template.version.clone(),
        revision: revision_id(&deployment.spec.template),
    };
    let wanted = deployment.spec.wanted();
    DeploymentStatus {
        uid: deployment.metadata.name.clone(),
        observed_generation: 1,
        phase: Phase::Healthy,
        reason: Reason::AllHealthy,
        message: format!("{}: {wanted}/{wanted} healthy", current.version),
        wanted,
        healthy: wanted,
        conditions: Vec::new(),
        stable: Some(current.clone()),
        current,
        rollout: None,
        versions: Vec::new(),
        waiting_on: Vec::new(),
        control: Vec::new(),
        next_ordinal: u64::from(wanted) + 1,
        next_revision: 2,
        restart_before: None,
    }
}
