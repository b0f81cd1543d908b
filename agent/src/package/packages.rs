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

use super::{preparation::limit_of, store_paths::StorePaths};
use crate::{
    hooks::{Hook, HookRun},
    instance::work::{Part, Trouble},
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
        Self { root, netrc, ports, env, store_paths, services: Mutex::default(), telemetry }
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
        let installing = tokio::spawn(async move {
            let path = match request.source.place() {
                Place::Nix(path) => Some(path.clone()),
                _ => None,
            };
            let gate = |staged| async move {
                gate(staged).await?;
                let Some(path) = path else { return Ok(()) };
                store_paths.activate(installing_into.service(), &path).await.map_err(|error| error.to_string())
            };
            installer.install(&request, gate).await
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

    /// Has a version that is a path of the Nix store be the active one of its service. Other versions, and those that are not here, need no such thing.
    pub(crate) async fn activate(&self, service: &str, version: &str) -> Result<(), Trouble> {
        let Service { store, .. } = self.service(service)?;
        let version: Name = version.parse().map_err(|error| Trouble::lasting(format!("the package: {error}")))?;
        let path = store.store_path(&version).map_err(|error| Trouble::may_heal(format!("the package: {error}")))?;
        let Some(path) = path else { return Ok(()) };
        let active = self.store_paths.activate(store.service(), &path).await;
        active.map_err(|error| {
            let words = format!("the version was not activated: {error}");
            let trouble = if error.may_heal() { Trouble::may_heal(words) } else { Trouble::lasting(words) };
            trouble.of(Part::Package)
        })
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
        let fetcher = Fetcher::new(config, self.ports.clone()).map_err(|error| words(error.to_string()))?;
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
