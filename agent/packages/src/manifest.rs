//! What a package says of itself, and what in it Helium knows by its name.
//!
//! `helium/package.yaml` says it, or `helios/package.json` as Helios had it; where both are, the first one counts. Everything here is a function
//! of names and bytes: where they come from (an archive, a folder) is its caller's.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// Where a package says what it is; the first of them that is there counts.
pub const PLACES: [&str; 3] = ["helium/package.yaml", "helium/package.yml", "helios/package.json"];
/// The longest manifest that is read.
pub const MAX_BYTES: u64 = 256 * 1024;

/// What a package says of itself. Fields that are not known are let pass: Helios had more of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The name of the service.
    pub name: String,
    /// The version; a package that is built by a pipeline may have none, and is installed as its caller says.
    #[serde(default)]
    pub version: Option<String>,
    /// Further packages that are installed along with this one.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Packages of the system that this one needs.
    #[serde(default)]
    pub packages: Vec<String>,
    /// What to run, for an agent over the layout of Helios: program and arguments, or a text for the shell. A package without it has only hooks.
    #[serde(default, deserialize_with = "command", skip_serializing_if = "Vec::is_empty")]
    pub run: Vec<String>,
    /// What is said of hooks, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hooks: BTreeMap<String, HookSettings>,
}

/// A list is program and arguments, a text is for the shell.
fn command<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Text(String),
        List(Vec<String>),
    }
    Ok(match Written::deserialize(from)? {
        Written::Text(text) => vec!["/bin/sh".to_owned(), "-c".to_owned(), text],
        Written::List(list) => list,
    })
}

/// What a package says of one of its hooks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookSettings {
    /// How long it may take, such as `90s` or `10m`. Default: 10 minutes to install or uninstall, 5 s for a look at the health, else a minute.
    #[serde(default, with = "limit", skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
}

/// A length of time as people write it: `90s`, `10m`.
mod limit {
    use std::time::Duration;

    use jiff::SignedDuration;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    #[allow(clippy::ref_option, reason = "serde's `with` passes a reference to the field")]
    pub(super) fn serialize<S: Serializer>(limit: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match limit.and_then(|limit| SignedDuration::try_from(limit).ok()) {
            Some(limit) => serializer.serialize_str(&format!("{limit:#}")),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        let limit = text.parse::<SignedDuration>().ok().and_then(|limit| Duration::try_from(limit).ok());
        match limit.filter(|limit| !limit.is_zero()) {
            Some(limit) => Ok(Some(limit)),
            None => Err(D::Error::custom(format!("`timeout: {text}` is no length of time such as `90s` or `10m`"))),
        }
    }
}

impl Manifest {
    /// Reads a manifest from the place `place`, which decides its format.
    pub fn read(place: &str, bytes: &[u8]) -> Result<Self, Error> {
        let wrong = |reason: String| Error::Unfit { place: place.to_owned(), reason };
        let text = std::str::from_utf8(bytes).map_err(|error| wrong(error.to_string()))?;
        let json = Path::new(place).extension().is_some_and(|ending| ending == "json");
        let manifest: Self = if json {
            serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?
        } else {
            serde_saphyr::from_str(text).map_err(|error| wrong(error.to_string()))?
        };
        if manifest.name.is_empty() {
            return Err(wrong("`name` is empty: it is the name of the service".to_owned()));
        }
        Ok(manifest)
    }
}

/// What of a package Helium knows by its name, each list sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Contents {
    /// Default values for the templates: `helium/default.{json,yaml,yml,toml}`.
    pub defaults: Vec<PathBuf>,
    /// Hooks: whatever is in `helium/hooks/`.
    pub hooks: Vec<PathBuf>,
    /// Checks: `helium/checks/*.json`, as templates too.
    pub checks: Vec<PathBuf>,
    /// Templates: `*.mustache` and `*.tera`, anywhere.
    pub templates: Vec<PathBuf>,
}

