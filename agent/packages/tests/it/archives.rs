//! Archives are made, looked through and unpacked, the hostile ones not.

use std::{fs, io::Write as _, os::unix::fs::PermissionsExt as _, path::Path};

use helium_packages::{
    archive::{self, Limits, read, write},
    digest::Digest,
    source::Form,
};
use tempfile::TempDir;

/// A folder that has a bit of all that packages have.
pub(crate) fn package(at: &Path) {
    fs::create_dir_all(at.join("helium/hooks")).unwrap();
    fs::create_dir_all(at.join("empty")).unwrap();
    fs::write(at.join("helium/package.yaml"), "name: web\nversion: 1.0.0\n").unwrap();
    fs::write(at.join("helium/hooks/install"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(at.join("helium/hooks/install"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(at.join("app.conf.tera"), "x".repeat(100_000)).unwrap();
    fs::write(at.join("n".repeat(150)), "a long name").unwrap();
    std::os::unix::fs::symlink("../app.conf.tera", at.join("helium/link")).unwrap();
}

#[test]
fn a_package_comes_out_as_it_went_in() {
    let scratch = TempDir::new().unwrap();
    let folder = scratch.path().join("in");
    package(&folder);
    for (name, form) in [("p.tar.gz", Form::TarGz), ("p.tar.zst", Form::TarZst)] {
        let (file, out) = (scratch.path().join(name), scratch.path().join(format!("out-{name}")));
        write::build(&folder, form, &file).unwrap();
        fs::create_dir(&out).unwrap();
        read::unpack(&file, form, &out, Limits::default()).unwrap();
        assert_eq!(write::digest(&out).unwrap(), write::digest(&folder).unwrap(), "{name}");
        assert_eq!(fs::metadata(out.join("helium/hooks/install")).unwrap().permissions().mode() & 0o777, 0o755);
        let inspected = archive::inspect(&file, Limits::default()).unwrap();
        assert_eq!(inspected, archive::inspect(&folder, Limits::default()).unwrap());
        assert_eq!(inspected.manifest.unwrap().name, "web");
        assert_eq!(inspected.contents.hooks.len() + inspected.contents.templates.len(), 2);
    }
}

#[test]
fn the_same_folder_gives_the_same_bytes() {
    let scratch = TempDir::new().unwrap();
    let digest = |round: &str, ending: &str, form| -> Digest {
        let folder = scratch.path().join(round);
        if !folder.exists() {
            package(&folder);
        }
        write::build(&folder, form, &scratch.path().join(format!("{round}{ending}"))).unwrap()
    };
    assert_eq!(digest("a", ".tar.gz", Form::TarGz), digest("b", ".tar.gz", Form::TarGz));
    assert_eq!(digest("a", ".tar.zst", Form::TarZst), digest("b", ".tar.zst", Form::TarZst));
}

/// An archive of one entry, whose name and kind are written past all checks of the library.
fn hostile(name: &str, kind: tar::EntryType, link: &str) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_size(0);
    header.set_mode(0o4755);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend([0; 1024]);
    bytes
}

fn unpack(bytes: &[u8], limits: Limits) -> Result<TempDir, archive::Error> {
    let scratch = TempDir::new().unwrap();
    let file = scratch.path().join("p.tar.gz");
    let mut gzip = flate2::write::GzEncoder::new(fs::File::create(&file).unwrap(), flate2::Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap();
    let out = scratch.path().join("out");
    fs::create_dir(&out).unwrap();
    read::unpack(&file, Form::TarGz, &out, limits).map(|()| scratch)
}

#[test]
fn hostile_archives_are_refused_and_write_nothing_outside() {
    use tar::EntryType as Type;
    let rows = [
        ("../evil", Type::Regular, ""),
        ("/tmp/evil", Type::Regular, ""),
        ("a/../../evil", Type::Regular, ""),
        ("l", Type::Symlink, "/etc/passwd"),
        ("l", Type::Symlink, "../evil"),
        ("h", Type::Link, "/etc/passwd"),
        ("d", Type::Char, ""),
        ("d", Type::Block, ""),
        ("d", Type::Fifo, ""),
    ];
    for (name, kind, link) in rows {
        let error = unpack(&hostile(name, kind, link), Limits::default()).unwrap_err();
        assert!(matches!(error, archive::Error::Escapes { .. } | archive::Error::Kind { .. }), "{name}: {error}");
    }
    let scratch = unpack(&hostile("f", Type::Regular, ""), Limits::default()).unwrap();
    let mode = fs::metadata(scratch.path().join("out/f")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o755, "nobody's rights come with a file");
}

#[test]
fn an_archive_that_bursts_is_stopped() {
    let limits = Limits { bytes: 1000, entries: 10 };
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(1001);
    builder.append_data(&mut header, "big", &[0; 1001][..]).unwrap();
    let error = unpack(&builder.into_inner().unwrap(), limits).unwrap_err();
    assert!(matches!(error, archive::Error::TooLarge { limit: 1000, .. }), "{error}");
    // A name as long as a film is no file, and is in no count of their bytes.
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(10_000_000);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(vec![b'x'; 10_000_000]);
    let error = unpack(&bytes, limits).unwrap_err();
    assert!(error.to_string().contains("more comes out"), "{error}");
}

#[test]
fn an_archive_that_is_cut_short_is_refused() {
    let mut bytes = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(5000);
    bytes.append_data(&mut header, "f", &[7; 5000][..]).unwrap();
    let bytes = bytes.into_inner().unwrap();
    let error = unpack(&bytes[..3000], Limits::default()).unwrap_err();
    assert!(matches!(error, archive::Error::Unread(_)), "{error}");
}
