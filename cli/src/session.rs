//! What every command starts from: the options and the store.

use std::path::Path;

use consul_client::{Client, Config};
use helium_crds::keys::Keys;
use helium_runtime::ports::Ports;

use crate::{
    args::Global,
    output::{Exit, Failure},
};

/// What every command starts from.
pub(crate) struct Session {
    /// The options.
    pub(crate) global: Global,
    /// The clock and the randomness.
    pub(crate) ports: Ports,
}

impl Session {
    /// A session of a real process.
    pub(crate) fn new(global: Global) -> Self {
        Self { global, ports: Ports::real() }
    }

    /// The namespace of names that bear none.
    pub(crate) fn namespace(&self) -> &str {
        &self.global.namespace
    }

    /// Where everything lives.
    pub(crate) fn keys(&self) -> Keys {
        Keys::under(&self.global.root)
    }

    /// Where Consul is and how to talk to it: the environment as the `consul` program reads it, then the options.
    pub(crate) fn consul(&self) -> Result<Config, Failure> {
        let options = |name: &str| match name {
            "CONSUL_HTTP_ADDR" => self.global.consul_addr.clone(),
            "CONSUL_HTTP_TOKEN" if self.global.token_file.is_some() => None,
            _ => std::env::var(name).ok(),
        };
        let mut config = Config::from_vars(options).map_err(|error| Failure::usage(error.to_string()))?;
        if let Some(path) = &self.global.token_file {
            config.token = Some(read_token(path)?);
        }
        Ok(config)
    }

    /// A client of the store.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Client::new(self.consul()?).map_err(|error| Failure::usage(error.to_string()))
    }
}

fn read_token(path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::new(Exit::Usage, format!("cannot read the token file `{}`: {error}", path.display()))
    })?;
    Ok(text.trim().to_owned())
}

/// The name of this machine, up to its first dot.
pub(crate) fn hostname() -> String {
    let name = std::env::var("HOSTNAME").ok().filter(|value| !value.is_empty());
    let name = name.unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
    name.split('.').next().unwrap_or_default().to_owned()
}
