//! The packages of this machine: one store a service, opened when it is first needed, with its versions installed one at a time.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use helium_crds::{package::Package, variables::VERSION};
use helium_packages::{
    archive::Limits,
    fetch::{Config, Fetcher, Netrc},
    installer::{Failure, Installed, Installer, Request, Signature},
    signature::Key,
    source::{Place, Source},
    store::{KEEP, Name, Store},
};
use helium_runtime::ports::Ports;
use tokio::task::AbortHandle;

use super::{
    preparation::limit_of,
    store_paths::{Inactive, StorePaths},
};
use crate::{
    hooks::{Hook, HookRun},
    instance::{
        table::Table,
        work::{Part, Trouble},
    },
    telemetry::Telemetry,
};

/// The packages of this machine.
pub(crate) struct Packages {
    root: PathBuf,
    netrc: Option<PathBuf>,
    ports: Ports,
    /// The environment of what is done for a version and for no instance.
    env: BTreeMap<String, String>,
    store_paths: Arc<StorePaths>,
    services: Mutex<BTreeMap<Name, Service>>,
    /// Who counts the hooks that are run for no instance.
    telemetry: Option<Telemetry>,
    /// Whose versions are to be active, and current, in what order; none where nobody but an installation says so.
    table: Option<Table>,
    /// Who makes a version the current one; one at a time.
    switching: tokio::sync::Mutex<()>,
    /// Who sees to it that the newest version of a service is active.
    pub(super) followers: Mutex<BTreeMap<String, AbortHandle>>,
}

/// One service whose store is open.
#[derive(Clone)]
struct Service {
    store: Arc<Store>,
    installer: Arc<Installer>,
}

/// A version that is wanted.
pub(crate) struct Wanted<'a> {
    /// The service that it is of, by its name in Consul.
    pub(crate) service: &'a str,
    /// The version.
    pub(crate) version: &'a str,
    /// Where it is, and what it must be.
    pub(crate) package: &'a Package,
    /// Whether it becomes the current one.
    pub(crate) current: bool,
    /// Versions of the service of which something runs here.
    pub(crate) in_use: Vec<String>,
}

impl Packages {
    /// The packages below `root`. Nothing is opened yet. Of the variables the second ones are for Nix alone, besides the others.
    pub(crate) fn new(
        root: PathBuf,
        netrc: Option<PathBuf>,
        (env, for_nix): (BTreeMap<String, String>, BTreeMap<String, String>),
        ports: Ports,
        telemetry: Option<Telemetry>,
    ) -> Self {
        let all = env.clone().into_iter().chain(for_nix).collect();
        let store_paths = Arc::new(StorePaths::new(&root, netrc.as_deref(), all, ports.clone()));
        Self {
            root,
            netrc,
            ports,
            env,
            store_paths,
            services: Mutex::default(),
            telemetry,
            table: None,
            switching: <_>::default(),
            followers: Mutex::default(),
        }
    }

    /// With the instances that say which version of a service is to be current, and which active.
    pub(crate) fn of(self, table: &Table) -> Self {
        Self { table: Some(table.clone()), ..self }
    }

    /// Finds Nix's programs, if they are on this machine. That takes as long as the folders of `PATH` do.
    pub(crate) fn nix(&self) -> impl FnOnce() -> Option<helium_nix::Tools> + Send + use<> {
        let store_paths = Arc::clone(&self.store_paths);
        move || store_paths.tools().ok()
    }

