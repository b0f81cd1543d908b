//! How a look at Hydra ended, with the code that a program ends with.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a look at Hydra ended, from the best to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// What is active is what is wanted: Hydra's newest build, or what a person has chosen instead of it. Code 0.
    UpToDate,
    /// The same, and it was not so before. Code 0.
    Updated,
    /// Hydra has not answered, or has nothing to take. Code 1.
    FetchFailed,
    /// The profile could not be read or set; it is where it was. Code 3.
    SwitchFailed,
    /// The activation of the newest build has failed, now or earlier, and the last good generation is active. Code 4.
    RolledBack,
    /// An activation has failed, and there was no good generation to go back to, or its activation has failed too. Code 5.
    NoWayBack,
}

impl Outcome {
    /// The exit code. 2 is that of a wrong command line.
    pub fn code(self) -> u8 {
        match self {
            Self::UpToDate | Self::Updated => 0,
            Self::FetchFailed => 1,
            Self::SwitchFailed => 3,
            Self::RolledBack => 4,
            Self::NoWayBack => 5,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UpToDate => "up to date",
            Self::Updated => "updated",
            Self::FetchFailed => "Hydra gave nothing to take",
            Self::SwitchFailed => "the profile could not be set",
            Self::RolledBack => "the newest build's activation has failed; the last good generation is active",
            Self::NoWayBack => "the activation has failed, and there is no good generation to go back to",
        })
    }
}
