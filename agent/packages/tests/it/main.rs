//! Stories of packages, each against the real thing.

mod archives;
mod crash;
