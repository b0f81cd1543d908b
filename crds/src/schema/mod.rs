//! JSON Schemas of the kinds as people write them, and what is made from them: the shapes that validation walks, the field
//! docs of `helium explain`, and the reference pages.
//!
//! The types are the one source. `schemars` turns them into schemas, and this file makes those fit for people and editors:
//!
//! - an optional field may be left out, but not be `null`;
//! - an enum of which one variant is named (`strategy`, a canary's step) is an object with exactly one field, which
//!   editors complete better than a choice among objects;
//! - what Helium keeps (`metadata.uid`, `status`, ...) is `readOnly`: `helium get -o yaml` prints it and `helium apply` ignores it.
//!
//! Keywords that begin with `x-` are Helium's own: `x-min` and `x-max` bound a period or percentage, `x-allowed` says in words what a
//! `pattern` allows, `x-default` says a default that is not a plain value.

mod explain;
mod reference;
mod shape;

use schemars::{JsonSchema, schema_for};
use serde_json::{Map, Value, json};

pub use explain::{ChildDoc, ExplainError, FieldDoc, explain};
pub use reference::reference_pages;
pub(crate) use shape::{Field, ObjectShape, Pattern, Shape, ShapeKind, shape, shape_of};

use crate::{Canary, Deployment, HydraJob, Kind, object::API_VERSION};

/// The schema of one kind, as people write it: draft 2020-12.
pub fn schema(kind: Kind) -> Value {
    let generated = match kind {
        Kind::Deployment => schema_for!(Deployment),
        Kind::Canary => schema_for!(Canary),
        Kind::HydraJob => schema_for!(HydraJob),
    };
    let mut root = Value::from(generated);
    tidy(&mut root);
    finish_root(&mut root, kind);
    drop_unused_definitions(&mut root);
    root
}

/// The schema of settings, which are no object of the store.
pub(crate) fn settings_schema<T: JsonSchema>() -> Value {
    let mut root = Value::from(schema_for!(T));
    tidy(&mut root);
    drop_unused_definitions(&mut root);
    root
}

/// Every schema under the name of its file: `deployment.json`, `canary.json`.
pub fn schemas() -> Vec<(String, Value)> {
    Kind::ALL.into_iter().map(|kind| (format!("{}.json", kind.singular()), schema(kind))).collect()
}

/// The same as texts, as they are committed under `crds/schemas`.
pub fn schema_files() -> Vec<(String, String)> {
    schemas().into_iter().map(|(name, schema)| (name, format!("{schema:#}\n"))).collect()
}

/// Rewrites what `schemars` makes of Rust's types into what is said to people, here and in everything below.
fn tidy(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Object(map) => {
            map.values_mut().for_each(tidy);
            forbid_null(map);
            join_single_field_variants(map);
            keep_read_only_open(map);
            if map.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
                map.remove("format");
            }
        }
        _ => {}
    }
}

/// `type: [string, null]` becomes `type: string`, and a choice between a reference and null becomes the reference.
fn forbid_null(map: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = map.get("type")
        && let [Value::String(only), Value::String(null)] = types.as_slice()
        && null == "null"
    {
        let only = Value::String(only.clone());
        map.insert("type".to_owned(), only);
    }
    if let Some(Value::Array(choices)) = map.get("anyOf")
        && let [reference, null] = choices.as_slice()
        && null == &json!({ "type": "null" })
        && let Some(target) = reference.get("$ref").cloned()
    {
        map.remove("anyOf");
        map.insert("$ref".to_owned(), target);
    }
}

/// A choice among objects of one required field each becomes one object, of which exactly one field is given.
fn join_single_field_variants(map: &mut Map<String, Value>) {
    let Some(variants) = map.get("oneOf").and_then(Value::as_array) else { return };
    let Some(properties) = variants.iter().map(single_field).collect::<Option<Map<_, _>>>() else { return };
    map.remove("oneOf");
    map.insert("type".to_owned(), json!("object"));
    map.insert("properties".to_owned(), Value::Object(properties));
    map.insert("additionalProperties".to_owned(), json!(false));
    map.insert("minProperties".to_owned(), json!(1));
    map.insert("maxProperties".to_owned(), json!(1));
}

/// The only field of a variant, with the variant's description where it has none.
fn single_field(variant: &Value) -> Option<(String, Value)> {
    let properties = variant.get("properties")?.as_object()?;
    let (name, field) = properties.iter().next().filter(|_| properties.len() == 1)?;
    let mut field = field.as_object()?.clone();
    if let Some(description) = variant.get("description") {
        field.entry("description").or_insert_with(|| description.clone());
    }
    Some((name.clone(), Value::Object(field)))
}

/// What Helium keeps is not looked into where people write it back.
fn keep_read_only_open(map: &mut Map<String, Value>) {
    if map.get("readOnly") == Some(&Value::Bool(true)) {
        map.retain(|key, _| ["type", "description", "readOnly"].contains(&key.as_str()));
    }
}

/// The root says which kind it is, and lets a printed status through.
fn finish_root(root: &mut Value, kind: Kind) {
    let description = match kind {
        Kind::Deployment => "Keeps a number of instances of a template running.",
        Kind::Canary => "Says how a new template of the Deployment of the same name is tried out before it takes over.",
        Kind::HydraJob => "Gives Deployments the version that a job of Hydra has built last.",
    };
    root["title"] = json!(kind.to_string());
    root["description"] = json!(description);
    root["properties"]["apiVersion"] =
        json!({ "const": API_VERSION, "type": "string", "description": format!("Always `{API_VERSION}`.") });
    root["properties"]["kind"] =
        json!({ "const": kind.to_string(), "type": "string", "description": format!("Always `{kind}`.") });
    root["properties"]["status"] =
        json!({ "type": "object", "readOnly": true, "description": "Kept by Helium: where things stand." });
}

/// Definitions that nothing refers to any more go.
fn drop_unused_definitions(root: &mut Value) {
    loop {
        let text = root.to_string();
        let Some(definitions) = root.get_mut("$defs").and_then(Value::as_object_mut) else { return };
        let before = definitions.len();
        definitions.retain(|name, _| text.contains(&format!("\"#/$defs/{name}\"")));
        if definitions.len() == before {
            return;
        }
    }
}