    /// Installs a version if it is not there, and gives its folder. Whoever asks may go away: what has begun is ended, so that no half of it
    /// is in the way of the next one.
    pub(crate) async fn install<G, F>(&self, wanted: &Wanted<'_>, gate: G) -> Result<PathBuf, Trouble>
    where
        G: FnOnce(PathBuf) -> F + Send + 'static,
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let request = request(wanted)?;
        let Service { store, installer } = self.service(wanted.service)?;
        let (version, installing_into) = (request.version.clone(), Arc::clone(&store));
        let store_paths = Arc::clone(&self.store_paths);
        let (table, service) = (self.table.clone(), wanted.service.to_owned());
        let installing = tokio::spawn(async move {
            let path = match request.source.place() {
                Place::Nix(path) => Some(path.clone()),
                _ => None,
            };
            let is_path = path.is_some();
            let (into, paths) = (Arc::clone(&installing_into), Arc::clone(&store_paths));
            let gate = |staged| async move {
                gate(staged).await?;
                let Some(path) = path else { return Ok(()) };
                paths.activate(into.service(), &path).await.map_err(|error| error.to_string())
            };
            let installed = installer.install(&request, gate).await;
            // Whoever asked may be gone, and another version the newest.
            if is_path
                && let Some(table) = table
                && let Err(error) = lead(&store_paths, &installing_into, table, &service).await
            {
                tracing::warn!(service, %error, "its newest version is not the active one");
            }
            installed
        });
        match installing.await {
            Ok(Ok(Installed { .. })) => Ok(store.content(&version)),
            Ok(Err(failure)) => Err(trouble(&failure)),
            Err(error) => Err(Trouble::may_heal(format!("the package: {error}"))),
        }
    }

    /// The folder of a version that is installed.
    pub(crate) fn folder(&self, service: &str, version: &str) -> Result<PathBuf, Trouble> {
        let Service { store, .. } = self.service(service)?;
        let version: Name = version.parse().map_err(|error| Trouble::lasting(format!("the package: {error}")))?;
        Ok(store.content(&version))
    }

    /// Has the newest version of a service that is to run here be the active one, if it is a path of the Nix store. Other versions, and those that are
    /// not here yet, need no such thing.
    pub(crate) async fn lead(&self, service: &str) -> Result<(), Trouble> {
        let Some(table) = self.table.clone() else { return Ok(()) };
        let Service { store, .. } = self.service(service)?;
        lead(&self.store_paths, &store, table, service).await.map_err(|error| {
            let words = format!("the version was not activated: {error}");
            let trouble = if error.may_heal() { Trouble::may_heal(words) } else { Trouble::lasting(words) };
            trouble.of(Part::Package)
        })
    }

    /// Makes that version the current one that the instances here say. While they say none, what was current stays so.
    pub(crate) async fn follow_current(&self, service: &str) -> Result<(), String> {
        let _turn = self.switching.lock().await;
        match self.table.as_ref().and_then(|table| table.current_version(service)) {
            Some(version) => self.make_current(service, &version).await,
            None => Ok(()),
        }
    }

