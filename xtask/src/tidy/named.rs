//! Tests that the pages name as proof: each of them exists, and where a page names the file as well, there.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::{Finding, Text, rust::Code};

/// A name of so many words or more is a sentence: that of a test.
const WORDS: usize = 4;

/// The names of all functions of the tree.
pub(super) fn functions<'a>(code: impl Iterator<Item = &'a Code>) -> BTreeSet<String> {
    code.flat_map(Code::functions).map(|function| function.name).collect()
}

/// Every sentence in backticks on a page that is the name of no function.
pub(super) fn check(page: &Text, functions: &BTreeSet<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in (1..).zip(page.text.lines()) {
        for name in line.split('`').skip(1).step_by(2).filter(|name| is_sentence(name)) {
            if !functions.contains(name) {
                findings.push(Finding::new(&page.path, number, format!("there is no test of this name: {name}")));
            }
        }
    }
    findings
}

/// The functions of each file, which is named as the pages do: by its crate and its path in there.
pub(super) type Places = BTreeMap<(String, PathBuf), BTreeSet<String>>;

/// The functions of the files of one crate, whose folder is `folder` in the tree.
pub(super) fn places<'a>(name: &str, folder: &Path, code: impl Iterator<Item = (&'a Text, &'a Code)>) -> Places {
    let place = |(file, code): (&Text, &Code)| {
        let path = file.path.strip_prefix(folder).ok()?.to_owned();
        Some(((name.to_owned(), path), functions([code].into_iter())))
    };
    code.filter_map(place).collect()
}

/// Every `crate: file::test` in backticks on a page that is in that file no function.
pub(super) fn check_places(page: &Text, places: &Places) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in (1..).zip(page.text.lines()) {
        for named in line.split('`').skip(1).step_by(2) {
            let Some((name, file, test)) = place(named) else { continue };
            let functions = places.get(&(name.to_owned(), PathBuf::from(file)));
            if functions.is_none_or(|functions| !functions.contains(test)) {
                findings.push(Finding::new(
                    &page.path,
                    number,
                    format!("there is no test of this name there: {named}"),
                ));
            }
        }
    }
    findings
}

/// The crate, the file and the test of `helium-planner: tests/it/canary.rs::min_passing_tolerates_what_it_says`.
fn place(named: &str) -> Option<(&str, &str, &str)> {
    let (name, rest) = named.split_once(": ")?;
    let (file, test) = rest.rsplit_once("::")?;
    Path::new(file).extension().is_some_and(|end| end == "rs").then_some((name, file, test))
}

fn is_sentence(name: &str) -> bool {
    name.split('_').count() >= WORDS && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::{super::text, *};

    #[test]
    fn a_page_that_names_a_test_that_is_not_there_is_found() {
        let code = Code::of("#[test]\nfn a_lost_instance_is_replaced() {}\n");
        let page = text("docs/a.md", "`a_lost_instance_is_replaced`, `max_surge`\n`a_found_instance_is_replaced`");
        let words: Vec<String> =
            check(&page, &functions([&code].into_iter())).iter().map(ToString::to_string).collect();
        assert_eq!(words, ["docs/a.md:2: there is no test of this name: a_found_instance_is_replaced"]);
    }

    #[test]
    fn a_test_that_is_not_in_the_file_that_is_named_is_found() {
        let (file, code) = (text("room/tests/a.rs", ""), Code::of("#[test]\nfn one() {}\n"));
        let places = places("helium-room", Path::new("room"), [(&file, &code)].into_iter());
        let page = "`helium-room: tests/a.rs::one`, `spec: {a: 1}`\n`helium-room: tests/a.rs::two`\n`helium-hall: tests/a.rs::one`";
        let findings = check_places(&text("docs/a.md", page), &places);
        let words: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(
            words,
            [
                "docs/a.md:2: there is no test of this name there: helium-room: tests/a.rs::two",
                "docs/a.md:3: there is no test of this name there: helium-hall: tests/a.rs::one"
            ]
        );
    }

    /// The claims of the comparisons rest on these.
    #[test]
    fn the_comparisons_name_their_proofs_by_their_places() {
        for page in ["docs/comparison.md", "docs/comparison-agents.md"] {
            let text = std::fs::read_to_string(crate::project::Project::here().root.join(page)).unwrap();
            let named = text.split('`').skip(1).step_by(2).filter(|named| place(named).is_some());
            assert!(named.count() >= 40, "{page}: each claim that Helium does better has its test");
        }
    }
}
