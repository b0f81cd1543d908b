//! Rust source as the rules see it: the code without what is in comments and literals, and where its tests and functions are.

use std::ops::Range;

/// The code of a file: as long as its text, with spaces for comments, strings and characters.
#[derive(Clone, Debug)]
pub(super) struct Code {
    code: String,
    tests: Vec<Range<usize>>,
}

/// A function with a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: String,
    /// The line of its `fn`, from 1.
    pub(super) line: usize,
    /// From its `fn` to its last brace, both lines counted.
    pub(super) lines: usize,
    pub(super) in_test: bool,
}

impl Code {
    /// Masks a file.
    pub(super) fn of(text: &str) -> Self {
        let code = mask(text);
        let tests = code.match_indices("#[cfg(test)]").filter_map(|(at, _)| Some(at..body(&code, at)?.end)).collect();
        Self { code, tests }
    }

    /// Each place of a word or macro name in the code, tests too: its offset, and the code behind it.
    pub(super) fn places(&self, word: &str) -> impl Iterator<Item = (usize, &str)> {
        let found = self.code.match_indices(word).filter(|(at, _)| {
            let before = self.code[..*at].chars().next_back();
            let after = self.code[at + word.len()..].chars().next();
            !before.is_some_and(is_part_of_name) && !after.is_some_and(is_part_of_name)
        });
        found.map(|(at, word)| (at, &self.code[at + word.len()..]))
    }

    /// The line of an offset, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        1 + self.code[..at].matches('\n').count()
    }

    /// How many lines the file has outside its tests.
    pub(super) fn lines_without_tests(&self) -> usize {
        let in_tests: usize = self.tests.iter().map(|range| 1 + self.code[range.clone()].matches('\n').count()).sum();
        self.code.lines().count().saturating_sub(in_tests)
    }

    /// All functions with a body.
    pub(super) fn functions(&self) -> Vec<Function> {
        let found = self.places("fn").filter_map(|(at, rest)| {
            let name: String = rest.trim_start().chars().take_while(|c| is_part_of_name(*c)).collect();
            let body = body(&self.code, at)?;
            let lines = 1 + self.code[at..body.end].matches('\n').count();
            let in_test = self.tests.iter().any(|range| range.contains(&at));
            (!name.is_empty()).then(|| Function { name, line: self.line(at), lines, in_test })
        });
        found.collect()
    }
}

fn is_part_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The braces that follow an offset, if they come before a semicolon outside of parentheses and brackets.
fn body(code: &str, from: usize) -> Option<Range<usize>> {
    let (mut round, mut braces, mut start) = (0_i32, 0_i32, None);
    for (at, c) in code[from..].char_indices() {
        match (c, start) {
            ('(' | '[', None) => round += 1,
            (')' | ']', None) => round -= 1,
            (';', None) if round == 0 => return None,
            ('{', None) if round == 0 => {
                start = Some(from + at);
                braces = 1;
            }
            ('{', Some(_)) => braces += 1,
            ('}', Some(first)) => {
                braces -= 1;
                if braces == 0 {
                    return Some(first..from + at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// Puts spaces for comments and literals; lines stay where they are.
fn mask(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let hidden = hidden(rest, masked.chars().next_back());
        if hidden == 0 {
            masked.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            let (gone, kept) = rest.split_at(hidden);
            masked.extend(gone.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
            rest = kept;
        }
    }
    masked
}

/// How many bytes at the start of `rest` are one comment or literal; 0 if it starts with code.
fn hidden(rest: &str, before: Option<char>) -> usize {
    let in_name = before.is_some_and(is_part_of_name);
    let prefix = rest.len() - rest.trim_start_matches(['b', 'c', 'r']).len();
    let literal = &rest[if in_name { 0 } else { prefix.min(2) }..];
    let skipped = rest.len() - literal.len();
    if rest.starts_with("//") {
        rest.find('\n').unwrap_or(rest.len())
    } else if rest.starts_with("/*") {
        block_comment(rest)
    } else if rest[..skipped].contains('r') && literal.starts_with(['"', '#']) {
        raw_string(literal).map_or(0, |length| skipped + length)
    } else if literal.starts_with('"') {
        skipped + quoted(literal, '"')
    } else if literal.starts_with('\'') && is_character(literal) {
        skipped + quoted(literal, '\'')
    } else {
        0
    }
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// The length of `##"..."##`; none for a raw identifier as `r#type`.
fn raw_string(literal: &str) -> Option<usize> {
    let hashes = literal.len() - literal.trim_start_matches('#').len();
    let inside = literal[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    Some(inside.find(&close).map_or(literal.len(), |end| hashes + 1 + end + close.len()))
}

fn quoted(literal: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in literal.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    literal.len()
}

/// Whether `'` begins a character, and not a lifetime: `'a'` and `'\n'`, but not `'a`.
fn is_character(literal: &str) -> bool {
    let mut chars = literal.chars().skip(1);
    match (chars.next(), chars.next()) {
        (Some('\\'), _) => true,
        (Some(_), Some(second)) => second == '\'',
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_not_code() {
        let text =
            "a // fn x {\nb /* fn /* y */ { */ c \"fn \\\" {\" d r#\"fn \" {\"# e b'{' f '\\'' g 'h i: &'static str j";
        let code = Code::of(text);
        assert_eq!(code.code.len(), text.len());
        let words: Vec<&str> = code.code.split_whitespace().collect();
        assert_eq!(words, ["a", "b", "c", "d", "e", "f", "g", "'h", "i:", "&'static", "str", "j"]);
    }

    #[test]
    fn a_raw_identifier_is_code() {
        assert_eq!(Code::of("let r#type = br\"{\";").code, "let r#type =      ;");
    }

    #[test]
    fn functions_are_measured_with_their_braces() {
        let text = "trait T { fn none(&self); }\nfn one(x: [u8; 4]) -> char {\n    if true { '}' } else { 'x' }\n}\n\
                    #[cfg(test)]\nmod tests {\n    fn two() {}\n}\nfn three() {}\n";
        let functions = Code::of(text).functions();
        let seen: Vec<(&str, usize, usize, bool)> =
            functions.iter().map(|f| (f.name.as_str(), f.line, f.lines, f.in_test)).collect();
        assert_eq!(seen, [("one", 2, 3, false), ("two", 7, 1, true), ("three", 9, 1, false)]);
        assert_eq!(Code::of(text).lines_without_tests(), 5);
    }
}
