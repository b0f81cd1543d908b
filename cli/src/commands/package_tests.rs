use super::*;

fn folder(manifest: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("helium/package.yaml", manifest);
    write("helium/hooks/install", "#!/bin/sh\n");
    write("etc/hello.conf.tera", "port = {{ port }}\n");
    folder
}

fn inspected(folder: &Path) -> Inspected {
    archive::inspect(folder, Limits::default()).unwrap()
}

#[test]
fn an_archive_is_named_by_what_the_package_says_of_itself() {
    let whole = folder("name: hello\nversion: 1.0.0\n");
    assert_eq!(named(inspected(whole.path()).manifest.as_ref()).unwrap(), "hello-1.0.0.tar.zst");
    let without = folder("name: hello\n");
    let failure = named(inspected(without.path()).manifest.as_ref()).unwrap_err();
    assert!(failure.message.contains("does not say its version"), "{}", failure.message);
    assert!(named(None).unwrap_err().message.contains("no helium/package.yaml"));
}

#[test]
fn what_is_in_a_package_is_told_by_what_it_means() {
    let folder = folder("name: hello\nversion: 1.0.0\nroles: [logs]\n");
    let digest = Digest::of(b"");
    let lines = lines(&inspected(folder.path()), digest);
    let expected = [
        "hello 1.0.0: 3 files, 69 bytes".to_owned(),
        format!("sha256: {digest}"),
        "roles: logs".to_owned(),
        "hooks: helium/hooks/install".to_owned(),
        "templates: etc/hello.conf.tera".to_owned(),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_folder_and_what_is_built_of_it_hold_the_same() {
    let folder = folder("name: hello\nversion: 1.0.0\n");
    let out = tempfile::tempdir().unwrap();
    for (name, form) in [("a.tar.gz", Form::TarGz), ("a.tar.zst", Form::TarZst)] {
        let file = out.path().join(name);
        let digest = archive::write::build(folder.path(), form, &file).unwrap();
        assert_eq!(inspected(&file), inspected(folder.path()));
        assert_eq!(installer::verify_local(&file, Some(digest), None).unwrap(), digest);
        let wrong = installer::verify_local(&file, Some(Digest::of(b"else")), None).unwrap_err();
        assert!(refused(&wrong).message.contains(&digest.to_string()));
    }
}

#[test]
fn a_key_that_is_none_is_named() {
    let failure = key("no key").unwrap_err();
    assert!(failure.message.starts_with("`--public-key`: "), "{}", failure.message);
}
