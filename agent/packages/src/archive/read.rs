//! An archive as its files: unpacked to an empty folder, or looked through. The [guard](super::guard) decides on each entry first.
//!
//! The bytes that come out of the decompressor are counted as well: headers, padding and long names are not in the sizes of entries, and a
//! small archive can be a great many of them.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Read},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use flate2::bufread::MultiGzDecoder;
use serde::Serialize;
use tar::EntryType;

use super::{
    Error, disk,
    guard::{Guard, Kind, Limits, inside},
};
use crate::{
    manifest::{self, Contents, Manifest},
    source::Form,
};

/// What the headers of one entry may take besides its bytes: a header, padding, and a long name.
const HEADERS: u64 = 8 * 1024;

/// What is in a package.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Inspected {
    /// What it says of itself; none if it says nothing.
    pub manifest: Option<Manifest>,
    /// What in it has a meaning by its name.
    pub contents: Contents,
    /// How many files and links it holds.
    pub files: u64,
    /// How many bytes these are.
    pub bytes: u64,
}

/// Unpacks an archive to `into`, an empty folder. On an error, what is in there is of no use.
pub fn unpack(archive: &Path, form: Form, into: &Path, limits: Limits) -> Result<(), Error> {
    let mut folders = Vec::new();
    each(archive, form, limits, |path, kind, entry| {
        let target = into.join(path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(disk(parent))?;
        }
        match kind {
            Kind::File(_) => file(&target, entry),
            Kind::Folder => {
                folders.push((target.clone(), mode(entry) | 0o700));
                fs::create_dir_all(&target).map_err(disk(&target))
            }
            Kind::Link(to) => symlink(to, &target).map_err(disk(&target)),
            Kind::Same(of) => {
                let of = inside(of).map_err(|reason| Error::Escapes { entry: path.display().to_string(), reason })?;
                fs::hard_link(into.join(of), &target).map_err(disk(&target))
            }
            Kind::Other(_) => Ok(()),
        }
    })?;
    for (folder, mode) in folders {
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).map_err(disk(&folder))?;
    }
    Ok(())
}

/// Looks through an archive, which need not be unpacked for it.
pub fn inspect(archive: &Path, form: Form, limits: Limits) -> Result<Inspected, Error> {
    let (mut names, mut inspected) = (Vec::new(), Inspected::default());
    let mut manifests = Vec::new();
    each(archive, form, limits, |path, kind, entry| {
        if let Kind::File(size) = kind {
            inspected.bytes += size;
            if let Some(place) = manifest::PLACES.iter().position(|place| Path::new(place) == path) {
                let mut bytes = Vec::new();
                entry.take(manifest::MAX_BYTES).read_to_end(&mut bytes).map_err(Error::Unread)?;
                manifests.push((place, bytes));
            }
        }
        if !matches!(kind, Kind::Folder) {
            inspected.files += 1;
            names.push(path.to_owned());
        }
        Ok(())
    })?;
    inspected.contents = Contents::of(names.iter().map(PathBuf::as_path));
    manifests.sort_by_key(|(place, _)| *place);
    if let Some((place, bytes)) = manifests.first() {
        inspected.manifest = Some(Manifest::read(manifest::PLACES[*place], bytes)?);
    }
    Ok(inspected)
}

type Stream<'a> = Box<dyn Read + 'a>;
type Entry<'a, 'r> = tar::Entry<'a, Stream<'r>>;

/// Calls `then` with each entry that the guard lets pass.
fn each(
    archive: &Path,
    form: Form,
    limits: Limits,
    mut then: impl FnMut(&Path, &Kind, &mut Entry<'_, '_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let file = BufReader::new(File::open(archive).map_err(disk(archive))?);
    let most = limits.bytes.saturating_add(limits.entries.saturating_mul(HEADERS));
    let stream: Stream<'_> = match form {
        Form::TarGz => Box::new(Counted { inner: MultiGzDecoder::new(file), left: most }),
        Form::TarZst => {
            let inner = zstd::Decoder::with_buffer(file).map_err(Error::Unread)?;
            Box::new(Counted { inner, left: most })
        }
        Form::Folder | Form::StorePath => {
            return Err(Error::Unfit { path: archive.to_owned(), reason: "it is a folder, and no archive" });
        }
    };
    let mut archive = tar::Archive::new(stream);
    let mut guard = Guard::new(limits);
    for entry in archive.entries().map_err(unread)? {
        let mut entry = entry.map_err(unread)?;
        let (name, kind) = (entry.path().map_err(unread)?.into_owned(), kind(&entry)?);
        if matches!(&kind, Kind::Other(kind) if kind == GLOBAL) {
            continue;
        }
        if let Some(path) = guard.pass(&name, &kind)? {
            then(&path, &kind, &mut entry)?;
        }
    }
    Ok(())
}

/// A header for the whole archive, as `git archive` writes it: it says nothing about files.
const GLOBAL: &str = "global header";

fn kind(entry: &Entry<'_, '_>) -> Result<Kind, Error> {
    let target = || Ok::<_, Error>(entry.link_name().map_err(unread)?.unwrap_or_default().into_owned());
    Ok(match entry.header().entry_type() {
        EntryType::Regular | EntryType::Continuous => Kind::File(entry.size()),
        EntryType::Directory => Kind::Folder,
        EntryType::Symlink => Kind::Link(target()?),
        EntryType::Link => Kind::Same(target()?),
        EntryType::Char => Kind::Other("character device".to_owned()),
        EntryType::Block => Kind::Other("block device".to_owned()),
        EntryType::Fifo => Kind::Other("named pipe".to_owned()),
        EntryType::GNUSparse => Kind::Other("sparse file".to_owned()),
        EntryType::XGlobalHeader => Kind::Other(GLOBAL.to_owned()),
        other => Kind::Other(format!("thing of type {:?}", char::from(other.as_byte()))),
    })
}

/// The permissions of an entry. Whose it is does not matter here, so nobody else's rights come with it: no setuid, no setgid.
fn mode(entry: &Entry<'_, '_>) -> u32 {
    entry.header().mode().unwrap_or(0o644) & 0o777
}

fn file(target: &Path, entry: &mut Entry<'_, '_>) -> Result<(), Error> {
    let mode = mode(entry) | 0o600;
    // `create_new` follows no link, whatever is there.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(target).map_err(disk(target))?;
    let expected = entry.size();
    let mut counted = Told { inner: entry, failed: None };
    let written = io::copy(&mut counted, &mut file);
    match (written, counted.failed) {
        (_, Some(error)) => return Err(unread(error)),
        (Err(source), None) => return Err(Error::Disk { path: target.to_owned(), source }),
        (Ok(written), None) if written < expected => return Err(Error::Unread(io::ErrorKind::UnexpectedEof.into())),
        (Ok(_), None) => {}
    }
    file.set_permissions(fs::Permissions::from_mode(mode)).map_err(disk(target))
}

/// Keeps an error of reading apart from one of writing, which `io::copy` mixes.
struct Told<R> {
    inner: R,
    failed: Option<io::Error>,
}

impl<R: Read> Read for Told<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.inner.read(into).inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                self.failed = Some(io::Error::new(error.kind(), error.to_string()));
            }
        })
    }
}

/// Ends with an error when more comes out than was agreed.
struct Counted<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| io::Error::other(BURST))?;
        Ok(read)
    }
}

const BURST: &str = "more comes out of it than a package may hold";

fn unread(error: io::Error) -> Error {
    Error::Unread(error)
}
