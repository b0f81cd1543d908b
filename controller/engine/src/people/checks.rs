//! What is looked at across objects before an apply writes any: names of services, and weights of canaries.

use std::collections::{BTreeMap, BTreeSet};

use helium_crds::{AnyObject, Kind, ObjectKey, deployment::service_name};

use super::{
    PeopleError,
    apply::Change,
    manifest::{self, ObjectRef, Stored},
    stock::Stock,
    weights,
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
        AnyObject::Canary(_) => None,
    }
}

/// Looks at every pair of Deployment and Canary of which a part changes, with the other part from the store where it is not
/// declared. The warnings go to the Canary where it changes, else to the Deployment.
pub(super) async fn canary_weights(
    declared: &[AnyObject],
    changes: &mut [Change],
    stock: &mut Stock<'_>,
) -> Result<(), PeopleError> {
    let by_name: BTreeMap<ObjectRef, &AnyObject> =
        declared.iter().map(|object| (ObjectRef::of_any(object), object)).collect();
    let changing: Vec<ObjectRef> =
        changes.iter().filter(|change| change.writes()).map(|change| change.applied.object.clone()).collect();
    let others: Vec<ObjectRef> = changing.iter().map(other).filter(|name| !by_name.contains_key(name)).collect();
    stock.look_up(&others).await?;
    for (name, change) in by_name_of(changes) {
        if name.kind == Kind::Deployment && changing.contains(&other(&name)) {
            continue;
        }
        let Some(&object) = by_name.get(&name) else { continue };
        let found = stock.get(&other(&name)).and_then(|row| manifest::typed(&row.value).ok());
        let Some(other) = by_name.get(&other(&name)).copied().or(found.as_ref()) else { continue };
        let warnings = match name.kind {
            Kind::Deployment => weights::check(object, other)?,
            Kind::Canary => weights::check(other, object)?,
        };
        change.applied.warnings.extend(warnings);
    }
    Ok(())
}

/// The changes that write something, each with its name.
fn by_name_of(changes: &mut [Change]) -> impl Iterator<Item = (ObjectRef, &mut Change)> {
    changes.iter_mut().filter(|change| change.writes()).map(|change| (change.applied.object.clone(), change))
}

/// The Canary of a Deployment, and the Deployment of a Canary.
fn other(name: &ObjectRef) -> ObjectRef {
    let kind = match name.kind {
        Kind::Deployment => Kind::Canary,
        Kind::Canary => Kind::Deployment,
    };
    ObjectRef::new(kind, name.key.clone())
}
