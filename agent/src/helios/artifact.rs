//! The packages of Helios' layout: brought to this machine with their digest checked, before anything that runs is touched.
//!
//! The digest is what `service/<service>/sha256/<version>` holds, or what lies beside the package as `<address>.sha256`. Without either a package is
//! refused, unless the agent is told to take it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use helium_crds::package::Package;
use helium_packages::{
    digest::Digest,
    fetch::{Config, Fetcher, Netrc},
    source::{Form, Place, Source},
};
use helium_runtime::ports::Ports;
use serde::{Deserialize, Serialize};

use super::{config::HeliosConfig, wish};

/// A package that was brought here and is not installed yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Brought {
    url: String,
    sha256: Option<String>,
}

/// Where the packages of one service lie between being fetched and being installed.
pub(super) struct Artifacts {
    folder: PathBuf,
}

impl Artifacts {
    /// The packages in a folder.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn note(&self, version: &str) -> PathBuf {
        self.folder.join(format!("{version}.json"))
    }

    /// The versions that are here.
    pub(super) fn versions(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter_map(|name| Some(name.strip_suffix(".json")?.to_owned())).collect()
    }

    /// A version as the installer takes it. Of one that is not here it may only be asked whether it is installed.
    pub(super) fn package(&self, version: &str) -> Package {
        let brought = wish::load::<Brought>(&self.note(version)).ok().flatten();
        let none = || Brought { url: "file:///nowhere/package.tar.gz".to_owned(), sha256: None };
        let Brought { url, sha256 } = brought.unwrap_or_else(none);
        Package { url, sha256, signature: None }
    }

    /// Removes a version, once it is installed or was the wrong one.
    pub(super) fn forget(&self, version: &str) {
        let _ = fs::remove_file(self.note(version));
        for ending in ["tar.gz", "tar.zst"] {
            let _ = fs::remove_file(self.folder.join(format!("{version}.{ending}")));
        }
    }

    /// Brings a version here. `sha256` is what Consul says of it.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(super) async fn fetch(
        &self,
        config: &HeliosConfig,
        ports: &Ports,
        service: &str,
        version: &str,
        sha256: Option<&str>,
    ) -> Result<(), String> {
        let url = config.artifact.replace("{service}", service).replace("{version}", version);
        let source: Source = url.parse().map_err(|error| format!("{error}"))?;
        fs::create_dir_all(&self.folder).map_err(|error| self.disk(&error))?;
        let netrc = config.netrc.as_deref().map(Netrc::load).transpose();
        let netrc = netrc.map_err(|error| format!("the netrc file: {error}"))?.unwrap_or_default();
        let fetcher = Fetcher::new(Config { netrc, ..Config::default() }, ports.clone());
        let sha256 = match sha256 {
            Some(sha256) => Some(sha256.to_owned()),
            None => self.beside(&fetcher, &source).await,
        };
        if sha256.is_none() && !config.insecure {
            return Err(format!(
                "nobody tells the SHA-256 of {source}: put it at service/{service}/sha256/{version} in Consul or beside it as \
                 {source}.sha256 (--helios-insecure takes it as it is)"
            ));
        }
        let wanted = sha256.as_deref().map(str::parse::<Digest>).transpose();
        let wanted = wanted.map_err(|error| format!("the SHA-256 of {source}: {error}"))?;
        let url = match (source.place(), source.form()) {
            (Place::File(_), Form::Folder) => url,
            (place, form) => {
                let ending = if form == Form::TarZst { "tar.zst" } else { "tar.gz" };
                let to = self.folder.join(format!("{version}.{ending}"));
                let _ = fs::remove_file(&to);
                fetcher.fetch(place, &to).await.map_err(|error| error.to_string())?;
                verify(&to, wanted, &source).await?;
                format!("file://{}", to.display().to_string().replace('%', "%25"))
            }
        };
        let brought = Brought { url, sha256: wanted.map(|digest| digest.to_string()) };
        wish::save(&self.note(version), &brought).map_err(|error| self.disk(&error))
    }

    /// The digest that lies beside a package: the first word of what is there, as `sha256sum` writes it.
    async fn beside(&self, fetcher: &Fetcher, source: &Source) -> Option<String> {
        let by = self.folder.join("beside");
        match fetcher.signature(&source.beside(".sha256"), &by).await {
            Ok(text) => text.split_whitespace().next().map(str::to_lowercase),
            Err(error) => {
                tracing::debug!(%source, %error, "no digest lies beside it");
                None
            }
        }
    }

    fn disk(&self, error: &io::Error) -> String {
        format!("{}: {error}", self.folder.display())
    }
}

async fn verify(file: &Path, wanted: Option<Digest>, source: &Source) -> Result<(), String> {
    let Some(wanted) = wanted else { return Ok(()) };
    let path = file.to_owned();
    let found = tokio::task::spawn_blocking(move || Digest::of_stream(fs::File::open(path)?)).await;
    let found = found.map_err(|error| error.to_string())?.map_err(|error| format!("{}: {error}", file.display()))?;
    if found == wanted {
        return Ok(());
    }
    let _ = fs::remove_file(file);
    Err(format!("{source} has the SHA-256 {found}, and it should be {wanted}"))
}
