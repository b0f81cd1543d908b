//! Secrets by reference: found at the time of each request, shown to one server, and told to nobody.

use std::{
    collections::BTreeMap,
    env,
    fs::File,
    io::{self, Read as _},
    path::PathBuf,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use consul_client::{Client, Read};
use helium_crds::{
    keys::Keys,
    secret::{Auth, SecretRef},
};
use http::{HeaderName, HeaderValue, header};
use rustix::fs::{Mode, OFlags};

use crate::why::Hidden;

/// The largest file that is taken for a secret.
const MAX_FILE: u64 = 64 * 1024;
/// What the name of a variable begins with that may be sent elsewhere.
const VARIABLES: &str = "HELIUM_SECRET_";

/// Where secrets are found. Whoever can apply a spec can have a secret sent where they like, so only what was put aside for this is found:
/// the files of one folder, variables whose name begins with `HELIUM_SECRET_`, and keys below `secret/`.
#[derive(Clone)]
pub struct Secrets {
    folder: Option<PathBuf>,
    variables: BTreeMap<String, String>,
}

impl Secrets {
    /// The files in `folder`, and these variables of the environment; of variables with other names nothing is kept.
    pub fn new(folder: Option<PathBuf>, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let variables = variables.into_iter().filter(|(name, _)| name.starts_with(VARIABLES)).collect();
        Self { folder, variables }
    }

    /// The files in `folder`, and the variables of this process.
    pub fn of_process(folder: Option<PathBuf>) -> Self {
        let texts = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self::new(folder, env::vars_os().filter_map(texts))
    }

    /// The header that shows who asks.
    pub(crate) async fn credential(&self, auth: &Auth, kv: &Vault) -> Result<Credential, Error> {
        match auth {
            Auth::Bearer(token) => {
                let secret = self.find(token, kv).await?;
                Credential::new(header::AUTHORIZATION, &format!("Bearer {secret}"), &[&secret], token)
            }
            Auth::Basic(basic) => {
                let password = self.find(&basic.password, kv).await?;
                let pair = BASE64_STANDARD.encode(format!("{}:{password}", basic.username));
                let hidden = [password.as_str(), pair.as_str()];
                Credential::new(header::AUTHORIZATION, &format!("Basic {pair}"), &hidden, &basic.password)
            }
            Auth::Header(given) => {
                let secret = self.find(&given.value, kv).await?;
                let name = HeaderName::from_bytes(given.name.as_bytes())
                    .map_err(|_| Error::HeaderName { name: given.name.clone() })?;
                Credential::new(name, &secret, &[&secret], &given.value)
            }
        }
    }

    /// The secret itself, without white space around it.
    pub(crate) async fn find(&self, place: &SecretRef, kv: &Vault) -> Result<String, Error> {
        let found = match place {
            SecretRef::File(name) => self.file(name).await?,
            SecretRef::Env(name) => {
                let known = self.variables.get(name).cloned();
                known.ok_or_else(|| Error::Missing { what: describe(place) })?
            }
            SecretRef::Kv(name) => kv.read(name).await?,
        };
        let secret = found.trim();
        if secret.is_empty() {
            return Err(Error::Empty { what: describe(place) });
        }
        Ok(secret.to_owned())
    }

    async fn file(&self, name: &str) -> Result<String, Error> {
        let what = format!("the file {name:?} of the secrets folder");
        let Some(folder) = &self.folder else { return Err(Error::NoFolder { name: name.to_owned() }) };
        // The name was looked at when it was applied; here it is what stands between a spec and every file of the machine.
        if name.starts_with('.') || name.contains(['/', '\0']) {
            return Err(Error::NotAName { name: name.to_owned() });
        }
        let path = folder.join(name);
        let read = tokio::task::spawn_blocking(move || read_regular(&path)).await;
        let read = read.unwrap_or_else(|ended| Err(io::Error::other(ended.to_string())));
        read.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::Missing { what },
            _ => Error::Unreadable { what, reason: error.to_string() },
        })
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&String> = self.variables.keys().collect();
        f.debug_struct("Secrets").field("folder", &self.folder).field("variables", &names).finish()
    }
}

/// Reads a small regular file. A link could lead out of the folder, and a pipe would be waited for: neither is opened.
fn read_regular(path: &std::path::Path) -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::LOOP) => return Err(io::Error::other("it is a link, and links are not followed")),
        Err(error) => return Err(error.into()),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut text = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(io::Error::other(format!("it is larger than {} KiB", MAX_FILE / 1024)));
    }
    // The error of the conversion would hold the bytes.
    String::from_utf8(text).map_err(|_| io::Error::other("it is no UTF-8 text"))
}

/// The secrets in Consul KV.
#[derive(Clone, Debug)]
pub(crate) struct Vault {
    pub(crate) consul: Client,
    pub(crate) keys: Keys,
}

impl Vault {
    async fn read(&self, name: &str) -> Result<String, Error> {
        let key = self.keys.secret(name);
        let what = format!("the key {key}");
        let found = self.consul.kv_get(&key, &Read::consistent()).await;
        let reply = found.map_err(|error| Error::Consul { what: what.clone(), source: error })?;
        let pair = reply.value.ok_or_else(|| Error::Missing { what: what.clone() })?;
        String::from_utf8(pair.value.to_vec())
            .map_err(|_| Error::Unreadable { what, reason: "it is no UTF-8 text".to_owned() })
    }
}

/// A header that shows who asks, and what has to be kept out of every text.
#[derive(Clone, Debug)]
pub(crate) struct Credential {
    pub(crate) name: HeaderName,
    /// Marked as sensitive, so that its debug output does not show it.
    pub(crate) value: HeaderValue,
    pub(crate) hidden: Hidden,
}

impl Credential {
    fn new(name: HeaderName, value: &str, secrets: &[&str], place: &SecretRef) -> Result<Self, Error> {
        let mut value = HeaderValue::from_str(value).map_err(|_| Error::NoHeader { what: describe(place) })?;
        value.set_sensitive(true);
        Ok(Self { name, value, hidden: Hidden::of(secrets.iter().copied()) })
    }
}

fn describe(place: &SecretRef) -> String {
    match place {
        SecretRef::File(name) => format!("the file {name:?} of the secrets folder"),
        SecretRef::Env(name) => format!("the variable {name} of the controller"),
        SecretRef::Kv(name) => format!("the secret {name} in Consul KV"),
    }
}

/// Why a secret cannot be used. No variant holds any of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{what}, which holds the secret, is not there")]
    Missing { what: String },
    #[error("{what}, which should hold the secret, is empty")]
    Empty { what: String },
    #[error("{what}, which holds the secret, cannot be read: {reason}")]
    Unreadable { what: String, reason: String },
    #[error("the controller has no folder for secrets such as {name:?}: give it one by --secrets-dir")]
    NoFolder { name: String },
    #[error("{name:?} is not the plain name of a file in the secrets folder")]
    NotAName { name: String },
    #[error("{what} holds what cannot be sent as a header: a secret is one line of text")]
    NoHeader { what: String },
    #[error("{name:?} cannot be the name of a header")]
    HeaderName { name: String },
    #[error("{what}, which holds the secret, cannot be read: {source}")]
    Consul { what: String, source: consul_client::Error },
}

impl Error {
    /// Whether it may be different in a moment.
    pub(crate) fn may_heal(&self) -> bool {
        match self {
            Error::Consul { source, .. } => source.is_unreachable(),
            _ => false,
        }
    }
}
