//! What people read, without what is different each time: ages, ids, instants, and the marks of this fleet.

use regex_lite::Regex;

use crate::fleet::Fleet;

/// The text with a word in place of everything that changes from run to run, and one space between columns, as their width changes
/// with it. That columns are in line is shown where the rows are made.
pub(crate) fn steady(fleet: &Fleet, text: &str) -> String {
    let mark = fleet.node(1).trim_start_matches("n1").to_owned();
    let text = text.replace(&mark, "").replace(env!("CARGO_PKG_VERSION"), "VERSION");
    let mut text = text.trim_end().to_owned();
    for (pattern, word) in [
        (r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "INSTANT"),
        (r"\b[0-9a-f]{32}\b", "UID"),
        (r"-[0-9a-f]{8,10}\b", "-ID"),
        (r"\b[0-9a-f]{8}\b", "HASH"),
        // An age is a cell of its own; a period in a document stands one space behind its field.
        (r"(^|  )(\d+[smhd])+(  |$)", "${1}AGE$3"),
        (r"(by: +)\S+@\S+", "${1}SOMEBODY"),
        (r"(\S) {2,}", "$1 "),
    ] {
        let lines: Vec<String> = text
            .lines()
            .map(|line| Regex::new(pattern).unwrap().replace_all(line, word).trim_end().to_owned())
            .collect();
        text = lines.join("\n");
    }
    text
}
