//! How large what people say may be: what follows from it has to fit into Consul, too.
//!
//! Consul takes 512 KiB of JSON in one transaction, in which values stand in base64: 384 KiB of them, less what keys and frames take. A
//! template is written once more with each instance, whose record and assignment go in one transaction beside the guards; so a
//! Deployment has to leave room for those. The steps of a Canary stand in the status as well, beside the samples of its metrics.

use crate::Kind;

/// The longest reason that a request may bear, in characters. The last answers stand in the status with theirs.
pub const LONGEST_REASON: usize = 1024;

/// The longest account of what is wrong with a stored object, in characters. It stands in the status and in an event.
pub const LONGEST_PROBLEM: usize = 4096;

/// How many bytes an object of a kind may have, as it is stored.
pub fn most_bytes(kind: Kind) -> usize {
    match kind {
        Kind::Deployment => 340 * 1024,
        Kind::Canary => 128 * 1024,
        Kind::HydraJob => 16 * 1024,
    }
}

/// What is wrong with an object that has too many bytes.
pub fn too_large(bytes: usize, most: usize) -> String {
    format!("it has {bytes} bytes; the most is {most}, so that what follows from it fits into Consul")
}

/// A text, cut where it is too long.
///
/// Example: `"abcdef"` in four characters is `"abc…"`.
pub fn cut(text: &str, longest: usize) -> String {
    if text.chars().nth(longest).is_none() {
        return text.to_owned();
    }
    text.chars().take(longest.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_where_it_is_too_long() {
        for (text, expected) in [("abcdef", "abc…"), ("abcd", "abcd"), ("äöüß", "äöüß"), ("äöüßä", "äöü…"), ("", "")]
        {
            assert_eq!(cut(text, 4), expected);
        }
    }
}
