//! Words that may not stand in the tree, or not without another.

use std::path::Path;

use super::{Finding, Text, rust::Code};

/// Folders of somebody's machine: nothing in the tree may depend on them. Put together here, so that this file passes its own rule.
const FOLDERS: &[&str] = &[concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/"), concat!("/wo", "rk/")];

/// Hosts of package registries: which one is used is the machine's own affair.
const REGISTRIES: &[&str] = &[
    concat!("deb.deb", "ian.org"),
    concat!("archive.deb", "ian.org"),
    concat!("index.cra", "tes.io"),
    concat!("static.cra", "tes.io"),
    concat!("registry.np", "mjs.org"),
    concat!("files.python", "hosted.org"),
    concat!("proxy.gol", "ang.org"),
    concat!("registry-1.doc", "ker.io"),
];

/// Marks of work that was left for later: it belongs in an issue.
const MARKS: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];

/// What may stand in no text file; `root` is where this tree is on this machine.
pub(super) fn check_any(file: &Text, root: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    let root = root.to_string_lossy();
    for (number, line) in (1..).zip(file.text.lines()) {
        let mut say = |words: String| findings.push(Finding::new(&file.path, number, words));
        if root.len() > 1 && line.contains(&*root) {
            say("the path of this very tree on this machine".to_owned());
        } else if let Some(folder) = FOLDERS.iter().find(|folder| has_path(line, folder)) {
            say(format!("a path of somebody's machine: {folder}"));
        }
        // cargo itself writes its registry into the lock file.
        if file.path != Path::new("Cargo.lock") && REGISTRIES.iter().any(|host| line.contains(host)) {
            say("the host of a package registry: use what the machine is set up with".to_owned());
        }
    }
    findings
}

/// Whether an absolute path begins with `folder`: `see ~/x`, with nothing of a longer path before it.
fn has_path(line: &str, folder: &str) -> bool {
    let is_longer = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '*' | '}' | '>' | '~' | '/');
    line.match_indices(folder).any(|(at, _)| !line[..at].chars().next_back().is_some_and(is_longer))
}

/// What may not stand in Rust code.
pub(super) fn check_rust(file: &Text, code: &Code) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut say = |at: usize, words: &str| findings.push(Finding::new(&file.path, code.line(at), words));
    for (at, rest) in code.places("select").filter(|(_, rest)| rest.starts_with('!')) {
        let inside = rest[1..].trim_start().trim_start_matches(['{', '(', '[']).trim_start();
        if !inside.starts_with("biased;") {
            say(at, "`select!` without `biased;` takes its branches in random order: no seed could repeat a run");
        }
    }
    for word in [concat!("to", "do"), concat!("unimple", "mented")] {
        for (at, _) in code.places(word).filter(|(_, rest)| rest.starts_with('!')) {
            say(at, "unfinished code");
        }
    }
    for (at, _) in code.places("ignore").filter(|(_, rest)| rest.starts_with(']')) {
        say(at, "a test that is left out says why: `#[ignore = \"...\"]`");
    }
    for mark in MARKS {
        let found = file.text.match_indices(mark).filter(|(at, _)| is_word(&file.text, *at, mark.len()));
        for (at, _) in found {
            say(at, "a mark of unfinished work: finish it, or write an issue");
        }
    }
    findings
}

fn is_word(text: &str, at: usize, length: usize) -> bool {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    !part(text[..at].chars().next_back()) && !part(text[at + length..].chars().next())
}

#[cfg(test)]
mod tests {
    use super::{super::text, *};

    fn any(line: &str) -> usize {
        check_any(&text("docs/x.md", line), Path::new("/srv/checkouts/tree")).len()
    }

    fn rust(line: &str) -> usize {
        check_rust(&text("a.rs", line), &Code::of(line)).len()
    }

    #[test]
    fn paths_of_a_machine_are_found() {
        for folder in FOLDERS {
            assert_eq!(any(&format!("see `{folder}me/notes`")), 1, "{folder}");
            assert_eq!(any(&format!("{folder}me")), 1, "{folder}");
            assert_eq!(any(&format!("in ~{folder} or crates{folder}x")), 0, "{folder}");
        }
        assert_eq!(any("built in /srv/checkouts/tree/target"), 1);
    }

    #[test]
    fn hosts_of_registries_are_found_but_for_the_lock_file() {
        let line = format!("deb http://{}/debian", REGISTRIES[0]);
        assert_eq!(any(&line), 1);
        assert_eq!(check_any(&text("Cargo.lock", &line), Path::new("/srv")).len(), 0);
    }

    #[test]
    fn an_unbiased_select_is_found() {
        assert_eq!(rust("tokio::select! {\n    biased;\n    a = b => {}\n}"), 0);
        assert_eq!(rust("tokio::select! {\n    // biased;\n    a = b => {}\n}"), 1);
        assert_eq!(rust("// select! {}"), 0);
    }

    #[test]
    fn unfinished_work_is_found() {
        assert_eq!(rust(concat!("fn f() { to", "do!() }")), 1);
        assert_eq!(rust(concat!("fn f() { unimple", "mented!() }")), 1);
        assert_eq!(rust("#[ignore]\nfn f() {}"), 1);
        assert_eq!(rust("#[ignore = \"needs a moon\"]\nfn f() {}"), 0);
        for mark in MARKS {
            assert_eq!(rust(&format!("// {mark}: later")), 1, "{mark}");
        }
    }
}
