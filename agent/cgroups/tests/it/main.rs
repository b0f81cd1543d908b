//! Groups on the real hierarchies of this machine.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]
#![allow(clippy::print_stdout, reason = "what is left out on a machine is said")]

mod real;
