//! What is generated and committed is what would be generated now.

use std::{fs, path::Path};

use helium_crds::schema;

use crate::here;

fn check(folder: &Path, files: Vec<(String, String)>) {
    let mut known: Vec<String> = Vec::new();
    for (name, text) in files {
        let path = folder.join(&name);
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == text, "{} is not fresh: run `cargo xtask schema`", path.display());
        known.push(name);
    }
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let ours = Path::new(&name).extension().is_some_and(|extension| extension == "json");
        assert!(!ours || known.contains(&name), "{name} belongs to no kind: delete it");
    }
}

#[test]
fn the_committed_schemas_are_fresh() {
    check(&here("schemas"), schema::schema_files());
}

#[test]
fn the_committed_reference_pages_are_fresh() {
    check(&here("../docs/reference"), schema::reference_pages());
}

#[test]
fn every_field_of_every_schema_has_a_description() {
    fn visit(at: &str, value: &serde_json::Value) {
        if let Some(properties) = value.get("properties").and_then(serde_json::Value::as_object) {
            // A field that is only forbidden is described where it may stand.
            for (name, field) in properties.iter().filter(|(_, field)| **field != false) {
                let description = field["description"].as_str().unwrap_or_default();
                assert!(description.ends_with('.'), "{at}.{name}: {description:?}");
            }
        }
        match value {
            serde_json::Value::Object(map) => map.iter().for_each(|(key, inner)| visit(&format!("{at}.{key}"), inner)),
            serde_json::Value::Array(items) => items.iter().for_each(|inner| visit(at, inner)),
            _ => {}
        }
    }
    for (name, schema) in schema::schemas() {
        visit(&name, &schema);
    }
}
