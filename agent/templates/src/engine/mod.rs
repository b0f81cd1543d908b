//! Template languages behind one small trait.
//!
//! Strict rendering finds *all* names that are missing, not only the first, so that nobody has to apply five times to learn five
//! names. Lenient rendering leaves nothing in the place of what is missing, as Mustache does by its book.

mod bounds;
mod kept;
mod mustache;
mod tags;
mod tera;

use std::fmt;

pub use bounds::Bounds;
pub use kept::Kept;

use crate::{
    lookup::Recorder,
    snippet,
    template::{Language, Template},
    values::Values,
};

/// What is done about names that are not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strictness {
    /// They are an error.
    #[default]
    Strict,
    /// They are nothing.
    Lenient,
}

/// A name that a template needs and nobody gives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Missing {
    /// The template.
    pub template: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
    /// The name, or what was asked for.
    pub name: String,
}

impl Missing {
    fn at(template: &Template, byte: usize, name: impl Into<String>) -> Self {
        let (line, column) = snippet::line_column(&template.text, byte);
        Self { template: template.name.display().to_string(), line, column, name: name.into() }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.template, self.line, self.column, self.name)
    }
}

/// Why a template makes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Names that are not there.
    Missing(Vec<Missing>),
    /// The template is no template of its language: file, line, column, the line itself and what is wrong with it.
    Syntax(String),
    /// The template does not go with what it was given, told in the same way. With other answers it may.
    Fault(String),
}

/// What one render is of.
#[derive(Clone, Copy)]
pub(crate) struct Job<'a> {
    pub(crate) template: &'a Template,
    /// All templates of the set, which may include one another.
    pub(crate) set: &'a [Template],
    pub(crate) values: &'a Values,
    pub(crate) lookup: &'a Recorder,
    pub(crate) strictness: Strictness,
    pub(crate) bounds: &'a Bounds,
    pub(crate) kept: &'a Kept,
}

/// A template language.
pub(crate) trait Engine {
    /// What the template makes of the values.
    fn render(&self, job: &Job<'_>) -> Result<String, Failure>;
}

/// The engine of a language.
pub(crate) fn engine(language: Language) -> &'static dyn Engine {
    match language {
        Language::Tera => &tera::TeraEngine,
        Language::Mustache => &mustache::MustacheEngine,
    }
}