impl Contents {
    /// Sorts the names of a package's files.
    pub fn of<'a>(files: impl IntoIterator<Item = &'a Path>) -> Self {
        let mut contents = Self::default();
        for file in files {
            contents.take(file);
        }
        for list in [&mut contents.defaults, &mut contents.hooks, &mut contents.checks, &mut contents.templates] {
            list.sort();
        }
        contents
    }

    /// One file may be two things: a check that is a template.
    fn take(&mut self, file: &Path) {
        let Some(name) = file.to_str() else { return };
        let (plain, template) = match name.strip_suffix(".mustache").or_else(|| name.strip_suffix(".tera")) {
            Some(plain) => (plain, true),
            None => (name, false),
        };
        if template {
            self.templates.push(file.to_owned());
        }
        let Some(inside) = plain.strip_prefix("helium/").or_else(|| plain.strip_prefix("helios/")) else { return };
        let parts: Vec<&str> = inside.split('/').collect();
        match parts[..] {
            ["default.json" | "default.yaml" | "default.yml" | "default.toml"] => self.defaults.push(file.to_owned()),
            ["hooks", _] => self.hooks.push(file.to_owned()),
            ["checks", check] if Path::new(check).extension().is_some_and(|ending| ending == "json") => {
                self.checks.push(file.to_owned());
            }
            _ => {}
        }
    }
}

/// What is wrong with a manifest.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read as one.
    #[error("{place}: {reason}")]
    Unfit {
        /// Where in the package.
        place: String,
        /// Why.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_say_the_same() {
        let yaml = "name: web\nversion: 1.2.0\nroles: [helios]\npackages: [curl]\n";
        let json = r#"{"name":"web","version":"1.2.0","roles":["helios"],"packages":["curl"],"artifact":"x"}"#;
        let read = Manifest::read(PLACES[0], yaml.as_bytes()).unwrap();
        assert_eq!(read, Manifest::read(PLACES[2], json.as_bytes()).unwrap());
        assert_eq!((read.name.as_str(), read.version.as_deref()), ("web", Some("1.2.0")));
    }

    #[test]
    fn the_time_of_a_hook_is_written_as_people_do() {
        let read = |timeout: &str| {
            let text = format!("name: web\nhooks: {{install: {{timeout: {timeout}}}}}\n");
            Manifest::read(PLACES[0], text.as_bytes())
        };
        assert_eq!(read("90s").unwrap().hooks["install"].timeout, Some(Duration::from_secs(90)));
        assert_eq!(read("10m").unwrap().hooks["install"].timeout, Some(Duration::from_mins(10)));
        assert!(read("soon").unwrap_err().to_string().contains("`timeout: soon` is no length of time"));
        assert!(read("0s").is_err());
    }

    #[test]
    fn a_command_is_a_list_or_a_text_for_the_shell() {
        let run = |text: &str| Manifest::read(PLACES[2], text.as_bytes()).unwrap().run;
        assert_eq!(run(r#"{"name": "web", "run": ["bin/web", "-v"]}"#), ["bin/web", "-v"]);
        assert_eq!(run(r#"{"name": "web", "run": "exec bin/web"}"#), ["/bin/sh", "-c", "exec bin/web"]);
        assert!(run(r#"{"name": "web"}"#).is_empty());
    }

    #[test]
    fn a_manifest_that_is_none_names_its_place() {
        for bytes in [&b"roles: []"[..], b"name: ''", b"\xff", b": ["] {
            let error = Manifest::read(PLACES[0], bytes).unwrap_err().to_string();
            assert!(error.starts_with("helium/package.yaml: "), "{error}");
        }
    }

    #[test]
    fn files_are_known_by_their_names() {
        let files = [
            "helium/checks/http.json.tera",
            "helium/default.toml",
            "helios/hooks/install.sh",
            "helium/checks/README",
            "helium/checks/a/b.json",
            "etc/nginx.conf.mustache",
            "hooks/install.sh",
        ];
        let contents = Contents::of(files.map(Path::new));
        assert_eq!(contents.defaults, [PathBuf::from("helium/default.toml")]);
        assert_eq!(contents.hooks, [PathBuf::from("helios/hooks/install.sh")]);
        assert_eq!(contents.checks, [PathBuf::from("helium/checks/http.json.tera")]);
        assert_eq!(contents.templates.len(), 2);
    }
}
