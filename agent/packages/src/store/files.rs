//! The system calls that the store makes, as a port: in a test it is a disk that stops at the n-th of them.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

/// A disk.
pub trait Files: Send + Sync {
    /// Makes a folder and those above it; it may be there.
    fn create_folder(&self, path: &Path) -> io::Result<()>;
    /// Writes a whole file, in place of what is there, and has it reach the disk.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Reads a whole file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Gives another name to a file, a link or a folder; a file or link of the new name is replaced in the same instant.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes a symbolic link.
    fn link(&self, target: &Path, at: &Path) -> io::Result<()>;
    /// Where a symbolic link leads.
    fn read_link(&self, path: &Path) -> io::Result<PathBuf>;
    /// Removes a file or a link.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder with all that is in it; not in one instant.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;
    /// The names in a folder, sorted.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Has the names in a folder reach the disk.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
}

/// The disk of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Files for Disk {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn link(&self, target: &Path, at: &Path) -> io::Result<()> {
        symlink(target, at)
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        fs::read_link(path)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let names: io::Result<Vec<_>> = fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.file_name())).collect();
        // A name that is not UTF-8 is none of ours.
        let mut names: Vec<String> = names?.into_iter().filter_map(|name| name.into_string().ok()).collect();
        names.sort();
        Ok(names)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

/// Has every file and folder below a folder reach the disk. It is many calls, and no order among them matters.
pub(crate) fn sync_tree(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let (entry, path) = entry.map(|entry| (entry.file_type(), entry.path()))?;
        match entry? {
            kind if kind.is_dir() => sync_tree(&path)?,
            kind if kind.is_file() => File::open(&path)?.sync_all()?,
            _ => {}
        }
    }
    File::open(folder)?.sync_all()
}
