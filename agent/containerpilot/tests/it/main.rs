//! Files as a whole: what is taken, what is refused and where, what is warned of, and what comes out.

mod config;
mod files;
mod messages;
mod never_panics;

use std::collections::BTreeMap;

use helium_containerpilot::{Config, Loaded, load};

/// An environment.
fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A file that is taken.
#[track_caller]
fn taken(text: &str) -> Config {
    let Loaded { config, problems, .. } = load(text, &env(&[]));
    assert_eq!(problems, [], "{text}");
    config.expect("a file without problems has a configuration")
}

/// A file with these jobs.
fn with_jobs(jobs: &str) -> String {
    format!("{{\n  consul: 'localhost:8500',\n  jobs: [{jobs}]\n}}\n")
}
