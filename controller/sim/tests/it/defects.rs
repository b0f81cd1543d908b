//! Each checker catches the defects that were made for it.

use helium_sim::{defects::Defect, parallel, run};

/// Within so many seeds each must be caught.
const SEEDS: u64 = 300;

#[test]
fn every_checker_catches_its_defects() {
    let catches = |defect: Defect, seed: u64| {
        let violation = run::seed(seed, Some(defect)).unwrap().violation;
        violation.is_some_and(|violation| violation.checker == defect.checker())
    };
    let first = |place: usize| (0..SEEDS).find(|&seed| catches(Defect::ALL[place], seed));
    let mut uncaught = Vec::new();
    parallel::in_order(Defect::ALL.len(), first, |place, seed| {
        let defect = Defect::ALL[place];
        match seed {
            Some(seed) => println!("{} is caught by seed {seed:#x}", defect.name()),
            None => uncaught.push(defect),
        }
        true
    });
    assert!(uncaught.is_empty(), "not caught within {SEEDS} seeds: {uncaught:?}");
}
