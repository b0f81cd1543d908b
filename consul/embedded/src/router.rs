//! From a request to the handler of its area, and from what that gives to a response.

use bytes::Bytes;
use http::{Request, Response, StatusCode};

use crate::call::Call;
use crate::handlers::{acl, agent, catalog, health, kv, session, status, txn};
use crate::reply::{Failure, Reply};
use crate::shared::Shared;

/// Answers a request that was sent to the agent of `node`.
pub(crate) async fn answer(shared: &Shared, node: &str, request: Request<Bytes>) -> Response<Bytes> {
    match route(shared, node, request).await {
        Ok(reply) => reply.into_response(),
        Err(failure) => failure.into_response(),
    }
}

async fn route(shared: &Shared, node: &str, request: Request<Bytes>) -> Result<Reply, Failure> {
    let (area, call) = Call::new(shared, node, request)?;
    call.admit()?;
    match area.as_str() {
        "kv" => kv::handle(&call).await,
        "txn" => txn::handle(&call),
        "session" => session::handle(&call).await,
        "catalog" => catalog::handle(&call).await,
        "health" => health::handle(&call).await,
        "agent" => agent::handle(&call),
        "status" => status::handle(&call),
        "acl" if !shared.acl_enabled() => Err(Failure::new(StatusCode::UNAUTHORIZED, "ACL support disabled")),
        "acl" if call.path == "token/self" => acl::own_token(&call),
        _ => Err(Failure::no_such_path()),
    }
}
