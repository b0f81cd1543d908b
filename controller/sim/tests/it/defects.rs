//! Each checker catches the defect that was made for it.

use helium_sim::{defects::Defect, run};

/// Within so many seeds each must be caught.
const SEEDS: u64 = 300;

#[test]
fn every_checker_catches_its_defect() {
    let mut uncaught = Vec::new();
    for defect in Defect::ALL {
        let caught = (0..SEEDS).any(|seed| {
            let violation = run::seed(seed, Some(defect)).unwrap().violation;
            violation.is_some_and(|violation| violation.checker == defect.to_string())
        });
        if !caught {
            uncaught.push(defect);
        }
    }
    assert!(uncaught.is_empty(), "not caught within {SEEDS} seeds: {uncaught:?}");
}
