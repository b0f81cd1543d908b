//! All that an instance needs of its package before a start, in order: the version is installed, which its hook `install` may refuse; the
//! instance gets its view of it; `config-pre` tells further values; the templates become files; `init` runs before the first start, and
//! `pre-start` before every one.
//!
//! Each part may be done again, and is, before every start: what is right already is left alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use helium_crds::{
    instance::{Assignment, InstancePhase},
    package::{Package, Templates},
};
use helium_packages::manifest::{Manifest, PLACES};
use helium_templates::{
    files::RealFiles,
    transaction,
    values::{Layer, Values},
};
use tokio::sync::watch;

use super::{
    answers::Answers,
    packages::Wanted,
    rendering::{self, Rendering},
    values, view,
};
use crate::{
    checks,
    hooks::{Hook, HookRun},
    instance::{
        record::InstanceDir,
        work::{Outcome, Prepared, Trouble},
    },
    shared::Shared,
};

/// What the preparation of one start needs to know.
pub(crate) struct Preparation {
    pub(crate) shared: Arc<Shared>,
    pub(crate) dir: InstanceDir,
    pub(crate) assignment: Assignment,
    /// The environment of the instance, with everything filled in.
    pub(crate) env: BTreeMap<String, String>,
    /// The command that looks at new files, filled in.
    pub(crate) check: Vec<String>,
    /// Whether the hook `init` has not run yet.
    pub(crate) first: bool,
    /// Where it tells how far it is.
    pub(crate) progress: watch::Sender<Option<InstancePhase>>,
}

impl Preparation {
    /// Prepares a start.
    pub(crate) async fn run(self) -> Outcome {
        let Some(package) = &self.assignment.template.package else { return Ok(Prepared::default()) };
        std::fs::create_dir_all(self.dir.state()).map_err(|error| self.disk(&error))?;
        let folder = self.install(package).await?;
        self.progress.send_replace(Some(InstancePhase::Starting));
        let found = self.render(&folder).await?;
        if self.first {
            self.hook(Hook::Init).to_success().await.map_err(Trouble::may_heal)?;
        }
        self.hook(Hook::PreStart).to_success().await.map_err(Trouble::may_heal)?;
        Ok(found)
    }

    async fn install(&self, package: &Package) -> Result<PathBuf, Trouble> {
        self.progress.send_replace(Some(InstancePhase::Fetching));
        let service = &self.assignment.service.name;
        let version = &self.assignment.template.version;
        let wanted = Wanted {
            service,
            version,
            package,
            current: self.shared.table.current_version(service).as_ref() == Some(version),
            in_use: self.shared.table.versions_of(service),
        };
        // The hook is of the version and not of the instance: what is of this one alone would make no sense to the next.
        let (progress, env) = (self.progress.clone(), self.env.clone());
        let (log, note) = (self.dir.hook_log(Hook::Install), self.dir.state().join("install"));
        let gate = move |staged: PathBuf| async move {
            progress.send_replace(Some(InstancePhase::Installing));
            let limit = limit_of(Hook::Install, &staged);
            let run = HookRun { hook: Hook::Install, package: staged, env, log, note, limit };
            run.to_success().await.map(|_| ())
        };
        self.shared.packages.install(&wanted, gate).await
    }

