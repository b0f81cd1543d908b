//! YAML as a tree in which every value, key and style still knows where it stands in the text.
//!
//! A deserializer would be done at this point; people are better served by a tree, because a tree can be looked at as a whole, and
//! every problem in it be said at once. What a plain word means (`true`, `10`, `~`) is decided later, by the shape of its
//! place: see [`scalar`].

mod advice;
mod json;
mod parse;
mod split;

pub(crate) mod scalar;

use std::ops::Range;

pub(crate) use parse::documents;

/// A value and the bytes of the source that it stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// The bytes.
    pub(crate) span: Range<usize>,
    /// The value.
    pub(crate) value: Value,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// A word, as it reads once quotes and escapes are gone.
    Scalar {
        /// The text.
        text: String,
        /// Whether it was written without quotes, so that it could be a number or something else than text.
        plain: bool,
    },
    /// A list.
    Sequence(Vec<Node>),
    /// A mapping, in the order in which it was written. No key is there twice: the second is reported and dropped.
    Mapping(Vec<Entry>),
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The key.
    pub(crate) key: String,
    /// Whether the key was written without quotes.
    pub(crate) plain: bool,
    /// The bytes of the key.
    pub(crate) key_span: Range<usize>,
    /// The value.
    pub(crate) value: Node,
}

impl Node {
    /// The entries of a mapping.
    pub(crate) fn entries(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Mapping(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value of a field of a mapping.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entries()?.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// The text of a scalar, however it was written.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// True for nothing at all, `~` and `null`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if scalar::resolve(text) == scalar::Plain::Null)
    }

    /// What it is, in words, with its article.
    pub(crate) fn describe(&self) -> String {
        match &self.value {
            Value::Scalar { text, plain: true } => scalar::resolve(text).describe(text),
            Value::Scalar { .. } => "text".to_owned(),
            Value::Sequence(_) => "a list".to_owned(),
            Value::Mapping(_) => "a mapping".to_owned(),
        }
    }
}
