//! Where each rollout stands, as gauges: made from statuses alone, so that they are right as soon as a status was read, whoever wrote it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, atomic::AtomicU64},
};

use helium_crds::{
    DeploymentStatus, ObjectKey, Phase,
    measurement::Reading,
    status::{MetricState, Rollout, RolloutKind, Stage, Verdict},
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::commit::lock;

/// A gauge of any number.
type Number = Gauge<f64, AtomicU64>;

/// Whose rollout it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
pub struct Of {
    namespace: String,
    name: String,
}

/// Whose rollout it is, and one thing of it: a phase, a metric.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
pub struct Part {
    namespace: String,
    name: String,
    of: String,
}

/// The gauges of all rollouts. One that is over has none.
#[derive(Debug, Default)]
pub struct RolloutMetrics {
    phase: Family<Part, Gauge>,
    requested: Family<Of, Gauge>,
    achieved: Family<Of, Gauge>,
    step: Family<Of, Gauge>,
    steps: Family<Of, Gauge>,
    value: Family<Part, Number>,
    verdict: Family<Part, Gauge>,
    /// The metrics of which a gauge is shown.
    shown: Mutex<BTreeMap<ObjectKey, Vec<Part>>>,
}

impl RolloutMetrics {
    /// Puts every gauge into `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let phase = "1 for the phase that a Deployment is in, by `of`";
        registry.register("deployment_phase", phase, self.phase.clone());
        let requested = "What share of the instances the canary should have, in percent; 0 without one";
        registry.register("rollout_weight_requested", requested, self.requested.clone());
        let achieved = "What share whole instances make of it, in percent; 100 while it is promoted";
        registry.register("rollout_weight_achieved", achieved, self.achieved.clone());
        registry.register("rollout_step", "The step that a canary is at, from 1; 0 without one", self.step.clone());
        registry.register("rollout_steps", "How many steps there are; 0 without a canary", self.steps.clone());
        let value = "The last number of a metric of a canary, by `of`";
        registry.register("rollout_metric_value", value, self.value.clone());
        let verdict =
            "What the last sample of a metric counts as, by `of`: 1 good, 0 inconclusive or ignored, -1 failed";
        registry.register("rollout_metric_verdict", verdict, self.verdict.clone());
    }

    /// Shows where a Deployment stands.
    pub fn show(&self, object: &ObjectKey, status: &DeploymentStatus) {
        let of = Of { namespace: object.namespace.clone(), name: object.name.clone() };
        for phase in Phase::ALL {
            let gauge = self.phase.get_or_create(&part(object, &phase.to_string())).clone();
            gauge.set(i64::from(phase == status.phase));
        }
        let canary = status.rollout.as_ref().filter(|rollout| rollout.kind == RolloutKind::Canary);
        let (requested, achieved) = canary.map_or((0, 0), weights);
        self.requested.get_or_create(&of).set(requested.into());
        self.achieved.get_or_create(&of).set(achieved.into());
        let (step, steps) = canary.map_or((0, 0), |rollout| (i64::from(rollout.step) + 1, rollout.steps.len()));
        let steps = i64::try_from(steps).unwrap_or(i64::MAX);
        self.step.get_or_create(&of).set(step.min(steps));
        self.steps.get_or_create(&of).set(steps);
        let none = BTreeMap::new();
        self.show_metrics(object, canary.map_or(&none, |rollout| &rollout.analysis.metrics));
    }

    fn show_metrics(&self, object: &ObjectKey, metrics: &BTreeMap<String, MetricState>) {
        let present: Vec<Part> = metrics.keys().map(|name| part(object, name)).collect();
        let before = lock(&self.shown).insert(object.clone(), present.clone()).unwrap_or_default();
        for gone in before.iter().filter(|part| !present.contains(part)) {
            self.value.remove(gone);
            self.verdict.remove(gone);
        }
        for (name, state) in metrics {
            let Some(last) = state.last() else { continue };
            let part = part(object, name);
            // Where there is no number, the last one is not shown as if it were one of now.
            match last.canary {
                Reading::Value { value } => drop(self.value.get_or_create(&part).set(value.value())),
                Reading::NoData | Reading::Error { .. } | Reading::Stale { .. } => {
                    self.value.remove(&part);
                }
            }
            self.verdict.get_or_create(&part).set(match last.verdict {
                Verdict::Good => 1,
                Verdict::Inconclusive | Verdict::Ignored => 0,
                Verdict::Failed => -1,
            });
        }
    }

    /// Shows nothing of a Deployment any more.
    pub fn forget(&self, object: &ObjectKey) {
        let of = Of { namespace: object.namespace.clone(), name: object.name.clone() };
        for gauge in [&self.requested, &self.achieved, &self.step, &self.steps] {
            gauge.remove(&of);
        }
        for phase in Phase::ALL {
            self.phase.remove(&part(object, &phase.to_string()));
        }
        self.show_metrics(object, &BTreeMap::new());
        lock(&self.shown).remove(object);
    }
}

