//! All that an instance needs of its package before a start, in order: the version is installed, which its hook `install` may refuse; the
//! instance gets its view of it; `config-pre` tells further values; the templates become files; `init` runs before the first start, and
//! `pre-start` before every one.
//!
//! Each part may be done again, and is, before every start: what is right already is left alone. While the instance runs, its files alone are
//! made again when what its templates ask has another answer; then its hook `config` runs, or its process gets the signal that it asks for.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
    time::Duration,
};

use helium_crds::{
    instance::{Assignment, InstancePhase},
    package::{ConfigUpdate, Package, SecretSource},
};
use helium_packages::manifest::{Manifest, PLACES};
use helium_processes::{Command, ProcessIdentity};
use helium_templates::{
    files::RealFiles,
    lookup::Question,
    template::Template,
    transaction::{self, Applied},
    values::{Layer, Values},
};
use tokio::sync::watch;

use super::{
    active,
    asking::{Asking, Seen},
    packages::Wanted,
    rendering::{self, Rendering, Turn, UNTOLD},
    secrets,
    values::{self, Overrides},
    view,
};
use crate::{
    checks,
    driver::signal::system_signal,
    hooks::{self, Hook, HookRun},
    instance::{
        dir::InstanceDir,
        task::Made,
        work::{Part, Prepared, Trouble},
    },
    shared::Shared,
};

/// What a preparation is for.
#[derive(Clone, Debug)]
pub(crate) enum Aim {
    /// A start; the very first one, before which the hook `init` runs, or another.
    Start { first: bool },
    /// The process that runs shall have its files as they are to be now.
    Refresh(ProcessIdentity),
}

/// What a preparation needs to know.
pub(crate) struct Preparation {
    pub(crate) shared: Arc<Shared>,
    pub(crate) dir: InstanceDir,
    pub(crate) assignment: Assignment,
    /// The environment of the instance, with everything filled in.
    pub(crate) env: BTreeMap<String, String>,
    /// The command that looks at new files, filled in.
    pub(crate) check: Vec<String>,
    /// Whose the rendered files are, user and group; none for the agent's.
    pub(crate) owner: Option<(u32, u32)>,
    /// Whose turn it is with the files of the instance.
    pub(crate) turn: Turn,
    /// What it is for.
    pub(crate) aim: Aim,
    /// Where it tells how far it is.
    pub(crate) progress: watch::Sender<Option<InstancePhase>>,
}

impl Preparation {
    /// Does it.
    pub(crate) async fn run(self) -> Result<Made, Trouble> {
        let Some(package) = &self.assignment.template.package else { return Ok(Made::default()) };
        std::fs::create_dir_all(self.dir.state()).map_err(|error| self.disk(&error))?;
        let _over = self.turn.guard();
        let untold = self.dir.state().join(UNTOLD);
        match &self.aim {
            Aim::Start { first } => {
                let folder = self.install(package).await.map_err(|trouble| trouble.of(Part::Package))?;
                self.progress.send_replace(Some(InstancePhase::Starting));
                let (made, _) = self.render(&folder).await.map_err(|trouble| trouble.of(Part::Config))?;
                let behind = made.found.behind.is_some();
                let after = |words| Trouble::may_heal(words).of(Part::After { behind });
                if *first {
                    self.hook(Hook::Init).to_success().await.map_err(after)?;
                }
                self.hook(Hook::PreStart).to_success().await.map_err(after)?;
                // A process that starts now has read nothing else.
                let _ = std::fs::remove_file(&untold);
                Ok(made)
            }
            Aim::Refresh(process) => {
                let Assignment { service, template, .. } = &self.assignment;
                let folder = self.shared.packages.folder(&service.name, &template.version)?;
                let (made, changed) = self.render(&folder).await.map_err(|trouble| trouble.of(Part::Config))?;
                if changed || untold.exists() {
                    self.tell(&made.found, process).await?;
                    let _ = std::fs::remove_file(&untold);
                }
                Ok(made)
            }
        }
    }

