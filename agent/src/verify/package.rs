//! A package before anybody installs it: its templates, and whether its hooks may run twice, as they do after a crash.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use helium_crds::variables::INHERITED;
use helium_packages::{archive::write, store::listing::Listing};
use helium_runtime::ports::Ports;
use helium_templates::{
    Strictness,
    lookup::{Answer, Instance, Lookup},
    render::{Rendered, render},
    values::{Layer, Values},
};

use super::{Finding, State};
use crate::{
    hooks::{Hook, HookRun},
    package::{preparation::limit_of, rendering, values::default_files},
};

/// The hooks that may run again after a crash without anybody having asked for it, and work on files alone.
const TWICE: [Hook; 2] = [Hook::Install, Hook::Config];

/// The templates of a package, rendered with its own defaults and nothing else.
pub(super) fn templates(folder: &Path) -> Vec<Finding> {
    let place = folder.display();
    let failed = |words: String| vec![Finding::new(State::Failed, "templates", place.to_string(), words)];
    let templates = match rendering::templates(folder, folder) {
        Ok(templates) if templates.is_empty() => {
            return vec![Finding::new(State::Ok, "templates", place, "it has none")];
        }
        Ok(templates) => templates,
        Err(error) => return failed(error.to_string()),
    };
    let layer = default_files(folder)
        .map_err(|error| error.to_string())
        .and_then(|files| Layer::of_defaults(&files).map_err(|error| error.to_string()));
    let values = match layer {
        Ok(layer) => Values::merge(vec![layer]),
        Err(words) => return failed(words),
    };
    let nobody: Arc<dyn Lookup> = Arc::new(Nobody);
    match render(&templates, &values, &nobody, Strictness::Strict).result {
        Rendered::Ready(files) => {
            let words = format!("{} files are rendered with the defaults alone", files.len());
            vec![Finding::new(State::Ok, "templates", place, words)]
        }
        Rendered::Pending => failed("they ask for what nobody answers".to_owned()),
        Rendered::Failed(error) if error.wrong.is_empty() => {
            let names = error.missing.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            let words = format!("no default of {names}: each deployment has to give it");
            vec![Finding::new(State::Warning, "templates", place, words)]
        }
        Rendered::Failed(error) => failed(error.wrong.join("\n")),
    }
}

/// Runs `install` and `config` twice in a copy of the package: both runs succeed, and the second changes no file.
pub(super) async fn hooks(folder: &Path, ports: &Ports) -> Vec<Finding> {
    let scratch = std::env::temp_dir().join(format!("helium-verify-{}", ports.random_hex(16)));
    let copy = scratch.join("package");
    let made = fs::create_dir_all(&copy)
        .map_err(|error| error.to_string())
        .and_then(|()| write::copy(folder, &copy).map_err(|error| error.to_string()));
    let mut found = Vec::new();
    match made {
        Err(words) => found.push(Finding::new(State::Failed, "hooks", folder.display(), words)),
        Ok(()) => {
            for hook in TWICE {
                found.push(twice(hook, &copy, &scratch).await);
            }
        }
    }
    let _ = fs::remove_dir_all(&scratch);
    found
}

async fn twice(hook: Hook, package: &Path, scratch: &Path) -> Finding {
    let inherited = INHERITED.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)));
    let run = HookRun {
        hook,
        package: package.to_owned(),
        env: inherited.collect::<BTreeMap<_, _>>(),
        log: scratch.join("log"),
        note: scratch.join("note"),
        limit: limit_of(hook, package),
        counted: None,
    };
    let state = |state, words: String| Finding::new(state, "hooks", hook, words);
    match one(&run).await {
        Ok(None) => state(State::Ok, "the package has none".to_owned()),
        Err(words) => state(State::Failed, format!("the first run: {}", without(&words, scratch))),
        Ok(Some(first)) => match one(&run).await {
            Err(words) => state(State::Failed, format!("the second run: {}", without(&words, scratch))),
            Ok(second) => {
                let changes = first.changes(&second.unwrap_or_default());
                if changes.is_empty() {
                    return state(State::Ok, "a second run changes nothing".to_owned());
                }
                let named = changes.iter().map(|(name, change)| format!("{name} {change}")).collect::<Vec<_>>();
                state(
                    State::Failed,
                    format!("a second run does not leave what the first has left: {}", named.join(", ")),
                )
            }
        },
    }
}

