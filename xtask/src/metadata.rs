//! What `cargo metadata` says of the workspace: its crates, their dependencies, and the whole graph behind them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use serde_json::Value;

use crate::project::Project;

/// One crate of the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) manifest: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
}

/// One line of a crate's dependencies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// Only for the crate's own tests.
    pub(crate) for_tests: bool,
}

/// The workspace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    /// For each crate, of the workspace or not, the crates that it needs outside its tests.
    needs: BTreeMap<String, BTreeSet<String>>,
}

impl Metadata {
    /// Asks cargo; an error says what cargo said, as that Cargo.lock is not up to date.
    pub(crate) fn load(project: &Project) -> Result<Self, String> {
        let mut cargo = project.cargo(&["metadata", "--format-version", "1", "--locked", "--quiet"]);
        let output = cargo.output().map_err(|error| format!("cargo metadata: {error}"))?;
        if !output.status.success() {
            return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
        let json = serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))?;
        Ok(Self::parse(&json))
    }

    /// Reads the format, version 1.
    pub(crate) fn parse(json: &Value) -> Self {
        let ids: BTreeSet<&str> = texts(&json["workspace_members"]).collect();
        let names: BTreeMap<&str, String> = each(&json["packages"])
            .filter_map(|package| Some((package["id"].as_str()?, text(&package["name"]))))
            .collect();
        let members =
            each(&json["packages"]).filter(|package| package["id"].as_str().is_some_and(|id| ids.contains(id)));
        let packages = members.map(|package| Package {
            name: text(&package["name"]),
            manifest: PathBuf::from(text(&package["manifest_path"])),
            dependencies: each(&package["dependencies"])
                .map(|d| Dependency { name: text(&d["name"]), for_tests: d["kind"] == "dev" })
                .collect(),
        });
        let packages = packages.collect();
        let mut needs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for node in each(&json["resolve"]["nodes"]) {
            let Some(name) = node["id"].as_str().and_then(|id| names.get(id)) else { continue };
            let used = each(&node["deps"]).filter(|dep| each(&dep["dep_kinds"]).any(|kind| kind["kind"].is_null()));
            let used = used.filter_map(|dep| names.get(dep["pkg"].as_str()?).cloned());
            needs.entry(name.clone()).or_default().extend(used);
        }
        Self { packages, needs }
    }

    /// A chain of crates from `name` to the first that `is_wanted`, outside tests; none if there is no such chain.
    pub(crate) fn path_to(&self, name: &str, is_wanted: impl Fn(&str) -> bool) -> Option<Vec<String>> {
        let mut paths = vec![vec![name.to_owned()]];
        let mut seen: BTreeSet<&str> = BTreeSet::from([name]);
        let mut next = 0;
        while let Some(path) = paths.get(next).cloned() {
            next += 1;
            for need in path.last().and_then(|last| self.needs.get(last)).into_iter().flatten() {
                if seen.insert(need) {
                    let longer: Vec<String> = path.iter().chain([need]).cloned().collect();
                    if is_wanted(need) {
                        return Some(longer);
                    }
                    paths.push(longer);
                }
            }
        }
        None
    }
}

fn each(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    each(value).filter_map(Value::as_str)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
pub(crate) mod examples {
    use serde_json::json;

    use super::*;

    /// A workspace of `crates` (name, its dependencies, those of its tests), whose other crates need nothing.
    pub(crate) fn workspace(crates: &[(&str, &[&str], &[&str])]) -> Metadata {
        let mut names: BTreeSet<&str> = crates.iter().map(|(name, ..)| *name).collect();
        names.extend(crates.iter().flat_map(|(_, needs, tests)| needs.iter().chain(*tests)));
        let dependencies = |name: &str| -> Vec<Value> {
            let found = crates.iter().find(|(member, ..)| *member == name);
            let needs =
                found.into_iter().flat_map(|(_, needs, _)| needs.iter()).map(|n| json!({"name": n, "kind": null}));
            let tests =
                found.into_iter().flat_map(|(.., tests)| tests.iter()).map(|n| json!({"name": n, "kind": "dev"}));
            needs.chain(tests).collect()
        };
        let packages = names.iter().map(|name| {
            json!({"id": name, "name": name, "manifest_path": format!("/tree/{name}/Cargo.toml"), "dependencies": dependencies(name)})
        });
        let nodes = names.iter().map(|name| {
            let deps =
                dependencies(name).into_iter().map(|d| json!({"pkg": d["name"], "dep_kinds": [{"kind": d["kind"]}]}));
            json!({"id": name, "deps": deps.collect::<Vec<_>>()})
        });
        Metadata::parse(&json!({
            "packages": packages.collect::<Vec<_>>(),
            "workspace_members": crates.iter().map(|(name, ..)| *name).collect::<Vec<_>>(),
            "resolve": { "nodes": nodes.collect::<Vec<_>>() },
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_tests_need_is_told_apart() {
        let metadata = examples::workspace(&[("a", &["b"], &["t"]), ("b", &["c"], &[])]);
        let a = &metadata.packages[0];
        assert_eq!(a.dependencies[0], Dependency { name: "b".to_owned(), for_tests: false });
        assert_eq!(a.dependencies[1], Dependency { name: "t".to_owned(), for_tests: true });
        assert_eq!(metadata.path_to("a", |name| name == "c").unwrap(), ["a", "b", "c"]);
        assert_eq!(metadata.path_to("a", |name| name == "t"), None);
    }
}