    /// Tells the process of its new files.
    async fn tell(&self, found: &Prepared, process: &ProcessIdentity) -> Result<(), Trouble> {
        tracing::info!(instance = %self.assignment.id, "its files have changed");
        let after = |words| Trouble::may_heal(words).of(Part::After { behind: false });
        if found.hooks.contains(&Hook::Config) {
            return self.hook(Hook::Config).to_success().await.map(drop).map_err(after);
        }
        let reload = self.assignment.template.templates.as_ref().and_then(|templates| templates.reload);
        match reload.map(|signal| process.signal(system_signal(signal))) {
            Some(Err(error)) => Err(after(format!("it cannot be told of its new files: {error}"))),
            Some(Ok(_)) | None => Ok(()),
        }
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
        // So is the note of its process: whoever installs next ends what is left of it.
        let note = self.shared.config.package_root.join(service).join(".helium").join("install");
        let log = self.dir.hook_log(Hook::Install);
        let counted = Some(self.shared.telemetry.clone());
        let gate = move |staged: PathBuf| async move {
            progress.send_replace(Some(InstancePhase::Installing));
            let limit = limit_of(Hook::Install, &staged);
            let run = HookRun { hook: Hook::Install, package: staged, env, log, note, limit, counted };
            run.to_success().await.map(|_| ())
        };
        let folder = self.shared.packages.install(&wanted, gate).await?;
        match self.shared.packages.lead(service).await {
            // That another version than the newest is active must not keep this one from running.
            Err(_) if self.shared.table.newest_version(service).as_ref() != Some(version) => {
                active::follow(&self.shared, service);
            }
            led => led?,
        }
        // Who serves may be another one by now.
        if let Err(words) = self.shared.packages.follow_current(service).await {
            tracing::warn!(service, words, "the current version cannot be switched");
        }
        Ok(folder)
    }

    /// Makes the view with its rendered files, and tells what is in it, and whether a file is another one now.
    async fn render(&self, folder: &Path) -> Result<(Made, bool), Trouble> {
        let view = self.dir.view();
        let mut templates = rendering::templates(folder, &view).map_err(|error| self.disk(&error))?;
        for template in &mut templates {
            template.form.owner = self.owner;
        }
        self.show(folder, &templates).await?;
        if templates.is_empty() {
            return Ok((self.look(&view, Some(Seen::default()))?, false));
        }
        let targets: Vec<PathBuf> =
            templates.iter().filter(|template| !template.is_part()).map(|template| template.target.clone()).collect();
        match self.make(folder, templates).await {
            // A machine that starts without Consul, or with values that are refused, goes on with the files that it has.
            Err(trouble) if self.is_again() && targets.iter().all(|target| target.exists()) => {
                let instance = &self.assignment.id;
                tracing::warn!(%instance, words = trouble.words, "it starts with the files that were rendered last");
                let Made { found, seen } = self.look(&view, None)?;
                Ok((Made { found: Prepared { behind: Some(trouble.words), ..found }, seen }, false))
            }
            made => {
                let (seen, changed) = made?;
                Ok((self.look(&view, Some(seen))?, changed))
            }
        }
    }

    /// Makes the files; tells what was asked for them, and whether one is another one now.
    async fn make(&self, folder: &Path, templates: Vec<Template>) -> Result<(Seen, bool), Trouble> {
        let asking = self.asking();
        let values = self.values(folder, &asking).await?;
        let wanted = self.assignment.template.templates.as_ref();
        let seen = Arc::default();
        let rendering = Rendering {
            templates: Arc::new(templates),
            values: Arc::new(values),
            asking,
            missing: wanted.map(|wanted| wanted.missing).unwrap_or_default(),
            check: self.check.clone(),
            env: self.env.clone(),
            view: self.dir.view(),
            state: self.dir.state(),
            turn: self.turn.clone(),
            seen: Arc::clone(&seen),
        };
        let changed = rendering.apply_counted(&self.shared.telemetry).await? != Applied::Unchanged;
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok((seen.unwrap_or_default(), changed))
    }

    /// Whether it is for a start that is not the first: then there are files of the one before.
    fn is_again(&self) -> bool {
        matches!(self.aim, Aim::Start { first: false })
    }

    fn is_start(&self) -> bool {
        matches!(self.aim, Aim::Start { .. })
    }

