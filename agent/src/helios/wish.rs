//! What Consul wants of a service, read from its keys, and noted on the disk for a start without Consul.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
};

use consul_client::KvPair;
use helium_election::{Keys, upgrade::Bad};
use helium_packages::{digest::Digest, store::Name};
use helium_templates::{
    files::{Files as _, RealFiles},
    output::SECRET_MODE,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{keys, record::Target};

/// What Consul wants of a service. It has no debug output, for its values may be secret.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wish {
    /// The version.
    pub(crate) version: Option<String>,
    /// The keys below `config/`, without that.
    pub(crate) config: BTreeMap<String, Vec<u8>>,
    /// The digests of packages, by version.
    pub(crate) sha256: BTreeMap<String, String>,
    /// What is marked bad.
    pub(crate) bad: BTreeSet<String>,
    /// Why, as far as its mark says it.
    #[serde(default)]
    pub(crate) reasons: BTreeMap<String, String>,
}

impl Wish {
    /// Reads the keys of a service.
    pub(super) fn of(service: &str, pairs: &[KvPair]) -> Self {
        let (prefix, marks) = (keys::of_service(service), Keys::helios(service, ""));
        let mut wish = Self::default();
        for pair in pairs {
            let Some(path) = pair.key.strip_prefix(&prefix) else { continue };
            let text = || String::from_utf8_lossy(&pair.value).trim().to_owned();
            match path.split_once('/') {
                None if path == "version" => {
                    let version = Some(text()).filter(|text| text.parse::<Name>().is_ok());
                    if version.is_none() {
                        tracing::error!(key = pair.key, "what it holds cannot be the name of a version");
                    }
                    wish.version = version;
                }
                Some((_, "")) => {}
                Some(("config", name)) => drop(wish.config.insert(name.to_owned(), pair.value.to_vec())),
                Some(("sha256", version)) => drop(wish.sha256.insert(version.to_owned(), text())),
                Some(("bad", _)) => {
                    let Some(what) = marks.version_of_bad(&pair.key) else { continue };
                    let mark: Option<Bad> = serde_json::from_slice(&pair.value).ok();
                    wish.reasons.extend(mark.map(|mark| (what.clone(), mark.why)));
                    wish.bad.insert(what);
                }
                _ => {}
            }
        }
        wish
    }

    /// What the service is to be; none without a version.
    pub(super) fn target(&self) -> Option<Target> {
        let version = self.version.clone()?;
        Some(Target { version, config: config_digest(&self.config) })
    }
}

/// The first 16 digits of the digest of a service's keys below `config/`.
fn config_digest(config: &BTreeMap<String, Vec<u8>>) -> String {
    let bytes = serde_json::to_vec(config).unwrap_or_default();
    Digest::of(&bytes).to_string()[..16].to_owned()
}

/// The services in what `nodes/<node>/services` holds: one name as plain text, or a JSON list of names.
pub(super) fn assigned(value: &[u8]) -> Result<BTreeSet<String>, String> {
    let text = std::str::from_utf8(value).map_err(|_| "it is no text".to_owned())?.trim();
    let names: Vec<String> = if text.starts_with('[') {
        serde_json::from_str(text).map_err(|error| format!("it is no list of names: {error}"))?
    } else {
        let name = text.trim_matches('"');
        Some(name.to_owned()).filter(|name| !name.is_empty()).into_iter().collect()
    };
    match names.iter().find(|name| name.parse::<Name>().is_err()) {
        Some(name) => Err(format!("`{name}` cannot be the name of a service")),
        None => Ok(names.into_iter().collect()),
    }
}

/// Writes a note that its owner alone can read.
pub(super) fn save<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let bytes = serde_json::to_vec_pretty(value)?;
    if RealFiles.read(path)?.as_ref() == Some(&bytes) {
        return Ok(());
    }
    let fresh = path.with_extension("new");
    RealFiles.write(&fresh, &bytes, SECRET_MODE)?;
    RealFiles.rename(&fresh, path)?;
    path.parent().map_or(Ok(()), |folder| RealFiles.sync_folder(folder))
}

/// Reads a note; none where there is none.
pub(super) fn load<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match RealFiles.read(path)? {
        Some(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(key: &str, value: &str) -> KvPair {
        KvPair {
            key: key.to_owned(),
            value: value.as_bytes().to_vec().into(),
            create_index: 1,
            modify_index: 1,
            lock_index: 0,
            flags: 0,
            session: None,
        }
    }

    #[test]
    fn an_assignment_is_a_name_or_a_list_of_names() {
        let names = |text: &str| assigned(text.as_bytes()).unwrap().into_iter().collect::<Vec<_>>();
        assert_eq!(names("web\n"), ["web"]);
        assert_eq!(names(r#"["web", "log"]"#), ["log", "web"]);
        assert!(names("").is_empty() && names("[]").is_empty());
        assert!(assigned(b"../x").unwrap_err().contains("`../x` cannot be the name of a service"));
        assert!(assigned(b"[1]").unwrap_err().contains("no list of names"));
    }

    #[test]
    fn the_keys_of_helios_say_what_is_wanted() {
        let pairs = [
            pair("service/web/version", "1a2b3c\n"),
            pair("service/web/config/", ""),
            pair("service/web/config/db/port", "5432"),
            pair("service/web/sha256/1a2b3c", "abc"),
            pair("service/web/bad/0_2b1", r#"{"version": "0+1", "why": "it ended", "by": "n1"}"#),
            pair("service/web/bad/0_1", "by hand"),
            pair("service/web/leader", "n1"),
        ];
        let wish = Wish::of("web", &pairs);
        assert_eq!(wish.version.as_deref(), Some("1a2b3c"));
        assert_eq!(wish.config.keys().collect::<Vec<_>>(), ["db/port"]);
        assert_eq!(wish.sha256["1a2b3c"], "abc");
        assert!(wish.bad.contains("0+1") && wish.bad.contains("0_1"));
        assert_eq!(wish.reasons["0+1"], "it ended");
        let other = Wish::of("web", &[pair("service/web/version", "1a2b3c"), pair("service/web/config/db/port", "1")]);
        assert_ne!(other.target(), wish.target());
        assert!(Wish::of("web", &[]).target().is_none());
        assert!(Wish::of("web", &[pair("service/web/version", "../1")]).target().is_none());
    }
}
