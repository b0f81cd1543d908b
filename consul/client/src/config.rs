//! Where Consul is and how to talk to it.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use crate::client::REQUEST_TIMEOUT;

/// How many connections one client opens at most: Consul closes the 201st of an address without a word.
pub const MAX_CONNECTIONS: usize = 90;

/// Where an agent or server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Plain HTTP.
    Http {
        /// Name or address; an IPv6 address without brackets.
        host: String,
        /// Port.
        port: u16,
    },
    /// HTTP over TLS.
    Https {
        /// Name or address; an IPv6 address without brackets.
        host: String,
        /// Port.
        port: u16,
    },
    /// A unix socket.
    Unix(PathBuf),
}

impl Address {
    /// Whether the server is on this machine, where bytes cost less than packing them.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Http { host, .. } | Self::Https { host, .. } => {
                host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
            }
        }
    }
}

impl Default for Address {
    fn default() -> Self {
        Self::Http { host: "127.0.0.1".to_owned(), port: 8500 }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host, port) = match self {
            Self::Unix(path) => return write!(f, "unix://{}", path.display()),
            Self::Http { host, port } => ("http", host, port),
            Self::Https { host, port } => ("https", host, port),
        };
        if host.contains(':') { write!(f, "{scheme}://[{host}]:{port}") } else { write!(f, "{scheme}://{host}:{port}") }
    }
}

impl FromStr for Address {
    type Err = ConfigError;

    /// Reads `host:port`, `host`, `http://...`, `https://...`, `unix://path`. Ports default to 8500 and 8501.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let bad = |reason: &str| ConfigError::Address { text: text.to_owned(), reason: reason.to_owned() };
        if let Some(path) = text.strip_prefix("unix://") {
            return if path.is_empty() { Err(bad("no path")) } else { Ok(Self::Unix(PathBuf::from(path))) };
        }
        let (tls, rest) = match text.split_once("://") {
            None => (false, text),
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some(_) => return Err(bad("the scheme is not http, https or unix")),
        };
        let rest = rest.trim_end_matches('/');
        if rest.contains(['/', '?', '@', ' ']) {
            return Err(bad("more than host and port"));
        }
        let (host, port) = split_port(rest).map_err(bad)?;
        if host.is_empty() {
            return Err(bad("no host"));
        }
        let host = host.to_owned();
        let port = port.unwrap_or(if tls { 8501 } else { 8500 });
        Ok(if tls { Self::Https { host, port } } else { Self::Http { host, port } })
    }
}

fn split_port(text: &str) -> Result<(&str, Option<u16>), &'static str> {
    let number = |port: &str| port.parse().map(Some).map_err(|_| "the port is not a number of 0 to 65535");
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or("no closing bracket")?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, number(port)?)),
            None if rest.is_empty() => Ok((host, None)),
            None => Err("more after the bracket"),
        };
    }
    match text.rsplit_once(':') {
        Some((host, _)) if host.contains(':') => Err("an IPv6 address needs brackets"),
        Some((host, port)) => Ok((host, number(port)?)),
        None => Ok((text, None)),
    }
}

/// How to do TLS. The default verifies with the system's certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// A PEM file with the certificates to trust in place of the system's.
    pub ca: Option<PathBuf>,
    /// A PEM file with the client's certificate (and its chain); goes with `client_key`.
    pub client_cert: Option<PathBuf>,
    /// A PEM file with the client's private key.
    pub client_key: Option<PathBuf>,
    /// The name to ask for and to verify, in place of the host.
    pub server_name: Option<String>,
    /// Whether to verify the server's certificate. Off: anybody in between can read the token.
    pub verify: bool,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self { ca: None, client_cert: None, client_key: None, server_name: None, verify: true }
    }
}

/// All that a client needs to know.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    /// Where Consul is.
    pub address: Address,
    /// The ACL token; never printed by `Debug`.
    pub token: Option<String>,
    /// The datacenter to ask; none means the agent's own.
    pub datacenter: Option<String>,
    /// How to do TLS; only used with [`Address::Https`], where none means the default.
    pub tls: Option<TlsConfig>,
    /// How many connections there may be at once, idle ones included; at least 1.
    pub max_connections: usize,
    /// Whether to ask for packed answers. None: from servers on other machines; see [`Address::is_local`].
    pub gzip: Option<bool>,
    /// How long a request that does not block may take, waiting for a connection included.
    pub request_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            address: Address::default(),
            token: None,
            datacenter: None,
            tls: None,
            max_connections: MAX_CONNECTIONS,
            gzip: None,
            request_timeout: REQUEST_TIMEOUT,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("address", &self.address)
            .field("token", &self.token.as_ref().map(|_| "(hidden)"))
            .field("datacenter", &self.datacenter)
            .field("tls", &self.tls)
            .field("max_connections", &self.max_connections)
            .field("gzip", &self.gzip)
            .field("request_timeout", &self.request_timeout)
            .finish()
    }
}

/// Why a configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The address cannot be read.
    #[error("bad Consul address {text:?}: {reason}")]
    Address {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The token holds characters that cannot be in a header.
    #[error("the Consul token holds characters that cannot be sent")]
    Token,
    /// A file cannot be read or holds nothing usable.
    #[error("{path}: {reason}", path = .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A variable has a value that means nothing.
    #[error("{name}={value:?}: {reason}")]
    Variable {
        /// Which variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        reason: &'static str,
    },
    /// The TLS settings do not fit together.
    #[error("TLS: {0}")]
    Tls(String),
}

impl Config {
    /// A configuration for this address, all else by default.
    pub fn at(address: Address) -> Self {
        Self { address, ..Self::default() }
    }

