//! Groups on the real hierarchies of this machine.

mod real;