    /// Makes a version the current one. One that is still being installed becomes it by that.
    pub(crate) async fn make_current(&self, service: &str, version: &str) -> Result<(), String> {
        let Service { store, .. } = self.service(service).map_err(|trouble| trouble.words)?;
        let version: Name = version.parse().map_err(|error| format!("{error}"))?;
        let switched = tokio::task::spawn_blocking(move || match store.switch(&version) {
            Err(helium_packages::store::Error::Absent { .. }) => Ok(()),
            switched => switched,
        });
        let switched = switched.await;
        switched.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    /// The versions of a service that are installed.
    pub(crate) fn installed(&self, service: &str) -> Result<BTreeSet<String>, String> {
        let Service { store, .. } = self.service(service).map_err(|trouble| trouble.words)?;
        let versions = store.versions().map_err(|error| error.to_string())?;
        Ok(versions.into_iter().map(|(version, _)| version.to_string()).collect())
    }

    /// The versions that are installed of each service whose store is open. What cannot be read shows as nothing.
    pub(crate) fn all_installed(&self) -> BTreeMap<String, BTreeSet<String>> {
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let versions = |one: &Service| one.store.versions().unwrap_or_default();
        let names = |one: &Service| versions(one).into_iter().map(|(version, _)| version.to_string()).collect();
        services.iter().map(|(name, one)| (name.to_string(), names(one))).collect()
    }

    fn service(&self, name: &str) -> Result<Service, Trouble> {
        let name: Name = name.parse().map_err(|error| Trouble::lasting(format!("the package: {error}")))?;
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = services.get(&name) {
            return Ok(open.clone());
        }
        let words = |error: String| Trouble::may_heal(format!("the package: {error}"));
        let store = Arc::new(Store::open(&self.root, &name).map_err(|error| words(error.to_string()))?);
        let netrc = self.netrc.as_deref().map(Netrc::load).transpose();
        let netrc = netrc.map_err(|error| words(format!("the netrc file: {error}")))?.unwrap_or_default();
        let config = Config { netrc, ..Config::default() };
        let fetcher = Fetcher::new(config, self.ports.clone());
        let installer = Installer::new(Arc::clone(&store), Arc::new(fetcher), self.ports.clone());
        let (store_paths, of) = (Arc::clone(&self.store_paths), name.clone());
        let installer = installer.with_nix(move |path, root| {
            let (store_paths, of) = (Arc::clone(&store_paths), of.clone());
            async move { store_paths.realise(&of, &path, &root).await }
        });
        let (env, logs) = (self.env.clone(), self.root.join(name.to_string()).join(".helium"));
        let counted = self.telemetry.clone();
        let installer = Arc::new(installer.with_farewell(move |version, folder| {
            let (mut env, logs, counted) = (env.clone(), logs.clone(), counted.clone());
            async move {
                env.insert(VERSION.to_owned(), version.to_string());
                let (log, note) = (logs.join("hook-uninstall.log"), logs.join("uninstall"));
                let limit = limit_of(Hook::Uninstall, &folder);
                let run = HookRun { hook: Hook::Uninstall, package: folder, env, log, note, limit, counted };
                if let Err(words) = run.to_success().await {
                    tracing::warn!(%version, words, "the version is removed all the same");
                }
            }
        }));
        let service = Service { store, installer };
        services.insert(name, service.clone());
        Ok(service)
    }
}

/// Leads the profile of a service to its newest version here, as that is when it is its turn.
async fn lead(paths: &Arc<StorePaths>, store: &Arc<Store>, table: Table, service: &str) -> Result<(), Inactive> {
    let (of, service) = (Arc::clone(store), service.to_owned());
    let newest = move || {
        let version: Name = table.newest_version(&service)?.parse().ok()?;
        let path = of.store_path(&version);
        path.unwrap_or_else(|error| {
            tracing::warn!(service, %version, %error, "what is installed cannot be read");
            None
        })
    };
    paths.lead(store.service(), newest).await
}

fn request(wanted: &Wanted<'_>) -> Result<Request, Trouble> {
    let lasting = |error: &dyn std::fmt::Display| Trouble::lasting(format!("the package: {error}"));
    let package = wanted.package;
    let source: Source = package.url_of(wanted.version).parse().map_err(|error| lasting(&error))?;
    let sha256 = package.sha256.as_deref().map(str::parse).transpose().map_err(|error| lasting(&error))?;
    let signature = package
        .signature
        .as_ref()
        .map(|signature| Ok(Signature { key: Key::read(&signature.public_key)?, text: signature.text.clone() }));
    let signature: Option<Signature> =
        signature.transpose().map_err(|error: helium_packages::signature::Error| lasting(&error))?;
    Ok(Request {
        version: wanted.version.parse().map_err(|error| lasting(&error))?,
        source,
        sha256,
        signature,
        limits: Limits::default(),
        switch: wanted.current,
        keep: KEEP,
        in_use: wanted.in_use.iter().filter_map(|version| version.parse().ok()).collect(),
    })
}

fn trouble(failure: &Failure) -> Trouble {
    let words = format!("the package was not installed: {}: {}", failure.step, failure.reason);
    Trouble { may_heal: failure.may_heal(), ..Trouble::lasting(words) }
}

#[cfg(test)]
#[path = "packages_tests.rs"]
mod tests;
