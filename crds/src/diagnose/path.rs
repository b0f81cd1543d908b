//! The way to a field: `spec.template.ports[0].name`.

use std::{fmt, ops::Range};

use crate::yaml::{Node, Value};

/// A way from the root of an object to one of its values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(Vec<Segment>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Field(String),
    Index(usize),
}

impl Path {
    /// The way to a field of this.
    #[must_use]
    pub fn field(&self, name: &str) -> Self {
        self.with(Segment::Field(name.to_owned()))
    }

    /// The way to an item of this, counted from 0.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.with(Segment::Index(index))
    }

    /// The way from the root through several fields: `spec.template` is `["spec", "template"]`.
    pub fn of(fields: &[&str]) -> Self {
        Self(fields.iter().map(|field| Segment::Field((*field).to_owned())).collect())
    }

    /// This way, after another one that leads to its root.
    pub(crate) fn under(&self, root: &Path) -> Self {
        Self(root.0.iter().chain(&self.0).cloned().collect())
    }

    /// True for the root itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The last field's name, as messages use it; an item of a list goes by the list's name and its number: `ports[0]`.
    pub(crate) fn name(&self) -> String {
        let last = self.0.iter().rposition(|segment| matches!(segment, Segment::Field(_))).unwrap_or_default();
        Self(self.0[last..].to_vec()).to_string()
    }

    /// The bytes to point at under a tree's root: the value where it is one word, else its key, else its first line. A way that leads
    /// further than the tree points at the last thing on it.
    pub(crate) fn span(&self, root: &Node, at_key: bool) -> Range<usize> {
        let (mut node, mut key) = (root, None);
        for segment in &self.0 {
            let next = match (segment, &node.value) {
                (Segment::Field(name), Value::Mapping(entries)) => {
                    entries.iter().find(|entry| entry.key == *name).map(|entry| (&entry.value, Some(&entry.key_span)))
                }
                (Segment::Index(index), Value::Sequence(items)) => items.get(*index).map(|item| (item, None)),
                _ => None,
            };
            match next {
                Some(step) => (node, key) = step,
                None => break,
            }
        }
        match (&node.value, key) {
            (Value::Scalar { .. }, _) if !at_key && !node.span.is_empty() => node.span.clone(),
            (_, Some(key)) => key.clone(),
            _ => node.span.clone(),
        }
    }

    fn with(&self, segment: Segment) -> Self {
        let mut segments = self.0.clone();
        segments.push(segment);
        Self(segments)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Field(name) if !name.is_empty() && name.chars().all(is_plain) => {
                    write!(f, "{}{name}", if position == 0 { "" } else { "." })?;
                }
                Segment::Field(name) => write!(f, "[{name:?}]")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

fn is_plain(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_' || character == '-'
}
