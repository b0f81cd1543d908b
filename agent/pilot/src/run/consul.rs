//! How Consul is spoken to, as a file says it.

use std::path::PathBuf;

use consul_client::{Address, Client, Config, ConfigError, TlsConfig};
use helium_containerpilot::config::{Consul, Scheme};

/// A client of the Consul of a file.
pub(super) fn client(consul: &Consul) -> Result<Client, ConfigError> {
    let address = match consul.scheme {
        Scheme::Http => format!("http://{}", consul.address).parse()?,
        Scheme::Https => format!("https://{}", consul.address).parse()?,
        Scheme::Unix => Address::Unix(PathBuf::from(&consul.address)),
    };
    let tls = &consul.tls;
    if tls.ca_path.is_some() && tls.ca_file.is_none() {
        return Err(ConfigError::Tls("`capath` is not read here; write `cafile` with one file".to_owned()));
    }
    let file = |path: &Option<String>| path.as_ref().map(PathBuf::from);
    let tls = TlsConfig {
        ca: file(&tls.ca_file),
        client_cert: file(&tls.client_cert),
        client_key: file(&tls.client_key),
        server_name: tls.server_name.clone(),
        verify: tls.verify,
    };
    let token = consul.token.as_ref().map(|token| token.0.clone());
    Client::new(Config { token, tls: Some(tls).filter(|_| consul.scheme == Scheme::Https), ..Config::at(address) })
}
