//! One template: its text, where what it makes belongs, and how that file shall be.

use std::path::{Path, PathBuf};

/// A template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// The file that it was read from, for messages.
    pub name: PathBuf,
    /// Its text.
    pub text: String,
    /// The language that it is written in.
    pub language: Language,
    /// The file that it makes; absolute.
    pub target: PathBuf,
    /// How that file shall be.
    pub form: Form,
}

/// How a file shall be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// The permission bits. None keeps those of the file that is there, and gives a new one 0644. A secret file is 0600 whatever is said.
    pub mode: Option<u32>,
    /// The owner, user and group. None keeps the owner of the file that is there.
    pub owner: Option<(u32, u32)>,
    /// Whether nobody but its owner may see it. A file that holds a secret value is secret without being told so.
    pub secret: bool,
    /// Whether the file that is replaced is kept beside it, with `.bak` at its end; the one from before that goes.
    pub backup: bool,
}

/// A template language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Language {
    /// Tera: expressions, loops, functions.
    Tera,
    /// Mustache: names and sections only.
    Mustache,
}

impl Language {
    /// The language by the ending of a file's name.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "tera" => Some(Self::Tera),
            "mustache" => Some(Self::Mustache),
            _ => None,
        }
    }
}

impl Template {
    /// A template by the name of its file, which makes the file of that name without its ending within `folder`: `app.conf.tera` makes
    /// `app.conf`. None if the ending is of no template language.
    pub fn read_from(name: &Path, text: impl Into<String>, folder: &Path) -> Option<Self> {
        let language = Language::of(name)?;
        let target = folder.join(name.file_stem()?);
        Some(Self { name: name.to_owned(), text: text.into(), language, target, form: Form::default() })
    }

    /// Whether it is there to be included by others and makes no file of its own: its name begins with `_`.
    pub fn is_part(&self) -> bool {
        self.name.file_name().is_some_and(|name| name.to_string_lossy().starts_with('_'))
    }
}
