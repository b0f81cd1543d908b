//! A message with the file, the line and the column that it is about, and the line itself.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet as Excerpt, renderer::DecorStyle};

/// Where in a text a problem is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// These bytes.
    Bytes(Range<usize>),
    /// A line and a column in bytes, both from 1.
    LineColumn(usize, usize),
    /// It is not known where.
    Nowhere,
}

/// A message about a place in a text.
pub(crate) struct Snippet<'a> {
    pub(crate) name: &'a str,
    pub(crate) text: &'a str,
    pub(crate) message: &'a str,
    pub(crate) place: Place,
    pub(crate) help: Option<&'a str>,
}

impl Snippet<'_> {
    /// The message for people, without colours.
    pub(crate) fn render(&self) -> String {
        let title = Level::ERROR.primary_title(self.message);
        let Some(span) = span(self.text, &self.place) else {
            return format!("error: {}\n --> {}", self.message, self.name);
        };
        let excerpt = Excerpt::source(self.text).path(self.name).annotation(AnnotationKind::Primary.span(span));
        let mut group = title.element(excerpt);
        if let Some(help) = self.help {
            group = group.element(Level::HELP.message(help));
        }
        Renderer::plain().decor_style(DecorStyle::Ascii).render(&[group])
    }
}

/// `line:column` of a byte, both from 1, the column in characters.
pub(crate) fn line_column(text: &str, byte: usize) -> (usize, usize) {
    let before = &text[..floor(text, byte)];
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}

/// The bytes of a place, on its first line and on the borders of characters.
fn span(text: &str, place: &Place) -> Option<Range<usize>> {
    let wanted = match place {
        Place::Bytes(range) => range.clone(),
        Place::LineColumn(line, column) => {
            let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
            let at = start + column.saturating_sub(1);
            at..at + 1
        }
        Place::Nowhere => return None,
    };
    let start = floor(text, wanted.start);
    let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
    let end = floor(text, wanted.end).clamp(start, line_end);
    Some(start..end)
}

fn floor(text: &str, byte: usize) -> usize {
    let byte = byte.min(text.len());
    (0..=byte).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}
