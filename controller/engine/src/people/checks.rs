//! What is looked at across objects before an apply writes any: names of services, pairs of Deployment and Canary, and the history.

use std::collections::{BTreeMap, BTreeSet};

use helium_crds::{
    AnyObject, Kind, ObjectKey,
    deployment::{Strategy, service_name},
    diagnose::nearest,
};

use super::{
    Applied, People, PeopleError,
    apply::Change,
    manifest::{self, ObjectRef, Stored},
    stock::Stock,
    versions, weights,
};

/// Refuses two Deployments that would register the same service. The store is listed only if a name is new.
///
/// Two people who apply at the same instant are not seen by each other here: both Deployments then share the service's name, and
/// their instances are still told apart, by the meta that names each instance.
pub(super) async fn service_names(declared: &[AnyObject], stock: &mut Stock<'_>) -> Result<(), PeopleError> {
    let mut owners: BTreeMap<String, ObjectKey> = BTreeMap::new();
    let mut anything_new = false;
    for object in declared {
        let AnyObject::Deployment(deployment) = object else { continue };
        let (name, service) = (ObjectRef::of_any(object), service_name(deployment));
        let stored = stock.get(&name).and_then(|row| stored_service(&row.value));
        anything_new |= stored.as_deref() != Some(service.as_str());
        if let Some(other) = owners.insert(service.clone(), deployment.key()) {
            return Err(PeopleError::ServiceClash { object: name, other: Box::new(other), service });
        }
    }
    if !anything_new {
        return Ok(());
    }
    stock.list().await?;
    let names: BTreeSet<ObjectRef> = declared.iter().map(ObjectRef::of_any).collect();
    for stored in stock.iter().filter(|stored| stored.kind == Kind::Deployment) {
        let Some(service) = stored_service(stored) else { continue };
        if let Some(key) = owners.get(&service).filter(|_| !names.contains(&ObjectRef::of(stored))) {
            let object = ObjectRef::new(Kind::Deployment, key.clone());
            return Err(PeopleError::ServiceClash { object, other: Box::new(stored.key()), service });
        }
    }
    Ok(())
}

/// The service name of a stored Deployment.
fn stored_service(stored: &Stored) -> Option<String> {
    match manifest::typed(stored).ok()? {
        AnyObject::Deployment(deployment) => Some(service_name(&deployment)),
        AnyObject::Canary(_) | AnyObject::HydraJob(_) => None,
    }
}

/// Looks at every pair of Deployment and Canary of which a part changes, with the other part from the store where it is not
/// declared. The warnings go to the Canary where it changes, else to the Deployment. A Canary without a Deployment is told of in
/// any case.
pub(super) async fn pairs(
    declared: &[AnyObject],
    changes: &mut [Change],
    stock: &mut Stock<'_>,
) -> Result<(), PeopleError> {
    let by_name: BTreeMap<ObjectRef, &AnyObject> =
        declared.iter().map(|object| (ObjectRef::of_any(object), object)).collect();
    let looked_at = |change: &&Change| change.writes() || change.applied.object.kind == Kind::Canary;
    let others = changes.iter().filter(looked_at).filter_map(|change| other(&change.applied.object));
    let others: Vec<ObjectRef> = others.filter(|name| !by_name.contains_key(name)).collect();
    stock.look_up(&others).await?;
    let changing: BTreeSet<ObjectRef> =
        changes.iter().filter(|change| change.writes()).map(|change| change.applied.object.clone()).collect();
    for change in changes {
        let name = change.applied.object.clone();
        let Some(partner) = other(&name) else { continue };
        let Some(&object) = by_name.get(&name) else { continue };
        if name.kind == Kind::Canary && !by_name.contains_key(&partner) && stock.get(&partner).is_none() {
            stock.list().await?;
            change.applied.warnings.push(unguarding(&partner, declared, stock));
        }
        if !change.writes() || (name.kind == Kind::Deployment && changing.contains(&partner)) {
            continue;
        }
        let found = stock.get(&partner).and_then(|row| manifest::typed(&row.value).ok());
        let Some(partner) = by_name.get(&partner).copied().or(found.as_ref()) else { continue };
        let warnings = match name.kind {
            Kind::Deployment => pair(object, partner)?,
            Kind::Canary | Kind::HydraJob => pair(partner, object)?,
        };
        change.applied.warnings.extend(warnings);
    }
    Ok(())
}

