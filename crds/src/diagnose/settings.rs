//! Settings of a program: one document without a kind, read as carefully as an object is.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Code, Path, Problems, Report, rules::Finding, walk::Walker};
use crate::{schema::Shape, source::Source, yaml};

/// Reads the one document of a text by its shape, and by `rules` that no schema can say.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn one_document<T: DeserializeOwned>(
    source: &Source,
    shape: &'static Shape,
    rules: fn(&Value) -> Vec<Finding>,
) -> Result<T, Report> {
    let mut problems = Problems::of(source);
    let read = read(&mut problems, shape, rules);
    match read {
        Some(read) if problems.len() == 0 => Ok(read),
        _ => Err(Report { problems: problems.into_sorted() }),
    }
}

fn read<T: DeserializeOwned>(
    problems: &mut Problems<'_>,
    shape: &'static Shape,
    rules: fn(&Value) -> Vec<Finding>,
) -> Option<T> {
    let documents = yaml::documents(problems);
    if let Some(second) = documents.get(1) {
        let message = "there is a second document, and settings are one".to_owned();
        problems.add(second.root.span.clone(), "", Code::Conflict, message, Some("leave out the `---`".to_owned()));
    }
    let Some(document) = documents.first() else {
        if problems.len() == 0 {
            problems.add(0..0, "", Code::EmptyValue, format!("`{}` says nothing", problems.source().name), None);
        }
        return None;
    };
    let json = Walker { problems, root: shape }.walk(&document.root, &Path::default());
    for finding in rules(&json) {
        let span = finding.path.span(&document.root, finding.at_key);
        problems.add(span, &finding.path.to_string(), finding.code, finding.message, finding.help);
    }
    // What has a problem holds nulls, and is no T.
    if problems.len() > 0 {
        return None;
    }
    match serde_json::from_value(json) {
        Ok(read) => Some(read),
        Err(error) => {
            problems.add(document.root.span.clone(), "", Code::Invalid, error.to_string(), None);
            None
        }
    }
}
