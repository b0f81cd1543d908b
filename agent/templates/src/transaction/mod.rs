//! All files of a service are put in place together, or none of them.
//!
//! 1. **Stage**: the journal notes what is to come, then each file that differs is written beside its target. Files whose bytes, mode and
//!    owner are right already are left alone; if that is all of them, nothing at all is written.
//! 2. **Check**: a port looks at the staged files, as a rule by a command. If it refuses, they are removed.
//! 3. **Commit**: the old files get a second name, the journal notes `renaming`, and each staged file is renamed over its target. From that
//!    note on the new set is decided: a crash leaves it to [`recover`], which completes it. If a rename fails in a living process, the journal
//!    notes `undoing` first and then the old files are renamed back.
//!
//! One file that is all that differs needs neither journal nor second name, since a rename is all or nothing by itself: it costs one wait for
//! the disk in place of six. What a crash leaves beside it is replaced or removed with the next set.
//!
//! A file that left the set goes in the same way: its second name is kept until the end, so that it can come back.
//!
//! The journal is removed last. Every step may be done twice, so a crash within [`recover`] is nothing special.

mod error;
mod journal;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    path::{Path, PathBuf},
};

pub use error::TransactionError;
use error::failed;
use journal::{Entry, Journal, Phase};

use crate::{
    files::{Files, Stat},
    output::Output,
};

/// What came of a set of files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// Everything was right already, and nothing was written.
    Unchanged,
    /// These files are new or were replaced.
    Changed(Vec<PathBuf>),
}

/// A file that waits beside its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staged {
    /// Where it is going to be.
    pub target: PathBuf,
    /// Where it is.
    pub staged: PathBuf,
}

/// Whoever looks at new files before they are put in place.
pub trait Check {
    /// Looks at them; the error says what is wrong, and must hold no secret.
    fn check(&self, staged: &[Staged]) -> Result<(), String>;
}

/// A check that lets everything pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCheck;

impl Check for NoCheck {
    fn check(&self, _: &[Staged]) -> Result<(), String> {
        Ok(())
    }
}

/// The arguments of a check command: `{app.conf}` becomes the staged file whose target has that name, or the target itself if that is
/// not in the set, as unchanged files are; `{}` becomes the only file of the set.
pub fn command(arguments: &[String], outputs: &[Output], staged: &[Staged]) -> Vec<String> {
    let place = |target: &Path| {
        let found = staged.iter().find(|staged| staged.target == target);
        found.map_or(target, |staged| &staged.staged).display().to_string()
    };
    let fill = |argument: &String| {
        let mut filled = argument.clone();
        for output in outputs {
            let name = output.target.file_name().unwrap_or_default().to_string_lossy();
            filled = filled.replace(&format!("{{{name}}}"), &place(&output.target));
        }
        match outputs {
            [one] => filled.replace("{}", &place(&one.target)),
            _ => filled,
        }
    };
    arguments.iter().map(fill).collect()
}

/// The same for a line of the shell: what stands for a file is quoted, whatever its name holds.
pub fn command_line(line: &str, outputs: &[Output], staged: &[Staged]) -> String {
    let quoted = |path: &Path| PathBuf::from(format!("'{}'", path.display().to_string().replace('\'', r"'\''")));
    // Every file counts as staged, if only at its own place, so that each is named by a quoted name.
    let all: Vec<Staged> = outputs
        .iter()
        .map(|output| {
            let found = staged.iter().find(|staged| staged.target == output.target);
            Staged {
                target: output.target.clone(),
                staged: quoted(found.map_or(&output.target, |found| &found.staged)),
            }
        })
        .collect();
    command(&[line.to_owned()], outputs, &all).concat()
}

/// Puts a set of files in place, all or none. `state` is the folder of the service's journal; a transaction that has not ended is ended first.
pub fn apply(
    files: &dyn Files,
    state: &Path,
    outputs: &[Output],
    check: &dyn Check,
) -> Result<Applied, TransactionError> {
    replace(files, state, outputs, &[], check)
}

