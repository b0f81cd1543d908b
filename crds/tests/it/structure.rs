//! The published schemas and Helium's own validation agree, on the examples and on every way to break their structure.

use std::{collections::BTreeMap, fs};

use helium_crds::{Kind, Source, parse, schema};
use jsonschema::Validator;
use serde_json::{Map, Value, json};

use crate::examples::{files, read};

/// The documents of an example as another YAML reader sees them.
fn documents(path: &std::path::Path) -> Vec<Value> {
    serde_saphyr::from_multiple(&fs::read_to_string(path).unwrap()).unwrap()
}

fn validators() -> BTreeMap<String, Validator> {
    Kind::ALL
        .into_iter()
        .map(|kind| (kind.to_string(), jsonschema::validator_for(&schema::schema(kind)).unwrap()))
        .collect()
}

/// Every example as it is written, and every example with its defaults written out.
fn objects() -> Vec<Value> {
    let written = files().into_iter().flat_map(|path| documents(&path));
    let full = files()
        .into_iter()
        .flat_map(|path| read(&path))
        .map(|parsed| without_kept(&serde_json::to_value(parsed.object).unwrap()));
    written.chain(full).collect()
}

/// An object without what Helium keeps, which is not looked into.
fn without_kept(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|key, _| ["name", "namespace", "labels", "annotations"].contains(&key.as_str()));
    }
    object
}

#[test]
fn every_example_is_valid_by_its_schema_as_another_yaml_reader_sees_it() {
    let validators = validators();
    for object in objects() {
        let validator = &validators[object["kind"].as_str().unwrap()];
        let errors: Vec<String> = validator.iter_errors(&object).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{object:#}\n{errors:?}");
    }
}

#[test]
fn another_yaml_reader_reads_the_same_from_every_example() {
    for path in files() {
        let ours: Vec<_> = read(&path).into_iter().map(|parsed| parsed.object).collect();
        let theirs: Vec<_> = documents(&path)
            .into_iter()
            .map(|document| parse(&Source::new("<stdin>", document.to_string())).unwrap().remove(0).object)
            .collect();
        assert_eq!(ours, theirs);
    }
}

/// One way to break an object: what was done, and the result.
struct Mutation {
    what: String,
    object: Value,
    /// Whether the schema must refuse it; for some (a text of another length) it depends on the place.
    must_fail: bool,
}

/// The pointers of all values of an object, `""` for itself.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(map) => map.iter().for_each(|(key, inner)| pointers(inner, &format!("{at}/{key}"), found)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, inner)| pointers(inner, &format!("{at}/{index}"), found));
        }
        _ => {}
    }
}

fn replaced(object: &Value, pointer: &str, by: Value) -> Value {
    let mut copy = object.clone();
    *copy.pointer_mut(pointer).unwrap() = by;
    copy
}

/// Places with names that people choose.
fn is_free_map(pointer: &str) -> bool {
    ["/env", "/meta", "/labels", "/annotations", "/criteria"].iter().any(|end| pointer.ends_with(end))
}

/// Places where a whole number is as good as a percentage.
fn is_amount(pointer: &str) -> bool {
    pointer.ends_with("/maxSurge") || pointer.ends_with("/maxUnavailable")
}

/// Places of a measured number, which may be less than nothing.
fn is_measured(pointer: &str) -> bool {
    pointer.contains("/criterion/") || pointer.contains("/criteria/")
}

fn mutations(object: &Value) -> Vec<Mutation> {
    let mut all = Vec::new();
    let mut found = Vec::new();
    pointers(object, "", &mut found);
    for pointer in &found {
        let value = object.pointer(pointer).unwrap();
        of_type(object, pointer, value, &mut all);
        if pointer.is_empty() {
            // A document that is nothing at all is no document.
            all.retain(|mutation| !mutation.object.is_null());
        }
        match value {
            Value::Object(map) => of_mapping(object, pointer, map, &mut all),
            Value::Array(items) => of_list(object, pointer, items, &mut all),
            Value::String(text) => of_text(object, pointer, text, &mut all),
            Value::Number(_) => of_number(object, pointer, &mut all),
            _ => {}
        }
    }
    all
}

fn of_type(object: &Value, pointer: &str, value: &Value, all: &mut Vec<Mutation>) {
    for other in [
        json!(null),
        json!(true),
        json!(7),
        json!(2.5),
        json!("seven words are here"),
        json!([]),
        json!({}),
        json!([[]]),
    ] {
        let same = std::mem::discriminant(&other) == std::mem::discriminant(value);
        let also = is_amount(pointer) && (other.is_u64() || other.is_string());
        all.push(Mutation {
            what: format!("{pointer} is {other}"),
            object: replaced(object, pointer, other),
            must_fail: !same && !also,
        });
    }
}

