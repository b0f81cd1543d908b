//! The kind HydraJob: a job of a Hydra server, whose newest build gives Deployments their version.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{object::Object, period::Period, secret::Auth};

/// Asks a Hydra server for the newest build of a job.
pub type HydraJob = Object<HydraJobSpec>;

/// Which job, and how Hydra is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HydraJobSpec {
    /// The address of the job: `https://hydra.example/job/PROJECT/JOBSET/JOB`.
    #[schemars(
        length(max = 2048),
        regex(pattern = r"^https?://[^\s/?#@]+(/[^\s?#@]*)?/job/[A-Za-z0-9_][A-Za-z0-9_.+-]*/[A-Za-z0-9_][A-Za-z0-9_.+-]*/[A-Za-z0-9_][A-Za-z0-9_.+-]*$"),
        extend("x-allowed" = "`https://hydra.example/job/PROJECT/JOBSET/JOB`, without a user, a query or a fragment")
    )]
    pub url: String,
    /// How a request says who asks. Default: it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "it does not"))]
    pub auth: Option<Auth>,
    /// How often Hydra is asked, give or take a tenth. Default `5m`.
    #[serde(default = "default_interval")]
    #[schemars(extend("x-min" = "1s", "x-max" = "1d"))]
    pub interval: Period,
    /// A build is taken only once all jobs of its evaluation have succeeded. Default: once it has succeeded itself.
    #[serde(default, skip_serializing_if = "is_false")]
    #[schemars(extend("x-default" = "`false`: once it has succeeded itself"))]
    pub whole_jobset: bool,
    /// How long one answer may take; the list of all builds of an evaluation may take 10 minutes more. Default `1m`.
    #[serde(default = "default_timeout")]
    #[schemars(extend("x-min" = "10ms", "x-max" = "10m"))]
    pub timeout: Period,
    /// While it is true, Hydra is not asked, and whoever has a version from this job keeps it. Default `false`.
    #[serde(default, skip_serializing_if = "is_false")]
    #[schemars(extend("x-default" = "`false`"))]
    pub suspend: bool,
}

/// The most characters of a version that a build gives: the longest name of a path in a store.
pub const LONGEST_VERSION: usize = 33 + 211;

/// The version that a build gives: the last part of its path in the store, such as `1a61pa55kkzpya2ha9kc80cz510mr61b-web-1.2`. In words why
/// not, if it can be none.
///
/// # Errors
/// It holds something else than a version may, or is too long.
pub fn version_of(path: &str) -> Result<&str, String> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let strange = |c: &char| !c.is_ascii_alphanumeric() && !"._+-".contains(*c);
    if let Some(strange) = name.chars().find(strange) {
        return Err(format!("`{name}` can be no version: it holds `{strange}`; give the derivation another name"));
    }
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(format!("`{name}` can be no version: it does not begin with a letter or digit"));
    }
    if name.len() > LONGEST_VERSION {
        return Err(format!("`{name}` can be no version: it is longer than {LONGEST_VERSION} characters"));
    }
    Ok(name)
}

fn default_interval() -> Period {
    Period::from_secs(300)
}

fn default_timeout() -> Period {
    Period::from_secs(60)
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_a_build_is_the_name_of_its_path() {
        let hash = "1a61pa55kkzpya2ha9kc80cz510mr61b";
        let path = format!("/nix/store/{hash}-web-1.2+x_y");
        assert_eq!(version_of(&path).unwrap(), format!("{hash}-web-1.2+x_y"));
        for (path, words) in [
            (format!("/nix/store/{hash}-web?"), "holds `?`"),
            (format!("/nix/store/{hash}-a=b"), "holds `=`"),
            ("/nix/store/".to_owned(), "does not begin"),
            (format!("/nix/store/{hash}-{}", "x".repeat(212)), "longer than 244"),
        ] {
            let told = version_of(&path).unwrap_err();
            assert!(told.contains(words), "{told}");
        }
    }
}
