//! Which kind a document is of, be it said well, badly or not at all.

use super::{Code, Path, Problems, nearest::nearest, words};
use crate::{
    Kind,
    object::API_VERSION,
    yaml::{Node, Value},
};

/// The objects of a document: the document itself, or the items of a list.
pub(super) fn objects(root: &Node) -> Vec<(Path, &Node)> {
    match root.get("items").map(|items| &items.value) {
        Some(Value::Sequence(items)) if root.get("spec").is_none() => {
            let path = Path::of(&["items"]);
            items.iter().enumerate().map(|(index, item)| (path.index(index), item)).collect()
        }
        _ => vec![(Path::default(), root)],
    }
}

/// The kind to check a document by. A kind that is mistyped or missing is told of where the document is checked, if it can be guessed
/// which one is meant, and here if it cannot; then the rest of the document would only be misjudged.
pub(super) fn of(problems: &mut Problems<'_>, path: &Path, node: &Node) -> Option<Kind> {
    if node.entries().is_none() {
        let message = format!("an object must be a mapping, but this is {}", node.describe());
        let help = "write apiVersion, kind, metadata and spec".to_owned();
        problems.add(node.span.clone(), &path.to_string(), Code::WrongType, message, Some(help));
        return None;
    }
    let names = Kind::ALL.map(|kind| kind.to_string());
    let api_version = node.get("apiVersion").and_then(Node::text);
    if let Some(foreign) = api_version.filter(|version| is_foreign(version)) {
        let message = format!("there is no apiVersion `{foreign}`");
        let help = Some(format!("Helium's own is `{API_VERSION}`; this looks like an object for something else"));
        let at = path.field("apiVersion");
        problems.add(
            Path::of(&["apiVersion"]).span(node, false),
            &at.to_string(),
            Code::UnknownApiVersion,
            message,
            help,
        );
        return None;
    }
    let Some(written) = node.get("kind").and_then(Node::text).filter(|text| !text.is_empty()) else {
        let guess = guess(node);
        if guess.is_none() {
            let message = "the document lacks `kind`".to_owned();
            let help = Some(format!("write `kind: {}`", names.join("` or `kind: ")));
            let at = path.field("kind").to_string();
            let span = node.entries()?.first().map_or(node.span.clone(), |entry| entry.key_span.clone());
            problems.add(span, &at, Code::MissingField, message, help);
        }
        return guess;
    };
    let meant = nearest(written, names.iter().map(String::as_str)).map(str::to_owned);
    let known = Kind::ALL.into_iter().find(|kind| Some(kind.to_string()) == meant);
    if known.is_none() {
        let message = format!("there is no kind `{written}`");
        let help = Some(format!("known here: {}", words::list(&names)));
        let at = path.field("kind").to_string();
        problems.add(Path::of(&["kind"]).span(node, false), &at, Code::UnknownKind, message, help);
    }
    known
}

/// Another system's `apiVersion`, such as `apps/v1`.
fn is_foreign(version: &str) -> bool {
    version.contains('/') && !version.to_lowercase().contains("helium") && nearest(version, [API_VERSION]).is_none()
}

/// The kind of a document that says none, by what only one kind has.
fn guess(node: &Node) -> Option<Kind> {
    let spec = node.get("spec")?;
    match (spec.get("template").is_some(), spec.get("steps").is_some()) {
        (true, false) => Some(Kind::Deployment),
        (false, true) => Some(Kind::Canary),
        (false, false) if spec.get("wholeJobset").is_some() => Some(Kind::HydraJob),
        _ => None,
    }
}
