//! The values of a service's templates, of every place that they come from but the hook `config-pre`.
//!
//! What Consul holds below `config/` is noted beside the instance, readable by its owner alone: a start without Consul goes on from that.

use std::{collections::BTreeMap, io, path::Path, time::Duration};

use consul_client::Read;
use helium_crds::{instance::Assignment, variables::INHERITED};
use helium_templates::{
    files::{Files as _, RealFiles},
    values::{DEFAULT_FILES, Layer, Naming, Override},
};

use crate::{instance::work::Trouble, shared::Shared};

/// How long Consul may take to tell the overrides.
const LIMIT: Duration = Duration::from_secs(5);
/// The note of the overrides that were seen last.
const NOTE: &str = "overrides.json";

/// The layers, from the lowest to the highest. `env` is the whole environment of the instance.
pub(super) async fn layers(
    shared: &Shared,
    assignment: &Assignment,
    package: &Path,
    state: &Path,
    env: &BTreeMap<String, String>,
) -> Result<Vec<Layer>, Trouble> {
    let wrong = |error: helium_templates::values::ValueError| Trouble::lasting(error.to_string());
    let defaults = Layer::of_defaults(&default_files(package).map_err(|error| Trouble::may_heal(error.to_string()))?);
    let overrides = overrides(shared, assignment, state).await?;
    let all = overrides.iter().map(|(key, held)| Override { key, path: &held.path, value: &held.value, secret: false });
    let own = env
        .iter()
        .filter(|(name, _)| assignment.template.env.contains_key(*name) || !INHERITED.contains(&name.as_str()));
    Ok(vec![
        defaults.map_err(wrong)?,
        Layer::of_overrides(all, Naming::Nested).map_err(wrong)?,
        Layer::of_env(own.map(|(name, value)| (name.clone(), value.clone()))).map_err(wrong)?,
        Layer::of_config(assignment.template.config.clone().into()).map_err(wrong)?,
    ])
}

/// The package's files of default values, in `helium/` or else in `helios/`.
pub(crate) fn default_files(package: &Path) -> io::Result<Vec<(std::path::PathBuf, String)>> {
    for folder in ["helium", "helios"] {
        let mut found = Vec::new();
        for name in DEFAULT_FILES {
            let path = package.join(folder).join(name);
            match std::fs::read_to_string(&path) {
                Ok(text) => found.push((Path::new(folder).join(name), text)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
            }
        }
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

/// What Consul holds of overrides, or held when it was asked last.
async fn overrides(shared: &Shared, assignment: &Assignment, state: &Path) -> Result<BTreeMap<String, Held>, Trouble> {
    let prefix = shared.config.keys.overrides(&assignment.deployment);
    let note = state.join(NOTE);
    let asked = tokio::time::timeout(LIMIT, shared.client.kv_list(&prefix, &Read::default())).await;
    let error = match asked {
        Ok(Ok(reply)) => {
            let pairs = reply.value.into_iter().filter_map(|pair| {
                let path = pair.key.strip_prefix(&prefix)?.to_owned();
                Some((pair.key, Held { path, value: pair.value.to_vec() }))
            });
            let held: BTreeMap<String, Held> = pairs.collect();
            keep(&note, &held).map_err(|error| Trouble::may_heal(format!("{}: {error}", note.display())))?;
            return Ok(held);
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {LIMIT:?}"),
    };
    let noted = std::fs::read(&note).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    noted.ok_or_else(|| Trouble::may_heal(format!("the keys below {prefix} cannot be read: {error}")))
}

/// Notes the overrides where nobody but the agent's user can read them.
fn keep(note: &Path, held: &BTreeMap<String, Held>) -> io::Result<()> {
    let bytes = serde_json::to_vec(held)?;
    if RealFiles.read(note)?.as_ref() == Some(&bytes) {
        return Ok(());
    }
    let fresh = note.with_extension("new");
    RealFiles.write(&fresh, &bytes, helium_templates::output::SECRET_MODE)?;
    RealFiles.rename(&fresh, note)
}

/// One override. It has no debug output, for its value may be secret.
#[derive(serde::Serialize, serde::Deserialize)]
struct Held {
    /// The key without the prefix.
    path: String,
    /// What it holds.
    value: Vec<u8>,
}
