//! From a text to objects, or to a report of everything that is wrong with it.
//!
//! The way is: cut the text into documents, parse each to a tree, walk the tree along the schema of its kind, then check the rules
//! that no schema can say. No stage stops at the first problem, and none hides another document's: a syntax error costs its own document
//! only, and the rules look at whatever parts of a broken document are sound.

mod kind;
mod namespace;
mod nearest;
mod path;
mod problem;
mod render;
mod rules;
mod settings;
mod together;
mod walk;
mod words;

use crate::{
    any_object::AnyObject,
    object::DEFAULT_NAMESPACE,
    schema::shape,
    source::{Location, Source},
    yaml,
};

pub use namespace::namespace;
pub use nearest::nearest;
pub use path::Path;
pub(crate) use problem::Problems;
pub use problem::{Code, Problem, Report};
pub use rules::Finding;
pub(crate) use rules::findings;
pub(crate) use settings::one_document;

/// An object that was read, and where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The object, defaults filled in. What Helium keeps in metadata is empty, whatever was written.
    pub object: AnyObject,
    /// Where its document begins.
    pub location: Location,
}

/// Reads every object of a text: YAML or JSON, any number of documents, also lists (`{items: [...]}`) as `helium get` prints them.
/// A text without objects gives none.
///
/// # Errors
/// Everything that is wrong, of every document at once.
pub fn parse(source: &Source) -> Result<Vec<Parsed>, Report> {
    parse_all(std::slice::from_ref(source))
}

/// Reads every object of several texts, as [`parse`] does, and checks that no two get in each other's way.
///
/// # Errors
/// Everything that is wrong, of every text at once.
pub fn parse_all(sources: &[Source]) -> Result<Vec<Parsed>, Report> {
    parse_all_in(DEFAULT_NAMESPACE, sources)
}

/// The same with another namespace for the objects that name none: every rule looks at them where they will be.
///
/// # Errors
/// Everything that is wrong, of every text at once.
pub fn parse_all_in(namespace: &str, sources: &[Source]) -> Result<Vec<Parsed>, Report> {
    let mut report = Report::default();
    let mut drafts = Vec::new();
    for source in sources {
        let mut problems = Problems::of(source);
        for document in yaml::documents(&mut problems) {
            for (path, node) in kind::objects(&document.root) {
                drafts.extend(draft(&mut problems, (source, namespace), &path, node));
            }
        }
        report.problems.extend(problems.into_sorted());
    }
    report.problems.extend(together::check(&drafts));
    if report.problems.is_empty() {
        Ok(drafts.into_iter().filter_map(|draft| draft.parsed).collect())
    } else {
        Err(report)
    }
}

/// Checks an object that is at hand as JSON by everything that a file is checked by. What Helium keeps in it is not looked at.
///
/// # Errors
/// Everything that is wrong with it, under the name of a text called `name`.
pub fn check(name: &str, object: &serde_json::Value) -> Result<(), Report> {
    parse(&Source::new(name, format!("{object:#}"))).map(drop)
}

/// A document of a known kind, sound or not.
struct Draft<'a> {
    source: &'a Source,
    /// Its JSON; `null` where something is wrong.
    json: serde_json::Value,
    /// The bytes of its name, or of its first line.
    name_span: std::ops::Range<usize>,
    /// The object; none where something is wrong.
    parsed: Option<Parsed>,
}

/// Reads one document of a source; the namespace is for it if it names none.
fn draft<'a>(
    problems: &mut Problems<'_>,
    (source, namespace): (&'a Source, &str),
    path: &Path,
    node: &yaml::Node,
) -> Option<Draft<'a>> {
    let before = problems.len();
    let kind = kind::of(problems, path, node)?;
    let mut json = walk::Walker { problems, root: shape(kind) }.walk(node, path);
    if let Some(metadata) = json.get_mut("metadata").and_then(serde_json::Value::as_object_mut) {
        metadata.entry("namespace").or_insert_with(|| namespace.into());
    }
    for finding in findings(kind, &json) {
        let span = finding.path.span(node, finding.at_key);
        let path = finding.path.under(path).to_string();
        problems.add(span, &path, finding.code, finding.message, finding.help);
    }
    let parsed = (problems.len() == before)
        .then(|| match AnyObject::typed(kind, json.clone()) {
            Ok(object) => Some(Parsed { object, location: source.location(node.span.start) }),
            Err(error) => {
                problems.add(node.span.clone(), "", Code::Invalid, error.to_string(), None);
                None
            }
        })
        .flatten();
    let name_span = Path::of(&["metadata", "name"]).span(node, false);
    Some(Draft { source, json, name_span, parsed })
}

impl Source {
    /// The problem of a text that cannot be read at all.
    pub fn unreadable(name: impl Into<std::sync::Arc<str>>, why: &std::io::Error) -> Report {
        let source = Self::new(name, "");
        let message = format!("cannot read `{}`: {why}", source.name);
        let mut problems = Problems::of(&source);
        problems.add(0..0, "", Code::Unreadable, message, None);
        Report { problems: problems.into_sorted() }
    }

    /// A source from the bytes of a file.
    ///
    /// # Errors
    /// Bytes that are not UTF-8, as a report that points at the first of them.
    pub fn from_bytes(name: impl Into<std::sync::Arc<str>>, bytes: &[u8]) -> Result<Self, Report> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Self::new(name, text)),
            Err(error) => {
                let source = Self::new(name, String::from_utf8_lossy(bytes));
                let mut problems = Problems::of(&source);
                let help = Some("save the file as UTF-8".to_owned());
                let at = error.valid_up_to();
                problems.add(at..at + 1, "", Code::NotUtf8, "the text is not UTF-8".to_owned(), help);
                Err(Report { problems: problems.into_sorted() })
            }
        }
    }
}
