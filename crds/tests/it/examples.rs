//! The examples, which newcomers read first, are right.

use std::{
    fs,
    path::{Path, PathBuf},
};

use helium_crds::{
    Amount, AnyObject, Kind, Parsed, Source,
    deployment::{OnFailure, StopSignal, Strategy},
    parse,
};

use crate::here;

/// Every example file.
pub(crate) fn files() -> Vec<PathBuf> {
    fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            // A folder with `helium` in it is a package and no spec.
            if path.is_dir() && !path.join("helium").is_dir() {
                collect(&path, found);
            } else if path.is_file() {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    collect(&here("examples"), &mut found);
    found.sort();
    assert!(found.len() >= 7, "{found:?}");
    found
}

/// The objects of an example.
pub(crate) fn read(path: &Path) -> Vec<Parsed> {
    let source = Source::new(path.display().to_string(), fs::read_to_string(path).unwrap());
    parse(&source).unwrap_or_else(|report| panic!("{}", report.render(false)))
}

#[test]
fn every_example_parses() {
    for path in files() {
        assert!(!read(&path).is_empty(), "{}", path.display());
    }
}

#[test]
fn the_versions_of_hello_differ_in_their_template_only() {
    let read = |name| read(&here("examples/hello").join(name));
    let (one, two, three) = (read("v1.yaml"), read("v2.yaml"), read("v3-broken.yaml"));
    for (other, version) in [(&two, "2.0.0"), (&three, "3.0.0")] {
        let (AnyObject::Deployment(first), AnyObject::Deployment(next)) = (&one[0].object, &other[0].object) else {
            panic!("the first document is the Deployment");
        };
        let mut next = next.clone();
        assert_eq!(next.spec.template.version, version);
        next.spec.template = first.spec.template.clone();
        assert_eq!(first, &next);
        assert_eq!(one[1].object, other[1].object);
    }
}

#[test]
fn what_a_deployment_leaves_out_has_the_documented_defaults() {
    let text = "apiVersion: helium.dev/v1\nkind: Deployment\nmetadata: {name: a}\nspec:\n  template:\n    version: \"1\"\n    \
                exec: {command: [a]}\n";
    let AnyObject::Deployment(object) = parse(&Source::new("a", text)).unwrap().remove(0).object else { panic!() };
    let spec = object.spec;
    let Strategy::Rolling(rolling) = spec.strategy else { panic!("{:?}", spec.strategy) };
    let bounds = (rolling.max_surge.rounded_up(4), rolling.max_surge.rounded_up(40));
    assert_eq!((object.metadata.namespace.as_str(), spec.wanted(), bounds), ("default", 1, (1, 10)));
    assert_eq!(rolling.max_unavailable, Amount::Count(0));
    let seconds =
        [spec.min_healthy_time, spec.progress_deadline, spec.stop_grace_period].map(|one| one.as_duration().as_secs());
    assert_eq!((seconds, spec.revision_history_limit), ([10, 600, 30], 10));
    assert_eq!((spec.on_failure, spec.stop_signal), (OnFailure::Rollback, StopSignal::Term));
}

#[test]
fn an_example_stored_as_json_reads_back_the_same() {
    for parsed in files().iter().flat_map(|path| read(path)) {
        let bytes = parsed.object.to_json().unwrap();
        assert_eq!(AnyObject::from_json(&bytes).unwrap(), parsed.object);
    }
}

#[test]
fn an_example_with_its_defaults_written_out_is_the_same_object() {
    for parsed in files().iter().flat_map(|path| read(path)) {
        let written = String::from_utf8(parsed.object.to_json().unwrap()).unwrap();
        let again =
            parse(&Source::new("<stdin>", &written)).unwrap_or_else(|report| panic!("{}", report.render(false)));
        assert_eq!(again.len(), 1);
        assert_eq!(again[0].object, parsed.object);
    }
}

#[test]
fn what_helium_keeps_may_be_written_back_and_is_ignored() {
    let mut stored = read(&here("examples/hello/v1.yaml")).remove(0).object;
    let plain = stored.clone();
    let metadata = stored.metadata_mut();
    "6c3f".clone_into(&mut metadata.uid);
    metadata.generation = 7;
    metadata.created_at = Some("2026-11-21T08:00:00Z".parse().unwrap());
    let mut printed = serde_json::to_value(&stored).unwrap();
    printed["status"] = serde_json::json!({"phase": "Healthy"});
    let list = serde_json::json!({"items": [printed]}).to_string();
    let read = parse(&Source::new("<stdin>", &list)).unwrap_or_else(|report| panic!("{}", report.render(false)));
    assert_eq!(read[0].object, plain);
    let mut again = read[0].object.clone();
    again.metadata_mut().keep_from(stored.metadata());
    assert_eq!(again, stored);
    assert!(plain.same_as_written(&stored));
    assert_eq!(plain.kind(), Kind::Deployment);
}
