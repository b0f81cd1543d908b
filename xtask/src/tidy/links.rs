//! Links between the project's own pages: what they point at is there.

use std::path::{Component, Path, PathBuf};

use super::{Finding, Text};

/// Every link of a page to a file of the tree that is not there. Links to the outside are not followed.
pub(super) fn check(page: &Text, exists: impl Fn(&Path) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let folder = page.path.parent().unwrap_or(Path::new(""));
    for (number, line) in (1..).zip(page.text.lines()) {
        for rest in line.split("](").skip(1) {
            let Some((target, _)) = rest.split_once(')') else { continue };
            let file = target.split('#').next().unwrap_or_default();
            if !file.is_empty() && !target.contains(':') && !exists(&plain(&folder.join(file))) {
                findings.push(Finding::new(&page.path, number, format!("the link leads nowhere: {target}")));
            }
        }
    }
    findings
}

/// The path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::Normal(name) => plain.push(name),
            _ => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::{super::text, *};

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        let page = text(
            "docs/a.md",
            "[b](b.md) [top](../README.md#what) [out](https://example.org/x) [here](#here)\n[gone](gone.md)",
        );
        let findings = check(&page, |path| path == Path::new("docs/b.md") || path == Path::new("README.md"));
        let words: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(words, ["docs/a.md:2: the link leads nowhere: gone.md"]);
    }
}
