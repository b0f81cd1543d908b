//! What failing checks say, short and the same for the same cause: `GET /health -> 500`.
//!
//! The words go into a report, and a report is written only when it changes, so nothing that differs from run to run (a port
//! of the client's side, the body of a page) may be in them.

use std::collections::BTreeMap;

use consul_client::{AgentCheck, CheckStatus};
use helium_crds::{
    instance::{Assignment, NOBODY_LISTENS, check_id},
    template::Check,
};

use crate::instance::record::Record;

/// How many characters of words that are not understood are kept.
const LONGEST: usize = 120;
/// What Consul's Go says, and what we say.
const CAUSES: [(&str, &str); 8] = [
    ("connection refused", NOBODY_LISTENS),
    ("Client.Timeout", "timed out"),
    ("deadline exceeded", "timed out"),
    ("i/o timeout", "timed out"),
    ("timed out", "timed out"),
    ("connection reset", "connection reset"),
    ("no route to host", "no route to host"),
    ("EOF", "connection closed without an answer"),
];

/// The checks of an instance that have run and are not passing, by name, with their words.
pub(crate) fn failing(record: &Record, checks: &BTreeMap<String, AgentCheck>) -> BTreeMap<String, String> {
    let Assignment { id, template, .. } = &record.assignment;
    let seen = |name: &str| {
        let seen = checks.get(&check_id(id, name))?;
        (seen.status != CheckStatus::Passing && !seen.output.trim().is_empty()).then_some(&seen.output)
    };
    let own = template.checks.iter().filter_map(|check| {
        Some((check.name.clone(), format!("{} -> {}", question(check), answer(seen(&check.name)?))))
    });
    let packaged = record.checks.iter().filter_map(|check| {
        let answer = if check.is_script() { without_numbers } else { answer };
        Some((check.name.clone(), format!("{} -> {}", check.question(), answer(seen(&check.name)?))))
    });
    own.chain(packaged).collect()
}

/// The first line of what a script printed, with `#` for each number: a measure that differs from run to run would be a report at each.
fn without_numbers(output: &str) -> String {
    let line = output.lines().next().unwrap_or_default().trim();
    let mut shown = String::new();
    for c in line.chars().take(LONGEST) {
        match c {
            _ if !c.is_ascii_digit() => shown.push(c),
            _ if !shown.ends_with('#') => shown.push('#'),
            _ => {}
        }
    }
    shown
}

fn question(check: &Check) -> String {
    match (&check.http, &check.tcp) {
        (Some(http), _) => format!("GET {}", http.path),
        (None, Some(tcp)) => format!("TCP {}", tcp.port.as_deref().unwrap_or("connect")),
        (None, None) => check.name.clone(),
    }
}

fn answer(output: &str) -> String {
    if let Some(status) = http_status(output) {
        return status;
    }
    if let Some((_, words)) = CAUSES.iter().find(|(part, _)| output.contains(part)) {
        return (*words).to_owned();
    }
    output.lines().next().unwrap_or_default().trim().chars().take(LONGEST).collect()
}

/// The status in Consul's `HTTP GET http://127.0.0.1:80/health: 500 Internal Server Error Output: ...`.
fn http_status(output: &str) -> Option<String> {
    let (_, rest) = output.strip_prefix("HTTP ")?.split_once(": ")?;
    let status = rest.split_whitespace().next()?;
    (status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit())).then(|| status.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn said(status: CheckStatus, output: &str) -> BTreeMap<String, String> {
        let record = Record::admit(testing::assignment("hello-0"), testing::instant(0));
        let id = check_id(&record.assignment.id, "up");
        let check = AgentCheck { check_id: id.clone(), status, output: output.to_owned(), ..AgentCheck::default() };
        failing(&record, &BTreeMap::from([(id, check)]))
    }

    #[test]
    fn a_failing_check_is_said_in_a_few_stable_words() {
        for (output, words) in [
            (
                "HTTP GET http://127.0.0.1:20001/health: 500 Internal Server Error Output: at 12:01",
                "GET /health -> 500",
            ),
            (
                "Get http://127.0.0.1:2/health: dial tcp 127.0.0.1:2: connect: connection refused",
                "GET /health -> connection refused",
            ),
            (
                "Get \"http://a/health\": context deadline exceeded (Client.Timeout exceeded)",
                "GET /health -> timed out",
            ),
            ("Get \"http://a/health\": EOF", "GET /health -> connection closed without an answer"),
            ("something else\nsecond line", "GET /health -> something else"),
        ] {
            assert_eq!(said(CheckStatus::Critical, output)["up"], words);
        }
    }

    #[test]
    fn the_numbers_of_a_script_make_no_new_report() {
        assert_eq!(without_numbers("disk 91% full, 3.5 GB\nmore"), "disk #% full, #.# GB");
    }

    #[test]
    fn a_check_that_has_not_run_or_passes_says_nothing() {
        assert!(said(CheckStatus::Critical, "").is_empty());
        assert!(said(CheckStatus::Passing, "HTTP GET http://a/health: 200 OK Output: ok").is_empty());
    }
}
