//! Rules of a Canary.

use serde_json::Value;

use super::{Code, Findings, Path, items};

pub(super) fn check(object: &Value, findings: &mut Findings) {
    let at = Path::of(&["spec", "steps"]);
    let mut running = false;
    for (index, step) in items(object.pointer("/spec/steps")) {
        let at = at.index(index);
        running |= step.is_null() || step.get("setWeight").is_some() || step.get("setReplicas").is_some();
        pause_has_one_end(step, &at, findings);
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
