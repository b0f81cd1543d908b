//! Stories with golden output, and a crash at every call of one of them.
//!
//! After a change that was meant, `UPDATE_GOLDEN=1 cargo test -p helium-sim stories` writes the outputs anew; read the difference.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

use std::{fs, path::PathBuf};

use helium_sim::{
    exhaust::{Scope, Victims, exhaust},
    story,
};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("stories")
}

pub(crate) fn stories() -> Vec<PathBuf> {
    let files = fs::read_dir(folder()).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut scripts: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "txt")).collect();
    scripts.sort();
    assert!(scripts.len() > 10, "the stories are not there");
    scripts
}

#[test]
fn every_story_is_told_as_it_was_written_down() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut differing = Vec::new();
    for script in stories() {
        let name = script.file_stem().unwrap().to_string_lossy().into_owned();
        let told = story::tell(&fs::read_to_string(&script).unwrap(), None).unwrap();
        assert_eq!(told.violation, None, "{name}\n{}", told.trace.join("\n"));
        let golden = script.with_extension("out");
        if update {
            fs::write(&golden, &told.output).unwrap();
        } else if fs::read_to_string(&golden).unwrap_or_default() != told.output {
            differing.push(format!("{name}:\n{}", told.output));
        }
    }
    assert!(differing.is_empty(), "these are told in another way:\n{}", differing.join("\n"));
}

/// One story here; `helium-sim --exhaust controller/sim/stories` takes all of them.
#[test]
fn a_crash_at_any_call_of_a_first_deploy_changes_nothing_in_the_end() {
    everybody_survives("first-deploy", Victims::Controllers);
}

/// Instances are started and stopped there; `helium-sim --exhaust controller/sim/stories --agents` takes all stories.
#[test]
fn a_crash_of_any_agent_before_or_after_anything_that_it_does_in_a_roll_changes_nothing_in_the_end() {
    everybody_survives("rolling", Victims::Agents);
}

#[track_caller]
fn everybody_survives(story: &str, victims: Victims) {
    let script = fs::read_to_string(folder().join(story).with_extension("txt")).unwrap();
    let exhausted = exhaust(&script, victims, Scope::States).unwrap();
    assert!(exhausted.points > 20, "there are only {} crash points", exhausted.points);
    if let Some((crash, failure)) = exhausted.failure {
        panic!("{crash:?}: {failure}");
    }
}
