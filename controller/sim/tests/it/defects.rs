//! Each checker catches the defects that were made for it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and tells by printing, in its helpers too"
)]

use std::fs;

use helium_sim::{
    checkers::Violation,
    controllers::CrashPoint,
    defects::Defect,
    exhaust::{Scope, points},
    parallel, run, story,
    wire::Actor,
};

use crate::stories::stories;

/// What no story tells must be caught within so many seeds.
const SEEDS: u64 = 300;

#[test]
fn every_checker_catches_its_defects() {
    all_are_caught(|defect| !defect.is_of_agents());
}

#[test]
fn every_checker_catches_its_defects_in_agents() {
    all_are_caught(Defect::is_of_agents);
}

#[track_caller]
fn all_are_caught(which: fn(Defect) -> bool) {
    let defects: Vec<Defect> = Defect::ALL.into_iter().filter(|defect| which(*defect)).collect();
    let stories: Vec<(String, String)> = stories()
        .into_iter()
        .map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), fs::read_to_string(&path).unwrap()))
        .collect();
    let caught_by = |place: usize| {
        let defect = defects[place];
        let in_story = |(name, script): &(String, String)| {
            catches(defect, story::tell_with(script, defect, None).unwrap().1, name.clone())
        };
        // What shows only if the agent dies at the right place: it does at each.
        let in_crash = |(name, script): &(String, String)| {
            let lives = story::tell(script, None).unwrap().agents_calls;
            let dies = |crash: CrashPoint| {
                catches(defect, story::tell_with(script, defect, Some(crash)).unwrap().1, format!("{name}, {crash:?}"))
            };
            points(&lives, Actor::Agent, Scope::States).into_iter().find_map(dies)
        };
        let of_crashes = stories.iter().filter(|(name, _)| defect.is_of_agents() && name == "first-deploy");
        let in_seed =
            |seed| catches(defect, run::seed(seed, Some(defect)).unwrap().violation, format!("seed {seed:#x}"));
        stories
            .iter()
            .find_map(in_story)
            .or_else(|| of_crashes.clone().find_map(in_crash))
            .or_else(|| (0..SEEDS).find_map(in_seed))
    };
    let mut uncaught = Vec::new();
    parallel::in_order(defects.len(), caught_by, |place, by| {
        let defect = defects[place];
        match by {
            Some(by) => println!("{} is caught by {by}", defect.name()),
            None => uncaught.push(defect),
        }
        true
    });
    assert!(uncaught.is_empty(), "caught in no story, and not within {SEEDS} seeds: {uncaught:?}");
}

/// Another checker may be faster; a defect is caught when its own is.
fn catches(defect: Defect, violation: Option<Violation>, by: String) -> Option<String> {
    violation.filter(|violation| violation.checker == defect.checker()).map(|_| by)
}
