//! JSON5 as ContainerPilot's parser took it, with the place of every key and value, and with all mistakes of a text at once.
//!
//! Taken are comments, trailing commas, keys without quotes (`[A-Za-z_$][A-Za-z0-9_$]*`), single quotes, backslashes at the ends of lines,
//! `+`, hexadecimal numbers, `Infinity` and `NaN`. Not taken are other white space than blanks, tabs, line ends and form feeds, escapes
//! like `\x41`, and line ends or tabs within a text. Crates that read JSON5 take more than that, stop at the first mistake, or do not say
//! where things are.
//!
//! A missing comma, colon or quote, and a comma too many are each a mistake of their own, behind which reading goes on as if it were right.

mod parse;
mod scalar;

use std::ops::Range;

/// A value and where it is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// Bytes of the text.
    pub(crate) span: Range<usize>,
    pub(crate) value: Value,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Node>),
    /// In the order of the text; a key may be there more than once.
    Object(Vec<Member>),
}

impl Value {
    /// What a message calls it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Object(_) => "an object",
        }
    }
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Member {
    pub(crate) key: String,
    /// The key as it is written, with its quotes.
    pub(crate) key_span: Range<usize>,
    pub(crate) node: Node,
}

/// A mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub(crate) span: Range<usize>,
    pub(crate) reason: String,
    pub(crate) fix: Option<String>,
    /// The byte of the bracket that the reason ends with.
    pub(crate) opened: Option<usize>,
}

/// What was read: the value as far as it could be made out, and every mistake that was found.
pub(crate) struct Parsed {
    pub(crate) root: Option<Node>,
    pub(crate) mistakes: Vec<Mistake>,
}

/// Reads a text.
pub(crate) fn parse(text: &str) -> Parsed {
    parse::parse(text)
}

#[cfg(test)]
mod tests;
