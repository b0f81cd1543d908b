//! What would change in a file, as a unified diff in which no secret can be.
//!
//! Secrets of the new file are known and replaced. Those of the old one are not: an older secret is in nobody's list any more. So where
//! the old file may hold one, because it was private or because the new one holds one, a line that goes is told but not shown, unless
//! the same line stays elsewhere. A file whose template is secret as a whole is not shown at all.

use similar::{ChangeTag, TextDiff};

use crate::{
    hidden::{Hidden, MASK},
    output::{Output, Secrecy},
};

/// Lines shown before and after a change.
const AROUND: usize = 3;
/// The permission bits by which others than the owner may see a file.
const OTHERS: u32 = 0o077;

/// The file that is there.
#[derive(Clone, Copy)]
pub struct Old<'a> {
    /// What it holds.
    pub bytes: &'a [u8],
    /// Its permission bits.
    pub mode: u32,
}

/// The difference between a file and what it is going to be; empty if there is none.
pub fn diff(old: Option<Old<'_>>, output: &Output, hidden: &Hidden) -> String {
    let old_bytes = old.map_or(&[][..], |old| old.bytes);
    let name = output.target.display();
    if old.is_some() && old_bytes == output.bytes {
        return String::new();
    }
    if output.secrecy == Secrecy::Secret {
        return format!(
            "{name}: a secret file {}, which is not shown\n",
            if old.is_some() { "changes" } else { "is new" }
        );
    }
    let (Ok(before), Ok(after)) = (str::from_utf8(old_bytes), str::from_utf8(&output.bytes)) else {
        return format!("{name}: bytes that are no text differ\n");
    };
    let holds = output.secrecy == Secrecy::HoldsSecrets || hidden.is_in(after);
    let private = holds || old.is_some_and(|old| old.mode & OTHERS == 0);
    let (before, after) = (hidden.mask(before), hidden.mask(after));
    let from = if old.is_some() { format!("{name} (now)") } else { "/dev/null".to_owned() };
    let shown = unified(&before, &after, private);
    if shown.is_empty() {
        return format!("{name}: only secret values change\n");
    }
    format!("--- {from}\n+++ {name} (new)\n{shown}")
}

fn unified(before: &str, after: &str, private: bool) -> String {
    let diff = TextDiff::from_lines(before, after);
    let mut shown = String::new();
    for hunk in diff.unified_diff().context_radius(AROUND).iter_hunks() {
        shown.extend([hunk.header().to_string().as_str(), "\n"]);
        for change in hunk.iter_changes() {
            let line = change.value().trim_end_matches('\n');
            let hide = private && change.tag() == ChangeTag::Delete && !after.lines().any(|other| other == line);
            shown.extend([change.tag().to_string().as_str(), if hide { MASK } else { line }, "\n"]);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(text: &str, secrecy: Secrecy) -> Output {
        Output { target: "/etc/app.conf".into(), bytes: text.into(), mode: None, owner: None, secrecy, backup: false }
    }

    fn hidden() -> Hidden {
        let mut hidden = Hidden::default();
        hidden.add("hunter2");
        hidden
    }

    fn old(text: &str, mode: u32) -> Old<'_> {
        Old { bytes: text.as_bytes(), mode }
    }

    #[test]
    fn a_change_is_shown_as_a_unified_diff() {
        let shown = diff(Some(old("a = 1\nb = 2\n", 0o644)), &output("a = 1\nb = 3\n", Secrecy::Open), &hidden());
        insta::assert_snapshot!(shown, @"
        --- /etc/app.conf (now)
        +++ /etc/app.conf (new)
        @@ -1,2 +1,2 @@
         a = 1
        -b = 2
        +b = 3
        ");
        assert_eq!(diff(Some(old("a\n", 0o644)), &output("a\n", Secrecy::Open), &hidden()), "");
    }

    #[test]
    fn neither_the_new_secret_nor_the_old_one_is_shown() {
        let shown = diff(
            Some(old("user = a\npass = letmein\n", 0o644)),
            &output("user = b\npass = hunter2\n", Secrecy::HoldsSecrets),
            &hidden(),
        );
        insta::assert_snapshot!(shown, @"
        --- /etc/app.conf (now)
        +++ /etc/app.conf (new)
        @@ -1,2 +1,2 @@
        -(secret)
        -(secret)
        +user = b
        +pass = (secret)
        ");
        let gone = diff(Some(old("pass = letmein\n", 0o600)), &output("pass = none\n", Secrecy::Open), &hidden());
        assert!(!gone.contains("letmein"), "{gone}");
    }

    #[test]
    fn a_file_that_is_secret_as_a_whole_is_not_shown() {
        let shown =
            diff(Some(old("letmein\n", 0o600)), &output("from elsewhere, and hunter2\n", Secrecy::Secret), &hidden());
        assert_eq!(shown, "/etc/app.conf: a secret file changes, which is not shown\n");
    }

    #[test]
    fn a_new_file_is_shown_from_nothing() {
        let shown = diff(None, &output("a = 1\n", Secrecy::Open), &hidden());
        assert!(shown.starts_with("--- /dev/null\n+++ /etc/app.conf (new)\n@@ -0,0 +1 @@\n+a = 1\n"), "{shown}");
    }
}
