//! Each checker catches the defects that were made for it.

use helium_sim::{defects::Defect, run};

/// Within so many seeds each must be caught.
const SEEDS: u64 = 300;

#[test]
fn every_checker_catches_its_defects() {
    let mut uncaught = Vec::new();
    for defect in Defect::ALL {
        let catches = |seed: &u64| {
            let violation = run::seed(*seed, Some(defect)).unwrap().violation;
            violation.is_some_and(|violation| violation.checker == defect.checker())
        };
        match (0..SEEDS).find(catches) {
            Some(seed) => println!("{} is caught by seed {seed:#x}", defect.name()),
            None => uncaught.push(defect),
        }
    }
    assert!(uncaught.is_empty(), "not caught within {SEEDS} seeds: {uncaught:?}");
}
