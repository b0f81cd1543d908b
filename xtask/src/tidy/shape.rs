//! The shape of a Rust file: it says what it is, and neither it nor a function in it is too long.

use std::path::Path;

use super::{Finding, Text, rust::Code};

/// Whoever needs more lines in a file splits it by noun; tests are not counted.
const FILE_LINES: usize = 600;
/// Whoever needs more lines in a function splits it; tests are not counted.
const FUNCTION_LINES: usize = 70;

/// What is wrong with the shape of one file.
pub(super) fn check(file: &Text, code: &Code) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !file.text.starts_with("//!") && !is_tests_of_module(&file.path) {
        findings.push(Finding::new(&file.path, 1, "a file begins with one sentence that says what it is: `//! ...`"));
    }
    if is_test(&file.path) {
        return findings;
    }
    let lines = code.lines_without_tests();
    if lines > FILE_LINES {
        let words = format!("{lines} lines without its tests; at most {FILE_LINES}: split it by noun");
        findings.push(Finding::new(&file.path, 1, words));
    }
    for function in code.functions().into_iter().filter(|f| !f.in_test && f.lines > FUNCTION_LINES) {
        let words = format!("`{}` has {} lines; at most {FUNCTION_LINES}", function.name, function.lines);
        findings.push(Finding::new(&file.path, function.line, words));
    }
    findings
}

/// Whether a file holds only tests: it is in a crate's `tests` folder, or the tests of a module.
fn is_test(path: &Path) -> bool {
    let in_tests = path.ancestors().skip(1).any(|folder| folder.ends_with("tests") && folder != Path::new("tests"));
    in_tests || is_tests_of_module(path)
}

/// Whether a file is `tests.rs` or `..._tests.rs`, the tests of the module beside it: its name says all.
fn is_tests_of_module(path: &Path) -> bool {
    path.file_stem().is_some_and(|name| name == "tests" || name.to_string_lossy().ends_with("_tests"))
}

#[cfg(test)]
mod tests {
    use super::{super::text, *};

    fn words(file: &Text) -> Vec<String> {
        check(file, &Code::of(&file.text)).into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn a_file_that_does_not_say_what_it_is_is_found() {
        assert_eq!(words(&text("a/src/lib.rs", "//! What it is.\n")), Vec::<String>::new());
        assert!(words(&text("a/src/lib.rs", "use std::fmt;\n"))[0].starts_with("a/src/lib.rs:1: a file begins"));
    }

    #[test]
    fn a_long_file_is_found_and_its_tests_are_not_counted() {
        let body = "//! It.\n".to_owned() + &"const X: u8 = 1;\n".repeat(599);
        assert_eq!(words(&text("a/src/lib.rs", &body)), Vec::<String>::new());
        let tests = format!("{body}#[cfg(test)]\nmod tests {{\n{}}}\n", "// x\n".repeat(500));
        assert_eq!(words(&text("a/src/lib.rs", &tests)), Vec::<String>::new());
        let longer = body + "const X: u8 = 1;\n";
        assert!(words(&text("a/src/lib.rs", &longer))[0].contains("601 lines"));
    }

    #[test]
    fn a_long_function_is_found_outside_tests() {
        let long = format!("//! It.\n\nfn long() {{\n{}}}\n", "    call();\n".repeat(69));
        assert_eq!(words(&text("a/src/lib.rs", &long)), ["a/src/lib.rs:3: `long` has 71 lines; at most 70"]);
        assert_eq!(words(&text("a/tests/it/main.rs", &long)), Vec::<String>::new());
        assert_eq!(words(&text("tests/e2e/src/lib.rs", &long)).len(), 1);
    }
}
