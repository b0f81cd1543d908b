//! The file system as a transaction needs it: a port, so that a test can fail each single call, and the real one.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
};

/// How a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its permission bits.
    pub mode: u32,
    /// Its owner, user and group.
    pub owner: (u32, u32),
    /// Whether it is a regular file.
    pub regular: bool,
}

/// The file system. Every call has happened for good when it returns, as far as the machine lets one say so.
pub trait Files {
    /// What a file holds; none if there is none.
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>>;
    /// How a file is; none if there is none.
    fn stat(&self, path: &Path) -> io::Result<Option<Stat>>;
    /// The file behind links, or the path itself if nothing is there.
    fn resolve(&self, path: &Path) -> io::Result<PathBuf>;
    /// Makes a folder and those above it.
    fn create_folders(&self, path: &Path) -> io::Result<()>;
    /// Writes a file that nobody else can read before it has this mode. Whatever was there is replaced.
    fn write(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()>;
    /// Gives a file to an owner.
    fn give(&self, path: &Path, owner: (u32, u32)) -> io::Result<()>;
    /// A second name for a file; a file of that name is replaced.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Renames a file over another.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file; it is no error if there is none.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes sure that the names in a folder outlive a loss of power.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
}

/// The file system of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFiles;

impl Files for RealFiles {
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        if_there(fs::read(path))
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        Ok(if_there(fs::metadata(path))?.map(|found| Stat {
            mode: found.permissions().mode() & 0o7777,
            owner: (found.uid(), found.gid()),
            regular: found.is_file(),
        }))
    }

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        match if_there(fs::symlink_metadata(path))? {
            Some(found) if found.is_symlink() => path.canonicalize(),
            _ => Ok(path.to_owned()),
        }
    }

    fn create_folders(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn write(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
        self.remove(path)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        // Set afterwards: the umask would take bits away from what is asked at opening.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()
    }

    fn give(&self, path: &Path, owner: (u32, u32)) -> io::Result<()> {
        let mode = fs::metadata(path)?.permissions();
        chown(path, Some(owner.0), Some(owner.1))?;
        fs::set_permissions(path, mode) // a change of owner takes special bits away
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.remove(to)?;
        fs::hard_link(from, to).or_else(|error| match error.kind() {
            // Not every file system has second names, and Linux allows none for the files of others: then it is a copy.
            io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied => {
                fs::copy(from, to)?;
                File::open(to)?.sync_all()
            }
            _ => Err(error),
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if_there(fs::remove_file(path)).map(|_| ())
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

fn if_there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
