//! Each checker catches the defects that were made for it.

use std::fs;

use helium_sim::{checkers::Violation, defects::Defect, parallel, run, story};

use crate::stories::stories;

/// What no story tells must be caught within so many seeds.
const SEEDS: u64 = 300;

#[test]
fn every_checker_catches_its_defects() {
    let stories: Vec<(String, String)> = stories()
        .into_iter()
        .map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), fs::read_to_string(&path).unwrap()))
        .collect();
    let caught_by = |place: usize| {
        let defect = Defect::ALL[place];
        let in_story = |(name, script): &(String, String)| {
            catches(defect, story::tell_with(script, defect).unwrap().1, name.clone())
        };
        let in_seed =
            |seed| catches(defect, run::seed(seed, Some(defect)).unwrap().violation, format!("seed {seed:#x}"));
        stories.iter().find_map(in_story).or_else(|| (0..SEEDS).find_map(in_seed))
    };
    let mut uncaught = Vec::new();
    parallel::in_order(Defect::ALL.len(), caught_by, |place, by| {
        let defect = Defect::ALL[place];
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