/// What is worth a word of a Deployment and its Canary, and what is refused.
pub(super) fn pair(deployment: &AnyObject, canary: &AnyObject) -> Result<Vec<String>, PeopleError> {
    let mut warnings = weights::check(deployment, canary)?;
    if let AnyObject::Deployment(deployment) = deployment
        && let Strategy::Recreate(_) = deployment.spec.strategy
        && deployment.spec.wanted() > 1
    {
        let words = "a canary runs two versions side by side, also where the strategy of its Deployment is `recreate`";
        warnings.push(words.to_owned());
    }
    Ok(warnings)
}

/// Words for a Canary whose Deployment there is not, with the name that was most likely meant.
fn unguarding(missing: &ObjectRef, declared: &[AnyObject], stock: &Stock<'_>) -> String {
    let declared = declared.iter().map(ObjectRef::of_any);
    let there: BTreeSet<ObjectRef> = declared.chain(stock.iter().map(ObjectRef::of)).collect();
    let deployments = || there.iter().filter(|name| name.kind == Kind::Deployment).map(|name| &name.key);
    let (namespace, name) = (&missing.key.namespace, &missing.key.name);
    let beside = deployments().filter(|key| key.namespace == *namespace).map(|key| key.name.as_str());
    let meant = match nearest(name, beside) {
        Some(near) => Some(ObjectKey::new(namespace, near)),
        None => deployments().find(|key| key.name == *name).cloned(),
    };
    let meant = meant.map(|key| format!("; did you mean {}?", ObjectRef::new(Kind::Deployment, key)));
    format!("there is no {missing} yet, so it guards nothing{}", meant.unwrap_or_default())
}

/// Looks up the versions of every Deployment that changes and holds counts by version. What no controller can ever find is refused; it
/// is a warning while the history may still be on its way, since no controller has looked at the newest spec yet.
pub(super) async fn versions(
    people: &People,
    declared: &[AnyObject],
    changes: &mut [Change],
) -> Result<(), PeopleError> {
    for (object, change) in declared.iter().zip(changes).filter(|(_, change)| change.writes()) {
        let AnyObject::Deployment(deployment) = object else { continue };
        let Some(counts) = &deployment.spec.versions else { continue };
        let (name, key) = (&change.applied.object, &change.applied.object.key);
        let history = people.revisions(key).await?;
        match versions::check(name, counts, &history, Some(&deployment.spec.template)) {
            Err(PeopleError::NoRevision { wanted, known, .. }) if is_awaited(people, &change.applied).await? => {
                let known = known.join(", ");
                let words =
                    format!("there is no {wanted} in its history, only {known}; no controller has looked at it yet");
                change.applied.warnings.push(words);
            }
            checked => checked?,
        }
    }
    Ok(())
}

/// Whether a controller is yet to look at an object that is there.
async fn is_awaited(people: &People, applied: &Applied) -> Result<bool, PeopleError> {
    let Some(before) = &applied.before else { return Ok(false) };
    let status = people.status(&applied.object.key).await?;
    let (uid, generation) = (&before.metadata.uid, before.metadata.generation);
    Ok(status.is_none_or(|status| status.uid != *uid || status.observed_generation < generation))
}

/// The Canary of a Deployment, and the Deployment of a Canary; none of what has no other half.
pub(super) fn other(name: &ObjectRef) -> Option<ObjectRef> {
    let kind = match name.kind {
        Kind::Deployment => Kind::Canary,
        Kind::Canary => Kind::Deployment,
        Kind::HydraJob => return None,
    };
    Some(ObjectRef::new(kind, name.key.clone()))
}
