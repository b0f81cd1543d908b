//! `exec`: a text that is split on single spaces, or a list.

use super::block::{Field, go_text};
use crate::{config::Exec, finding::Findings, json5::Value};

pub(super) fn exec(field: &Field<'_>, findings: &mut Findings) -> Option<Exec> {
    let words: Vec<String> = match &field.node.value {
        Value::Text(text) if text.is_empty() => Vec::new(),
        Value::Text(text) => {
            no_shell(field, text.trim(), findings);
            text.trim().split(' ').map(str::to_owned).collect()
        }
        Value::List(nodes) => nodes.iter().map(|node| go_text(&node.value)).collect(),
        other => {
            let reason = format!("a text or a list should be here, and this is {}", other.kind());
            findings.error(&field.node.span, &field.key, reason).fix("write `[\"program\", \"argument\"]`");
            return None;
        }
    };
    let mut words = words.into_iter();
    let Some(program) = words.next() else {
        let finding = findings.error(&field.node.span, &field.key, "this names no program");
        finding.fix("write `[\"program\", \"argument\"]`, or remove the key");
        return None;
    };
    if program.is_empty() {
        findings.warn(&field.node.span, &field.key, "the name of the program is empty, and every run of it fails");
    }
    Some(Exec { program, args: words.collect() })
}

/// A text is not read by a shell: what looks like one's language is passed on as it is.
fn no_shell(field: &Field<'_>, text: &str, findings: &mut Findings) {
    let reason = if text.contains(['"', '\'']) {
        "quotes mean nothing here: the text is split on every single space"
    } else if text.split(' ').any(|word| matches!(word, "|" | "||" | "&&" | "&" | ";" | ">" | ">>" | "<" | "2>&1")) {
        "no shell reads this: it is passed to the program as an argument"
    } else if text.contains("  ") {
        "two spaces make an empty argument between them"
    } else {
        return;
    };
    let fix = if reason.starts_with("no shell") {
        format!("write `[\"/bin/sh\", \"-c\", {text:?}]`")
    } else {
        let words: Vec<String> = split_quoted(text).iter().map(|word| format!("{word:?}")).collect();
        format!("write `[{}]`", words.join(", "))
    };
    findings.warn(&field.node.span, &field.key, reason).fix_or(fix, "write a list: `[\"program\", \"argument\"]`");
}

/// What a shell would take for the words of a text.
fn split_quoted(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut inside = None;
    for c in text.chars() {
        match (inside, c) {
            (Some(quote), _) if quote == c => inside = None,
            (None, '"' | '\'') => inside = Some(c),
            (None, ' ') => words.push(String::new()),
            _ => {
                if let Some(word) = words.last_mut() {
                    word.push(c);
                }
            }
        }
    }
    words.retain(|word| !word.is_empty());
    words
}
