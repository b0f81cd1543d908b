//! The Nix that tests run with: the folder that `NIX_BIN` names, or one in PATH, or Debian's, with the libraries that a bare machine lacks beside it.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{apt, project::Project, servers::Found, step::Outcome};

/// The variable by which its folder is named, to us and to the tests.
pub(crate) const VARIABLE: &str = "NIX_BIN";
/// The Debian release whose Nix is 2.8.
const SUITE: &str = "bookworm";
/// The programs that tests run.
const PROGRAMS: &[&str] = &["nix-env", "nix-store"];
/// It, and what it is linked with beside the C library, which every machine of this or a later release has.
const PACKAGES: &[&str] = &[
    "nix-bin",
    "libacl1",
    "libarchive13",
    "libboost-context1.74.0",
    "libbrotli1",
    "libbsd0",
    "libbz2-1.0",
    "libcom-err2",
    "libcpuid16",
    "libcurl3-gnutls",
    "libffi8",
    "libgc1",
    "libgcc-s1",
    "libgmp10",
    "libgnutls30",
    "libgssapi-krb5-2",
    "libhogweed6",
    "libicu72",
    "libidn2-0",
    "libk5crypto3",
    "libkeyutils1",
    "libkrb5-3",
    "libkrb5support0",
    "libldap-2.5-0",
    "liblz4-1",
    "liblzma5",
    "libmd0",
    "libnettle8",
    "libnghttp2-14",
    "libp11-kit0",
    "libpsl5",
    "libreadline8",
    "librtmp1",
    "libsasl2-2",
    "libseccomp2",
    "libsodium23",
    "libsqlite3-0",
    "libssh2-1",
    "libssl3",
    "libstdc++6",
    "libtasn1-6",
    "libtinfo6",
    "libunistring2",
    "libxml2",
    "libzstd1",
    "zlib1g",
];

/// Runs the unpacked program of its own name with the libraries beside it, and nothing of a Nix of this machine.
const WRAPPER: &str = "#!/bin/sh
here=$(dirname \"$(dirname \"$(readlink -f \"$0\")\")\")
for folder in \"$here\"/usr/lib/nix \"$here\"/usr/lib/*-linux-* \"$here\"/lib/*-linux-*; do
    LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
done
export LD_LIBRARY_PATH
exec \"$here/usr/bin/$(basename \"$0\")\" \"$@\"
";

/// Finds or fetches it; the error says plainly what stands in the way.
pub(crate) fn find(project: &Project) -> Result<Found, String> {
    if let Some(given) = env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        return try_out(Path::new(&given)).map_err(|error| format!("{VARIABLE}: {error}"));
    }
    if let Some(nix) = on_path().and_then(|folder| try_out(&folder).ok()) {
        return Ok(nix);
    }
    let kept = project.fetched.join(format!("nix-{SUITE}"));
    if let Ok(nix) = try_out(&kept.join("bin-of-tests")) {
        return Ok(nix);
    }
    fetch(project, &kept).map_err(|error| format!("{error}; set {VARIABLE} to a folder with nix-env and nix-store"))
}

/// `cargo xtask nix`: the folder alone, so that `NIX_BIN=$(cargo xtask nix) cargo test ...` runs one test.
pub(crate) fn path(project: &Project) -> Outcome {
    match find(project) {
        Ok(nix) => Outcome::Passed(nix.path.display().to_string()),
        Err(reason) => Outcome::failed(reason),
    }
}

/// Fetches into a folder of this run only, and moves it to its place when it is whole: two runs may do this at once.
fn fetch(project: &Project, kept: &Path) -> Result<Found, String> {
    let work = project.fetched.join(format!("unpacking-nix-{}", std::process::id()));
    let say = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    fs::create_dir_all(&work).map_err(|error| say(&work, error))?;
    let fetched = apt::unpack(PACKAGES, SUITE, &work).and_then(|unpacked| {
        let programs = unpacked.join("bin-of-tests");
        wrap(&programs).map_err(|error| say(&programs, error))?;
        try_out(&programs)?;
        match fs::rename(&unpacked, kept) {
            Err(_) if try_out(&kept.join("bin-of-tests")).is_ok() => Ok(()),
            moved => moved.map_err(|error| say(kept, error)),
        }
    });
    let removed = fs::remove_dir_all(&work).map_err(|error| say(&work, error));
    fetched.and(removed)?;
    try_out(&kept.join("bin-of-tests"))
}

fn wrap(programs: &Path) -> std::io::Result<()> {
    fs::create_dir_all(programs)?;
    for program in PROGRAMS.iter().map(|program| programs.join(program)) {
        fs::write(&program, WRAPPER)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

fn on_path() -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).find(|folder| folder.join(PROGRAMS[0]).is_file())
}

/// Looks whether all programs are in a folder.
fn try_out(folder: &Path) -> Result<Found, String> {
    let mut version = String::new();
    for program in PROGRAMS {
        let path = folder.join(program);
        let output =
            Command::new(&path).arg("--version").output().map_err(|error| format!("{}: {error}", path.display()))?;
        // `nix-env (Nix) 2.8.0`
        let said = String::from_utf8_lossy(&output.stdout);
        let Some((_, number)) = said.trim().split_once("(Nix) ") else {
            let why = String::from_utf8_lossy(&output.stderr);
            let why = why.lines().next().map(|line| format!(": {line}")).unwrap_or_default();
            return Err(format!("{} does not call itself Nix{why}", path.display()));
        };
        version = format!("Nix {number}");
    }
    Ok(Found { path: folder.to_owned(), version })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_nix_is_not_taken_for_one() {
        assert!(try_out(Path::new("/nowhere")).is_err());
        let folder = tempfile::tempdir().unwrap();
        for program in PROGRAMS {
            std::os::unix::fs::symlink("/bin/true", folder.path().join(program)).unwrap();
        }
        assert!(try_out(folder.path()).unwrap_err().contains("does not call itself Nix"));
    }

    #[test]
    fn the_wrapper_is_a_script_that_a_shell_understands() {
        let checked = Command::new("sh").args(["-n", "-c", WRAPPER]).status().unwrap();
        assert!(checked.success());
    }
}