    /// Makes the view with its rendered files, and tells what is in it.
    async fn render(&self, folder: &Path) -> Outcome {
        let (view, state) = (self.dir.view(), self.dir.state());
        let templates = rendering::templates(folder, &view).map_err(|error| self.disk(&error))?;
        let rendered = templates.iter().filter_map(|made| made.target.strip_prefix(&view).ok().map(Path::to_owned));
        let rendered: BTreeSet<PathBuf> = rendered.collect();
        let shown = (folder.to_owned(), view.clone(), state.clone());
        let done = tokio::task::spawn_blocking(move || {
            view::show(&shown.0, &shown.1, &rendered).map_err(|error| error.to_string())?;
            transaction::recover(&RealFiles, &shown.2).map_err(|error| error.to_string())
        });
        done.await.map_err(|error| Trouble::may_heal(error.to_string()))?.map_err(Trouble::may_heal)?;
        if !templates.is_empty() {
            let values = self.values(folder).await?;
            let lock = self.shared.config.keys.clone();
            let namespace = self.assignment.deployment.namespace.clone();
            let answers = Answers::new(
                self.shared.client.clone(),
                move |service| lock.service_lock(&namespace, service),
                self.shared.config.address.clone(),
                self.env.clone(),
            );
            let Templates { missing, .. } = self
                .assignment
                .template
                .templates
                .clone()
                .unwrap_or(Templates { check: Vec::new(), missing: <_>::default() });
            let check = self.check.clone();
            let rendering = Rendering {
                templates,
                values,
                answers,
                missing,
                check,
                env: self.env.clone(),
                view: view.clone(),
                state,
            };
            let targets = rendering.targets();
            match rendering.apply().await {
                // A machine that starts without Consul goes on with the files that it has.
                Err(trouble) if trouble.may_heal && targets.iter().all(|target| target.exists()) => {
                    let instance = &self.assignment.id;
                    tracing::warn!(%instance, words = trouble.words, "it starts with the files that were rendered last");
                }
                rendered => drop(rendered?),
            }
        }
        self.look(&view)
    }

    /// What Helium knows by its name in a package.
    fn look(&self, view: &Path) -> Outcome {
        let mut hooks = BTreeSet::new();
        for hook in Hook::ALL {
            if hook.find(view).map_err(|error| self.disk(&error))?.is_some() {
                hooks.insert(hook);
            }
        }
        let health = hooks.contains(&Hook::Health).then(|| checks::of_health(limit_of(Hook::Health, view)));
        let own = self.assignment.template.checks.iter().map(|check| check.name.clone());
        let taken: Vec<String> = own.chain(health.iter().map(|health| health.name.clone())).collect();
        let read = checks::read(view, &taken).map_err(Trouble::lasting)?;
        Ok(Prepared { hooks, checks: read.into_iter().chain(health).collect() })
    }

    async fn values(&self, folder: &Path) -> Result<Values, Trouble> {
        let mut layers = values::layers(&self.shared, &self.assignment, folder, &self.dir.state(), &self.env).await?;
        let printed = self.hook(Hook::ConfigPre).to_success().await.map_err(Trouble::may_heal)?;
        if let Some(printed) = printed {
            let layer = Layer::of_hook(Hook::ConfigPre.name(), &printed.stdout);
            layers.push(layer.map_err(|error| Trouble::lasting(error.to_string()))?);
        }
        Ok(Values::merge(layers))
    }

    fn hook(&self, hook: Hook) -> HookRun {
        hook_of(&self.dir, hook, self.env.clone())
    }

    fn disk(&self, error: &std::io::Error) -> Trouble {
        Trouble::may_heal(format!("{}: {error}", self.dir.path().display()))
    }
}

/// A hook of an instance.
pub(crate) fn hook_of(dir: &InstanceDir, hook: Hook, env: BTreeMap<String, String>) -> HookRun {
    let package = dir.view();
    let limit = limit_of(hook, &package);
    HookRun { hook, package, env, log: dir.hook_log(hook), note: dir.state().join(hook.name()), limit }
}

/// How long a hook may take: what the package says, or the usual.
pub(crate) fn limit_of(hook: Hook, package: &Path) -> Duration {
    let manifest = PLACES.iter().find_map(|place| {
        let bytes = std::fs::read(package.join(place)).ok()?;
        Manifest::read(place, &bytes).map_err(|error| tracing::warn!(%error, "the usual limits of hooks hold")).ok()
    });
    let said = manifest.and_then(|manifest| manifest.hooks.get(hook.name())?.timeout);
    said.unwrap_or_else(|| hook.usual_limit())
}
