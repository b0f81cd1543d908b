//! A text that people wrote, and where in it something is.

use std::{ops::Range, sync::Arc};

/// A file, or what came in on stdin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What people call it: a path as they typed it, or `<stdin>`.
    pub name: Arc<str>,
    /// The text.
    pub text: Arc<str>,
}

/// Where in a source something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The name of the source.
    pub file: Arc<str>,
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
}

impl Source {
    /// A source from its parts. A byte order mark at the beginning of the text is dropped.
    pub fn new(name: impl Into<Arc<str>>, text: impl AsRef<str>) -> Self {
        let text = text.as_ref();
        Self { name: name.into(), text: text.strip_prefix('\u{feff}').unwrap_or(text).into() }
    }

    /// The location of a byte offset; one that is beyond the end or within a character counts as the next smaller that is not.
    pub fn location(&self, offset: usize) -> Location {
        let offset = self.boundary(offset);
        let before = &self.text[..offset];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Location {
            file: Arc::clone(&self.name),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// A range that can be cut out of the text: within it, and on the borders of characters.
    pub(crate) fn clamp(&self, span: &Range<usize>) -> Range<usize> {
        let start = self.boundary(span.start);
        start..self.boundary(span.end).max(start)
    }

    fn boundary(&self, offset: usize) -> usize {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    }
}

impl std::fmt::Display for Location {
    /// `hello.yaml:3:7`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}
