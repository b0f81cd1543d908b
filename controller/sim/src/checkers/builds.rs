//! S18: only a build that has succeeded is ever taken, by a HydraJob or as the version of a Deployment, and a version that was taken is not lost.
//! L1: at rest a HydraJob has the newest build that has succeeded, and whoever takes its version from it has that version.

use std::sync::Arc;

use consul_embedded::state::State;
use helium_crds::{
    AnyObject, Deployment, HydraJob, Kind, ObjectKey,
    keys::{Keys, SpecKey},
    status::{HydraJobStatus, Reason},
    version_from::VersionFrom,
};

use super::{Checkers, Commit};
use crate::{
    hydra::{Table, url},
    net::Net,
    ops::Written,
    truth::{self, Truth},
};

impl Checkers {
    /// S18, for what a transaction writes about HydraJobs.
    pub(super) fn check_jobs(&mut self, net: &Net, written: &Written, after: &State) {
        let keys = Keys::default();
        let about = written.ops.iter().filter_map(|op| match keys.parse_spec(&op.key)? {
            SpecKey::Object(Kind::HydraJob, job) => Some(job),
            _ => None,
        });
        for job in about {
            let Some(newest) = status(after, &job).and_then(|status| status.newest.clone()) else { continue };
            let name = newest.job.rsplit('/').next().unwrap_or_default();
            if !net.hydra.table().has_succeeded(name, &newest.version) {
                self.fail("S18", format!("hydrajob/{job} takes build {}, which has not succeeded", newest.build));
            }
        }
    }

    /// S18, for what is committed about a Deployment.
    pub(super) fn check_builds(&mut self, commit: &Commit<'_>) {
        let (Some(deployment), Some(status)) = (commit.after.deployment.as_ref(), commit.after.status.as_ref()) else {
            return;
        };
        let Some(from) = deployment.spec.version_from.as_ref() else { return };
        if status.uid != deployment.metadata.uid || deployment.is_deleting() || status.reason == Reason::InvalidSpec {
            return;
        }
        let version = &status.current.version;
        let before = commit.before.status.as_ref().filter(|before| before.uid == status.uid);
        if version.is_empty() && before.is_some_and(|before| !before.current.version.is_empty()) {
            return self.fail("S18", format!("{}: it has no version any more", commit.object));
        }
        if !version.is_empty() && !commit.net.hydra.table().has_succeeded(&from.hydra_job, version) {
            self.fail("S18", format!("{}: {version} is no build that has succeeded", commit.object));
        }
    }
}

/// What is not yet as it should be of jobs and versions, once all is at rest; none if nothing is.
pub fn builds_settled(state: &State, table: &Table) -> Option<String> {
    let jobs = jobs(state).into_iter().find_map(|(key, job)| unlike_hydra(state, table, &key, &job));
    jobs.or_else(|| {
        truth::objects(state).into_iter().find_map(|object| {
            let truth = Truth::of(state, &object);
            let deployment = truth.deployment.as_ref().filter(|deployment| !deployment.is_deleting())?;
            let from = deployment.spec.version_from.as_ref()?;
            unlike_its_job(state, deployment, from, &truth).map(|problem| format!("{object}: {problem}"))
        })
    })
}

/// Whether a Deployment rightly waits for its first build.
pub(super) fn waits_for_a_build(state: &State, deployment: &Deployment) -> bool {
    let Some(from) = deployment.spec.version_from.as_ref() else { return false };
    let job = ObjectKey::new(&deployment.metadata.namespace, &from.hydra_job);
    status(state, &job).is_none_or(|status| status.newest.is_none())
}

/// Every HydraJob that can be followed.
fn jobs(state: &State) -> Vec<(ObjectKey, HydraJob)> {
    let keys = Keys::default();
    let root = format!("{}spec/", keys.root());
    let specs = state.kv().under(&root).filter_map(|entry| match keys.parse_spec(&entry.key)? {
        SpecKey::Object(Kind::HydraJob, key) => match AnyObject::from_json(&entry.value) {
            Ok(AnyObject::HydraJob(job)) => Some((key, job)),
            _ => None,
        },
        _ => None,
    });
    specs.collect()
}

fn status(state: &State, job: &ObjectKey) -> Option<Arc<HydraJobStatus>> {
    truth::shared(state, &Keys::default().status(Kind::HydraJob, job))
}

fn unlike_hydra(state: &State, table: &Table, key: &ObjectKey, job: &HydraJob) -> Option<String> {
    if job.spec.suspend || job.is_deleting() {
        return None;
    }
    let Some(found) = status(state, key) else { return Some(format!("hydrajob/{key} has no status")) };
    if found.uid != job.metadata.uid || found.observed_generation != job.metadata.generation {
        return Some(format!("the newest spec of hydrajob/{key} has not been seen"));
    }
    let newest = found.newest.as_ref().filter(|newest| newest.job == url(&key.name));
    match (table.newest(&key.name), newest) {
        (Some((number, _)), Some(newest)) if newest.build == number && found.error.is_none() => None,
        (None, _) if found.error.is_some() => None,
        (there, found) => Some(format!(
            "the newest build of hydrajob/{key} is {:?}, and it has {:?}",
            there.map(|(number, _)| number),
            found.map(|found| found.build)
        )),
    }
}

fn unlike_its_job(state: &State, deployment: &Deployment, from: &VersionFrom, truth: &Truth) -> Option<String> {
    let job = ObjectKey::new(&deployment.metadata.namespace, &from.hydra_job);
    let newest = status(state, &job)?.newest.clone()?;
    let has = truth.status.as_ref().map(|status| status.current.version.as_str()).unwrap_or_default();
    let takes = from.taken(&newest.version);
    (has != takes).then(|| format!("its version is {has}, and its job has {takes}"))
}
