//! An event as it is told: what happened, and where its rollout stands.

use helium_crds::{
    DeploymentStatus, ObjectKey, Phase,
    event::{Event, Severity},
    status::Rollout,
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
    /// The namespace of the Deployment.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The version that its template asks for.
    pub version: String,
    /// The version that has served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable: Option<String>,
    /// Where it stands.
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
}

/// The step that a canary is at, or was given up at, of how many; none of a rollout without steps.
fn place(rollout: &Rollout) -> Option<(u32, u32)> {
    let steps = u32::try_from(rollout.steps.len()).ok().filter(|steps| *steps > 0)?;
    let at = rollout.abort.as_ref().map_or(rollout.step, |abort| abort.step);
    Some((at.saturating_add(1).min(steps), steps))
}