fn part(object: &ObjectKey, part: &str) -> Part {
    Part { namespace: object.namespace.clone(), name: object.name.clone(), of: part.to_owned() }
}

/// What a canary's weight should be and is, in percent.
fn weights(rollout: &Rollout) -> (u32, u32) {
    match (rollout.stage, rollout.weight) {
        (Stage::Promoting | Stage::Baking, _) => (100, 100),
        (Stage::Steps, Some(weight)) => (weight.requested, weight.achieved()),
        (Stage::Steps | Stage::RollingBack | Stage::Aborted | Stage::RollbackFailed, _) => (0, 0),
    }
}

#[cfg(test)]
mod tests {
    use helium_crds::{RevisionId, status::Weight};
    use serde_json::json;

    use super::*;
    use crate::metrics::{SharedRegistry, render};

    fn status(rollout: &serde_json::Value) -> DeploymentStatus {
        serde_json::from_value(json!({
            "uid": "u", "observedGeneration": 1, "phase": "Progressing", "reason": "CanaryStep", "message": "",
            "wanted": 4, "healthy": 4, "current": {"version": "2", "revision": RevisionId::from("r1-aa")},
            "rollout": rollout, "nextOrdinal": 1, "nextRevision": 1,
        }))
        .unwrap()
    }

    fn canary(verdict: &str, reading: &serde_json::Value) -> serde_json::Value {
        let now = "2026-01-01T00:00:00Z";
        json!({
            "id": "a", "revision": "r1-aa", "version": "2", "kind": "canary", "stage": "steps", "step": 1,
            "steps": [{"setWeight": "20%"}, {"soak": "5s"}], "stepStartedAt": now, "startedAt": now, "progressAt": now,
            "weight": Weight { requested: 20, canary: 1, stable: 3, preview: 0, service_weight: None },
            "analysis": {"metrics": {"errors": {
                "query": "", "samples": [{"at": now, "canary": reading, "verdict": verdict, "why": ""}],
            }}},
        })
    }

    #[test]
    fn a_canary_is_shown_with_its_weights_its_step_and_its_numbers_until_it_is_over() {
        let (metrics, registry) = (RolloutMetrics::default(), SharedRegistry::default());
        metrics.register(&mut registry.lock().unwrap());
        let web = ObjectKey::new("default", "web");
        let labels = r#"{namespace="default",name="web"}"#;
        metrics.show(&web, &status(&canary("good", &json!({"is": "value", "value": 0.25}))));
        let page = render(&registry);
        for line in [
            format!("rollout_weight_requested{labels} 20"),
            format!("rollout_weight_achieved{labels} 25"),
            format!("rollout_step{labels} 2"),
            format!("rollout_steps{labels} 2"),
            r#"rollout_metric_value{namespace="default",name="web",of="errors"} 0.25"#.to_owned(),
            r#"rollout_metric_verdict{namespace="default",name="web",of="errors"} 1"#.to_owned(),
            r#"deployment_phase{namespace="default",name="web",of="Progressing"} 1"#.to_owned(),
            r#"deployment_phase{namespace="default",name="web",of="Healthy"} 0"#.to_owned(),
        ] {
            assert!(page.contains(&line), "{line}\n{page}");
        }

        metrics.show(&web, &status(&canary("inconclusive", &json!({"is": "noData"}))));
        let page = render(&registry);
        assert!(!page.contains("rollout_metric_value{"), "an old number is not shown as one of now\n{page}");
        assert!(page.contains(r#"rollout_metric_verdict{namespace="default",name="web",of="errors"} 0"#), "{page}");

        metrics.show(&web, &status(&serde_json::Value::Null));
        let page = render(&registry);
        assert!(page.contains(&format!("rollout_weight_achieved{labels} 0")) && !page.contains("verdict{"), "{page}");
        metrics.forget(&web);
        assert!(!render(&registry).contains("\"web\""));
    }
}
