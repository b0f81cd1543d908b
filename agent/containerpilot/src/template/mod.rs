//! The file as a template over the environment: the part of Go's `text/template` that these files use, rendered with a map back to the file.
//!
//! Known are actions, `if`/`else if`/`else`, `with`, `range`, variables, pipelines, comments, trim markers, the functions of ContainerPilot
//! (`default`, `env`, `split`, `join`, `replaceAll`, `regexReplaceAll`, `loop`) and of Go (`and`, `or`, `not`, `len`, `index`, `print`,
//! `println`, `printf`, `eq`, `ne`, `lt`, `le`, `gt`, `ge`); unknown are `define`, `template`, `block`, `call`, `html`, `js` and `urlquery`,
//! and each is refused by name. A variable that is not set is an empty text. The existing crates for such templates do not keep where a
//! text came from, and a problem in a rendered file has to point into the file that a person wrote.
//!
//! Regular expressions are Go's but for classes of Unicode (`\pL`).
//!
//! ContainerPilot cuts `.NAME` at the second equals sign of the environment's entry (`FOO=a=b` gives `a`). Here the value is whole, as
//! `env "NAME"` gives it there too; each such place is in [`Rendered::cut`].

mod eval;
mod functions;
mod lex;
mod parse;
mod printf;
pub(crate) mod value;

use std::{collections::BTreeMap, ops::Range};

/// Why a template cannot be rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TemplateError {
    /// Bytes of the file.
    pub(crate) span: Range<usize>,
    pub(crate) reason: String,
    pub(crate) fix: Option<String>,
}

impl TemplateError {
    fn new(span: Range<usize>, reason: impl Into<String>) -> Self {
        Self { span, reason: reason.into(), fix: None }
    }

    fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

/// A rendered text, and where each part of it came from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rendered {
    pub(crate) text: String,
    pieces: Vec<Piece>,
    /// Variables whose value ContainerPilot would cut, and the bytes of the file that use them.
    pub(crate) cut: Vec<(Range<usize>, String)>,
}

/// A part of a rendered text: what begins at `start` and ends where the next piece begins.
#[derive(Clone, Debug)]
struct Piece {
    start: usize,
    origin: Origin,
}

#[derive(Clone, Debug)]
enum Origin {
    /// As it is in the file, from this byte on.
    Copied(usize),
    /// What this action gave.
    Made(Range<usize>),
}

/// Where something of the rendered text is in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// Bytes of the file.
    pub(crate) span: Range<usize>,
    /// Whether they are an action of the template, in whose result the place is.
    pub(crate) made: bool,
}

impl Rendered {
    /// Where bytes of the rendered text are in the file.
    pub(crate) fn source(&self, span: &Range<usize>) -> Source {
        let (start, made, piece_end) = self.place(span.start);
        if made {
            return Source { span: start, made };
        }
        if span.end <= piece_end {
            return Source { span: start.start..start.start + (span.end - span.start), made };
        }
        // It begins in what was copied, and goes on in something else.
        let (end, _, _) = self.place(span.end - 1);
        Source { span: start.start..end.end.max(start.start), made: false }
    }

    /// The origin of a byte, whether an action made it, and where its piece ends in the rendered text.
    fn place(&self, byte: usize) -> (Range<usize>, bool, usize) {
        let after = self.pieces.partition_point(|piece| piece.start <= byte);
        let end = self.pieces.get(after).map_or(self.text.len(), |piece| piece.start);
        match after.checked_sub(1).map(|index| &self.pieces[index]) {
            Some(Piece { start, origin: Origin::Copied(at) }) => {
                let at = at + (byte - start);
                (at..at + 1, false, end)
            }
            Some(Piece { origin: Origin::Made(action), .. }) => (action.clone(), true, end),
            None => (0..0, false, end),
        }
    }

    fn copy(&mut self, file: &str, span: &Range<usize>) {
        self.pieces.push(Piece { start: self.text.len(), origin: Origin::Copied(span.start) });
        self.text.push_str(&file[span.clone()]);
    }

    fn make(&mut self, action: &Range<usize>, text: &str) {
        self.pieces.push(Piece { start: self.text.len(), origin: Origin::Made(action.clone()) });
        self.text.push_str(text);
    }
}

/// Renders a file over an environment.
pub(crate) fn render(text: &str, env: &BTreeMap<String, String>) -> Result<Rendered, TemplateError> {
    let nodes = parse::parse(text)?;
    eval::eval(text, &nodes, env)
}

#[cfg(test)]
mod tests;