fn of_mapping(object: &Value, pointer: &str, map: &Map<String, Value>, all: &mut Vec<Mutation>) {
    let mut more = map.clone();
    more.insert("surplus".to_owned(), json!("a"));
    all.push(Mutation {
        what: format!("{pointer} has a surplus field"),
        object: replaced(object, pointer, Value::Object(more)),
        must_fail: !is_free_map(pointer),
    });
    for name in map.keys() {
        let mut fewer = map.clone();
        let value = fewer.remove(name).unwrap();
        let without = replaced(object, pointer, Value::Object(fewer.clone()));
        all.push(Mutation { what: format!("{pointer} lacks {name}"), object: without, must_fail: false });
        fewer.insert(format!("{name} "), value.clone());
        all.push(Mutation {
            what: format!("{pointer}/{name} has a space after its name"),
            object: replaced(object, pointer, Value::Object(fewer.clone())),
            must_fail: true,
        });
        fewer.remove(&format!("{name} "));
        fewer.insert(name.to_uppercase() + "Q", value);
        all.push(Mutation {
            what: format!("{pointer}/{name} has another name"),
            object: replaced(object, pointer, Value::Object(fewer)),
            must_fail: !is_free_map(pointer),
        });
    }
}

fn of_list(object: &Value, pointer: &str, items: &[Value], all: &mut Vec<Mutation>) {
    for (what, list) in [
        ("is empty", Vec::new()),
        ("holds null", [items, &[Value::Null]].concat()),
        ("is very long", items.iter().cycle().take(if items.is_empty() { 0 } else { 101 }).cloned().collect()),
    ] {
        let must_fail = what == "holds null";
        all.push(Mutation {
            what: format!("{pointer} {what}"),
            object: replaced(object, pointer, Value::Array(list)),
            must_fail,
        });
    }
}

fn of_text(object: &Value, pointer: &str, text: &str, all: &mut Vec<Mutation>) {
    let others = [
        String::new(),
        format!(" {text}"),
        format!("{text}\n"),
        format!("{text}!"),
        text.repeat(600),
        "10".to_owned(),
        "-1s".to_owned(),
        "101%".to_owned(),
    ];
    for other in others {
        all.push(Mutation {
            what: format!("{pointer} is {other:?}"),
            object: replaced(object, pointer, json!(other)),
            must_fail: false,
        });
    }
}

fn of_number(object: &Value, pointer: &str, all: &mut Vec<Mutation>) {
    for other in [json!(-1), json!(0), json!(100_000), json!(u64::MAX)] {
        let must_fail = other == json!(-1) && !is_measured(pointer);
        all.push(Mutation {
            what: format!("{pointer} is {other}"),
            object: replaced(object, pointer, other),
            must_fail,
        });
    }
}

#[test]
fn the_schemas_refuse_every_structural_mutation_of_every_example() {
    let validators = validators();
    let mut count = 0;
    for object in objects() {
        let validator = &validators[object["kind"].as_str().unwrap()];
        for mutation in mutations(&object).into_iter().filter(|mutation| mutation.must_fail) {
            assert!(!validator.is_valid(&mutation.object), "{}:\n{:#}", mutation.what, mutation.object);
            count += 1;
        }
    }
    assert!(count > 2000, "only {count} mutations were tried");
}

#[test]
fn whatever_lacks_a_required_field_is_refused() {
    let validators = validators();
    let mut found = Vec::new();
    for object in objects() {
        let validator = &validators[object["kind"].as_str().unwrap()];
        for mutation in mutations(&object).into_iter().filter(|mutation| mutation.what.contains(" lacks ")) {
            if !validator.is_valid(&mutation.object) {
                found.push(mutation.what.replace(|c: char| c.is_ascii_digit(), "N"));
            }
        }
    }
    found.sort();
    found.dedup();
    insta::assert_snapshot!("required", found.join("\n"));
}

#[test]
fn our_own_validation_agrees_with_the_schemas_on_every_mutation() {
    let validators = validators();
    let (mut refused, mut accepted) = (0, 0);
    for object in objects() {
        let validator = &validators[object["kind"].as_str().unwrap()];
        for mutation in mutations(&object) {
            let theirs = validator.is_valid(&mutation.object);
            let ours = parse(&Source::new("<stdin>", mutation.object.to_string()));
            let structural =
                ours.as_ref().is_err_and(|report| report.problems.iter().any(|problem| problem.code.is_structural()));
            if theirs {
                accepted += 1;
                // Bounds of periods and percentages are beyond JSON Schema.
                let bounds = |report: &helium_crds::Report| {
                    report.problems.iter().all(|problem| {
                        let beyond =
                            matches!(problem.code, helium_crds::Code::OutOfRange | helium_crds::Code::BadDuration);
                        beyond || !problem.code.is_structural()
                    })
                };
                let agree = !structural || ours.as_ref().is_err_and(bounds);
                assert!(agree, "we refuse, the schema accepts: {}\n{}", mutation.what, ours.unwrap_err().render(false));
            } else {
                refused += 1;
                assert!(ours.is_err(), "we accept, the schema refuses: {}\n{:#}", mutation.what, mutation.object);
            }
        }
    }
    assert!(refused > 3000 && accepted > 300, "{refused} refused, {accepted} accepted");
}
