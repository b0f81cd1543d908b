//! Objects as documents: canonical JSON and YAML.

use clap::ValueEnum;
use serde_json::{Value, json};

use super::exit::Failure;

/// How objects are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One JSON document; a list is `{"items": [...]}`.
    Json,
    /// YAML that can be applied again.
    Yaml,
    /// A table with more columns.
    Wide,
    /// Only names, one a line: `deployment/hello`.
    Name,
}

/// JSON or YAML, for commands that print nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Document {
    /// One JSON document.
    Json,
    /// YAML.
    Yaml,
}

/// A value as indented JSON, with a line break at its end.
pub(crate) fn to_json(value: &Value) -> Result<String, Failure> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

/// A value as YAML, with a line break at its end.
pub(crate) fn to_yaml(value: &Value) -> Result<String, Failure> {
    // Folded scalars would break long lines; a reader may not care, but a diff does.
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    let text = serde_saphyr::to_string_with_options(value, options)
        .map_err(|error| Failure::internal(format!("cannot write YAML: {error}")))?;
    Ok(if text.ends_with('\n') { text } else { text + "\n" })
}

/// A value in either form.
pub(crate) fn to_document(value: &Value, document: Document) -> Result<String, Failure> {
    match document {
        Document::Json => to_json(value),
        Document::Yaml => to_yaml(value),
    }
}

/// A list as JSON has it.
pub(crate) fn items(values: &[Value]) -> Value {
    json!({ "items": values })
}