/// The same, and files that an earlier set made and this one does not, `gone`, are removed with it. What is there in their place and is no
/// file is left alone.
pub fn replace(
    files: &dyn Files,
    state: &Path,
    outputs: &[Output],
    gone: &[PathBuf],
    check: &dyn Check,
) -> Result<Applied, TransactionError> {
    recover(files, state)?;
    let mut changes = changes(files, outputs)?;
    changes.extend(removals(files, outputs, gone)?);
    if changes.is_empty() {
        return Ok(Applied::Unchanged);
    }
    if let [Change { output: Some(output), entry: entry @ Entry { backup: None, .. }, existing }] = changes.as_slice() {
        return replace_one(files, output, entry, *existing, check);
    }
    let mut journal =
        Journal { phase: Phase::Staging, entries: changes.iter().map(|change| change.entry.clone()).collect() };
    let ready = stage(files, state, &journal, &changes).and_then(|()| {
        let staged = |change: &Change<'_>| {
            Some(Staged { target: change.output?.target.clone(), staged: change.entry.staged.clone() })
        };
        let staged: Vec<Staged> = changes.iter().filter_map(staged).collect();
        check.check(&staged).map_err(TransactionError::Refused)?;
        keep_old(files, &journal.entries)
    });
    if let Err(error) = ready {
        // No target is touched yet; what this leaves behind is in the journal, and the next start takes it away.
        let _ = tidy(files, state, &journal.entries);
        return Err(error);
    }
    journal.phase = Phase::Renaming;
    if let Err(error) = journal.save(files, state).map_err(failed("note", state)) {
        // The note may have come to be all the same, so what is staged must not go before there is one that says otherwise.
        let _ = undo(files, state, &mut journal);
        return Err(error);
    }
    if let Err(error) = rename(files, &journal.entries) {
        return Err(match undo(files, state, &mut journal) {
            Ok(()) => error,
            Err(_) => error.torn(),
        });
    }
    // What is left of it now is only litter, and the journal says which: the next start takes it away if this fails.
    let _ = finish(files, state, &journal.entries);
    let target = |change: Change<'_>| change.output.map_or(change.entry.target, |output| output.target.clone());
    Ok(Applied::Changed(changes.into_iter().map(target).collect()))
}

/// Puts the only file that differs in place.
fn replace_one(
    files: &dyn Files,
    output: &Output,
    entry: &Entry,
    existing: Option<Stat>,
    check: &dyn Check,
) -> Result<Applied, TransactionError> {
    let Entry { target, staged, .. } = entry;
    let done = stage_one(files, output, entry, existing).and_then(|()| {
        let staged = Staged { target: output.target.clone(), staged: staged.clone() };
        check.check(&[staged]).map_err(TransactionError::Refused)?;
        files.rename(&entry.staged, target).map_err(failed("put the new file", target))
    });
    if let Err(error) = done {
        let _ = files.remove(staged);
        return Err(error);
    }
    // If the new name does not outlive a loss of power, the old file does, and the next start makes the new one again.
    let _ = files.sync_folder(folder(target));
    Ok(Applied::Changed(vec![output.target.clone()]))
}

/// Ends a transaction that a crash has left: completes it if that was decided, and undoes it otherwise. True if there was one.
pub fn recover(files: &dyn Files, state: &Path) -> Result<bool, TransactionError> {
    let Some(mut journal) = Journal::load(files, state).map_err(failed("read the journal", state))? else {
        return Ok(false);
    };
    match journal.phase {
        Phase::Renaming => match rename(files, &journal.entries) {
            Ok(()) => finish(files, state, &journal.entries),
            Err(_) => undo(files, state, &mut journal),
        },
        Phase::Staging => tidy(files, state, &journal.entries),
        Phase::Undoing => undo(files, state, &mut journal),
    }
    .map_err(TransactionError::torn)?;
    Ok(true)
}

/// A file that has to be written, or removed.
struct Change<'a> {
    /// What it becomes; none if it goes.
    output: Option<&'a Output>,
    entry: Entry,
    existing: Option<Stat>,
}

