//! A file as templates made it: its bytes, and how it shall be.

use std::{fmt, path::PathBuf};

use crate::{hidden::Hidden, template::Template};

/// The permission bits of a secret file.
pub const SECRET_MODE: u32 = 0o600;
/// The permission bits of a new file about which nothing is said.
pub const USUAL_MODE: u32 = 0o644;

/// Who may see a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Secrecy {
    /// Whoever its mode lets.
    #[default]
    Open,
    /// Its owner only, for it holds a secret value; the rest of it may be told.
    HoldsSecrets,
    /// Its owner only, and nothing of it is told: its template says that it is secret.
    Secret,
}

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
    /// Who may see it.
    pub secrecy: Secrecy,
    /// Whether the file that is replaced is kept as `.bak`.
    pub backup: bool,
}

impl Output {
    /// What a template made. A file that holds a secret is secret, whether or not its template says so.
    pub(crate) fn of(template: &Template, text: String, hidden: &Hidden) -> Self {
        let form = &template.form;
        let secrecy = match form.secret {
            true => Secrecy::Secret,
            false if hidden.is_in(&text) => Secrecy::HoldsSecrets,
            false => Secrecy::Open,
        };
        Self {
            target: template.target.clone(),
            secrecy,
            bytes: text.into_bytes(),
            mode: form.mode,
            owner: form.owner,
            backup: form.backup,
        }
    }

    /// The permission bits it gets, if one with `existing` bits is there.
    pub fn mode_over(&self, existing: Option<u32>) -> u32 {
        match self.secrecy {
            Secrecy::Open => self.mode.or(existing).unwrap_or(USUAL_MODE),
            Secrecy::HoldsSecrets | Secrecy::Secret => SECRET_MODE,
        }
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Output");
        shown.field("target", &self.target).field("mode", &self.mode).field("owner", &self.owner);
        match self.secrecy {
            Secrecy::HoldsSecrets | Secrecy::Secret => shown.field("bytes", &format_args!("(secret)")),
            Secrecy::Open => shown.field("bytes", &String::from_utf8_lossy(&self.bytes)),
        };
        shown.finish_non_exhaustive()
    }
}
