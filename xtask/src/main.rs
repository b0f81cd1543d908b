//! The project's only scripts: test, schema, tidy, bench.
fn main() {}
