//! The text of a JSON5 file into nodes.

use std::ops::Range;

use super::{
    Member, Mistake, Node, Parsed, Value,
    scalar::{escape, number},
};

/// How deep values may stand in each other; nothing in these files goes beyond six.
const DEPTH: usize = 64;

/// So many mistakes are told at once: whoever makes more has something else in hand than such a file.
const MISTAKES: usize = 100;

/// A mistake was noted behind which nothing can be made out.
struct Lost;

pub(super) fn parse(text: &str) -> Parsed {
    let mut parser = Parser { text, at: 0, mistakes: Vec::new() };
    let root = parser.root().ok();
    Parsed { root, mistakes: parser.mistakes }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    mistakes: Vec<Mistake>,
}

impl<'t> Parser<'t> {
    fn root(&mut self) -> Result<Node, Lost> {
        self.skip()?;
        if self.peek() == Some('\u{feff}') {
            let reason = "this file begins with a byte order mark";
            return Err(self.lost(0..3, reason, Some("save it without one")));
        }
        if self.peek().is_none() {
            return Err(self.lost(0..self.text.len().min(1), "this file is empty", Some("it begins with `{`")));
        }
        let node = self.value(0)?;
        self.skip()?;
        if let Some(next) = self.peek() {
            let reason = "something follows behind the end of the configuration";
            let fix = matches!(next, '}' | ']').then_some("remove it, or look for a bracket that is missing before");
            self.note(self.at..self.at + next.len_utf8(), reason, fix);
        }
        Ok(node)
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn note(&mut self, span: Range<usize>, reason: &str, fix: Option<&str>) {
        self.mistakes.push(Mistake { span, reason: reason.to_owned(), fix: fix.map(str::to_owned), opened: None });
    }

    fn lost(&mut self, span: Range<usize>, reason: &str, fix: Option<&str>) -> Lost {
        self.note(span, reason, fix);
        Lost
    }

    /// Over white space and comments.
    fn skip(&mut self) -> Result<(), Lost> {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start_matches([' ', '\t', '\r', '\n', '\u{c}']);
            self.at += rest.len() - trimmed.len();
            if trimmed.starts_with("//") {
                self.at += trimmed.find(['\n', '\r']).unwrap_or(trimmed.len());
            } else if let Some(comment) = trimmed.strip_prefix("/*") {
                let Some(length) = comment.find("*/") else {
                    let reason = "this comment is never closed";
                    return Err(self.lost(self.at..self.at + 2, reason, Some("close it with `*/`")));
                };
                self.at += length + 4;
            } else if trimmed.starts_with('#') {
                let reason = "a comment begins with `//`";
                self.note(self.at..self.at + 1, reason, Some("write `//` instead of `#`"));
                self.at += trimmed.find('\n').unwrap_or(trimmed.len());
            } else {
                return Ok(());
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node, Lost> {
        let start = self.at;
        let Some(next) = self.peek() else {
            return Err(self.lost(self.end(), "the file ends where a value should be", None));
        };
        if self.mistakes.len() >= MISTAKES {
            return Err(self.lost(
                start..start + next.len_utf8(),
                "there are more mistakes than are told at once",
                None,
            ));
        }
        if depth > DEPTH {
            return Err(self.lost(start..start + 1, "values stand too deep in each other", None));
        }
        let value = match next {
            '{' => self.object(depth)?,
            '[' => self.list(depth)?,
            '"' | '\'' => Value::Text(self.quoted(next)?),
            _ => self.word()?,
        };
        Ok(Node { span: start..self.at, value })
    }

    fn object(&mut self, depth: usize) -> Result<Value, Lost> {
        let open = self.at..self.at + 1;
        self.at += 1;
        let mut members: Vec<Member> = Vec::new();
        loop {
            self.skip()?;
            match self.peek() {
                None => return Err(self.unclosed(open, "`{`", "}")),
                Some('}') => {
                    self.at += 1;
                    return Ok(Value::Object(members));
                }
                Some(']') => return Err(self.mismatch(open, "`{`", "}")),
                Some(',') => self.comma_too_many(),
                Some(_) => {
                    members.push(self.member(depth)?);
                    self.comma('}')?;
                }
            }
        }
    }

    fn member(&mut self, depth: usize) -> Result<Member, Lost> {
        let start = self.at;
        let key = self.key()?;
        let key_span = start..self.at;
        self.skip()?;
        match self.peek() {
            Some(':') => self.at += 1,
            Some('=') => {
                self.note(self.at..self.at + 1, "a key is followed by a colon", Some("write `:` instead of `=`"));
                self.at += 1;
            }
            Some(c) if starts_value(c) => {
                self.note(
                    key_span.clone(),
                    "there is no colon between this key and its value",
                    Some("write `:` behind it"),
                );
            }
            _ => return Err(self.lost(key_span, "this key has no value", Some("write `:` and a value behind it"))),
        }
        self.skip()?;
        let node = self.value(depth + 1)?;
        Ok(Member { key, key_span, node })
    }

    fn key(&mut self) -> Result<String, Lost> {
        let start = self.at;
        match self.peek() {
            Some(quote @ ('"' | '\'')) => self.quoted(quote),
            Some(c) if is_word(c) => {
                let word = self.take_word();
                let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$');
                if word.starts_with(|c: char| c.is_ascii_digit()) || !word.chars().all(is_bare) {
                    let fix = format!("write `\"{word}\"`");
                    self.note(start..self.at, "a key without quotes has only letters, digits, `_` and `$`", Some(&fix));
                }
                Ok(word.to_owned())
            }
            next => {
                let end = start + next.map_or(0, char::len_utf8);
                Err(self.lost(start..end, "a key should be here", None))
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, Lost> {
        let open = self.at..self.at + 1;
        self.at += 1;
        let mut nodes = Vec::new();
        loop {
            self.skip()?;
            match self.peek() {
                None => return Err(self.unclosed(open, "`[`", "]")),
                Some(']') => {
                    self.at += 1;
                    return Ok(Value::List(nodes));
                }
                Some('}') => return Err(self.mismatch(open, "`[`", "]")),
                Some(',') => self.comma_too_many(),
                Some(_) => {
                    nodes.push(self.value(depth + 1)?);
                    self.comma(']')?;
                }
            }
        }
    }

    /// The comma behind a value; a missing one is noted right there.
    fn comma(&mut self, close: char) -> Result<(), Lost> {
        let end = self.at;
        self.skip()?;
        match self.peek() {
            Some(',') => self.at += 1,
            // What is wrong with these is said by the caller.
            None | Some('}' | ']') => {}
            Some(c) if starts_value(c) => {
                let last = self.text[..end].char_indices().next_back().map_or(end, |(at, _)| at);
                self.note(last..end, "there is no comma behind this value", Some("write `,` behind it"));
            }
            Some(c) => {
                let reason = format!("a comma or `{close}` should be here");
                return Err(self.lost(self.at..self.at + c.len_utf8(), &reason, None));
            }
        }
        Ok(())
    }

    fn comma_too_many(&mut self) {
        self.note(self.at..self.at + 1, "this comma is one too many", Some("remove it"));
        self.at += 1;
    }

    fn unclosed(&mut self, open: Range<usize>, what: &str, close: &str) -> Lost {
        let (reason, fix) = (format!("this {what} is never closed"), format!("write `{close}` where it ends"));
        self.lost(open, &reason, Some(&fix))
    }

    fn mismatch(&mut self, open: Range<usize>, what: &str, close: &str) -> Lost {
        self.mistakes.push(Mistake {
            span: self.at..self.at + 1,
            reason: format!("this does not close the {what}"),
            fix: Some(format!("write `{close}` before it")),
            opened: Some(open.start),
        });
        Lost
    }

    fn end(&self) -> Range<usize> {
        let at = self.text.trim_end().len();
        at.saturating_sub(1)..at
    }

    /// `true`, a number, or a text whose quotes were forgotten.
    fn word(&mut self) -> Result<Value, Lost> {
        let start = self.at;
        let Some(next) = self.peek().filter(|c| is_word(*c)) else {
            let end = start + self.peek().map_or(0, char::len_utf8);
            return Err(self.lost(start..end, "a value should be here", None));
        };
        let word = self.take_word();
        match word {
            "null" => return Ok(Value::Null),
            "true" => return Ok(Value::Bool(true)),
            "false" => return Ok(Value::Bool(false)),
            _ => {}
        }
        match number(word) {
            Ok(value) => Ok(Value::Number(value)),
            Err(reason) if next.is_ascii_digit() || matches!(next, '+' | '-' | '.') => {
                let fix = format!("write `\"{word}\"` if it is a text");
                self.note(start..self.at, reason, Some(&fix));
                Ok(Value::Text(word.to_owned()))
            }
            Err(_) => {
                let word = self.address(start);
                let fix = format!("write `\"{word}\"`");
                self.note(start..self.at, "a text stands between quotes", Some(&fix));
                Ok(Value::Text(word.to_owned()))
            }
        }
    }

    /// A word that goes on behind a colon, like `consul:8500`.
    fn address(&mut self, start: usize) -> &'t str {
        let rest = self.rest();
        let goes_on = rest.starts_with(':') && rest[1..].starts_with(is_word);
        if goes_on {
            self.at += rest.find(|c| !is_word(c) && c != ':').unwrap_or(rest.len());
        }
        &self.text[start..self.at]
    }

    fn take_word(&mut self) -> &'t str {
        let rest = self.rest();
        let mut length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        // A comment ends it.
        for comment in ["//", "/*"] {
            length = rest[..length].find(comment).filter(|at| *at > 0).unwrap_or(length);
        }
        if rest[..length].ends_with('/') && rest[length..].starts_with('*') && length > 1 {
            length -= 1;
        }
        self.at += length;
        &rest[..length]
    }

    fn quoted(&mut self, quote: char) -> Result<String, Lost> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            let from = self.at;
            match self.peek() {
                None | Some('\n' | '\r') => return self.unclosed_text(start, quote),
                Some(c) if c == quote => {
                    self.at += 1;
                    return Ok(text);
                }
                Some('\\') => match escape(&self.text[from + 1..]) {
                    Ok((character, bytes)) => {
                        text.extend(character);
                        self.at += 1 + bytes;
                    }
                    Err(reason) => {
                        let next = self.text[from + 1..].chars().next().map_or(0, char::len_utf8);
                        self.note(from..from + 1 + next, reason, Some("write `\\\\` for a backslash"));
                        self.at += 1;
                    }
                },
                Some(c) if c < ' ' => {
                    let (name, fix) =
                        if c == '\t' { ("a tab", "write `\\t`") } else { ("a control character", "remove it") };
                    self.note(from..from + 1, &format!("{name} stands in this text as it is"), Some(fix));
                    self.at += 1;
                }
                Some(c) => {
                    text.push(c);
                    self.at += c.len_utf8();
                }
            }
        }
    }

    /// A text is closed on its line, or the line before the next one ends with a backslash.
    fn unclosed_text(&mut self, start: usize, quote: char) -> Result<String, Lost> {
        let fix = format!("write `{quote}` where it ends");
        Err(self.lost(start..self.at.min(self.text.len()), "this text is never closed", Some(&fix)))
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$' | '.' | '+' | '-' | '/')
}

fn starts_value(c: char) -> bool {
    is_word(c) || matches!(c, '{' | '[' | '"' | '\'')
}
