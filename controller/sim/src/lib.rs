//! The simulated world: faults, checkers, stories.
