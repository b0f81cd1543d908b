//! The templates of a package of Helios into files in their places within the version's folder, from the values that Helios had.
//!
//! From the lowest to the highest: `default.json`, the keys below `config/`, `host_ip`, and what the hook `config-pre` prints.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use helium_crds::{ids::InstanceId, package::Missing};
use helium_packages::manifest::{Manifest, PLACES};
use helium_templates::{
    files::RealFiles,
    transaction,
    values::{Layer, Naming, Override, Values},
};
use serde_json::Value;
use sha1::{Digest as _, Sha1};

use super::{config::HeliosConfig, keys, record::Found};
use crate::{
    checks,
    hooks::{Hook, HookRun},
    package::{
        asking::Asking,
        lookups::Lookups,
        preparation::limit_of,
        rendering::{Rendering, Turn, templates},
        values::default_files,
    },
    telemetry::Telemetry,
};

/// Services of Helios have no namespaces; whoever asks is in one all the same, which the [key of a leader](leader_key) leaves out.
const NAMESPACE: &str = "helios";

/// The key of the lock of a service's leader, whose name may have the namespace of who asks in front.
pub(super) fn leader_key(service: &str) -> String {
    let own = format!("{NAMESPACE}/");
    keys::leader(service.strip_prefix(&own).unwrap_or(service))
}

/// Parts of a name that say that its value is a secret.
const SECRET_NAMES: [&str; 5] = ["password", "passwd", "secret", "token", "private"];

/// What is rendered.
pub(super) struct Package<'a> {
    pub(super) config: &'a HeliosConfig,
    pub(super) lookups: &'a Arc<Lookups>,
    /// What its hooks and its rendering are counted in.
    pub(super) telemetry: &'a Telemetry,
    pub(super) service: &'a str,
    /// The folder of the version.
    pub(super) folder: &'a Path,
    /// Where the journal of the transaction is, and the logs and notes of hooks.
    pub(super) state: PathBuf,
    pub(super) env: BTreeMap<String, String>,
}

impl Package<'_> {
    /// Renders the files, all or none, and runs the hook `config`; tells what is in the package then.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(super) async fn render(&self, overrides: &BTreeMap<String, Vec<u8>>) -> Result<Found, String> {
        let state = self.state.clone();
        let recovered = tokio::task::spawn_blocking(move || transaction::recover(&RealFiles, &state)).await;
        recovered.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let values = self.values(overrides).await?;
        let tag = tag(&values.to_json());
        let templates = templates(self.folder, self.folder).map_err(|error| error.to_string())?;
        if !templates.is_empty() {
            let asker = InstanceId::from(self.service);
            let (namespace, env) = (NAMESPACE.to_owned(), self.env.clone());
            let asking = Asking::new(Arc::clone(self.lookups), asker.clone(), namespace, env, BTreeSet::new());
            let rendering = Rendering {
                templates: Arc::new(templates),
                values: Arc::new(values),
                asking: Arc::new(asking),
                missing: if self.config.strict { Missing::Fail } else { Missing::Empty },
                check: Vec::new(),
                env: self.env.clone(),
                view: self.folder.to_owned(),
                state: self.state.clone(),
                turn: Turn::default(),
                seen: Arc::default(),
            };
            let applied = rendering.apply_counted(self.telemetry).await;
            // Files are made anew with a new target, and then what it asks is asked again.
            self.lookups.forget(&asker);
            applied.map_err(|trouble| trouble.words)?;
        }
        self.hook(Hook::Config).to_success().await?;
        self.look(tag)
    }

    async fn values(&self, overrides: &BTreeMap<String, Vec<u8>>) -> Result<Values, String> {
        let words = |error: helium_templates::values::ValueError| error.to_string();
        let defaults = default_files(self.folder).map_err(|error| error.to_string())?;
        let naming = if self.config.nested { Naming::Nested } else { Naming::Flat };
        let prefix = format!("{}config/", keys::of_service(self.service));
        let keyed: Vec<(String, &String, &Vec<u8>)> =
            overrides.iter().map(|(path, value)| (format!("{prefix}{path}"), path, value)).collect();
        let all = keyed.iter().map(|(key, path, value)| Override { key, path, value, secret: is_secret(path) });
        let host = serde_json::json!({ "host_ip": self.config.address });
        let mut layers = vec![
            Layer::of_defaults(&defaults).map_err(words)?,
            Layer::of_overrides(all, naming).map_err(words)?,
            Layer::of_config(host).map_err(words)?,
        ];
        if let Some(printed) = self.hook(Hook::ConfigPre).to_success().await? {
            layers.push(Layer::of_hook(Hook::ConfigPre.name(), &printed.stdout).map_err(words)?);
        }
        Ok(Values::merge(layers))
    }

    /// What Helium knows by its name in the package.
    fn look(&self, tag: String) -> Result<Found, String> {
        let mut hooks = BTreeSet::new();
        for hook in Hook::ALL {
            if crate::hooks::find(hook, self.folder).map_err(|error| error.to_string())?.is_some() {
                hooks.insert(hook);
            }
        }
        let manifest = manifest(self.folder)?;
        let health = hooks.contains(&Hook::Health).then(|| checks::of_health(limit_of(Hook::Health, self.folder)));
        let taken: Vec<String> = health.iter().map(|health| health.name.clone()).collect();
        let checks = checks::read(self.folder, &taken)?.into_iter().chain(health).collect();
        Ok(Found { tag, run: manifest.run, hooks, checks, roles: manifest.roles })
    }

    /// One of its hooks.
    pub(super) fn hook(&self, hook: Hook) -> HookRun {
        HookRun {
            hook,
            package: self.folder.to_owned(),
            env: self.env.clone(),
            log: self.state.join(format!("hook-{hook}.log")),
            note: self.state.join(format!("hook-{hook}.running")),
            limit: limit_of(hook, self.folder),
            counted: Some(self.telemetry.clone()),
        }
    }
}

/// What a package says of itself; nothing if it does not.
fn manifest(folder: &Path) -> Result<Manifest, String> {
    for place in PLACES {
        if let Ok(bytes) = std::fs::read(folder.join(place)) {
            return Manifest::read(place, &bytes).map_err(|error| error.to_string());
        }
    }
    Ok(Manifest::default())
}

fn is_secret(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path).to_lowercase();
    SECRET_NAMES.iter().any(|part| name.contains(part))
}

/// The SHA-1 of the merged values as JSON without blanks, the names in order: it tells one set of values from another in a tag, and guards nothing.
fn tag(values: &Value) -> String {
    let digest = Sha1::digest(sorted(values).to_string());
    digest.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// The same values with the names of each map in order, whatever order the library keeps.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let in_order: BTreeMap<&String, Value> = map.iter().map(|(name, value)| (name, sorted(value))).collect();
            in_order.into_iter().map(|(name, value)| (name.clone(), value)).collect()
        }
        Value::Array(list) => list.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_is_the_sha1_of_the_values_in_order() {
        let (one, other) = (serde_json::json!({"a": {"c": 1, "d": [2]}, "b": "x"}), r#"{"b":"x","a":{"d":[2],"c":1}}"#);
        let other: Value = serde_json::from_str(other).unwrap();
        assert_eq!(tag(&one), tag(&other));
        // printf '{}' | sha1sum
        assert_eq!(tag(&serde_json::json!({})), "bf21a9e8fbc5a3846fb05b4fa0859e0917b2202f");
    }

    #[test]
    fn a_name_tells_a_secret() {
        assert!(is_secret("db/Password") && is_secret("api_token"));
        assert!(!is_secret("db/port") && !is_secret("secrets/port"));
    }
}
