//! A file as templates made it: its bytes, and how it shall be.

use std::{fmt, path::PathBuf};

use crate::{hidden::Hidden, template::Template};

/// The permission bits of a secret file.
pub const SECRET_MODE: u32 = 0o600;
/// The permission bits of a new file about which nothing is said.
pub const USUAL_MODE: u32 = 0o644;

/// A file as a template made it.
#[derive(Clone, PartialEq, Eq)]
pub struct Output {
    /// Where it belongs; absolute.
    pub target: PathBuf,
    /// What it holds.
    pub bytes: Vec<u8>,
    /// The permission bits, if it does not keep those it has.
    pub mode: Option<u32>,
    /// The owner, if it does not keep the one it has.
    pub owner: Option<(u32, u32)>,
    /// Whether nobody but its owner may see it.
    pub secret: bool,
}

impl Output {
    /// What a template made. A file that holds a secret is secret, whether or not its template says so.
    pub(crate) fn of(template: &Template, text: String, hidden: &Hidden) -> Self {
        let form = &template.form;
        Self {
            target: template.target.clone(),
            secret: form.secret || hidden.is_in(&text),
            bytes: text.into_bytes(),
            mode: form.mode,
            owner: form.owner,
        }
    }

    /// The permission bits it gets, if one with `existing` bits is there.
    pub fn mode_over(&self, existing: Option<u32>) -> u32 {
        if self.secret { SECRET_MODE } else { self.mode.or(existing).unwrap_or(USUAL_MODE) }
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Output");
        shown.field("target", &self.target).field("mode", &self.mode).field("owner", &self.owner);
        match self.secret {
            true => shown.field("bytes", &format_args!("(secret)")),
            false => shown.field("bytes", &String::from_utf8_lossy(&self.bytes)),
        };
        shown.finish()
    }
}
