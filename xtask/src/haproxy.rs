//! The HAProxy that tests run against: `HAPROXY_BIN`, or PATH, or Debian's, with the libraries that a bare machine lacks beside it.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{apt, project::Project, servers::Found, step::Outcome};

/// The variable by which it is named, to us and to the tests.
pub(crate) const VARIABLE: &str = "HAPROXY_BIN";
/// The Debian release whose HAProxy is 2.6.
const SUITE: &str = "bookworm";
/// It, and what it is linked with beside the C library, which every machine of this or a later release has.
const PACKAGES: &[&str] = &[
    "haproxy",
    "libcap2",
    "libcrypt1",
    "libgcc-s1",
    "libgcrypt20",
    "libgpg-error0",
    "liblua5.3-0",
    "liblz4-1",
    "liblzma5",
    "libopentracing-c-wrapper0",
    "libopentracing1",
    "libpcre2-8-0",
    "libssl3",
    "libstdc++6",
    "libsystemd0",
    "libzstd1",
];

/// Runs the unpacked program with the libraries beside it. It becomes the program, so its pid is the program's, and what the program starts itself as
/// finds them too.
const WRAPPER: &str = "#!/bin/sh
here=$(dirname \"$(readlink -f \"$0\")\")
for folder in \"$here\"/usr/lib/*-linux-* \"$here\"/lib/*-linux-*; do
    LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
done
export LD_LIBRARY_PATH
exec \"$here/usr/sbin/haproxy\" \"$@\"
";

/// Finds or fetches HAProxy; the error says plainly what stands in the way.
pub(crate) fn find(project: &Project) -> Result<Found, String> {
    if let Some(given) = env::var_os("HAPROXY_BIN").filter(|path| !path.is_empty()) {
        return try_out(Path::new(&given)).map_err(|error| format!("HAPROXY_BIN: {error}"));
    }
    if let Some(haproxy) = on_path().and_then(|path| try_out(&path).ok()) {
        return Ok(haproxy);
    }
    let kept = project.fetched.join(format!("haproxy-{SUITE}"));
    if let Ok(haproxy) = try_out(&kept.join("haproxy")) {
        return Ok(haproxy);
    }
    fetch(project, &kept).map_err(|error| format!("{error}; set HAPROXY_BIN, or put `haproxy` in PATH"))
}

/// `cargo xtask haproxy`: the path alone, so that `HAPROXY_BIN=$(cargo xtask haproxy) cargo test ...` runs one test.
pub(crate) fn path(project: &Project) -> Outcome {
    match find(project) {
        Ok(haproxy) => Outcome::Passed(haproxy.path.display().to_string()),
        Err(reason) => Outcome::failed(reason),
    }
}

/// Fetches into a folder of this run only, and moves it to its place when it is whole: two runs may do this at once.
fn fetch(project: &Project, kept: &Path) -> Result<Found, String> {
    let work = project.fetched.join(format!("unpacking-haproxy-{}", std::process::id()));
    let say = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    fs::create_dir_all(&work).map_err(|error| say(&work, error))?;
    let fetched = apt::unpack(PACKAGES, SUITE, &work).and_then(|unpacked| {
        let wrapper = unpacked.join("haproxy");
        let written = fs::write(&wrapper, WRAPPER)
            .and_then(|()| fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)));
        written.map_err(|error| say(&wrapper, error))?;
        try_out(&wrapper)?;
        match fs::rename(&unpacked, kept) {
            Err(_) if try_out(&kept.join("haproxy")).is_ok() => Ok(()),
            moved => moved.map_err(|error| say(kept, error)),
        }
    });
    let removed = fs::remove_dir_all(&work).map_err(|error| say(&work, error));
    fetched.and(removed)?;
    try_out(&kept.join("haproxy"))
}

/// Debian puts it where only root's PATH looks.
fn on_path() -> Option<PathBuf> {
    let folders: Vec<PathBuf> = env::split_paths(&env::var_os("PATH")?).collect();
    let usual = [PathBuf::from("/usr/sbin")];
    folders.iter().chain(&usual).map(|folder| folder.join("haproxy")).find(|path| path.is_file())
}

fn try_out(path: &Path) -> Result<Found, String> {
    let output = Command::new(path).arg("-v").output().map_err(|error| format!("{}: {error}", path.display()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let words: Vec<&str> = said.split_whitespace().take(3).collect();
    // Before 2.4 it wrote its name with a hyphen.
    if let ["HAProxy" | "HA-Proxy", "version", version] = words.as_slice() {
        return Ok(Found { path: path.to_owned(), version: format!("HAProxy {version}") });
    }
    let why = String::from_utf8_lossy(&output.stderr);
    let why = why.lines().next().map(|line| format!(": {line}")).unwrap_or_default();
    Err(format!("{} does not call itself HAProxy{why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_program_is_not_taken_for_haproxy() {
        assert!(try_out(Path::new("/bin/true")).unwrap_err().contains("does not call itself HAProxy"));
        assert!(try_out(Path::new("/nowhere/haproxy")).is_err());
    }

    #[test]
    fn the_wrapper_is_a_script_that_a_shell_understands() {
        let checked = Command::new("sh").args(["-n", "-c", WRAPPER]).status().unwrap();
        assert!(checked.success());
    }
}
