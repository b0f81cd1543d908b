//! Problems as people read them: the message, the line with a caret, and what to do.

use std::fmt;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, renderer::DecorStyle};

use super::{Problem, Report};

/// Lines that are shown before and after the one with the caret.
const AROUND: usize = 1;

impl Problem {
    /// The problem for people, without a line break at its end. With `colour` it holds terminal escapes.
    pub fn render(&self, colour: bool) -> String {
        let title = Level::ERROR.primary_title(self.message.as_str()).id(self.code.as_str());
        if self.source.text.is_empty() && self.path.is_empty() {
            return renderer(colour).render(&[Group::with_title(title)]); // there is nothing to show
        }
        let (text, first_line, offset) = self.excerpt();
        let span = self.one_line();
        let span = span.start - offset..span.end - offset;
        let caret = AnnotationKind::Primary.span(span).label((!self.path.is_empty()).then_some(self.path.as_str()));
        let snippet =
            Snippet::source(text).path(&*self.source.name).line_start(first_line).fold(false).annotation(caret);
        let mut group = title.element(snippet);
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        renderer(colour).render(&[group])
    }

    /// The lines around the problem, the number of the first of them, and the byte where it begins.
    fn excerpt(&self) -> (&str, usize, usize) {
        let text = &*self.source.text;
        let at = self.one_line().start;
        let mut start = line_start(text, at);
        for _ in 0..AROUND {
            start = line_start(text, start.saturating_sub(1));
        }
        let mut end = line_end(text, at);
        for _ in 0..AROUND {
            end = line_end(text, (end + 1).min(text.len()));
        }
        (&text[start..end], text[..start].matches('\n').count() + 1, start)
    }

    /// The part of the span that is on its first line, without the space at its end.
    fn one_line(&self) -> std::ops::Range<usize> {
        let text = &*self.source.text;
        let span = self.source.clamp(&self.span);
        let end = span.end.min(line_end(text, span.start)).max(span.start);
        span.start..span.start + text[span.start..end].trim_end().len()
    }
}

impl Report {
    /// Every problem for people, with an empty line between two, and a count at the end.
    pub fn render(&self, colour: bool) -> String {
        let mut parts: Vec<String> = self.problems.iter().map(|problem| problem.render(colour)).collect();
        let count = match self.problems.len() {
            1 => "1 problem".to_owned(),
            count => format!("{count} problems"),
        };
        let summary = [Group::with_title(Level::ERROR.primary_title(count.as_str()))];
        parts.push(renderer(colour).render(&summary));
        parts.join("\n\n")
    }
}

impl fmt::Display for Report {
    /// One line a problem: `hello.yaml:3:7: message`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> =
            self.problems.iter().map(|problem| format!("{}: {}", problem.location(), problem.message)).collect();
        f.write_str(&lines.join("\n"))
    }
}

fn renderer(colour: bool) -> Renderer {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    renderer.decor_style(DecorStyle::Ascii)
}

/// Where the line of a byte begins.
fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// Where the line of a byte ends, before its line break.
fn line_end(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |newline| at + newline)
}
