//! Which lines are run for which files.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use helium_templates::template::Template;

use super::{Work, apply::owed};
use crate::renderer::Set;

fn work() -> Work {
    let template = |name: &str| Template::read_from(Path::new(name), "x", Path::new("/etc")).unwrap();
    let templates = ["c.tera", "a.tera", "b.tera"].map(template).to_vec();
    let commands = [("/etc/a", "reload web"), ("/etc/b", "reload web"), ("/etc/c", "reload db")];
    let commands: BTreeMap<PathBuf, String> =
        commands.iter().map(|(target, line)| (PathBuf::from(target), (*line).to_owned())).collect();
    Work {
        set: Arc::new(Set { templates, ..Set::default() }),
        checks: vec![],
        commands,
        reload: vec!["all".into()],
        values_from: String::new(),
    }
}

fn run(before: &[&str], changed: &[&str]) -> Vec<String> {
    let changed: BTreeSet<PathBuf> = changed.iter().map(PathBuf::from).collect();
    owed(&before.iter().map(ToString::to_string).collect::<Vec<_>>(), &work(), &changed)
}

#[test]
fn equal_lines_of_several_templates_are_run_once_in_the_order_of_the_templates_and_those_for_all_come_last() {
    assert_eq!(run(&[], &["/etc/a", "/etc/b", "/etc/c"]), ["reload db", "reload web", "all"]);
    assert_eq!(run(&[], &["/etc/b"]), ["reload web", "all"]);
}

#[test]
fn what_was_owed_before_comes_first_and_once() {
    assert_eq!(run(&["reload web"], &["/etc/c"]), ["reload web", "reload db", "all"]);
}
