//! Jobs with real processes.
