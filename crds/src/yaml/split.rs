//! Cuts a text into its documents before any of them is parsed, so that a syntax error in one does not hide the others.
//!
//! YAML allows this: a line that begins with `---` ends whatever came before it, be it a quoted text or a block of literal lines.

use std::ops::Range;

/// The byte ranges of the documents of a text, each from its `---` line on. Ranges that hold only comments are left out.
pub(super) fn split(text: &str) -> Vec<Range<usize>> {
    let mut chunks = Vec::new();
    let mut start = 0;
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        if is_marker(line) {
            chunks.push(start..offset);
            start = offset;
        }
        offset += line.len();
    }
    chunks.push(start..text.len());
    chunks.retain(|chunk| text[chunk.clone()].lines().any(says_something));
    chunks
}

fn is_marker(line: &str) -> bool {
    line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// False for what stands between documents: comments, empty lines, markers, and the line that names YAML's version.
fn says_something(line: &str) -> bool {
    let line = line.trim_end();
    let body = line.strip_prefix("---").unwrap_or(line).trim_start();
    !(body.is_empty() || body.starts_with('#') || line == "..." || line.starts_with("%YAML "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Vec<&str> {
        split(text).into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn documents_are_cut_at_their_markers_and_comments_are_none() {
        assert_eq!(pieces("a: 1\n---\nb: 2\n"), ["a: 1\n", "---\nb: 2\n"]);
        assert_eq!(pieces("# licence\n---\na: 1\n---\n# nothing\n"), ["---\na: 1\n"]);
        assert_eq!(pieces("%YAML 1.2\n---\na: 1\n...\n---\n"), ["---\na: 1\n...\n"]);
        assert_eq!(pieces("a: |\n  text\n  --- more\n--- {b: 2}"), ["a: |\n  text\n  --- more\n", "--- {b: 2}"]);
        assert_eq!(pieces(""), Vec::<&str>::new());
        assert_eq!(pieces("----\n"), ["----\n"]);
    }
}
