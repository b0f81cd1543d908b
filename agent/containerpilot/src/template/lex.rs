//! The words of one action, that is of what stands between `{{` and `}}`.

use std::ops::Range;

use super::TemplateError;

/// A word of an action.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Word {
    /// A keyword or the name of a function.
    Name(String),
    /// `.`
    Dot,
    /// `.NAME`
    Field(String),
    /// `$` or `$name`, with the dollar.
    Variable(String),
    Text(String),
    Int(i64),
    Float(f64),
    Pipe,
    Open,
    Close,
    Comma,
    /// `:=`
    Declare,
    /// `=`
    Assign,
}

/// A word and where it is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) word: Word,
    /// Bytes of the file.
    pub(super) span: Range<usize>,
    /// Whether there is a space before it: `.A.B` is one operand and `.A .B` are two.
    pub(super) spaced: bool,
}

/// The words of an action that begins at `start`, behind its `{{`, and where its `}}` is (with the minus of a trim marker before it, if any).
pub(super) fn lex(text: &str, start: usize, action: usize) -> Result<(Vec<Token>, Range<usize>), TemplateError> {
    let mut lexer = Lexer { text, at: start };
    let mut tokens = Vec::new();
    loop {
        let spaced = lexer.skip_spaces();
        let from = lexer.at;
        if let Some(end) = lexer.end(spaced) {
            return Ok((tokens, end));
        }
        let Some(next) = lexer.peek() else {
            return Err(TemplateError::new(action..action + 2, "this `{{` is never closed").fix("close it with `}}`"));
        };
        if next == '\n' || next == '\r' {
            let error = TemplateError::new(action..from, "an action ends on the line on which it begins");
            return Err(error.fix("close it with `}}` on this line"));
        }
        let word = lexer.word(next)?;
        tokens.push(Token { word, span: from..lexer.at, spaced });
    }
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn skip_spaces(&mut self) -> bool {
        let trimmed = self.rest().trim_start_matches([' ', '\t']);
        let skipped = self.rest().len() - trimmed.len();
        self.at += skipped;
        skipped > 0
    }

    fn end(&self, spaced: bool) -> Option<Range<usize>> {
        if self.rest().starts_with("}}") {
            return Some(self.at..self.at + 2);
        }
        (spaced && self.rest().starts_with("-}}")).then(|| self.at..self.at + 3)
    }

    fn word(&mut self, next: char) -> Result<Word, TemplateError> {
        let signed =
            matches!(next, '+' | '-') && self.rest()[1..].starts_with(|c: char| c.is_ascii_digit() || c == '.');
        let fraction = next == '.' && self.rest()[1..].starts_with(|c: char| c.is_ascii_digit());
        match next {
            '"' => self.quoted(),
            '`' => self.raw(),
            '\'' => self.character(),
            _ if signed || fraction || next.is_ascii_digit() => self.number(),
            '$' => {
                self.at += 1;
                Ok(Word::Variable(format!("${}", self.name())))
            }
            '.' => {
                self.at += 1;
                let name = self.name();
                Ok(if name.is_empty() { Word::Dot } else { Word::Field(name) })
            }
            _ if is_name(next) => Ok(Word::Name(self.name())),
            _ => self.sign(next),
        }
    }

    fn sign(&mut self, next: char) -> Result<Word, TemplateError> {
        let from = self.at;
        if self.rest().starts_with(":=") {
            self.at += 2;
            return Ok(Word::Declare);
        }
        self.at += next.len_utf8();
        match next {
            '|' => Ok(Word::Pipe),
            '(' => Ok(Word::Open),
            ')' => Ok(Word::Close),
            ',' => Ok(Word::Comma),
            '=' => Ok(Word::Assign),
            _ => Err(TemplateError::new(from..self.at, format!("`{next}` has no meaning here"))),
        }
    }

    fn name(&mut self) -> String {
        let rest = self.rest();
        let name = &rest[..rest.find(|c| !is_name(c)).unwrap_or(rest.len())];
        let name = name.to_owned();
        self.at += name.len();
        name
    }

    fn number(&mut self) -> Result<Word, TemplateError> {
        let from = self.at;
        let rest = self.rest();
        let mut before = ' ';
        let length = rest
            .find(|c: char| {
                let exponent = matches!(before, 'e' | 'E' | ' ') && matches!(c, '+' | '-');
                before = c;
                !(exponent || c.is_ascii_alphanumeric() || c == '.' || c == '_')
            })
            .unwrap_or(rest.len());
        let digits = rest[..length].to_owned();
        self.at += length;
        if let Some(value) = crate::number::go_int(&digits) {
            return Ok(Word::Int(value));
        }
        match digits.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Word::Float(value)),
            _ => Err(TemplateError::new(from..self.at, format!("`{digits}` is no number"))),
        }
    }

    fn raw(&mut self) -> Result<Word, TemplateError> {
        let from = self.at;
        let Some(length) = self.rest()[1..].find('`') else {
            return Err(
                TemplateError::new(from..from + 1, "this text is never closed").fix("close it with a backquote")
            );
        };
        let text = self.rest()[1..=length].to_owned();
        self.at += length + 2;
        Ok(Word::Text(text))
    }

    fn quoted(&mut self) -> Result<Word, TemplateError> {
        let from = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            match self.peek() {
                None | Some('\n') => {
                    return Err(
                        TemplateError::new(from..from + 1, "this text is never closed").fix("close it with `\"`")
                    );
                }
                Some('"') => {
                    self.at += 1;
                    return Ok(Word::Text(text));
                }
                Some('\\') => text.push(self.escape('"')?),
                Some(c) => {
                    self.at += c.len_utf8();
                    text.push(c);
                }
            }
        }
    }

    /// A character is its number, as in Go.
    fn character(&mut self) -> Result<Word, TemplateError> {
        let from = self.at;
        self.at += 1;
        let value = match self.peek() {
            Some('\\') => self.escape('\'')?,
            Some(c) if c != '\n' && c != '\'' => {
                self.at += c.len_utf8();
                c
            }
            _ => return Err(TemplateError::new(from..from + 1, "no character between single quotes")),
        };
        if self.peek() != Some('\'') {
            let error = TemplateError::new(from..self.at, "single quotes hold one character");
            return Err(error.fix("put texts between double quotes"));
        }
        self.at += 1;
        Ok(Word::Int(i64::from(u32::from(value))))
    }

    fn escape(&mut self, quote: char) -> Result<char, TemplateError> {
        let from = self.at;
        self.at += 1;
        let Some(code) = self.peek() else {
            return Err(TemplateError::new(from..from + 1, "nothing behind the backslash"));
        };
        self.at += code.len_utf8();
        let digits = match code {
            'a' => return Ok('\u{7}'),
            'b' => return Ok('\u{8}'),
            'f' => return Ok('\u{c}'),
            'n' => return Ok('\n'),
            'r' => return Ok('\r'),
            't' => return Ok('\t'),
            'v' => return Ok('\u{b}'),
            '\\' => return Ok('\\'),
            c if c == quote => return Ok(c),
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        let value = self.rest().get(..digits).filter(|_| digits > 0).and_then(|hex| u32::from_str_radix(hex, 16).ok());
        let Some(character) = value.and_then(char::from_u32) else {
            return Err(TemplateError::new(from..self.at, format!("`\\{code}` is no escape"))
                .fix("write `\\\\` for a backslash"));
        };
        self.at += digits;
        Ok(character)
    }
}

fn is_name(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}
