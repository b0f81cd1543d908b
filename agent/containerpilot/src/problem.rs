//! A problem or a warning: where it is, what is wrong, and what would be right.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet, renderer::DecorStyle};
use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is taken, and part of it does not do what it says.
    Warning,
}

/// Something about a file that its author should know. As data it has the keys `severity`, `line`, `column`, `key`, `reason`, `fix` and
/// `rendered`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The line of the file, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The bytes of the file that it is about.
    #[serde(skip)]
    pub span: Range<usize>,
    /// The key that it is about, as `jobs[1].health.ttl` with lists counted from 0; empty if it is about the text as such.
    pub key: String,
    /// What is wrong.
    pub reason: String,
    /// What to write instead, if that can be said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// Whether the place is in what a template's action gave. The position is then the action's, `{{ ... }}`.
    pub rendered: bool,
}

impl Problem {
    /// The problem for people, without colours: `file:line:column`, the line itself, what it is about, and what would be right.
    pub fn render(&self, file_name: &str, text: &str) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = if self.key.is_empty() { self.reason.clone() } else { format!("{}: {}", self.key, self.reason) };
        let excerpt = Snippet::source(text).path(file_name);
        let mut group = level
            .primary_title(title.as_str())
            .element(excerpt.annotation(AnnotationKind::Primary.span(on_one_line(text, &self.span))));
        if self.rendered {
            group = group.element(Level::NOTE.message("the place is in what this action of the template gives"));
        }
        if let Some(fix) = &self.fix {
            group = group.element(Level::HELP.message(fix.as_str()));
        }
        Renderer::plain().decor_style(DecorStyle::Ascii).render(&[group])
    }
}

/// `line` and `column` of a byte, both from 1, the column in characters.
pub(crate) fn line_column(text: &str, byte: usize) -> (usize, usize) {
    let before = &text[..floor(text, byte)];
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}

/// The bytes on the first line of a span, on the borders of characters.
fn on_one_line(text: &str, span: &Range<usize>) -> Range<usize> {
    let start = floor(text, span.start);
    let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
    start..floor(text, span.end).clamp(start, line_end)
}

fn floor(text: &str, byte: usize) -> usize {
    let byte = byte.min(text.len());
    (0..=byte).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}
