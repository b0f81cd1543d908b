//! Where a Deployment's version comes from, if not from its template.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a Deployment's version comes from. The template then says no `version` of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VersionFrom {
    /// The name of a HydraJob in the same namespace: the version is that of its newest build. Each new build is a new revision.
    #[schemars(
        regex(pattern = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"),
        extend("x-allowed" = "at most 63 of `a-z`, `0-9` and `-`, with a letter or digit at both ends")
    )]
    pub hydra_job: String,
    /// In place of one version another is taken. Any newer build is taken again. `helium rollout undo` writes this. Default: the newest is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "the newest is taken"))]
    pub instead: Option<Instead>,
}

/// One version in place of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Instead {
    /// The version that is not taken.
    #[schemars(
        regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,243}$"),
        extend("x-allowed" = "at most 244 letters, digits, `.`, `_`, `+` and `-`, beginning with a letter or digit")
    )]
    pub of: String,
    /// The one that is taken in its place.
    #[schemars(
        regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,243}$"),
        extend("x-allowed" = "at most 244 letters, digits, `.`, `_`, `+` and `-`, beginning with a letter or digit")
    )]
    pub take: String,
}

impl VersionFrom {
    /// The version that is taken, where `newest` is the newest.
    pub fn taken<'a>(&'a self, newest: &'a str) -> &'a str {
        match &self.instead {
            Some(instead) if instead.of == newest => &instead.take,
            _ => newest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_is_taken_until_a_newer_one_comes() {
        let instead = Some(Instead { of: "b".to_owned(), take: "a".to_owned() });
        let from = VersionFrom { hydra_job: "web".to_owned(), instead };
        assert_eq!(["a", "b", "c"].map(|newest| from.taken(newest)), ["a", "a", "c"]);
    }
}
