//! The decisions, against a world of processes that exist in the test alone.

mod order;
mod property;
mod table;
mod world;
