//! Which version a Deployment has that takes it from a build.
//!
//! The status of the HydraJob says it. Where there is none, be it that the HydraJob was deleted, that nothing was built yet, or that it
//! cannot be seen, the Deployment keeps the version that it has: absence is not intent.

use consul_client::{Client, Read};
use helium_crds::{
    Deployment, DeploymentStatus, Kind, ObjectKey,
    keys::Keys,
    status::{HydraJobStatus, WaitingOn},
    version_from::VersionFrom,
};

use crate::capture::Blind;

/// Looks up versions.
pub struct Versions {
    client: Client,
    keys: Keys,
}

/// The HydraJob that a Deployment in `namespace` names.
pub(crate) fn job_of(namespace: &str, from: &VersionFrom) -> ObjectKey {
    ObjectKey::new(namespace, &from.hydra_job)
}

impl Versions {
    /// Looks up in the store behind `client`.
    pub(crate) fn new(client: Client, keys: Keys) -> Self {
        Self { client, keys }
    }

    /// Enters the version into the template of a Deployment that takes it from a build. Gives what it waits for if there is none yet.
    ///
    /// # Errors
    /// The store does not say.
    pub(crate) async fn enter(
        &self,
        deployment: &mut Deployment,
        status: Option<&DeploymentStatus>,
    ) -> Result<Option<WaitingOn>, Blind> {
        let Some(from) = deployment.spec.version_from.clone() else { return Ok(None) };
        let job = job_of(&deployment.metadata.namespace, &from);
        let uid = &deployment.metadata.uid;
        let current = status.filter(|status| status.uid == *uid).map(|status| status.current.version.as_str());
        let current = current.filter(|current| !current.is_empty());
        let found = match self.status(&job).await {
            Ok(found) => found,
            Err(blind) if current.is_none() && !deployment.is_deleting() => return Err(blind),
            Err(blind) => {
                tracing::warn!(deployment = %deployment.metadata.name, why = blind.0, "the version that it has is kept");
                None
            }
        };
        let newest = found.as_ref().and_then(|found| found.newest.as_ref()).map(|newest| newest.version.as_str());
        if let Some(version) = version(&from, newest, current) {
            version.clone_into(&mut deployment.spec.template.version);
            return Ok(None);
        }
        let error = found.and_then(|found| found.error);
        Ok(Some(WaitingOn::Build { hydra_job: job.to_string(), why: error.map(|error| error.message) }))
    }

    async fn status(&self, job: &ObjectKey) -> Result<Option<HydraJobStatus>, Blind> {
        let key = self.keys.status(Kind::HydraJob, job);
        let read = self.client.kv_get(&key, &Read::consistent()).await;
        let blind = |error: &dyn std::fmt::Display| Blind(format!("hydrajob/{job}: {error}"));
        let Some(pair) = read.map_err(|error| blind(&error))?.value else { return Ok(None) };
        serde_json::from_slice(&pair.value).map(Some).map_err(|error| blind(&error))
    }
}

/// The version that is taken: of the newest build, else the present one.
fn version<'a>(from: &'a VersionFrom, newest: Option<&'a str>, current: Option<&'a str>) -> Option<&'a str> {
    newest.or(current).filter(|version| !version.is_empty()).map(|version| from.taken(version))
}

#[cfg(test)]
mod tests {
    use helium_crds::version_from::Instead;

    use super::*;

    #[test]
    fn without_a_build_the_present_version_stays() {
        let plain = VersionFrom { hydra_job: "web".to_owned(), instead: None };
        let instead = Some(Instead { of: "b".to_owned(), take: "a".to_owned() });
        let undone = VersionFrom { instead, ..plain.clone() };
        for (from, newest, current, taken) in [
            (&plain, Some("b"), Some("a"), Some("b")),
            (&plain, Some("b"), None, Some("b")),
            (&plain, None, Some("a"), Some("a")),
            (&plain, None, Some(""), None),
            (&plain, None, None, None),
            (&undone, Some("b"), Some("b"), Some("a")),
            (&undone, Some("c"), Some("a"), Some("c")),
            (&undone, None, Some("b"), Some("a")),
            (&undone, None, Some("a"), Some("a")),
        ] {
            assert_eq!(version(from, newest, current), taken, "{newest:?}, {current:?}");
        }
    }
}
