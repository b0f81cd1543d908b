//! Files, and what they come to.
