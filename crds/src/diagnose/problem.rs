//! One thing that is wrong with what people wrote, and the report of all of them.

use std::{fmt, ops::Range};

use serde::{Serialize, Serializer, ser::SerializeStruct};

use crate::source::{Location, Source};

/// Defines the codes, each with its stable text form and its meaning.
macro_rules! codes {
    ($($variant:ident = $text:literal: $meaning:literal,)*) => {
        /// What sort of problem it is. The text form is stable: machines may match on it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $meaning] $variant,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Code] = &[$(Code::$variant,)*];

            /// The code's stable text form.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Code::$variant => $text,)*
                }
            }

            /// What it means, as a sentence.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Code::$variant => $meaning,)*
                }
            }
        }
    };
}

codes! {
    NotUtf8 = "not-utf8": "The text is not UTF-8.",
    Unreadable = "unreadable": "The text cannot be read.",
    Syntax = "syntax": "The text is not YAML.",
    Tab = "tab": "A tab in the indentation.",
    TooBig = "too-big": "Too long, too deep, or too many values.",
    Tag = "tag": "A YAML tag such as `!!str`.",
    MergeKey = "merge-key": "A YAML merge key.",
    DuplicateKey = "duplicate-key": "A key that is given twice in one mapping.",
    DuplicateObject = "duplicate-object": "An object that is given twice.",
    UnknownApiVersion = "unknown-api-version": "An `apiVersion` that is not known.",
    UnknownKind = "unknown-kind": "A `kind` that is not known.",
    UnknownField = "unknown-field": "A field that is not known.",
    MissingField = "missing-field": "A required field that is not given.",
    EmptyValue = "empty-value": "A field without a value.",
    WrongType = "wrong-type": "Text where a number is wanted, a list where a mapping is wanted, and so on.",
    AmbiguousText = "ambiguous-text": "A plain word that some tools read as something else than text.",
    UnknownChoice = "unknown-choice": "A word that is none of those to choose from.",
    BadText = "bad-text": "A text that breaks its pattern.",
    BadDuration = "bad-duration": "A length of time that cannot be read.",
    BadPercent = "bad-percent": "A percentage that cannot be read.",
    OutOfRange = "out-of-range": "A number, length of time or percentage that is too small or too large.",
    BadLength = "bad-length": "Too few or too many items or characters.",
    NotExactlyOne = "not-exactly-one": "None or several of a group of which exactly one must be given.",
    Conflict = "conflict": "Two things that must not stand together.",
    DuplicateName = "duplicate-name": "A name that is given twice among ports, checks, versions or metrics.",
    UnknownPort = "unknown-port": "A check of a port that the template does not have.",
    UnknownVariable = "unknown-variable": "`${NAME}` that stands for nothing.",
    UnknownMetric = "unknown-metric": "The name of a metric that the Canary does not have.",
    NeverMeasured = "never-measured": "A metric that no step and no background ever measures.",
    BadCriterion = "bad-criterion": "A criterion that asks for nothing, or for what no number can be.",
    BadTime = "bad-time": "A time, an instant or a time zone that cannot be read.",
    EmptyProgram = "empty-program": "A command whose program is an empty text.",
    ReservedName = "reserved-name": "A name that Helium keeps for itself.",
    NeverSucceeds = "never-succeeds": "A rollout that could never succeed.",
    ServiceClash = "service-clash": "Two Deployments under one service name.",
    Invalid = "invalid": "Whatever the types refuse that no other rule has found.",
}

impl Code {
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
