//! The state of the cluster itself.

use crate::{
    client::{Call, Client},
    error::Error,
};

impl Client {
    /// The address of the leader; empty if there is none.
    pub async fn status_leader(&self) -> Result<String, Error> {
        self.ask_value(Call::get("/v1/status/leader")).await
    }

    /// The addresses of the servers.
    pub async fn status_peers(&self) -> Result<Vec<String>, Error> {
        self.ask_value::<Option<Vec<String>>>(Call::get("/v1/status/peers")).await.map(Option::unwrap_or_default)
    }
}
