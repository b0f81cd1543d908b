//! Tests of files that run.
