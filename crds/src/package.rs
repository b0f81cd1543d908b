//! A package: what is brought onto a node before an instance starts there, and how its templates become files.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    deployment::StopSignal,
    period::{self, Period},
};

/// A package: an archive, a folder or a path of the Nix store, which is brought onto a node before an instance starts there. The command finds it in
/// `${HELIUM_PACKAGE}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Package {
    /// Where it is: a `.tar.gz` or `.tar.zst` under `s3://`, `https://`, `http://` or `file://`, a folder under `file://`, or a path of the Nix store as
    /// `nix:///nix/store/<hash>-<name>`, which the node's Nix fetches and verifies, and whose `bin/activate` is run if it has one.
    /// `${VERSION}` is the template's version. No user or password is given here: the agent's netrc file and the credentials of AWS know them.
    #[schemars(
        length(max = 2048),
        regex(pattern = r"^((s3|https?|file)://[^\s@]+|nix:///[A-Za-z0-9+._=/${}-]+)$"),
        extend("x-allowed" = "an address that begins with `s3://`, `https://`, `http://`, `file://` or `nix://`, without blanks, user or password")
    )]
    pub url: String,
    /// The SHA-256 of the archive as 64 hex digits; of a folder, what `helium package build` says of it. Only a `file://` may go without, and a `nix://` has none: Nix verifies what it fetches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"), extend("x-allowed" = "64 hex digits in lower case"))]
    pub sha256: Option<String>,
    /// The signature that it must bear, by minisign; not for a `nix://`, of which Nix asks its own. Default: none is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<PackageSignature>,
}

/// Whose signature a package must bear.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PackageSignature {
    /// The public key of minisign: the second line of its `.pub` file.
    #[schemars(
        regex(pattern = r"^[A-Za-z0-9+/=]{40,128}$"),
        extend("x-allowed" = "the second line of a `.pub` file of minisign")
    )]
    pub public_key: String,
    /// The text of the signature. Default: what lies beside the package with `.minisig` behind its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096), extend("x-default" = "what lies beside the package with `.minisig` behind its name"))]
    pub text: Option<String>,
}

/// Where the agent finds a secret value of the templates. Exactly one of the names below. The secret itself is in no spec, no log and no difference
/// that is shown, and a file that holds it is for its owner's eyes alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SecretSource {
    /// A file of the agent's machine, by its absolute path; a line break at its end is left out.
    File(#[schemars(regex(pattern = r"^/[^\s]+$"), extend("x-allowed" = "an absolute path without blanks"))] String),
    /// A key below `helium/v1/secret/` in Consul KV; running instances follow it.
    Kv(
        #[schemars(regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,62}(/[A-Za-z0-9_][A-Za-z0-9_-]{0,62}){0,3}$"), extend("x-allowed" = "at most four names of `A-Z`, `a-z`, `0-9`, `_` and `-` with `/` between them"))]
         String,
    ),
    /// A program of the agent's machine that prints it, with its arguments; a line break at its end is left out. It runs in the environment of the instance and may take 30 s.
    Exec(#[schemars(length(min = 1))] Vec<String>),
}

/// How the templates of a package become files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Templates {
    /// A command that looks at new files before they are put in place, and refuses them by an exit status that is not 0. `{nginx.conf}`
    /// is the new file of that name, `{}` the only one. `${NAME}` is replaced as in the command of `exec`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub check: Vec<String>,
    /// The signal that tells the process of its new files, while it runs. Default: none; the hook `config` of the package is run if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "none: the package's hook `config` is run, if it has one"))]
    pub reload: Option<StopSignal>,
    /// What is done about a name that a template uses and nobody gives. Default `fail`.
    #[serde(default, skip_serializing_if = "is_fail")]
    pub missing: Missing,
    /// How long changes of what the templates ask must rest before the files of a running instance are made again. So many changes come to one new
    /// set of files, and to at most one run of the hook `config`, or one signal, in that time.
    #[serde(default, skip_serializing_if = "Quiet::is_usual")]
    pub quiet: Quiet,
    /// Every running instance waits for a random time of up to so long before it takes up new files, so that not all of a fleet do it at once.
    /// Default: none waits.
    #[serde(default, skip_serializing_if = "period::is_none")]
    #[schemars(extend("x-max" = "1d", "x-default" = "none waits"))]
    pub splay: Period,
}

/// How long changes must rest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Quiet {
    /// So long no change may have come. Default `200ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-max" = "1h", "x-default" = "`200ms`"))]
    pub min: Option<Period>,
    /// So long after the first change the files are made in any case. Default: ten times `min`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-max" = "1d", "x-default" = "ten times `min`"))]
    pub max: Option<Period>,
}

impl Quiet {
    /// How long no change may have come, unless it is said.
    const USUAL_MIN: Period = Period::from_millis(200);
    /// The longest wait is so many times the shortest, unless it is said.
    const FOLD: u32 = 10;

    /// How long no change may have come, and how long after the first one waiting ends: 200 ms and 2 s unless it is said.
    pub fn bounds(&self) -> (Period, Period) {
        let min = self.min.unwrap_or(Self::USUAL_MIN);
        (min, self.max.unwrap_or_else(|| min.as_duration().saturating_mul(Self::FOLD).into()))
    }

    fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// What a change of the values in Consul below `config/` comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ConfigUpdate {
    /// They are a part of the revision: a change that has rested for 2 s is rolled out as a changed template is, through the canary.
    #[default]
    Rollout,
    /// Running instances take them over at once.
    Live,
}

/// What is done about a name that a template uses and nobody gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Missing {
    /// Nothing is rendered, and all such names are told.
    #[default]
    Fail,
    /// It is empty, as Mustache has it.
    Empty,
}

impl ConfigUpdate {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
    pub(crate) fn is_rollout(&self) -> bool {
        *self == ConfigUpdate::Rollout
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
fn is_fail(missing: &Missing) -> bool {
    *missing == Missing::Fail
}

impl Package {
    /// The address of a version.
    pub fn url_of(&self, version: &str) -> String {
        self.url.replace("${VERSION}", version)
    }

    /// Whether it is a path of the Nix store, which the node's Nix fetches.
    pub fn is_of_nix(&self) -> bool {
        self.url.starts_with("nix://")
    }

    /// Whether it is of the agent's own machine.
    pub fn is_local(&self) -> bool {
        self.url.starts_with("file://")
    }
}
