//! Rules of a Canary's steps.

use serde_json::Value;

use super::{Code, Findings, Path, entries, items, metric};

pub(super) fn check(object: &Value, findings: &mut Findings) {
    metric::check(object, findings);
    let metrics = metric::Metrics::of(object);
    let at = Path::of(&["spec", "steps"]);
    let mut running = false;
    for (index, step) in items(object.pointer("/spec/steps")) {
        let at = at.index(index);
        running |= step.is_null() || step.get("setWeight").is_some() || step.get("setReplicas").is_some();
        pause_has_one_end(step, &at, findings);
        metrics_are_known(step, &at, &metrics, findings);
        if !running {
            evidence_can_be_had(step, &at, findings);
        }
    }
}

fn pause_has_one_end(step: &Value, at: &Path, findings: &mut Findings) {
    let Some(pause) = step.get("pause") else { return };
    if pause.get("duration").is_some() && pause.get("promoteAfter").is_some() {
        let help = "`duration` ends the pause in any case, `promoteAfter` only while the canary is healthy; keep one"
            .to_owned();
        let at = at.field("pause").field("promoteAfter");
        findings.key(at, Code::Conflict, "`duration` and `promoteAfter` stand together", help);
    }
}

/// A soak, and a pause that health ends, look at canary instances; before the first of them has started they would wait for ever.
fn evidence_can_be_had(step: &Value, at: &Path, findings: &mut Findings) {
    let (field, path) = match step {
        step if step.get("soak").is_some() => ("soak", at.field("soak")),
        step if step.pointer("/pause/promoteAfter").is_some() => {
            ("promoteAfter", at.field("pause").field("promoteAfter"))
        }
        _ => return,
    };
    let message = format!("`{field}` looks at canary instances, but no step before it starts one");
    findings.key(path, Code::NeverSucceeds, message, "put a `setWeight` or `setReplicas` before it".to_owned());
}

/// What a step says of metrics is of metrics that there are, and an `analysis` has some to wait for.
fn metrics_are_known(step: &Value, at: &Path, metrics: &metric::Metrics, findings: &mut Findings) {
    for (name, _) in entries(step.get("criteria")) {
        metrics.expect(name, at.field("criteria").field(name), true, findings);
    }
    let Some(analysis) = step.get("analysis") else { return };
    let named = items(analysis.get("metrics")).count();
    for (index, name) in items(analysis.get("metrics")) {
        let Some(name) = name.as_str() else { continue };
        metrics.expect(name, at.field("analysis").field("metrics").index(index), false, findings);
    }
    if named == 0 && !metrics.any_deciding() {
        let help =
            "name the metrics that it waits for, or make one `required` and measured in the `background`".to_owned();
        let message = "`analysis` has no metric to wait for";
        findings.key(at.field("analysis"), Code::NeverSucceeds, message, help);
    }
}
