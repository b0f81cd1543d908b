//! A path of the Nix store as a package: Nix has it there, a root of its own keeps it there, and the version is a link to it.
//!
//! The root is made before the link and goes after it, so there is no instant in which a version could be collected by Nix. What it is for is known
//! by its name; one without a version is what a failure or a crash has left, so that the next try need not fetch it again, and goes when the store
//! is opened.

use std::{
    fs,
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
};

use super::{Installer, Reason, Request, Step, blocking};
use crate::{digest::Digest, source::Place, store::Receipt};

/// Has a path be in the Nix store, and the link that is named beside it be a root of Nix's collector.
pub(super) type Realise =
    dyn Fn(PathBuf, PathBuf) -> Pin<Box<dyn Future<Output = Result<(), Unrealised>> + Send>> + Send + Sync;

/// Nix does not give a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unrealised {
    /// Why.
    pub reason: String,
    /// Whether it may give it in a moment.
    pub may_heal: bool,
}

impl Installer {
    /// The same, which knows how to ask Nix: `realise` is given a store path, and the link that is to keep it there.
    #[must_use]
    pub fn with_nix<F>(self, realise: impl Fn(PathBuf, PathBuf) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), Unrealised>> + Send + 'static,
    {
        Self { nix: Some(Box::new(move |path, root| Box::pin(realise(path, root)))), ..self }
    }

    /// Everything up to a version's place, for a path of the Nix store.
    pub(super) async fn bring_path<G, F>(
        &self,
        path: &Path,
        request: &Request,
        gate: G,
        step: &mut Step,
    ) -> Result<(), Reason>
    where
        G: FnOnce(PathBuf) -> F,
        F: Future<Output = Result<(), String>>,
    {
        *step = Step::Verify;
        if request.sha256.is_some() || request.signature.is_some() {
            return Err(Reason::NixVerifies { place: request.source.to_string() });
        }
        *step = Step::Fetch;
        self.realise(path, request).await?;
        *step = Step::Unpack;
        if !path.is_dir() {
            let reason = format!("{} is a file, and a package is a folder", request.source);
            return Err(Unrealised { reason, may_heal: false }.into());
        }
        let staged = self.store.stage_link(&request.version, path)?;
        *step = Step::Gate;
        gate(staged).await.map_err(|reason| Reason::Gate { reason })?;
        *step = Step::Place;
        // What is in it is Nix's to vouch for: one path is one content.
        let sha256 = Digest::of(path.as_os_str().as_encoded_bytes());
        let receipt = Receipt { sha256, source: request.source.to_string(), installed: self.ports.now() };
        let (store, version) = (self.store.clone(), request.version.clone());
        blocking(move || Ok(store.place(&version, &receipt).map(drop)?)).await
    }

    /// Has the path of a version that is here be in the Nix store, should somebody have removed it by force.
    pub(super) async fn restore_path(&self, request: &Request) -> Result<(), Reason> {
        let Place::Nix(path) = request.source.place() else { return Ok(()) };
        let root = self.store.root_of(&request.version);
        let is_there = path.symlink_metadata().is_ok() && fs::read_link(root).is_ok_and(|target| target == *path);
        if is_there { Ok(()) } else { self.realise(path, request).await }
    }

    async fn realise(&self, path: &Path, request: &Request) -> Result<(), Reason> {
        let Some(realise) = &self.nix else {
            let reason = format!("{}: nobody here asks Nix for it", request.source);
            return Err(Unrealised { reason, may_heal: false }.into());
        };
        let root = self.store.make_root(&request.version)?;
        Ok(realise(path.to_owned(), root).await?)
    }
}
