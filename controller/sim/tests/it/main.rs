//! The simulator tests itself and what it simulates.

mod thin;
