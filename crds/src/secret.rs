//! Secrets by reference: where the controller finds one. The secret itself is in no spec, no status and no log.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a request says who asks. Exactly one of the names below.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Auth {
    /// A token, sent as `Authorization: Bearer ...`.
    Bearer(SecretRef),
    /// A name and a password, sent as `Authorization: Basic ...`.
    Basic(BasicAuth),
    /// A header of another name.
    Header(HeaderAuth),
}

/// A name and a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BasicAuth {
    /// The name.
    #[schemars(length(min = 1, max = 256))]
    pub username: String,
    /// The password.
    pub password: SecretRef,
}

/// A header that holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeaderAuth {
    /// The header's name, such as `X-Api-Key`.
    #[schemars(
        regex(pattern = r"^[A-Za-z0-9-]{1,128}$"),
        extend("x-allowed" = "at most 128 letters, digits and `-`")
    )]
    pub name: String,
    /// Its value.
    pub value: SecretRef,
}

/// Where the controller finds a secret. Exactly one of the names below. Whoever can apply a spec can have a secret sent where they
/// like, so only what was put aside for this is found: no other file, variable or key of the controller's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SecretRef {
    /// A file in the controller's folder for secrets (`--secrets-dir`), by its name; white space around its content is left out.
    File(
        #[schemars(regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$"), extend("x-allowed" = "the name of a file, without any folder"))]
         String,
    ),
    /// An environment variable of the controller; its name begins with `HELIUM_SECRET_`.
    Env(
        #[schemars(regex(pattern = r"^HELIUM_SECRET_[A-Za-z0-9_]{1,100}$"), extend("x-allowed" = "a name that begins with `HELIUM_SECRET_`"))]
         String,
    ),
    /// A key below `helium/v1/secret/` in Consul KV.
    Kv(
        #[schemars(regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,62}(/[A-Za-z0-9_][A-Za-z0-9_-]{0,62}){0,3}$"), extend("x-allowed" = "at most four names of `A-Z`, `a-z`, `0-9`, `_` and `-` with `/` between them"))]
         String,
    ),
}