fn changes<'a>(files: &dyn Files, outputs: &'a [Output]) -> Result<Vec<Change<'a>>, TransactionError> {
    let mut seen = BTreeSet::new();
    let mut changes = Vec::new();
    for output in outputs {
        let bad = |why| TransactionError::BadTarget { path: output.target.clone(), why };
        let target = files.resolve(&output.target).map_err(failed("follow the link", &output.target))?;
        let (Some(folder), Some(name), true) = (target.parent(), target.file_name(), target.is_absolute()) else {
            return Err(bad("a target is the absolute path of a file"));
        };
        if !seen.insert(target.clone()) {
            return Err(TransactionError::SameTarget { path: output.target.clone() });
        }
        let existing = files.stat(&target).map_err(failed("look at it", &target))?;
        if existing.is_some_and(|existing| !existing.regular) {
            return Err(bad("there is something else than a file"));
        }
        let beside = |ending: &str| beside(folder, name, ending);
        if is_right(files, output, &target, existing)? {
            // No journal knows of what a crash has left of a file that was put in place alone.
            let _ = files.remove(&beside("new"));
            continue;
        }
        let backup = output.backup.then(|| folder.join(format!("{}.bak", name.to_string_lossy())));
        let entry = Entry {
            staged: beside("new"),
            kept: existing.map(|_| beside("old")),
            backup: backup.filter(|_| existing.is_some()),
            target: target.clone(),
            removed: false,
        };
        changes.push(Change { output: Some(output), entry, existing });
    }
    Ok(changes)
}

/// The name of a file of the transaction's own beside a target.
fn beside(folder: &Path, name: &OsStr, ending: &str) -> PathBuf {
    folder.join(format!(".{}.helium-{ending}", name.to_string_lossy()))
}

fn removals<'a>(files: &dyn Files, outputs: &[Output], gone: &[PathBuf]) -> Result<Vec<Change<'a>>, TransactionError> {
    let mut removals = Vec::new();
    let kept: BTreeSet<PathBuf> = outputs
        .iter()
        .map(|output| files.resolve(&output.target).map_err(failed("follow the link", &output.target)))
        .collect::<Result<_, _>>()?;
    for target in gone.iter().collect::<BTreeSet<_>>() {
        let target = files.resolve(target).map_err(failed("follow the link", target))?;
        let existing = files.stat(&target).map_err(failed("look at it", &target))?.filter(|found| found.regular);
        let (Some(folder), Some(name), Some(existing), false) =
            (target.parent(), target.file_name(), existing, kept.contains(&target))
        else {
            continue;
        };
        let entry = Entry {
            staged: beside(folder, name, "new"),
            kept: Some(beside(folder, name, "old")),
            backup: None,
            target: target.clone(),
            removed: true,
        };
        removals.push(Change { output: None, entry, existing: Some(existing) });
    }
    Ok(removals)
}

fn is_right(
    files: &dyn Files,
    output: &Output,
    target: &Path,
    existing: Option<Stat>,
) -> Result<bool, TransactionError> {
    let Some(existing) = existing else { return Ok(false) };
    let formed = output.mode_over(Some(existing.mode)) == existing.mode
        && output.owner.is_none_or(|owner| owner == existing.owner);
    Ok(formed && files.read(target).map_err(failed("read", target))?.as_ref() == Some(&output.bytes))
}

