//! A folder as an archive, of which the same folder always makes the same bytes: entries by name, no times, no owners, and of the
//! permissions only whether a file is executable. So a package that is built twice has one digest, wherever it is built.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

use super::{Error, disk, guard::stays, read::Inspected};
use crate::{
    digest::{Digest, Taking},
    manifest::{self, Contents, Manifest},
    source::Form,
};

/// How hard zstd tries: 19 of 22 costs seconds, and no more memory when it is unpacked.
const ZSTD_LEVEL: i32 = 12;

/// Writes a folder as an archive to `to`, which must not be there yet, and returns its digest.
pub fn build(folder: &Path, form: Form, to: &Path) -> Result<Digest, Error> {
    let file = File::create_new(to).map_err(disk(to))?;
    let out = BufWriter::new(file);
    let written = match form {
        Form::TarGz => {
            // No time and no name in the header of gzip, and no word about the system it was made on.
            let gzip = GzBuilder::new().mtime(0).operating_system(255).write(out, Compression::best());
            tar(folder, gzip)?.finish()
        }
        Form::TarZst => {
            let zstd = zstd::Encoder::new(out, ZSTD_LEVEL).map_err(disk(to))?;
            tar(folder, zstd)?.finish()
        }
        Form::Folder | Form::StorePath => {
            return Err(Error::Unfit { path: to.to_owned(), reason: "a folder is not built: name an archive" });
        }
    };
    let file = written.and_then(|out| out.into_inner().map_err(io::IntoInnerError::into_error)).map_err(disk(to))?;
    file.sync_all().map_err(disk(to))?;
    Digest::of_stream(File::open(to).map_err(disk(to))?).map_err(disk(to))
}

/// The digest of a folder: that of the archive that would be made of it, before it is compressed.
pub fn digest(folder: &Path) -> Result<Digest, Error> {
    Ok(tar(folder, Taking::default())?.finish())
}

/// Copies a folder as a package to `into`, an empty folder: what could not be in an archive is refused.
pub fn copy(folder: &Path, into: &Path) -> Result<(), Error> {
    for Item { name, what } in items(folder)? {
        let (from, to) = (folder.join(&name), into.join(&name));
        match what {
            What::Folder => fs::create_dir(&to).map_err(disk(&to))?,
            What::Link(target) => std::os::unix::fs::symlink(target, &to).map_err(disk(&to))?,
            What::File { executable, .. } => {
                fs::copy(&from, &to).map_err(disk(&to))?;
                let mode = fs::Permissions::from_mode(mode(executable));
                fs::set_permissions(&to, mode).map_err(disk(&to))?;
            }
        }
    }
    Ok(())
}

/// Looks through a folder as if it were the package that can be made of it.
pub fn inspect(folder: &Path) -> Result<Inspected, Error> {
    let mut inspected = Inspected::default();
    let items = items(folder)?;
    for item in &items {
        inspected.files += u64::from(!matches!(item.what, What::Folder));
        inspected.bytes += if let What::File { size, .. } = item.what { size } else { 0 };
    }
    let names = items.iter().filter(|item| !matches!(item.what, What::Folder)).map(|item| item.name.as_path());
    inspected.contents = Contents::of(names);
    let is_there = |place: &&&str| items.iter().any(|item| item.name == Path::new(place));
    if let Some(place) = manifest::PLACES.iter().find(is_there) {
        let path = folder.join(place);
        inspected.manifest = Some(Manifest::read(place, &fs::read(&path).map_err(disk(&path))?)?);
    }
    Ok(inspected)
}

fn tar<W: Write>(folder: &Path, out: W) -> Result<W, Error> {
    let mut builder = Builder::new(out);
    for Item { name, what } in items(folder)? {
        let path = folder.join(&name);
        let mut header = Header::new_gnu();
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        let written = match what {
            What::Folder => {
                header.set_entry_type(EntryType::Directory);
                header.set_mode(0o755);
                builder.append_data(&mut header, &name, io::empty())
            }
            What::Link(target) => {
                header.set_entry_type(EntryType::Symlink);
                header.set_mode(0o777);
                builder.append_link(&mut header, &name, target)
            }
            What::File { executable, size } => {
                header.set_entry_type(EntryType::Regular);
                header.set_mode(mode(executable));
                header.set_size(size);
                let file = File::open(&path).map_err(disk(&path))?;
                // A file that grows meanwhile must not shift what follows it.
                builder.append_data(&mut header, &name, io::Read::take(file, size))
            }
        };
        written.map_err(disk(&path))?;
    }
    builder.into_inner().map_err(disk(folder))
}

fn mode(executable: bool) -> u32 {
    if executable { 0o755 } else { 0o644 }
}

struct Item {
    /// Its path in the folder.
    name: PathBuf,
    what: What,
}

enum What {
    Folder,
    Link(PathBuf),
    File { executable: bool, size: u64 },
}

/// All that is in a folder, each folder before what is in it, by name.
fn items(folder: &Path) -> Result<Vec<Item>, Error> {
    let mut items = Vec::new();
    let mut to_read = vec![PathBuf::new()];
    while let Some(inside) = to_read.pop() {
        let at = folder.join(&inside);
        for entry in fs::read_dir(&at).map_err(disk(&at))? {
            let name = inside.join(entry.map_err(disk(&at))?.file_name());
            let what = item(folder, &name)?;
            if matches!(what, What::Folder) {
                to_read.push(name.clone());
            }
            items.push(Item { name, what });
        }
    }
    items.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(items)
}

fn item(folder: &Path, name: &Path) -> Result<What, Error> {
    let path = folder.join(name);
    let metadata = fs::symlink_metadata(&path).map_err(disk(&path))?;
    let kind = metadata.file_type();
    if kind.is_dir() {
        Ok(What::Folder)
    } else if kind.is_file() {
        Ok(What::File { executable: metadata.permissions().mode() & 0o111 != 0, size: metadata.len() })
    } else if kind.is_symlink() {
        let target = fs::read_link(&path).map_err(disk(&path))?;
        stays(name, &target).map_err(|reason| Error::Unfit { path, reason })?;
        Ok(What::Link(target))
    } else {
        Err(Error::Unfit { path, reason: "a package holds files, folders and links alone" })
    }
}
