//! An event as it is told: what happened, and where its rollout stands.

use helium_crds::{
    DeploymentStatus, Kind, ObjectKey, Phase,
    event::{Event, Severity},
    status::{HydraJobStatus, Rollout},
};
use jiff::Timestamp;
use serde::Serialize;

/// What is posted as JSON. Fields are only ever added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct News {
    /// When it happened.
    pub at: Timestamp,
    /// How bad it is.
    pub severity: Severity,
    /// Its one word.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// What it is about: a Deployment or a HydraJob.
    pub kind: Kind,
    /// The namespace of that object.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The version that its template asks for; that of the newest build of a HydraJob, and nothing if there is none.
    pub version: String,
    /// The version that has served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable: Option<String>,
    /// Where it stands. A HydraJob is `Healthy` if it has a build and can be followed, `Degraded` if it cannot be followed, else `Pending`.
    pub phase: Phase,
    /// The step of its canary, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<u32>,
    /// How many steps there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u32>,
    /// The id of the rollout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<String>,
}

impl News {
    /// An event of a Deployment, and the status that was committed with it.
    pub fn of(object: &ObjectKey, status: &DeploymentStatus, event: &Event) -> Self {
        let (step, steps) = status.rollout.as_ref().and_then(place).unzip();
        Self {
            at: event.at,
            severity: event.severity,
            reason: event.reason.clone(),
            message: event.message.clone(),
            kind: Kind::Deployment,
            namespace: object.namespace.clone(),
            name: object.name.clone(),
            version: status.current.version.clone(),
            stable: status.stable.as_ref().map(|stable| stable.version.clone()),
            phase: status.phase,
            step,
            steps,
            rollout: status.rollout.as_ref().map(|rollout| rollout.id.clone()),
        }
    }

    /// An event of a HydraJob, and the status that was committed with it.
    pub fn of_job(job: &ObjectKey, status: &HydraJobStatus, event: &Event) -> Self {
        let phase = match (&status.error, &status.newest) {
            (Some(_), _) => Phase::Degraded,
            (None, Some(_)) => Phase::Healthy,
            (None, None) => Phase::Pending,
        };
        Self {
            at: event.at,
            severity: event.severity,
            reason: event.reason.clone(),
            message: event.message.clone(),
            kind: Kind::HydraJob,
            namespace: job.namespace.clone(),
            name: job.name.clone(),
            version: status.newest.as_ref().map(|newest| newest.version.clone()).unwrap_or_default(),
            stable: None,
            phase,
            step: None,
            steps: None,
            rollout: None,
        }
    }
}

/// The step that a canary is at, or was given up at, of how many; none of a rollout without steps.
fn place(rollout: &Rollout) -> Option<(u32, u32)> {
    let steps = u32::try_from(rollout.steps.len()).ok().filter(|steps| *steps > 0)?;
    let at = rollout.abort.as_ref().map_or(rollout.step, |abort| abort.step);
    Some((at.saturating_add(1).min(steps), steps))
}