fn stage(files: &dyn Files, state: &Path, journal: &Journal, changes: &[Change<'_>]) -> Result<(), TransactionError> {
    files.create_folders(state).map_err(failed("make the folder", state))?;
    journal.save(files, state).map_err(failed("note", state))?;
    for change in changes {
        let Some(output) = change.output else { continue };
        stage_one(files, output, &change.entry, change.existing)?;
    }
    Ok(())
}

/// Writes a new file beside its target, with the mode and the owner that it is to have.
fn stage_one(
    files: &dyn Files,
    output: &Output,
    entry: &Entry,
    existing: Option<Stat>,
) -> Result<(), TransactionError> {
    let (staged, folder) = (&entry.staged, folder(&entry.target));
    files.create_folders(folder).map_err(failed("make the folder", folder))?;
    let mode = output.mode_over(existing.map(|existing| existing.mode));
    files.write(staged, &output.bytes, mode).map_err(failed("write", staged))?;
    let wanted = output.owner.or(existing.map(|existing| existing.owner));
    let has = files.stat(staged).map_err(failed("look at it", staged))?.map(|stat| stat.owner);
    if let Some(owner) = wanted.filter(|wanted| has != Some(*wanted)) {
        files.give(staged, owner).map_err(failed("change the owner", staged))?;
    }
    Ok(())
}

fn keep_old(files: &dyn Files, entries: &[Entry]) -> Result<(), TransactionError> {
    for entry in entries {
        if let Some(kept) = &entry.kept {
            files.link(&entry.target, kept).map_err(failed("keep the old file", kept))?;
        }
        // The note `renaming` relies on both names.
        files.sync_folder(folder(&entry.target)).map_err(failed("sync the folder", folder(&entry.target)))?;
    }
    Ok(())
}

/// Renames what is still staged, and removes what goes.
fn rename(files: &dyn Files, entries: &[Entry]) -> Result<(), TransactionError> {
    for entry in entries {
        if entry.removed {
            files.remove(&entry.target).map_err(failed("remove", &entry.target))?;
            files.sync_folder(folder(&entry.target)).map_err(failed("sync the folder", folder(&entry.target)))?;
        } else if files.stat(&entry.staged).map_err(failed("look at it", &entry.staged))?.is_some() {
            files.rename(&entry.staged, &entry.target).map_err(failed("put the new file", &entry.target))?;
            files.sync_folder(folder(&entry.target)).map_err(failed("sync the folder", folder(&entry.target)))?;
        }
    }
    Ok(())
}

/// Puts every old file back and takes new ones away. What was renamed is known by what is no longer staged.
fn undo(files: &dyn Files, state: &Path, journal: &mut Journal) -> Result<(), TransactionError> {
    journal.phase = Phase::Undoing;
    journal.save(files, state).map_err(failed("note", state))?;
    for entry in &journal.entries {
        let renamed = files.stat(&entry.staged).map_err(failed("look at it", &entry.staged))?.is_none();
        match &entry.kept {
            Some(kept) if files.stat(kept).map_err(failed("look at it", kept))?.is_some() => {
                files.rename(kept, &entry.target).map_err(failed("put the old file back", &entry.target))?;
                // Two names of one file: then a rename does nothing, and the second name is still there.
                files.remove(kept).map_err(failed("remove", kept))?;
            }
            None if renamed => files.remove(&entry.target).map_err(failed("remove", &entry.target))?,
            _ => continue,
        }
        files.sync_folder(folder(&entry.target)).map_err(failed("sync the folder", folder(&entry.target)))?;
    }
    tidy(files, state, &journal.entries)
}

/// Ends a transaction whose files are all in place.
fn finish(files: &dyn Files, state: &Path, entries: &[Entry]) -> Result<(), TransactionError> {
    for entry in entries {
        let (Some(kept), Some(backup)) = (&entry.kept, &entry.backup) else { continue };
        if files.stat(kept).map_err(failed("look at it", kept))?.is_some() {
            files.rename(kept, backup).map_err(failed("keep the old file", backup))?;
        }
    }
    tidy(files, state, entries)
}

/// Removes what a transaction leaves beside its targets, and its journal.
fn tidy(files: &dyn Files, state: &Path, entries: &[Entry]) -> Result<(), TransactionError> {
    for entry in entries {
        for litter in entry.kept.iter().chain([&entry.staged]) {
            files.remove(litter).map_err(failed("remove", litter))?;
        }
    }
    Journal::remove(files, state).map_err(failed("end the journal in", state))
}

fn folder(target: &Path) -> &Path {
    target.parent().unwrap_or(Path::new("/"))
}
