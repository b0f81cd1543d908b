//! Rules of a Canary's steps.

use serde_json::Value;

use super::{Code, Findings, Path, entries, items, metric};

pub(super) fn check(object: &Value, findings: &mut Findings) {
    metric::check(object, findings);
    let metrics = metric::Metrics::of(object);
    blue_green(object, &metrics, findings);
    let at = Path::of(&["spec", "steps"]);
    let mut running = false;
    for (index, step) in items(object.pointer("/spec/steps")) {
        let at = at.index(index);
        running |=
            step.is_null() || ["preview", "setWeight", "setReplicas"].iter().any(|kind| step.get(kind).is_some());
        preview_has_some(step.get("preview"), &at, findings);
        pause_has_one_end(step, &at, findings);
        metrics_are_known(step, &at, &metrics, findings);
        analysis_has_metrics(step.get("analysis"), &at, &metrics, findings);
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
    findings.key(
        path,
        Code::NeverSucceeds,
        message,
        "put a `preview`, `setWeight` or `setReplicas` before it".to_owned(),
    );
}

/// A preview of nothing would be no step.
fn preview_has_some(preview: Option<&Value>, at: &Path, findings: &mut Findings) {
    let Some(preview) = preview else { return };
    if preview.as_u64() == Some(0) || preview.as_str() == Some("0%") {
        let help = "write a number of at least 1, or a share of at least `1%`".to_owned();
        findings.value(at.field("preview"), Code::OutOfRange, "a preview of nothing", help);
    }
}

/// Of a switch it is known what comes before it and who decides: what only steps have, or says the same twice, has no place beside it.
fn blue_green(object: &Value, metrics: &metric::Metrics, findings: &mut Findings) {
    let Some(switch) = object.pointer("/spec/blueGreen") else { return };
    let at = Path::of(&["spec", "blueGreen"]);
    preview_has_some(switch.get("preview"), &at, findings);
    analysis_has_metrics(switch.get("analysis"), &at, metrics, findings);
    if switch.get("promoteAfter").is_some() && object.pointer("/spec/autoPromote") == Some(&Value::Bool(false)) {
        let help = "`promoteAfter` switches by itself, and `autoPromote: false` only when a person promotes; keep one"
            .to_owned();
        let message = "`promoteAfter` and `autoPromote: false` stand together";
        findings.key(at.field("promoteAfter"), Code::Conflict, message, help);
    }
    if object.pointer("/spec/trafficRouting").and_then(Value::as_str) == Some("consulWeights") {
        let at = Path::of(&["spec", "trafficRouting"]);
        let help = "leave it out, or write `steps` with a `preview` and weights in place of `blueGreen`".to_owned();
        findings.key(at, Code::Conflict, "a switch has no share that weights in Consul could make", help);
    }
}

/// What a step says of metrics is of metrics that there are.
fn metrics_are_known(step: &Value, at: &Path, metrics: &metric::Metrics, findings: &mut Findings) {
    for (name, _) in entries(step.get("criteria")) {
        metrics.expect(name, at.field("criteria").field(name), true, findings);
    }
}

/// An `analysis` has metrics to wait for, and they are there.
fn analysis_has_metrics(analysis: Option<&Value>, at: &Path, metrics: &metric::Metrics, findings: &mut Findings) {
    let Some(analysis) = analysis else { return };
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