    /// Reads `CONSUL_HTTP_ADDR`, `CONSUL_HTTP_TOKEN`, `CONSUL_HTTP_TOKEN_FILE`, `CONSUL_HTTP_SSL`, `CONSUL_CACERT`,
    /// `CONSUL_CLIENT_CERT`, `CONSUL_CLIENT_KEY`, `CONSUL_HTTP_SSL_VERIFY` and `CONSUL_TLS_SERVER_NAME` as the `consul`
    /// program does.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable or file that cannot be used.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_vars(|name| std::env::var(name).ok())
    }

    /// Reads the same variables from any source. An empty variable counts as absent.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable or file that cannot be used.
    pub fn from_vars(source: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let var = |name: &str| source(name).filter(|value| !value.is_empty());
        let flag = |name: &'static str| var(name).map(|value| truth(name, value)).transpose();
        let mut address = var("CONSUL_HTTP_ADDR").map_or(Ok(Address::default()), |text| text.parse())?;
        if flag("CONSUL_HTTP_SSL")?.unwrap_or(false)
            && let Address::Http { host, port } = address
        {
            address = Address::Https { host, port };
        }
        let file = |name: &str| var(name).map(PathBuf::from);
        let tls = TlsConfig {
            ca: file("CONSUL_CACERT"),
            client_cert: file("CONSUL_CLIENT_CERT"),
            client_key: file("CONSUL_CLIENT_KEY"),
            server_name: var("CONSUL_TLS_SERVER_NAME"),
            verify: flag("CONSUL_HTTP_SSL_VERIFY")?.unwrap_or(true),
        };
        let token = match (var("CONSUL_HTTP_TOKEN"), file("CONSUL_HTTP_TOKEN_FILE")) {
            (Some(token), _) => Some(token),
            (None, Some(path)) => Some(token_from(path)?),
            (None, None) => None,
        };
        let tls = matches!(address, Address::Https { .. }).then_some(tls);
        Ok(Self { address, token, tls, ..Self::default() })
    }
}

fn truth(name: &'static str, value: String) -> Result<bool, ConfigError> {
    match value.as_str() {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(ConfigError::Variable { name, value, reason: "must be true or false" }),
    }
}

fn token_from(path: PathBuf) -> Result<String, ConfigError> {
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) => Err(ConfigError::File { path, reason: error.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(vars: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::from_vars(|name| vars.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn addresses_read_as_the_consul_program_reads_them() {
        let cases = [
            ("10.0.0.1:8501", "http://10.0.0.1:8501"),
            ("consul", "http://consul:8500"),
            ("http://consul:80/", "http://consul:80"),
            ("https://consul", "https://consul:8501"),
            ("https://[::1]:443", "https://[::1]:443"),
            ("unix:///run/consul.sock", "unix:///run/consul.sock"),
        ];
        for (text, shown) in cases {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), shown);
        }
        for bad in ["ftp://a", "a:b", "http://", "::1", "http://a/b", "unix://", "a:99999", "http://u@h:1"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_set_means_the_local_agent() {
        let config = from(&[("CONSUL_HTTP_ADDR", ""), ("CONSUL_HTTP_TOKEN", "")]).unwrap();
        assert_eq!(config, Config::default());
        assert_eq!(config.address.to_string(), "http://127.0.0.1:8500");
    }

    #[test]
    fn tls_is_switched_on_by_its_variable_or_by_the_scheme() {
        let vars = [
            ("CONSUL_HTTP_ADDR", "consul:8501"),
            ("CONSUL_HTTP_SSL", "true"),
            ("CONSUL_CACERT", "/ca.pem"),
            ("CONSUL_TLS_SERVER_NAME", "server.dc1.consul"),
            ("CONSUL_HTTP_SSL_VERIFY", "0"),
        ];
        let config = from(&vars).unwrap();
        assert_eq!(config.address.to_string(), "https://consul:8501");
        let tls = config.tls.unwrap();
        assert_eq!(tls.ca, Some(PathBuf::from("/ca.pem")));
        assert_eq!(tls.server_name.as_deref(), Some("server.dc1.consul"));
        assert!(!tls.verify);
        assert!(from(&[("CONSUL_HTTP_ADDR", "https://consul")]).unwrap().tls.unwrap().verify);
        assert!(from(&[("CONSUL_CACERT", "/ca.pem")]).unwrap().tls.is_none());
    }

    #[test]
    fn a_switch_that_is_neither_on_nor_off_is_named() {
        let error = from(&[("CONSUL_HTTP_SSL", "yes")]).unwrap_err();
        assert_eq!(error.to_string(), "CONSUL_HTTP_SSL=\"yes\": must be true or false");
    }

    #[test]
    fn the_token_comes_from_its_variable_or_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "from-file\n").unwrap();
        let file = path.to_str().unwrap();
        assert_eq!(from(&[("CONSUL_HTTP_TOKEN_FILE", file)]).unwrap().token.as_deref(), Some("from-file"));
        let both = [("CONSUL_HTTP_TOKEN_FILE", file), ("CONSUL_HTTP_TOKEN", "from-env")];
        assert_eq!(from(&both).unwrap().token.as_deref(), Some("from-env"));
        let missing = from(&[("CONSUL_HTTP_TOKEN_FILE", "/does/not/exist")]).unwrap_err();
        assert!(matches!(missing, ConfigError::File { .. }));
    }

    #[test]
    fn a_token_is_never_shown() {
        let config = Config { token: Some("s3cr3t".to_owned()), ..Config::default() };
        assert!(!format!("{config:?}").contains("s3cr3t"));
        let client = crate::Client::new(config).unwrap();
        assert!(!format!("{client:?}").contains("s3cr3t"));
        let token = crate::AclToken { secret_id: "s3cr3t".to_owned(), ..crate::AclToken::default() };
        assert!(!format!("{token:?}").contains("s3cr3t"));
    }
}
