//! A real Nix with a store, a profile and a configuration of its own, all in one temporary folder.

use std::{
    collections::BTreeMap,
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use helium_nix::{Options, Tools, status::Status};
use tempfile::TempDir;

pub(crate) struct Nix {
    folder: TempDir,
    programs: PathBuf,
    env: BTreeMap<String, String>,
}

impl Nix {
    /// One with an empty store.
    pub(crate) fn new() -> Self {
        let programs = env::var_os("NIX_BIN").filter(|folder| !folder.is_empty()).map(PathBuf::from);
        let programs = programs.expect(
            "NIX_BIN names no folder with nix-env and nix-store: run `NIX_BIN=$(cargo xtask nix) cargo test -p helium-nix`, \
             or leave these tests out by `-- --skip real_nix::`",
        );
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        fs::create_dir_all(folder.path().join("etc")).unwrap();
        fs::write(folder.path().join("etc/nix.conf"), "sandbox = false\nbuild-users-group =\nsubstituters =\n")
            .unwrap();
        let variables = [
            ("NIX_STORE_DIR", at("store")),
            ("NIX_STATE_DIR", at("state")),
            ("NIX_LOG_DIR", at("log")),
            ("NIX_CONF_DIR", at("etc")),
            ("HOME", at("")),
            ("PATH", "/usr/bin:/bin".to_owned()),
            // Where the scripts of a profile say what they did.
            ("SAID", at("said")),
        ];
        let env = variables.map(|(name, value)| (name.to_owned(), value)).into();
        Self { folder, programs, env }
    }

    /// A store path with these scripts in `bin`. The same name and scripts give the same path.
    pub(crate) fn path(&self, name: &str, scripts: &[(&str, &str)]) -> String {
        self.path_with(name, scripts, &[])
    }

    /// The same with further files.
    pub(crate) fn path_with(&self, name: &str, scripts: &[(&str, &str)], files: &[(&str, &str)]) -> String {
        let source = self.folder.path().join("sources").join(name);
        let _ = fs::remove_dir_all(&source);
        fs::create_dir_all(source.join("bin")).unwrap();
        for (script, text) in scripts {
            let file = source.join("bin").join(script);
            fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        }
        for (file, text) in files {
            let file = source.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        self.run("nix-store", &["--add", &source.display().to_string()]).trim().to_owned()
    }

    /// A store path whose activation says its name.
    pub(crate) fn web(&self, name: &str) -> String {
        self.path(name, &[("activate", &format!("echo {name} >> $SAID"))])
    }

    /// One whose activation says its name, and fails.
    pub(crate) fn broken(&self, name: &str) -> String {
        self.path(name, &[("activate", &format!("echo {name} >> $SAID; echo no {name} >&2; exit 3"))])
    }

    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(self.programs.join(program));
        let output = command.args(arguments).env_clear().envs(&self.env).output().unwrap();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn tools(&self) -> Tools {
        let path = format!("{}:/usr/bin:/bin", self.programs.display());
        let env = self.env.clone().into_iter().chain([("PATH".to_owned(), path)]).collect();
        Tools::find(env, None).unwrap()
    }

    pub(crate) fn options(&self, job: &str) -> Options {
        Options {
            job_uri: Some(job.to_owned()),
            nix_env: self.programs.join("nix-env").display().to_string(),
            env: self.env.clone(),
            first_wait: Duration::from_millis(10),
            last_wait: Duration::from_millis(20),
            ..Options::new(self.profile())
        }
    }

    pub(crate) fn profile(&self) -> PathBuf {
        self.folder.path().join("state/profiles/web")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where the profile leads.
    pub(crate) fn at(&self) -> String {
        let generation = fs::read_link(self.profile()).unwrap();
        fs::read_link(self.profile().with_file_name(generation)).unwrap().display().to_string()
    }

    /// The numbers of all generations, as Nix itself lists them.
    pub(crate) fn generations(&self) -> Vec<u64> {
        let profile = self.profile().display().to_string();
        let listed = self.run("nix-env", &["--profile", &profile, "--list-generations"]);
        listed.lines().map(|line| line.split_whitespace().next().unwrap().parse().unwrap()).collect()
    }

    /// What the scripts said so far.
    pub(crate) fn said(&self) -> Vec<String> {
        let said = fs::read_to_string(self.file("said")).unwrap_or_default();
        said.lines().map(str::to_owned).collect()
    }

    pub(crate) fn status(&self) -> Status {
        Status::load(&self.options("").status())
    }
}

/// Whether there is anything at a path, be it a link to nowhere.
pub(crate) fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}
