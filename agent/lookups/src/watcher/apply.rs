//! Putting files in place and reacting, with what has to be remembered in between.

use std::{collections::BTreeSet, path::PathBuf};

use helium_runtime::shutdown::Shutdown;
use helium_templates::{
    files::RealFiles,
    hidden::Hidden,
    transaction::{Applied, Staged, replace},
};
use tokio::runtime::Handle;

use super::{Watcher, Work};
use crate::{memory::Memory, shell::Checks};

impl Watcher {
    /// Puts the files of the last render in place, and gives those that changed.
    pub(super) async fn apply(&mut self, shutdown: &Shutdown) -> Result<Vec<PathBuf>, String> {
        self.hold().map_err(|error| error.to_string())?;
        let outputs = self.outputs().to_vec();
        let hidden = self.hidden();
        let targets: BTreeSet<PathBuf> = outputs.iter().map(|output| output.target.clone()).collect();
        let left = self.memory.made.difference(&targets).filter(|_| self.config.remove_left);
        let gone: Vec<PathBuf> = left.cloned().collect();
        let (work, config, before) = (self.work.clone(), self.config.clone(), self.memory.clone());
        let (handle, shutdown) = (Handle::current(), shutdown.clone());
        let transaction = move || {
            let passed = |staged: &[Staged]| {
                let changed: BTreeSet<PathBuf> = staged.iter().map(|staged| staged.target.clone()).collect();
                let owed = owed(&before.owed, &work, &changed);
                if owed == before.owed {
                    return Ok(());
                }
                let note = Memory { owed, ..before.clone() };
                note.save(&RealFiles, &config.state)
                    .map_err(|error| format!("what has to be run cannot be noted: {error}"))
            };
            let (lines, surroundings) = (work.checks.as_slice(), &config.surroundings);
            let checks = Checks { lines, outputs: &outputs, hidden: &hidden, surroundings, handle, shutdown, passed };
            replace(&RealFiles, &config.state, &outputs, &gone, &checks)
        };
        let applied = tokio::task::spawn_blocking(transaction).await;
        let applied = applied.map_err(|_| "putting files in place ended without a word".to_owned())?;
        let changed = match applied.map_err(|error| error.to_string())? {
            Applied::Unchanged => Vec::new(),
            Applied::Changed(files) => files,
        };
        self.remember(&targets, &changed);
        Ok(changed)
    }

    /// Remembers what is in place now. That this fails costs nothing but a reaction too many after a restart.
    fn remember(&mut self, targets: &BTreeSet<PathBuf>, changed: &[PathBuf]) {
        let owed = if changed.is_empty() {
            self.memory.owed.clone()
        } else {
            owed(&self.memory.owed, &self.work, &changed.iter().cloned().collect())
        };
        let mut made = targets.clone();
        if !self.config.remove_left {
            // Whoever removes them one day has to know them.
            made.extend(self.memory.made.iter().cloned());
        }
        self.save(Memory { believed: self.follower.believed(), made, owed });
        let now = self.ports.now();
        for file in changed {
            tracing::info!(file = %file.display(), "a file changed");
        }
        self.status.send_modify(|status| {
            status.applied = Some(now);
            status.changes += u64::from(!changed.is_empty());
        });
    }

    fn save(&mut self, memory: Memory) {
        if memory.differs(&self.memory)
            && let Err(error) = memory.save(&self.files, &self.config.state)
        {
            tracing::warn!(%error, folder = %self.config.state.display(), "what has to be remembered cannot be noted");
        }
        self.memory = memory;
    }

    /// Runs what is owed, each line to its end, and tells the child if that is wanted. What came to a good end is owed no more.
    pub(super) async fn react(&mut self, tell_child: bool, shutdown: &Shutdown) -> Result<(), String> {
        let hidden = self.hidden();
        let (before, mut failed) = (self.memory.clone(), Vec::new());
        for line in self.memory.owed.clone() {
            let run = shutdown.unless_cancelled(self.config.surroundings.run(&line, &hidden));
            match run.await {
                None => return Err("stopped before everything was told of the change".to_owned()),
                Some(Ok(())) => self.memory.owed.retain(|owed| *owed != line),
                Some(Err(words)) => failed.push(words),
            }
        }
        if self.memory.differs(&before)
            && let Err(error) = self.memory.save(&self.files, &self.config.state)
        {
            tracing::warn!(%error, "that everything was told of the change cannot be noted");
        }
        if tell_child
            && let Some(child) = &mut self.child
            && let Err(error) = child.changed().await
        {
            failed.push(format!("the command cannot be told of the change: {error}"));
        }
        if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
    }

    pub(super) fn hidden(&self) -> Hidden {
        self.render.as_ref().map(|render| render.hidden.clone()).unwrap_or_default()
    }
}

/// What has to be run when these files have changed: what was owed before, then the lines of their templates in order, then those for all.
pub(super) fn owed(before: &[String], work: &Work, changed: &BTreeSet<PathBuf>) -> Vec<String> {
    let templates = work.set.templates.iter().filter(|template| changed.contains(&template.target));
    let own = templates.filter_map(|template| work.commands.get(&template.target));
    let mut owed = Vec::new();
    for line in before.iter().chain(own).chain(&work.reload) {
        if !owed.contains(line) {
            owed.push(line.clone());
        }
    }
    owed
}
