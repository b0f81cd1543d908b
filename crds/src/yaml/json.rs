//! The one thing that JSON may say and YAML may not: a character as two escapes, `\ud83d\ude00`, as many JSON writers spell whatever is beyond
//! the first 65,536.

use std::borrow::Cow;

/// A text whose characters are known by their places in another text.
pub(super) struct Mapped<'a> {
    /// The text to parse.
    pub(super) text: Cow<'a, str>,
    /// The byte offset in the original of each character; empty if both are the same and ASCII.
    pub(super) bytes: Vec<usize>,
}

/// The text with such pairs of escapes as one escape each, if it is JSON.
pub(super) fn join_surrogates(text: &str) -> Mapped<'_> {
    let is_json = text.trim_start_matches("---").trim_start().starts_with(['{', '[']);
    if !is_json || !text.contains("\\u") {
        let bytes = if text.is_ascii() { Vec::new() } else { text.char_indices().map(|(at, _)| at).collect() };
        return Mapped { text: Cow::Borrowed(text), bytes };
    }
    let mut joined = String::with_capacity(text.len());
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(character) = text[at..].chars().next() {
        let piece = match (character, pair(&text[at..])) {
            ('\\', Some(code)) => (format!("\\U{code:08x}"), 12),
            // The character after a backslash belongs to it: `\\ud83d` is a backslash and five letters.
            ('\\', None) => {
                let length = 1 + text[at + 1..].chars().next().map_or(0, char::len_utf8);
                (text[at..at + length].to_owned(), length)
            }
            _ => (character.to_string(), character.len_utf8()),
        };
        let (piece, length) = piece;
        let unchanged = piece.len() == length;
        bytes.extend(piece.char_indices().map(|(offset, _)| if unchanged { at + offset } else { at }));
        joined.push_str(&piece);
        at += length;
    }
    Mapped { text: Cow::Owned(joined), bytes }
}

/// The character that a text begins with, if it is written as two escapes.
fn pair(text: &str) -> Option<u32> {
    let unit = |text: &str| u32::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok();
    let (high, low) = (unit(text)?, unit(text.get(6..)?)?);
    let is_pair = (0xd800..0xdc00).contains(&high) && (0xdc00..0xe000).contains(&low);
    is_pair.then(|| 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_escapes_are_joined_and_nothing_else_is_touched() {
        let mapped = join_surrogates(r#"{"ä": "\ud83d\ude00x\\ud83d\ude00\u00e4"}"#);
        assert_eq!(mapped.text, r#"{"ä": "\U0001f600x\\ud83d\ude00\u00e4"}"#);
        let x = mapped.text.chars().position(|c| c == 'x').unwrap();
        assert_eq!(mapped.bytes[x], 20);
        assert_eq!(mapped.bytes.len(), mapped.text.chars().count());
        assert_eq!(join_surrogates(r#"a: "\ud83d\ude00""#).text, r#"a: "\ud83d\ude00""#);
    }
}
