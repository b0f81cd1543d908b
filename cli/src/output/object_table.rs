//! Objects as rows of a table, one sort of table a kind.

use std::collections::BTreeMap;

use helium_crds::{
    DeploymentStatus, Kind, ObjectKey, Phase,
    status::{Condition, ConditionKind, HydraJobStatus, Rollout, Stage},
};
use helium_engine::people::{Stored, manifest::typed};
use jiff::Timestamp;

use super::{console::Tone, hydra_job, table::Rows, time::age};

/// Which columns there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Columns {
    /// The further ones.
    pub(crate) wide: bool,
    /// The namespace.
    pub(crate) namespace: bool,
    /// The instant that ages are told from.
    pub(crate) now: Timestamp,
}

/// The objects of one kind as a table.
pub(crate) fn table(
    kind: Kind,
    objects: &[&Stored],
    statuses: &BTreeMap<ObjectKey, DeploymentStatus>,
    jobs: &BTreeMap<ObjectKey, HydraJobStatus>,
    columns: Columns,
) -> Rows {
    let (own, wide): (&[&'static str], &[&'static str]) = match kind {
        Kind::Deployment => (&["NAME", "PHASE", "HEALTHY", "VERSION", "AGE"], &["REASON", "SERVICE", "MESSAGE"]),
        Kind::Canary => (&["NAME", "STEP", "WEIGHT", "VERSION", "AGE"], &["STEPS"]),
        Kind::HydraJob => (&["NAME", "STATE", "BUILD", "VERSION", "AGE"], &["FOUND", "JOB", "MESSAGE"]),
    };
    let namespace: &[&'static str] = if columns.namespace { &["NAMESPACE"] } else { &[] };
    let wide = if columns.wide { wide } else { &[] };
    let mut rows = Rows::new(&[namespace, own, wide].concat());
    for stored in objects {
        let status = statuses.get(&stored.key());
        let mut cells: Vec<String> = namespace.iter().map(|_| stored.metadata.namespace.clone()).collect();
        let phase_at = cells.len() + 1;
        match kind {
            Kind::Deployment => {
                cells.extend(deployment(stored, status, columns));
                rows.add_toned(cells, phase_at, phase_tone(phase_of(stored, status)));
            }
            Kind::Canary => {
                cells.extend(canary(stored, status, columns));
                rows.add(cells);
            }
            Kind::HydraJob => {
                let status = jobs.get(&stored.key());
                cells.extend(hydra_job::cells(stored, status, columns.wide, columns.now));
                rows.add_toned(cells, phase_at, hydra_job::state(stored, status).1);
            }
        }
    }
    rows
}

/// The phase, also of what no controller has looked at.
pub(crate) fn phase_of(stored: &Stored, status: Option<&DeploymentStatus>) -> Phase {
    match status.filter(|status| status.uid == stored.metadata.uid) {
        _ if stored.is_deleting() => Phase::Deleting,
        Some(status) => status.phase,
        None => Phase::Pending,
    }
}

/// The colour of a phase.
pub(crate) fn phase_tone(phase: Phase) -> Tone {
    match phase {
        Phase::Healthy => Tone::Good,
        Phase::Pending | Phase::Progressing => Tone::Busy,
        Phase::Paused | Phase::Deleting | Phase::RollingBack => Tone::Warning,
        Phase::Degraded | Phase::Invalid => Tone::Bad,
    }
}

fn deployment(stored: &Stored, status: Option<&DeploymentStatus>, columns: Columns) -> Vec<String> {
    let wanted = || stored.spec.get("replicas").map_or_else(|| "1".to_owned(), ToString::to_string);
    let healthy =
        status.map_or_else(|| format!("0/{}", wanted()), |status| format!("{}/{}", status.healthy, status.wanted));
    let mut cells = vec![
        stored.metadata.name.clone(),
        phase_of(stored, status).to_string(),
        healthy,
        version(stored, status),
        age(stored.metadata.created_at, columns.now),
    ];
    if columns.wide {
        let service = match typed(stored) {
            Ok(helium_crds::AnyObject::Deployment(deployment)) => helium_crds::deployment::service_name(&deployment),
            _ => String::new(),
        };
        cells.push(status.map(|status| status.reason.to_string()).unwrap_or_default());
        cells.push(service);
        cells.push(status.map(|status| status.message.clone()).unwrap_or_default());
    }
    cells
}

/// `1.0.0`; while a rollout is under way `1.0.0 -> 2.0.0`; under counts by hand what runs: `1.0.0 x2, 2.0.0 x1`.
pub(crate) fn version(stored: &Stored, status: Option<&DeploymentStatus>) -> String {
    let Some(status) = status else {
        return stored.spec.pointer("/template/version").and_then(|label| label.as_str()).unwrap_or("?").to_owned();
    };
    let by_hand = |condition: &Condition| condition.kind == ConditionKind::ManualCounts && condition.status;
    if status.conditions.iter().any(by_hand) && status.versions.iter().any(|version| version.assigned > 0) {
        let running = status.versions.iter().filter(|version| version.assigned > 0);
        return running.map(|one| format!("{} x{}", one.version, one.assigned)).collect::<Vec<_>>().join(", ");
    }
    match (&status.stable, &status.rollout) {
        (Some(stable), Some(rollout)) if rollout.stage != Stage::Aborted && stable.revision != rollout.revision => {
            format!("{} -> {}", stable.version, rollout.version)
        }
        (Some(stable), _) => stable.version.clone(),
        (None, _) => status.current.version.clone(),
    }
}

fn canary(stored: &Stored, status: Option<&DeploymentStatus>, columns: Columns) -> Vec<String> {
    let spec = serde_json::from_value::<helium_crds::CanarySpec>(stored.spec.clone()).ok();
    let steps = spec.map(|spec| spec.all_steps().into_owned()).unwrap_or_default();
    let rollout = status.and_then(|status| status.rollout.as_ref());
    let (step, weight, version) = rollout.map_or_else(
        || ("-".to_owned(), "-".to_owned(), "-".to_owned()),
        |rollout| (step(rollout), weight(rollout), rollout.version.clone()),
    );
    let mut cells =
        vec![stored.metadata.name.clone(), step, weight, version, age(stored.metadata.created_at, columns.now)];
    if columns.wide {
        cells.push(steps.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    }
    cells
}

/// `2/4`, or how it stands beyond the steps.
fn step(rollout: &Rollout) -> String {
    match rollout.stage {
        Stage::Steps => format!("{}/{}", (rollout.step as usize + 1).min(rollout.steps.len()), rollout.steps.len()),
        Stage::Promoting => "promoting".to_owned(),
        Stage::Baking => "baking".to_owned(),
        Stage::RollingBack => "rolling back".to_owned(),
        Stage::Aborted => "aborted".to_owned(),
        Stage::RollbackFailed => "rollback failed".to_owned(),
    }
}

/// `10% (1 of 4, 25%)`: what was asked for, and what it comes to.
fn weight(rollout: &Rollout) -> String {
    let Some(weight) = rollout.weight else { return "-".to_owned() };
    let (requested, achieved, counts) = (weight.requested, weight.achieved(), weight.in_words());
    if achieved == requested {
        format!("{achieved}% ({counts})")
    } else {
        format!("{requested}% ({counts}, {achieved}%)")
    }
}

#[cfg(test)]
#[path = "object_table_tests.rs"]
mod tests;
