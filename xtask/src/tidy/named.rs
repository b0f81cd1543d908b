//! Tests that the pages name as proof: each of them exists.

use std::collections::BTreeSet;

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
}
