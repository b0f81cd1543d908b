//! Servers whose programs need libraries that a bare machine lacks: named by a variable, or in PATH, or Debian's with the libraries beside it.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{apt, project::Project, servers::Found, step::Outcome};

/// A server of this sort.
#[derive(Debug)]
pub(crate) struct Wrapped {
    /// The name of the program, and of its package.
    program: &'static str,
    /// The variable by which it is named, to us and to the tests.
    pub(crate) variable: &'static str,
    /// The Debian release that it is taken from.
    suite: &'static str,
    /// It, and what it is linked with beside the C library, which every machine of this or a later release has.
    packages: &'static [&'static str],
    /// How it calls itself when it is asked `-v`, in front of its version.
    says: &'static [&'static str],
}

/// HAProxy 2.6. Before 2.4 it wrote its name with a hyphen.
pub(crate) const HAPROXY: Wrapped = Wrapped {
    program: "haproxy",
    variable: "HAPROXY_BIN",
    suite: "bookworm",
    packages: &[
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
    ],
    says: &["HAProxy version ", "HA-Proxy version "],
};

/// nginx 1.22.
pub(crate) const NGINX: Wrapped = Wrapped {
    program: "nginx",
    variable: "NGINX_BIN",
    suite: "bookworm",
    packages: &["nginx", "libcrypt1", "libpcre2-8-0", "libssl3", "zlib1g"],
    says: &["nginx version: nginx/"],
};

/// Runs the unpacked program of its own name with the libraries beside it. It becomes the program, so its pid is the program's, and what the program starts itself as
/// finds them too.
const WRAPPER: &str = "#!/bin/sh
here=$(dirname \"$(readlink -f \"$0\")\")
for folder in \"$here\"/usr/lib/*-linux-* \"$here\"/lib/*-linux-*; do
    LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
done
export LD_LIBRARY_PATH
exec \"$here/usr/sbin/$(basename \"$0\")\" \"$@\"
";

impl Wrapped {
    /// Finds or fetches it; the error says plainly what stands in the way.
    pub(crate) fn find(&self, project: &Project) -> Result<Found, String> {
        let Self { program, variable, suite, .. } = self;
        if let Some(given) = env::var_os(variable).filter(|path| !path.is_empty()) {
            return self.try_out(Path::new(&given)).map_err(|error| format!("{variable}: {error}"));
        }
        if let Some(found) = self.on_path().and_then(|path| self.try_out(&path).ok()) {
            return Ok(found);
        }
        let kept = project.fetched.join(format!("{program}-{suite}"));
        if let Ok(found) = self.try_out(&kept.join(program)) {
            return Ok(found);
        }
        self.fetch(project, &kept).map_err(|error| format!("{error}; set {variable}, or put `{program}` in PATH"))
    }

    /// `cargo xtask haproxy`: the path alone, so that `HAPROXY_BIN=$(cargo xtask haproxy) cargo test ...` runs one test.
    pub(crate) fn path(&self, project: &Project) -> Outcome {
        match self.find(project) {
            Ok(found) => Outcome::Passed(found.path.display().to_string()),
            Err(reason) => Outcome::failed(reason),
        }
    }

    /// Fetches into a folder of this run only, and moves it to its place when it is whole: two runs may do this at once.
    fn fetch(&self, project: &Project, kept: &Path) -> Result<Found, String> {
        let program = self.program;
        let work = project.fetched.join(format!("unpacking-{program}-{}", std::process::id()));
        let say = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
        fs::create_dir_all(&work).map_err(|error| say(&work, error))?;
        let fetched = apt::unpack(self.packages, self.suite, &work).and_then(|unpacked| {
            let wrapper = unpacked.join(program);
            let written = fs::write(&wrapper, WRAPPER)
                .and_then(|()| fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)));
            written.map_err(|error| say(&wrapper, error))?;
            self.try_out(&wrapper)?;
            match fs::rename(&unpacked, kept) {
                Err(_) if self.try_out(&kept.join(program)).is_ok() => Ok(()),
                moved => moved.map_err(|error| say(kept, error)),
            }
        });
        let removed = fs::remove_dir_all(&work).map_err(|error| say(&work, error));
        fetched.and(removed)?;
        self.try_out(&kept.join(program))
    }

    /// Debian puts it where only root's PATH looks.
    fn on_path(&self) -> Option<PathBuf> {
        let folders: Vec<PathBuf> = env::split_paths(&env::var_os("PATH")?).collect();
        let usual = [PathBuf::from("/usr/sbin")];
        folders.iter().chain(&usual).map(|folder| folder.join(self.program)).find(|path| path.is_file())
    }

    fn try_out(&self, path: &Path) -> Result<Found, String> {
        let output = Command::new(path).arg("-v").output().map_err(|error| format!("{}: {error}", path.display()))?;
        // nginx says it to stderr.
        let [said, why] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let named = self.says.iter().find_map(|says| said.strip_prefix(says).or_else(|| why.strip_prefix(says)));
        if let Some(version) = named.and_then(|rest| rest.split_whitespace().next()) {
            return Ok(Found { path: path.to_owned(), version: format!("{} {version}", self.program) });
        }
        let why = why.lines().next().map(|line| format!(": {line}")).unwrap_or_default();
        Err(format!("{} does not call itself {}{why}", path.display(), self.program))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_program_is_not_taken_for_the_server() {
        for server in [HAPROXY, NGINX] {
            let words = format!("does not call itself {}", server.program);
            assert!(server.try_out(Path::new("/bin/true")).unwrap_err().contains(&words));
            assert!(server.try_out(Path::new("/nowhere/it")).is_err());
        }
    }

    #[test]
    fn the_wrapper_is_a_script_that_a_shell_understands() {
        let checked = Command::new("sh").args(["-n", "-c", WRAPPER]).status().unwrap();
        assert!(checked.success());
    }
}
