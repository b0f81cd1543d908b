//! The switch of `current`, and what is done about one that was cut short.
//!
//! In this order, each step on the disk before the next: the journal says where to; the new link takes the place of the old one, which is the
//! switch; the history is told; the journal goes. A crash before the second step leaves the old version current and a crash after it the
//! new one: what is left to do is told by where `current` leads.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Error, HISTORY, Name, Store, at};

/// A switch that is under way.
#[derive(Debug, Serialize, Deserialize)]
struct Journal {
    from: Option<Name>,
    to: Name,
}

impl Store {
    /// Makes a version current. There is no instant without a current version once there was one.
    pub fn switch(&self, to: &Name) -> Result<(), Error> {
        let _one = self.one_change();
        if !self.versions()?.iter().any(|(version, _)| version == to) {
            return Err(Error::Absent { service: self.service.clone(), version: to.clone() });
        }
        let from = self.current()?;
        if from.as_ref() == Some(to) {
            return Ok(());
        }
        self.save(&self.layout.journal(), &Journal { from, to: to.clone() })?;
        let (new, current) = (self.layout.new_one(), self.layout.current());
        self.remove_file(&new)?;
        self.files.link(to.as_ref(), &new).map_err(at("link", &new))?;
        self.files.rename(&new, &current).map_err(at("rename to", &current))?;
        self.sync(self.layout.service())?;
        self.remember(to)?;
        self.close_journal()
    }

    /// Puts right whatever a crash between any two calls has left. To be cut short in here does no harm either.
    pub(super) fn repair(&self) -> Result<(), Error> {
        for folder in [self.layout.staging(), self.layout.trash()] {
            self.remove_folder(&folder)?;
        }
        self.remove_file(&self.layout.new_one())?;
        self.forget_what_is_gone()?;
        let current = self.current()?;
        let journal: Option<Journal> = self.load(&self.layout.journal())?;
        if let Some(Journal { from, to }) = &journal {
            let switched = current.as_ref() == Some(to);
            tracing::info!(service = %self.service, ?from, %to, switched, "a switch was cut short");
            if switched {
                // The link may have been renamed and not have reached the disk.
                self.sync(self.layout.service())?;
            }
        }
        if let Some(current) = &current {
            // Without a journal, somebody has set the link by hand: what it leads to is current, and what was before is the previous one.
            self.remember(current)?;
        }
        if journal.is_some() {
            self.close_journal()?;
        }
        Ok(())
    }

    /// The versions that were current, the newest last.
    pub(super) fn history(&self) -> Result<Vec<Name>, Error> {
        Ok(self.load(&self.layout.history())?.unwrap_or_default())
    }

    fn remember(&self, version: &Name) -> Result<(), Error> {
        let mut history = self.history()?;
        if history.last() == Some(version) {
            return Ok(());
        }
        history.retain(|past| past != version);
        history.push(version.clone());
        history.drain(..history.len().saturating_sub(HISTORY));
        self.save(&self.layout.history(), &history)
    }

    fn close_journal(&self) -> Result<(), Error> {
        self.remove_file(&self.layout.journal())?;
        self.sync(&self.layout.own())
    }

    /// Removes the receipts of versions that are not there, and what keeps their paths in the Nix store: of those that never took their place, and
    /// of those that have left it.
    fn forget_what_is_gone(&self) -> Result<(), Error> {
        let service: &Path = self.layout.service();
        let there = self.files.list(service).map_err(at("list", service))?;
        for name in self.names(&self.layout.receipts())? {
            if !there.iter().any(|folder| *folder == name.to_string()) {
                self.remove_file(&self.layout.receipt(&name))?;
            }
        }
        for name in self.names(&self.layout.roots())? {
            if !there.iter().any(|link| *link == name.to_string()) {
                self.remove_file(&self.layout.root(&name))?;
            }
        }
        for name in self.names(&self.layout.listings())? {
            if !there.iter().any(|folder| *folder == name.to_string()) {
                self.remove_file(&self.layout.listing(&name))?;
            }
        }
        Ok(())
    }
}
