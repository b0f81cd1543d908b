//! A package as one instance sees it: links into the store, and its own rendered files in their places.
//!
//! Several instances of one version may run on a machine, each with its own ports and so with its own files. What a version holds is the same for all
//! and is never written to. So an instance has a folder in which every folder that holds a rendered file is a real one, and all else is
//! a link to the version. A package without templates is one link.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

/// Makes `view` show the version in the folder `version`. `rendered` are the files that templates make, relative to the package; they are left to
/// those who make them. What is right already is not touched, so this may be done under a running instance.
pub(crate) fn show(version: &Path, view: &Path, rendered: &BTreeSet<PathBuf>) -> io::Result<()> {
    if rendered.is_empty() {
        return link(version, view);
    }
    if fs::symlink_metadata(view).is_ok_and(|meta| meta.is_symlink()) {
        fs::remove_file(view)?;
    }
    show_folder(version, view, Path::new(""), rendered)
}

fn show_folder(version: &Path, view: &Path, within: &Path, rendered: &BTreeSet<PathBuf>) -> io::Result<()> {
    let (from, to) = (version.join(within), view.join(within));
    fs::create_dir_all(&to)?;
    if !from.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(&from)? {
        let entry = entry?;
        let path = within.join(entry.file_name());
        if rendered.contains(&path) {
            continue;
        }
        let holds = rendered.iter().any(|file| file.starts_with(&path));
        if holds && entry.path().is_dir() {
            show_folder(version, view, &path, rendered)?;
        } else {
            link(&entry.path(), &view.join(&path))?;
        }
    }
    Ok(())
}

/// A link that leads to `target`, in the place of whatever was there.
fn link(target: &Path, at: &Path) -> io::Result<()> {
    match fs::read_link(at) {
        Ok(there) if there == target => return Ok(()),
        Err(_) if at.is_dir() => fs::remove_dir_all(at)?,
        Ok(_) | Err(_) => {}
    }
    let mut fresh = at.as_os_str().to_owned();
    fresh.push(".helium-link");
    let fresh = PathBuf::from(fresh);
    if let Err(error) = fs::remove_file(&fresh)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    symlink(target, &fresh)?;
    fs::rename(&fresh, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in ["bin/hello", "conf/nginx.conf.tera", "conf/mime.types", "conf/sites/a.conf"] {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        folder
    }

    #[test]
    fn folders_with_rendered_files_are_real_and_all_else_leads_into_the_version() {
        let (version, home) = (version(), tempfile::tempdir().unwrap());
        let view = home.path().join("package");
        let rendered = BTreeSet::from([PathBuf::from("conf/nginx.conf"), PathBuf::from("etc/new.conf")]);
        for _ in 0..2 {
            show(version.path(), &view, &rendered).unwrap();
            assert!(fs::symlink_metadata(view.join("conf")).unwrap().is_dir());
            for link in ["bin", "conf/mime.types", "conf/sites", "conf/nginx.conf.tera"] {
                assert_eq!(fs::read_link(view.join(link)).unwrap(), version.path().join(link));
            }
            assert_eq!(fs::read_to_string(view.join("bin/hello")).unwrap(), "bin/hello");
            // What was rendered stays.
            fs::write(view.join("conf/nginx.conf"), "rendered").unwrap();
        }
        assert_eq!(fs::read_to_string(view.join("conf/nginx.conf")).unwrap(), "rendered");
        assert!(!version.path().join("conf/nginx.conf").exists());
    }

    #[test]
    fn a_package_without_templates_is_one_link() {
        let (version, home) = (version(), tempfile::tempdir().unwrap());
        let view = home.path().join("package");
        fs::create_dir_all(view.join("old")).unwrap();
        show(version.path(), &view, &BTreeSet::new()).unwrap();
        assert_eq!(fs::read_link(&view).unwrap(), version.path());
        show(version.path(), &view, &BTreeSet::from([PathBuf::from("conf/nginx.conf")])).unwrap();
        assert!(fs::symlink_metadata(&view).unwrap().is_dir() && version.path().join("bin/hello").exists());
    }
}
