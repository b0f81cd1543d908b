//! `/v1/status/`: there is one server, and it leads.

use http::Method;

use crate::call::Call;
use crate::reply::{Failure, Reply};

/// The address that the only server goes by.
const ADDRESS: &str = "127.0.0.1:8300";

pub(crate) fn handle(call: &Call<'_>) -> Result<Reply, Failure> {
    call.allow(&[Method::GET])?;
    match call.path.as_str() {
        "leader" => Ok(Reply::json(&ADDRESS)),
        "peers" => Ok(Reply::json(&[ADDRESS])),
        _ => Err(Failure::no_such_path()),
    }
}
