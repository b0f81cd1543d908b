//! A crate's Cargo.toml: lints and versions are the workspace's, and what is not used is not there.

use std::path::Path;

use super::{Finding, Text, rust::Code};
use crate::metadata::Package;

/// What is wrong with the manifest of one crate; `files` are the crate's own.
pub(super) fn check(package: &Package, folder: &Path, files: &[&Text]) -> Vec<Finding> {
    let path = folder.join("Cargo.toml");
    let Some(manifest) = files.iter().find(|file| file.path == path) else {
        return vec![Finding::new(&path, 1, "the manifest is not in git")];
    };
    let mut findings = Vec::new();
    let mut section = "";
    let mut has_lints = false;
    for (number, line) in (1..).zip(manifest.text.lines()) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if section == "lints" && line == "workspace = true" {
            has_lints = true;
        } else if section.ends_with("dependencies") && line.contains('=') && !line.contains("workspace = true") {
            findings.push(Finding::new(
                &path,
                number,
                "versions stand in the workspace's Cargo.toml only: `x.workspace = true`",
            ));
        }
    }
    if !has_lints {
        findings.push(Finding::new(&path, 1, "without `[lints] workspace = true` this crate is not linted"));
    }
    let code: Vec<Code> = files
        .iter()
        .filter(|file| file.path.extension().is_some_and(|end| end == "rs"))
        .map(|f| Code::of(&f.text))
        .collect();
    for dependency in &package.dependencies {
        let name = dependency.name.replace('-', "_");
        if !code.iter().any(|code| code.places(&name).next().is_some()) {
            findings.push(Finding::new(&path, 1, format!("{} is not used", dependency.name)));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{super::text, *};
    use crate::metadata::Dependency;

    fn words(manifest: &str, code: &str, dependencies: &[&str]) -> Vec<String> {
        let dependencies =
            dependencies.iter().map(|name| Dependency { name: (*name).to_owned(), for_tests: false }).collect();
        let package = Package { name: "a".to_owned(), manifest: "/tree/a/Cargo.toml".into(), dependencies };
        let files = [text("a/Cargo.toml", manifest), text("a/src/lib.rs", code)];
        let findings = check(&package, Path::new("a"), &files.iter().collect::<Vec<_>>());
        findings.into_iter().map(|finding| finding.to_string()).collect()
    }

    const GOOD: &str = "[dependencies]\nhttp-body.workspace = true\n\n[lints]\nworkspace = true\n";

    #[test]
    fn a_manifest_of_the_house_passes() {
        assert_eq!(words(GOOD, "use http_body::Body;", &["http-body"]), Vec::<String>::new());
    }

    #[test]
    fn missing_lints_are_found() {
        let manifest = "[dependencies]\n[package]\nworkspace = true\n";
        assert_eq!(
            words(manifest, "", &[]),
            ["a/Cargo.toml:1: without `[lints] workspace = true` this crate is not linted"]
        );
    }

    #[test]
    fn a_version_of_its_own_is_found() {
        let manifest = GOOD.replace("http-body.workspace = true", "http-body = \"1\"");
        assert!(words(&manifest, "http_body", &["http-body"])[0].starts_with("a/Cargo.toml:2: versions stand"));
    }

    #[test]
    fn a_dependency_that_only_a_comment_names_is_found() {
        assert_eq!(words(GOOD, "// http_body", &["http-body"]), ["a/Cargo.toml:1: http-body is not used"]);
    }
}
