//! Tokens and policies.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    client::{Call, Client},
    error::Error,
    lenient::null_default,
};

/// A token.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AclToken {
    /// Its public name.
    #[serde(rename = "AccessorID", skip_serializing_if = "String::is_empty")]
    pub accessor_id: String,
    /// The secret; never printed by `Debug`.
    #[serde(rename = "SecretID", skip_serializing_if = "String::is_empty")]
    pub secret_id: String,
    /// For people.
    pub description: String,
    /// Its policies.
    #[serde(deserialize_with = "null_default")]
    pub policies: Vec<AclLink>,
    /// Whether it is known in one datacenter only.
    pub local: bool,
}

impl fmt::Debug for AclToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AclToken")
            .field("accessor_id", &self.accessor_id)
            .field("secret_id", &"(hidden)")
            .field("description", &self.description)
            .field("policies", &self.policies)
            .field("local", &self.local)
            .finish()
    }
}

/// The name of a policy; either part suffices in a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AclLink {
    /// Its UUID.
    #[serde(rename = "ID", skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Its name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// A policy to create.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AclPolicyWire<'a> {
    name: &'a str,
    description: &'a str,
    rules: &'a str,
}

impl Client {
    /// The client's own token; `None` where ACLs are disabled.
    ///
    /// # Errors
    /// [`Error::Denied`] if Consul does not know the token.
    pub async fn acl_token_self(&self) -> Result<Option<AclToken>, Error> {
        match self.ask_value(Call::get("/v1/acl/token/self")).await {
            Err(Error::AclDisabled) => Ok(None),
            other => other.map(Some),
        }
    }

    /// Makes the first management token of a fresh cluster; works once.
    pub async fn acl_bootstrap(&self) -> Result<AclToken, Error> {
        self.ask_value(Call::put("/v1/acl/bootstrap")).await
    }

    /// Creates a policy.
    pub async fn acl_policy_create(&self, name: &str, description: &str, rules: &str) -> Result<AclLink, Error> {
        self.ask_value(Call::put("/v1/acl/policy").json(&AclPolicyWire { name, description, rules })?).await
    }

    /// Creates a token with policies.
    pub async fn acl_token_create(&self, token: &AclToken) -> Result<AclToken, Error> {
        self.ask_value(Call::put("/v1/acl/token").json(token)?).await
    }

    /// Changes a token's policies and description, by its accessor id.
    pub async fn acl_token_update(&self, token: &AclToken) -> Result<AclToken, Error> {
        let call = Call::put(format!("/v1/acl/token/{}", crate::path::segment(&token.accessor_id)?));
        self.ask_value(call.json(token)?).await
    }

    /// Deletes a token by its accessor id.
    pub async fn acl_token_delete(&self, accessor_id: &str) -> Result<bool, Error> {
        let path = format!("/v1/acl/token/{}", crate::path::segment(accessor_id)?);
        self.ask_value(Call::new(http::Method::DELETE, path)).await
    }
}
