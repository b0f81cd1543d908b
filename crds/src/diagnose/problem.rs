//! One thing that is wrong with what people wrote, and the report of all of them.

use std::{fmt, ops::Range};

use serde::{Serialize, Serializer, ser::SerializeStruct};

use crate::source::{Location, Source};

/// What sort of problem it is. The text form is stable: machines may match on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// The text is not UTF-8.
    NotUtf8,
    /// The text is not YAML.
    Syntax,
    /// A tab in the indentation.
    Tab,
    /// Too long, too deep, or too many values.
    TooBig,
    /// A YAML tag such as `!!str`.
    Tag,
    /// A YAML merge key.
    MergeKey,
    /// A key that is given twice in one mapping.
    DuplicateKey,
    /// An object that is given twice.
    DuplicateObject,
    /// An `apiVersion` that is not known.
    UnknownApiVersion,
    /// A `kind` that is not known.
    UnknownKind,
    /// A field that is not known.
    UnknownField,
    /// A required field that is not given.
    MissingField,
    /// A field without a value.
    EmptyValue,
    /// Text where a number is wanted, a list where a mapping is wanted, and so on.
    WrongType,
    /// A plain word that some tools read as something else than text.
    AmbiguousText,
    /// A word that is none of those to choose from.
    UnknownChoice,
    /// A text that breaks its pattern.
    BadText,
    /// A length of time that cannot be read.
    BadDuration,
    /// A percentage that cannot be read.
    BadPercent,
    /// A number, length of time or percentage that is too small or too large.
    OutOfRange,
    /// Too few or too many items or characters.
    BadLength,
    /// None or several of a group of which exactly one must be given.
    NotExactlyOne,
    /// Two things that must not stand together.
    Conflict,
    /// A name that is given twice among ports, checks or versions.
    DuplicateName,
    /// A check of a port that the template does not have.
    UnknownPort,
    /// `${NAME}` that stands for nothing.
    UnknownVariable,
    /// A command whose program is an empty text.
    EmptyProgram,
    /// A name that Helium keeps for itself.
    ReservedName,
    /// A rollout that could never succeed.
    NeverSucceeds,
    /// Two Deployments under one service name.
    ServiceClash,
    /// Whatever the types refuse that no other rule has found.
    Invalid,
}

impl Code {
    /// The code's stable text form.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::NotUtf8 => "not-utf8",
            Code::Syntax => "syntax",
            Code::Tab => "tab",
            Code::TooBig => "too-big",
            Code::Tag => "tag",
            Code::MergeKey => "merge-key",
            Code::DuplicateKey => "duplicate-key",
            Code::DuplicateObject => "duplicate-object",
            Code::UnknownApiVersion => "unknown-api-version",
            Code::UnknownKind => "unknown-kind",
            Code::UnknownField => "unknown-field",
            Code::MissingField => "missing-field",
            Code::EmptyValue => "empty-value",
            Code::WrongType => "wrong-type",
            Code::AmbiguousText => "ambiguous-text",
            Code::UnknownChoice => "unknown-choice",
            Code::BadText => "bad-text",
            Code::BadDuration => "bad-duration",
            Code::BadPercent => "bad-percent",
            Code::OutOfRange => "out-of-range",
            Code::BadLength => "bad-length",
            Code::NotExactlyOne => "not-exactly-one",
            Code::Conflict => "conflict",
            Code::DuplicateName => "duplicate-name",
            Code::UnknownPort => "unknown-port",
            Code::UnknownVariable => "unknown-variable",
            Code::EmptyProgram => "empty-program",
            Code::ReservedName => "reserved-name",
            Code::NeverSucceeds => "never-succeeds",
            Code::ServiceClash => "service-clash",
            Code::Invalid => "invalid",
        }
    }

    /// True for problems that the JSON Schema of the kind finds too.
    pub fn is_structural(self) -> bool {
        matches!(
            self,
            Code::UnknownApiVersion
                | Code::UnknownKind
                | Code::UnknownField
                | Code::MissingField
                | Code::EmptyValue
                | Code::WrongType
                | Code::UnknownChoice
                | Code::BadText
                | Code::BadDuration
                | Code::BadPercent
                | Code::OutOfRange
                | Code::BadLength
                | Code::NotExactlyOne
        )
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing that is wrong, with the place where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The text that it is in.
    pub source: Source,
    /// The bytes of that text that it is about.
    pub span: Range<usize>,
    /// The field that it is about: `spec.template.ports[0].name`. Empty for a problem of the text as such.
    pub path: String,
    /// What sort of problem it is.
    pub code: Code,
    /// What is wrong, as a sentence without its stop.
    pub message: String,
    /// What to do about it, where there is something to say.
    pub help: Option<String>,
}

impl Problem {
    /// Where it is.
    pub fn location(&self) -> Location {
        self.source.location(self.span.start)
    }
}

impl Serialize for Problem {
    /// As `file`, `line`, `column`, `path`, `code`, `message` and `help` (null where there is none).
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let location = self.location();
        let mut fields = serializer.serialize_struct("Problem", 7)?;
        fields.serialize_field("file", &*location.file)?;
        fields.serialize_field("line", &location.line)?;
        fields.serialize_field("column", &location.column)?;
        fields.serialize_field("path", &self.path)?;
        fields.serialize_field("code", self.code.as_str())?;
        fields.serialize_field("message", &self.message)?;
        fields.serialize_field("help", &self.help)?;
        fields.end()
    }
}

/// Everything that is wrong, in the order of the texts. Never empty where it is returned as an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The problems.
    pub problems: Vec<Problem>,
}

impl std::error::Error for Report {}

/// The problems of one source, while they are being found.
pub(crate) struct Problems<'a> {
    source: &'a Source,
    found: Vec<Problem>,
}

impl<'a> Problems<'a> {
    pub(crate) fn of(source: &'a Source) -> Self {
        Self { source, found: Vec::new() }
    }

    pub(crate) fn source(&self) -> &'a Source {
        self.source
    }

    /// Notes a problem.
    pub(crate) fn add(&mut self, span: Range<usize>, path: &str, code: Code, message: String, help: Option<String>) {
        let span = self.source.clamp(&span);
        self.found.push(Problem { source: self.source.clone(), span, path: path.to_owned(), code, message, help });
    }

    pub(crate) fn len(&self) -> usize {
        self.found.len()
    }

    /// The problems in the order of the text.
    pub(crate) fn into_sorted(mut self) -> Vec<Problem> {
        self.found.sort_by_key(|problem| (problem.span.start, problem.code));
        self.found
    }
}
