//! Rules of a template's package, and of what only a package makes use of.

use serde_json::Value;

use super::{Code, Findings, Path};
use crate::{package::Quiet, variables};

/// What the address of an archive ends in.
const ENDINGS: [&str; 4] = [".tar.gz", ".tgz", ".tar.zst", ".tzst"];

pub(super) fn check(template: &Value, at: &Path, findings: &mut Findings) {
    match template.get("package") {
        Some(package) if package.is_object() => {
            address(package, &at.field("package"), findings);
        }
        Some(_) => {}
        None => only_with_a_package(template, at, findings),
    }
    quiet(template, &at.field("templates").field("quiet"), findings);
}

fn quiet(template: &Value, at: &Path, findings: &mut Findings) {
    let Some(quiet) = super::read::<Quiet>(template.pointer("/templates/quiet")) else { return };
    let (min, max) = quiet.bounds();
    if max < min {
        let message = format!("changes are to rest for {min}, and after {max} that is not waited for");
        let help = "make `max` as long as `min` at least".to_owned();
        findings.value(at.clone(), Code::Conflict, message, help);
    }
}

fn address(package: &Value, at: &Path, findings: &mut Findings) {
    let Some(url) = package.get("url").and_then(Value::as_str) else { return };
    let known = variables::references(url).map(|names| names.into_iter().find(|name| *name != variables::VERSION));
    match known {
        Ok(None) => {}
        Ok(Some(name)) => {
            let help = "only `${VERSION}` is known in an address".to_owned();
            findings.value(at.field("url"), Code::UnknownVariable, format!("`${{{name}}}` stands for nothing"), help);
        }
        Err(error) => {
            let help = "close it with `}`".to_owned();
            findings.value(at.field("url"), Code::UnknownVariable, error.to_string(), help);
        }
    }
    let local = url.starts_with("file://");
    let place = url.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
    if !local && !ENDINGS.iter().any(|ending| place.ends_with(ending)) {
        let help = "give the address of a `.tar.gz` or `.tar.zst`; only a `file://` may be a folder".to_owned();
        findings.value(at.field("url"), Code::BadText, "it cannot be told from its name what this is", help);
    }
    if !local && package.get("sha256").is_none() {
        let help = "`helium package inspect FILE` prints it".to_owned();
        let message = "a package that is not of the agent's own machine needs its `sha256`";
        findings.value(at.clone(), Code::MissingField, message, help);
    }
}

fn only_with_a_package(template: &Value, at: &Path, findings: &mut Findings) {
    for name in ["config", "configUpdate", "secrets", "templates"] {
        if template.get(name).is_some_and(|value| !value.is_null()) {
            let message = format!("`{name}` is for the templates of a package, and there is none");
            findings.key(
                at.field(name),
                Code::Conflict,
                message,
                "add `package: {url: ...}`, or leave it out".to_owned(),
            );
        }
    }
}
