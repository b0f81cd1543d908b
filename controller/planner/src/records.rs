//! The records of one instance: how they are made, and how they should look now.

use std::collections::BTreeMap;

use helium_crds::{
    InstanceId, NodeName, RevisionId,
    deployment::service_name,
    instance::{Assignment, Desired, Instance, Role, ServiceEntry, instance_id, service_id},
    status::{RolloutKind, Stage},
    template::Template,
};

use crate::{draft::Draft, routing, world::World};

/// The meta key under which a service entry names its node.
const NODE_META: &str = "helium-node";

/// A new instance on `node`, and the ordinal that it takes from the status.
pub(crate) fn new_instance(
    draft: &mut Draft<'_>,
    revision: &RevisionId,
    version: &str,
    node: NodeName,
    role: Role,
) -> Instance {
    let deployment = draft.world.deployment.key();
    let uid = draft.status.uid.clone();
    // A status that was restored from a snapshot counts from where it stood then. The instant tells its new instances from
    // those that it does not know of any more and that still run somewhere: one id never runs twice.
    let of = format!("{uid}\n{}", draft.now());
    let id = loop {
        let id = instance_id(&deployment, &of, revision, draft.status.next_ordinal);
        draft.status.next_ordinal += 1;
        // Taken only if the status is older than the instances: somebody has restored it.
        if !draft.census().members.contains_key(&id) {
            break id;
        }
    };
    Instance {
        id,
        deployment,
        uid,
        revision: revision.clone(),
        version: version.to_owned(),
        node,
        desired: Desired::Run,
        role,
        // Never before the restart that it was made for, whatever the clock says: it would be replaced again and again.
        created_at: draft.status.restart_before.map_or(draft.now(), |before| before.max(draft.now())),
        healthy_since: None,
        check_index: 0,
        has_been_healthy: false,
        serves_since: None,
        node_missing_since: None,
    }
}

/// The assignment that an instance should have.
pub(crate) fn assignment_for(draft: &Draft<'_>, instance: &Instance, template: &Template) -> Assignment {
    let spec = draft.spec();
    Assignment {
        id: instance.id.clone(),
        deployment: instance.deployment.clone(),
        uid: instance.uid.clone(),
        revision: instance.revision.clone(),
        template: template.clone(),
        desired: instance.desired,
        role: instance.role,
        service: service_entry(draft, instance),
        stop_signal: spec.stop_signal,
        drain: spec.drain,
        stop_grace_period: spec.stop_grace_period,
        stop_after_disconnect: spec.stop_after_disconnect,
        created_at: instance.created_at,
    }
}

fn service_entry(draft: &Draft<'_>, instance: &Instance) -> ServiceEntry {
    let deployment = &draft.world.deployment;
    let own = [
        ("helium-namespace", instance.deployment.namespace.as_str()),
        ("helium-deployment", instance.deployment.name.as_str()),
        ("helium-version", instance.version.as_str()),
        ("helium-revision", instance.revision.as_str()),
        ("helium-instance", instance.id.as_str()),
        (NODE_META, instance.node.as_str()),
    ];
    let mut meta: BTreeMap<String, String> = deployment.spec.meta.clone();
    meta.extend(own.map(|(key, value)| (key.to_owned(), value.to_owned())));
    let mut tags = deployment.spec.tags.clone();
    tags.push(instance.role.tag().to_owned());
    let weight = routing::service_weight(draft, instance);
    ServiceEntry { name: service_name(deployment), id: service_id(&instance.id), tags, meta, weight }
}

/// The template of a revision: from the history, or from an assignment that still holds it.
pub(crate) fn template_of<'w>(
    world: &'w World,
    assignments: &'w BTreeMap<InstanceId, Assignment>,
    revision: &RevisionId,
) -> Option<&'w Template> {
    let kept = world.revisions.get(revision).map(|known| &known.template);
    kept.or_else(|| {
        assignments.values().find(|assignment| assignment.revision == *revision).map(|found| &found.template)
    })
}

/// Records for assignments that have none: somebody removed them by hand, or a crash left a half. What runs is taken up
/// again, not doubled.
pub(crate) fn adopt_orphans(
    uid: &str,
    assignments: &BTreeMap<InstanceId, Assignment>,
    known: &BTreeMap<InstanceId, Instance>,
) -> Vec<Instance> {
    let orphans =
        assignments.values().filter(|assignment| assignment.uid == uid && !known.contains_key(&assignment.id));
    orphans.filter_map(record_from).collect()
}

fn record_from(assignment: &Assignment) -> Option<Instance> {
    let node = assignment.service.meta.get(NODE_META)?;
    Some(Instance {
        id: assignment.id.clone(),
        deployment: assignment.deployment.clone(),
        uid: assignment.uid.clone(),
        revision: assignment.revision.clone(),
        version: assignment.template.version.clone(),
        node: NodeName::new(node.as_str()),
        desired: assignment.desired,
        role: assignment.role,
        created_at: assignment.created_at,
        healthy_since: None,
        check_index: 0,
        has_been_healthy: false,
        serves_since: None,
        node_missing_since: None,
    })
}

/// The role of an instance of `revision` that serves, or is on standby: a canary while its version is tried out or given up, and stable
/// otherwise. What people count by hand is no canary.
pub(crate) fn role_of(draft: &Draft<'_>, revision: &RevisionId, standby: bool) -> Role {
    let role = match draft.status.rollout.as_ref().filter(|_| !draft.by_hand) {
        Some(rollout)
            if rollout.kind == RolloutKind::Canary
                && rollout.revision == *revision
                && !matches!(rollout.stage, Stage::Promoting | Stage::Baking) =>
        {
            Role::Canary
        }
        _ => Role::Stable,
    };
    role.on_standby(standby)
}
