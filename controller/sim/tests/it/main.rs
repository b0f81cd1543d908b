//! The simulator tests itself and what it simulates.

mod defects;
mod seeds;
mod stories;
