//! Rules of a template's package, and of what only a package makes use of.

use serde_json::Value;

use super::{Code, Findings, Path};
use crate::{package::Quiet, variables};

/// What the address of an archive ends in.
const ENDINGS: [&str; 4] = [".tar.gz", ".tgz", ".tar.zst", ".tzst"];

/// What begins the address of a path of the Nix store.
const NIX: &str = "nix://";
/// How many characters the hash in such a path has, and which there are.
const NIX_HASH: usize = 32;
const NIX_DIGITS: &str = "0123456789abcdfghijklmnpqrsvwxyz";

pub(super) fn check(template: &Value, at: &Path, findings: &mut Findings) {
    match template.get("package") {
        Some(package) if package.is_object() => {
            address(package, &at.field("package"), findings);
            store_path(package, template.get("version"), &at.field("package"), findings);
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
    if url.starts_with(NIX) {
        return;
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

/// A path of the Nix store is whole, once the version is filled in, and Nix alone verifies it.
fn store_path(package: &Value, version: Option<&Value>, at: &Path, findings: &mut Findings) {
    let Some(url) = package.get("url").and_then(Value::as_str).filter(|url| url.starts_with(NIX)) else { return };
    let version = version.and_then(Value::as_str).filter(|version| !version.is_empty());
    // What has no version yet is told for that.
    let whole = match version {
        Some(version) => url.replace("${VERSION}", version),
        None => url.to_owned(),
    };
    if !whole.contains("${") && !is_store_path(&whole) {
        let help = "a store path is `nix:///nix/store/<hash>-<name>`, with a hash of 32 characters; \
                    with `nix:///nix/store/${VERSION}` the version is `<hash>-<name>`";
        let message = format!("`{whole}` is no path of the Nix store");
        findings.value(at.field("url"), Code::BadText, message, help.to_owned());
    }
    for name in ["sha256", "signature"] {
        if package.get(name).is_some_and(|value| !value.is_null()) {
            let message = format!("a path of the Nix store has no `{name}` here: Nix verifies it by its own");
            findings.key(at.field(name), Code::Conflict, message, "leave it out".to_owned());
        }
    }
}

fn is_store_path(url: &str) -> bool {
    let split = url.strip_prefix(NIX).and_then(|path| path.rsplit_once('/'));
    let Some((store, Some((hash, name)))) = split.map(|(store, base)| (store, base.split_once('-'))) else {
        return false;
    };
    let in_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'_' | b'=');
    let is_hash = hash.len() == NIX_HASH && hash.chars().all(|digit| NIX_DIGITS.contains(digit));
    let is_store = store.starts_with('/') && !store.split('/').any(|part| matches!(part, "." | ".."));
    is_hash && is_store && !name.is_empty() && name.bytes().all(in_name)
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
