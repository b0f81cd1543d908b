//! The values of a service's templates, of every place that they come from but the hook `config-pre`.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use helium_crds::{instance::Assignment, variables::INHERITED};
use helium_templates::{
    files::{Files as _, RealFiles},
    output::SECRET_MODE,
    values::{DEFAULT_FILES, Layer, Naming, Override, ValueError},
};

use crate::instance::work::Trouble;

/// The note of the overrides that an instance last had.
const NOTE: &str = "overrides.json";

/// What Consul holds of overrides, by their names below `prefix`.
pub(super) struct Overrides {
    pub(super) prefix: String,
    pub(super) found: BTreeMap<String, String>,
}

/// The layers, from the lowest to the highest. `env` is the whole environment of the instance.
pub(super) fn layers(
    assignment: &Assignment,
    package: &Path,
    overrides: &Overrides,
    env: &BTreeMap<String, String>,
) -> Result<Vec<Layer>, Trouble> {
    let wrong = |error: ValueError| Trouble::lasting(error.to_string());
    let defaults = Layer::of_defaults(&default_files(package).map_err(|error| Trouble::may_heal(error.to_string()))?);
    let named: Vec<(String, &String, &String)> =
        overrides.found.iter().map(|(path, text)| (format!("{}{path}", overrides.prefix), path, text)).collect();
    let all = named.iter().map(|(key, path, text)| Override { key, path, value: text.as_bytes(), secret: false });
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
pub(crate) fn default_files(package: &Path) -> io::Result<Vec<(PathBuf, String)>> {
    for folder in ["helium", "helios"] {
        let mut found = Vec::new();
        for name in DEFAULT_FILES {
            let path = package.join(folder).join(name);
            match fs::read_to_string(&path) {
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

/// The overrides that an instance last had; none before it had any.
pub(super) fn noted(state: &Path) -> Option<BTreeMap<String, String>> {
    fs::read(state.join(NOTE)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok())
}

/// Notes the overrides where nobody but the agent's user can read them.
pub(super) fn note(state: &Path, overrides: &BTreeMap<String, String>) -> io::Result<()> {
    let (note, fresh) = (state.join(NOTE), state.join("overrides.new"));
    RealFiles.write(&fresh, &serde_json::to_vec(overrides)?, SECRET_MODE)?;
    RealFiles.rename(&fresh, &note)?;
    RealFiles.sync_folder(state)
}
