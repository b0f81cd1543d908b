//! Where a version comes from: the template says it, or `versionFrom` does.

use serde_json::Value;

use super::{Code, Findings, Path};

pub(super) fn check(spec: &Value, at: &Path, findings: &mut Findings) {
    let Some(template) = spec.get("template").filter(|template| template.is_object()) else { return };
    let version = at.field("template").field("version");
    match (template.get("version"), spec.get("versionFrom")) {
        (None, None) => {
            let message = "`template` lacks `version`";
            let help =
                "The label people know this revision by, such as `\"1.0.0\"`; in quotes where it looks like a number";
            findings.value(version, Code::MissingField, message, help.to_owned());
        }
        (Some(_), Some(_)) => {
            let message = "`template.version` and `versionFrom` stand together";
            let help =
                "keep `version` to say it yourself, or `versionFrom` to take that of the newest build".to_owned();
            findings.key(version, Code::Conflict, message, help);
        }
        _ => {}
    }
}
