//! Servers of the tests.
