//! Who of a service's instances leads, how many of a fleet upgrade at once, and which versions are bad.
//!
//! All of it is kept in Consul, and all decisions are functions of data; the drivers beside them only ask and tell.
//!
//! | module | what it is |
//! |---|---|
//! | [`keys`] | where everything is kept, as Helium has it and as Helios had it |
//! | [`leader`] | one of several leads, with a fencing token, and stops before another can lead |
//! | [`upgrade`] | at most N upgrade at a time, in the order in which they came; a version that failed is taken by nobody else |

pub mod keys;
pub mod leader;
pub mod upgrade;

pub use keys::Keys;
