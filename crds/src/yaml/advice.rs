//! What most often lies behind a syntax error: the parser says where it gave up, and people want to know what to change.

/// What to do about a syntax error. `before` and `rest` are the text on both sides of it, `line` gives the line number of an offset in
/// `before`.
pub(super) fn advice(info: &str, before: &str, rest: &str, line: impl Fn(usize) -> usize) -> Option<String> {
    match unclosed(before) {
        Some((bracket, offset)) if !rest.starts_with(['{', '}']) => {
            Some(format!("the `{bracket}` on line {} is not closed before this", line(offset)))
        }
        _ => by_words(info, rest).map(str::to_owned),
    }
}

/// The innermost bracket that is open at the end of a text, and where it is. Quotes are told from apostrophes by what is before them.
fn unclosed(text: &str) -> Option<(char, usize)> {
    let mut open: Vec<(char, usize)> = Vec::new();
    let mut quote = None;
    let mut before = '\n';
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (Some('#'), '\n') => quote = None,
            (Some(mark), character) if mark != '#' && mark == character && before != '\\' => quote = None,
            (None, '#') if before.is_whitespace() => quote = Some('#'),
            (None, '"' | '\'') if before.is_whitespace() || ['[', '{', ',', ':'].contains(&before) => {
                quote = Some(character);
            }
            (None, '[' | '{') if !open.is_empty() || before.is_whitespace() => open.push((character, at)),
            (None, ']' | '}') => {
                open.pop();
            }
            _ => {}
        }
        before = character;
    }
    open.pop()
}

/// By the parser's words.
fn by_words(info: &str, rest: &str) -> Option<&'static str> {
    if info.contains("mapping values are not allowed") || info.contains("simple key") {
        Some("write a value that holds `: ` in quotes, and indent the fields of one mapping alike")
    } else if info.contains("start any token") || rest.starts_with(['@', '`', '%', '*', '&']) {
        Some("write a value that begins with one of @ ` % * & ! | > in quotes")
    } else if info.contains("flow") || info.contains("expected ',' or") || rest.starts_with(['{', '}']) {
        Some(
            "close every `[` and `{`, and write text with `{`, `}`, `[`, `]` or `,` within them in quotes: \"${PORT}\"",
        )
    } else if info.contains("quoted") || info.contains("scalar") {
        Some("close the quotes, and double a quote within single quotes: 'it''s'")
    } else if info.contains("block") || info.contains("indent") {
        Some("indent the fields of one mapping alike, and the items of one list alike")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_open_bracket_is_found() {
        for (text, open) in [
            ("a: [b", Some('[')),
            ("a: [b, {c: d}", Some('[')),
            ("a: [b, {c: d", Some('{')),
            ("a: [b]", None),
            ("a: \"[\" # [", None),
            ("a: '[' # {\nb: {", Some('{')),
            ("a: don't [", Some('[')),
            ("# a # [\nb: 1", None),
            ("a: [\"\\\"]\"", Some('[')),
        ] {
            assert_eq!(unclosed(text).map(|(bracket, _)| bracket), open, "{text}");
        }
    }
}
