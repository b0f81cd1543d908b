//! `/v1/acl/token/self`: the one thing of Consul's ACL system that is asked here. Tokens are given rights by
//! [`Server::set_acl`](crate::Server::set_acl).

use http::Method;
use serde_json::json;

use crate::call::Call;
use crate::reply::{Failure, Reply};

pub(crate) fn own_token(call: &Call<'_>) -> Result<Reply, Failure> {
    call.allow(&[Method::GET])?;
    let (accessor, name) = match call.token.as_str() {
        "" => ("00000000-0000-0000-0000-000000000002", "Anonymous Token"),
        _ => ("00000000-0000-0000-0000-0000000000ff", ""),
    };
    let secret = if call.token.is_empty() { "anonymous" } else { &call.token };
    let body = json!({
        "AccessorID": accessor, "SecretID": secret, "Description": name, "Policies": [], "Local": false,
        "CreateIndex": 1, "ModifyIndex": 1,
    });
    Ok(Reply::json(&body))
}
