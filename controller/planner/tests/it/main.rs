//! Stories and properties of the planner, told on a small model of a fleet that follows its plans.

mod canary;
mod controls;
mod fleet;
mod invariants;
mod model;
mod rolling;
