//! The embedded server under paused time.
