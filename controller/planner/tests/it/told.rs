//! What a plan, and a look at Hydra, can tell of: the list that people filter events by has every reason, and no other.

use std::{collections::BTreeSet, fs, path::Path};

use helium_crds::event::EventReason;

/// The sources below a folder.
fn sources(folder: &Path) -> Vec<String> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: std::path::PathBuf| match path.extension() {
        Some(end) if end == "rs" => vec![fs::read_to_string(path).unwrap()],
        _ if path.is_dir() => sources(&path),
        _ => Vec::new(),
    };
    paths.flat_map(read).collect()
}

/// The reasons that a source tells of; that of a phase stands there by a name in small letters.
fn told(source: &str) -> impl Iterator<Item = &str> {
    let calls = ["draft.tell(", "draft.warn("].into_iter().flat_map(|call| source.split(call).skip(1));
    calls.map(|arguments| match arguments.trim_start().strip_prefix('"') {
        Some(literal) => literal.split('"').next().unwrap_or_default(),
        None => arguments.split(',').next().unwrap_or_default().trim(),
    })
}

/// The reasons of the phase of what cannot be followed, each of which is told of.
fn of_the_unfollowable(phases: &str) -> impl Iterator<Item = &str> {
    let before = phases.split(" => Phase::Invalid").next().unwrap_or_default();
    let arm = before.rsplit(',').next().unwrap_or_default();
    arm.split('|').filter_map(|reason| reason.trim().strip_prefix("Reason::"))
}

/// The reasons that are told of HydraJobs.
fn of_jobs(source: &str) -> impl Iterator<Item = &str> {
    let named = source.split("EventReason::").skip(1);
    named.map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default())
}

#[test]
fn every_event_that_can_be_told_is_in_the_list_and_no_other() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let planner = sources(&here.join("src"));
    let mut reasons: BTreeSet<&str> = planner.iter().flat_map(|source| told(source)).collect();
    assert!(reasons.remove("&reason.to_string()"), "what cannot be followed is told by the reason of its phase");
    let phases = fs::read_to_string(here.join("../../crds/src/status/phase.rs")).unwrap();
    reasons.extend(of_the_unfollowable(&phases));
    let jobs = fs::read_to_string(here.join("../engine/src/builds/machine.rs")).unwrap();
    reasons.extend(of_jobs(&jobs));
    let listed: BTreeSet<&str> = EventReason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(reasons, listed);
}