    async fn show(&self, folder: &Path, templates: &[Template]) -> Result<(), Trouble> {
        let (view, state, folder) = (self.dir.view(), self.dir.state(), folder.to_owned());
        let made = templates.iter().filter(|template| !template.is_part());
        let rendered = made.filter_map(|made| made.target.strip_prefix(&view).ok().map(Path::to_owned));
        let rendered: BTreeSet<PathBuf> = rendered.collect();
        let turn = self.turn.clone();
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn.take();
            view::show(&folder, &view, &rendered).map_err(|error| error.to_string())?;
            transaction::recover(&RealFiles, &state).map_err(|error| error.to_string())
        });
        done.await.map_err(|error| Trouble::may_heal(error.to_string()))?.map(drop).map_err(Trouble::may_heal)
    }

    fn asking(&self) -> Arc<Asking> {
        let mut always = match self.assignment.template.config_update {
            ConfigUpdate::Live => BTreeSet::from([Question::Keys(self.overrides_prefix())]),
            ConfigUpdate::Rollout => BTreeSet::new(),
        };
        let prefix = self.shared.config.keys.secrets();
        always.extend(self.assignment.template.secrets.values().filter_map(|source| match source {
            SecretSource::Kv(key) => Some(Question::Key(format!("{prefix}{key}"))),
            SecretSource::File(_) | SecretSource::Exec(_) => None,
        }));
        let namespace = self.assignment.deployment.namespace.clone();
        let instance = self.assignment.id.clone();
        Arc::new(Asking::new(Arc::clone(&self.shared.lookups), instance, namespace, self.env.clone(), always))
    }

    fn overrides_prefix(&self) -> String {
        self.shared.config.keys.overrides(&self.assignment.deployment)
    }

    /// What Helium knows by its name in a package.
    fn look(&self, view: &Path, seen: Option<Seen>) -> Result<Made, Trouble> {
        let mut hooks = BTreeSet::new();
        for hook in Hook::ALL {
            if hooks::find(hook, view).map_err(|error| self.disk(&error))?.is_some() {
                hooks.insert(hook);
            }
        }
        let health = hooks.contains(&Hook::Health).then(|| checks::of_health(limit_of(Hook::Health, view)));
        let own = self.assignment.template.checks.iter().map(|check| check.name.clone());
        let taken: Vec<String> = own.chain(health.iter().map(|health| health.name.clone())).collect();
        let read = checks::read(view, &taken).map_err(Trouble::lasting)?;
        let found = Prepared { hooks, checks: read.into_iter().chain(health).collect(), behind: None };
        Ok(Made { found, seen })
    }

    async fn values(&self, folder: &Path, asking: &Asking) -> Result<Values, Trouble> {
        let overrides = self.overrides(asking).await?;
        let mut layers = values::layers(&self.assignment, folder, &overrides, &self.env)?;
        let secrets = &self.assignment.template.secrets;
        if !secrets.is_empty() {
            let around = Command { argv: Vec::new(), env: self.env.clone(), cwd: self.dir.work(), user: None };
            let prefix = self.shared.config.keys.secrets();
            layers.push(secrets::layer(secrets, &prefix, asking, &around).await?);
        }
        let printed = self.hook(Hook::ConfigPre).to_success().await.map_err(Trouble::may_heal)?;
        if let Some(printed) = printed {
            if printed.truncated {
                return Err(Trouble::lasting("the hook config-pre printed more than 256 KiB"));
            }
            let layer = Layer::of_hook(Hook::ConfigPre.name(), &printed.stdout);
            layers.push(layer.map_err(|error| Trouble::lasting(error.to_string()))?);
        }
        Ok(Values::merge(layers))
    }

    /// The overrides of the revision; or, if they are live, those of now, or as they last were for a start while Consul is away.
    async fn overrides(&self, asking: &Asking) -> Result<Overrides, Trouble> {
        let (prefix, state) = (self.overrides_prefix(), self.dir.state());
        if self.assignment.template.takes_overrides() {
            return Ok(Overrides { prefix, found: self.assignment.template.overrides.clone() });
        }
        match (asking.keys(&prefix).await, values::noted(&state)) {
            (Ok(found), _) => {
                values::note(&state, &found).map_err(|error| self.disk(&error))?;
                Ok(Overrides { prefix, found })
            }
            (Err(_), Some(noted)) if self.is_start() => Ok(Overrides { prefix, found: noted }),
            (Err(words), _) => Err(Trouble::may_heal(words)),
        }
    }

    fn hook(&self, hook: Hook) -> HookRun {
        hook_of(&self.dir, hook, self.env.clone()).counted_by(&self.shared.telemetry)
    }

    fn disk(&self, error: &std::io::Error) -> Trouble {
        Trouble::may_heal(format!("{}: {error}", self.dir.path().display()))
    }
}

/// A hook of an instance.
pub(crate) fn hook_of(dir: &InstanceDir, hook: Hook, env: BTreeMap<String, String>) -> HookRun {
    let package = dir.view();
    let limit = limit_of(hook, &package);
    HookRun { hook, package, env, log: dir.hook_log(hook), note: dir.state().join(hook.name()), limit, counted: None }
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