/// Runs it: what the package is like after it.
async fn one(run: &HookRun) -> Result<Option<Listing>, String> {
    if run.to_success().await?.is_none() {
        return Ok(None);
    }
    Listing::of(&run.package).map(Some).map_err(|error| error.to_string())
}

/// The scratch folder is gone by the time that anybody reads of it.
fn without(words: &str, scratch: &Path) -> String {
    words.split(" (its log: ").next().unwrap_or(words).replace(&scratch.display().to_string(), "<copy>")
}

/// Answers every question with nothing.
struct Nobody;

impl Lookup for Nobody {
    fn services(&self, _: &str, _: Option<&str>) -> Answer<Vec<Instance>> {
        Answer::Known(Vec::new())
    }
    fn key(&self, _: &str) -> Answer<Option<String>> {
        Answer::Known(None)
    }
    fn keys(&self, _: &str) -> Answer<BTreeMap<String, String>> {
        Answer::Known(BTreeMap::new())
    }
    fn leader(&self, _: &str) -> Answer<Option<String>> {
        Answer::Known(None)
    }
    fn address(&self) -> Answer<Option<String>> {
        Answer::Known(Some("127.0.0.1".to_owned()))
    }
    fn file(&self, _: &Path) -> Answer<Option<String>> {
        Answer::Known(None)
    }
    fn environment(&self, _: &str) -> Answer<Option<String>> {
        Answer::Known(None)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn package(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path: PathBuf = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
        }
        folder
    }

    async fn said(files: &[(&str, &str)]) -> Vec<(State, String)> {
        let folder = package(files);
        let found = hooks(folder.path(), &Ports::real()).await;
        found.into_iter().map(|one| (one.state, format!("{}: {}", one.place, one.words))).collect()
    }

    #[tokio::test]
    async fn a_hook_that_does_the_same_twice_is_well_and_the_package_itself_is_left_alone() {
        let all = said(&[("helium/hooks/install.sh", "echo done > made")]).await;
        assert_eq!(all[0], (State::Ok, "install: a second run changes nothing".to_owned()));
        assert_eq!(all[1], (State::Ok, "config: the package has none".to_owned()));
    }

    #[tokio::test]
    async fn a_hook_that_adds_to_what_it_did_before_or_fails_the_second_time_is_told() {
        let all = said(&[
            ("helium/hooks/install.sh", "echo again >> log.txt"),
            ("helium/hooks/config.sh", "mkdir once || exit 3"),
        ])
        .await;
        let first = "install: a second run does not leave what the first has left: log.txt was changed";
        assert_eq!(all[0], (State::Failed, first.to_owned()));
        assert_eq!(all[1].0, State::Failed);
        assert!(
            all[1].1.starts_with("config: the second run: the hook config failed with exit status 3"),
            "{}",
            all[1].1
        );
    }

    #[test]
    fn templates_are_rendered_with_the_defaults_alone() {
        let of = |files: &[(&str, &str)]| {
            let found = templates(package(files).path()).remove(0);
            (found.state, found.words)
        };
        let defaults = ("helium/default.json", r#"{"port": 80}"#);
        let (state, words) = of(&[defaults, ("conf.tera", "listen {{ port }}")]);
        assert_eq!((state, words.as_str()), (State::Ok, "1 files are rendered with the defaults alone"));
        let (state, words) = of(&[defaults, ("conf.tera", "listen {{ host }}")]);
        assert!(state == State::Warning && words.contains("host"), "{words}");
        let (state, words) = of(&[defaults, ("conf.tera", "listen {{ port")]);
        assert!(state == State::Failed && words.contains("conf.tera"), "{words}");
    }
}
