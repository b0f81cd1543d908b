//! Writes the JSON Schemas and reference pages that the types of `crds` say: `cargo xtask schema`. That they are fresh is a test of `crds`.
#![allow(clippy::print_stdout, reason = "a script talks to whoever runs it")]

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use helium_crds::schema;

fn main() -> io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    for (folder, files) in [("crds/schemas", schema::schema_files()), ("docs/reference", schema::reference_pages())] {
        for changed in write(&root.join(folder), &files)? {
            println!("{folder}/{}", changed.display());
        }
    }
    Ok(())
}

/// Makes a folder hold these files and no others: the names of those that it did not hold so before.
fn write(folder: &Path, files: &[(String, String)]) -> io::Result<Vec<PathBuf>> {
    fs::create_dir_all(folder)?;
    let mut changed = Vec::new();
    for (name, text) in files {
        let path = folder.join(name);
        if fs::read_to_string(&path).ok().as_ref() != Some(text) {
            fs::write(path, text)?;
            changed.push(PathBuf::from(name));
        }
    }
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if !files.iter().any(|(known, _)| name == known.as_str()) {
            fs::remove_file(folder.join(&name))?;
            changed.push(PathBuf::from(name));
        }
    }
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_missing_and_stray_files_are_put_right_and_named() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("a", "a"), ("b", "other"), ("stray", "")] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let files = ["a", "b", "c"].map(|name| (name.to_owned(), name.to_owned()));
        let changed = write(folder.path(), &files).unwrap();
        assert_eq!(changed, [Path::new("b"), Path::new("c"), Path::new("stray")]);
        assert_eq!(write(folder.path(), &files).unwrap(), Vec::<PathBuf>::new());
    }
}
