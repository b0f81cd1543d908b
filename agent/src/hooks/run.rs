//! One run of a hook.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use helium_processes::{Command, Finished, Run};

use super::Hook;
use crate::telemetry::Telemetry;

/// A log of a hook that is longer is begun anew.
const LARGEST_LOG: u64 = 1024 * 1024;
/// So many bytes of what a hook prints are kept: enough for the JSON of `config-pre`.
const KEEP: usize = 256 * 1024;
/// How long the group of a hook may take to end when its time is over.
const GRACE: Duration = Duration::from_secs(5);

/// One run of a hook.
#[derive(Clone, Debug)]
pub(crate) struct HookRun {
    /// Which.
    pub(crate) hook: Hook,
    /// The folder of the package, which it runs in and is found in.
    pub(crate) package: PathBuf,
    /// Its environment; `HELIUM_HOOK` and `HELIUM_PACKAGE` are added.
    pub(crate) env: BTreeMap<String, String>,
    /// Its log.
    pub(crate) log: PathBuf,
    /// The file that names the process while it runs.
    pub(crate) note: PathBuf,
    /// How long it may take.
    pub(crate) limit: Duration,
    /// Who counts it.
    pub(crate) counted: Option<Telemetry>,
}

impl HookRun {
    /// Runs it; none if the package has no such hook.
    ///
    /// # Errors
    /// What is wrong, in words, with the last line that it printed.
    pub(crate) async fn to_success(&self) -> Result<Option<Finished>, String> {
        match self.to_end().await? {
            Some(finished) if !finished.is_success() => Err(self.failed(&finished)),
            finished => Ok(finished),
        }
    }

    /// The same, whatever its exit status is.
    pub(crate) async fn to_end(&self) -> Result<Option<Finished>, String> {
        let words = |error: io::Error| format!("the hook {} cannot be run: {error}", self.hook);
        let Some(program) = super::find(self.hook, &self.package).map_err(words)? else { return Ok(None) };
        begin_anew_if_long(&self.log).map_err(words)?;
        let command = self.command(&program)?;
        let run = Run { limit: self.limit, grace: GRACE, log: Some(&self.log), keep: KEEP, note: Some(&self.note) };
        let begun = self.counted.as_ref().map(Telemetry::clock);
        let ended = run.to_end(&command).await;
        if let (Some(telemetry), Some(begun)) = (&self.counted, begun) {
            let result = match &ended {
                Err(_) => "not run",
                Ok(finished) if finished.timed_out => "timed out",
                Ok(finished) if finished.is_success() => "ok",
                Ok(_) => "failed",
            };
            telemetry.metrics().hook(self.hook.name(), result, telemetry.clock().saturating_sub(begun));
        }
        ended.map(Some).map_err(|error| format!("the hook {} cannot be run: {error}", self.hook))
    }

    /// The same, counted.
    pub(crate) fn counted_by(self, telemetry: &Telemetry) -> Self {
        Self { counted: Some(telemetry.clone()), ..self }
    }

    fn command(&self, program: &Path) -> Result<Command, String> {
        let text = program.to_string_lossy().into_owned();
        let executable = program.metadata().is_ok_and(|meta| meta.permissions().mode() & 0o111 != 0);
        let shell = program.extension().is_some_and(|ending| ending == "sh");
        let argv = match (executable, shell) {
            (true, _) => vec![text],
            (false, true) => vec!["/bin/sh".to_owned(), text],
            (false, false) => {
                return Err(format!(
                    "the hook {} is not executable: chmod +x {text}, and build the package again",
                    self.hook
                ));
            }
        };
        let mut env = self.env.clone();
        env.insert("HELIUM_HOOK".to_owned(), self.hook.to_string());
        env.insert("HELIUM_PACKAGE".to_owned(), self.package.to_string_lossy().into_owned());
        Ok(Command { argv, env, cwd: self.package.clone(), user: None })
    }

    fn failed(&self, finished: &Finished) -> String {
        let how = if finished.timed_out {
            format!("took longer than {:?} and was killed", self.limit)
        } else {
            format!("failed with {}", finished.exit)
        };
        // What `config-pre` prints is data, which may be secret.
        let said = if self.hook == Hook::ConfigPre { finished.last_error_line() } else { finished.last_line() };
        let said = said.map(|line| format!(": {line}")).unwrap_or_default();
        format!("the hook {} {how}{said} (its log: {})", self.hook, self.log.display())
    }
}

fn begin_anew_if_long(log: &Path) -> io::Result<()> {
    match fs::metadata(log) {
        Ok(meta) if meta.len() > LARGEST_LOG => fs::write(log, ""),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(folder: &Path, file: &str, script: &str, mode: u32) -> HookRun {
        let path = folder.join("helium/hooks").join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        HookRun {
            hook: Hook::Init,
            package: folder.to_owned(),
            env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
            log: folder.join("log"),
            note: folder.join("note"),
            limit: Duration::from_mins(1),
            counted: None,
        }
    }

    #[tokio::test]
    async fn a_hook_runs_in_its_package_and_knows_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let script = "#!/bin/sh\necho $HELIUM_HOOK $HELIUM_PACKAGE; pwd\n";
        let finished = hook(folder.path(), "init", script, 0o755).to_success().await.unwrap().unwrap();
        let at = folder.path().display();
        assert_eq!(String::from_utf8(finished.stdout).unwrap(), format!("init {at}\n{at}\n"));
        assert_eq!(fs::read_to_string(folder.path().join("log")).unwrap(), format!("init {at}\n{at}\n"));
    }

    #[tokio::test]
    async fn a_hook_that_fails_tells_its_last_line_and_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let run = hook(folder.path(), "init.sh", "echo no disk left >&2; exit 4", 0o644);
        let log = folder.path().join("log");
        let words = format!("the hook init failed with exit status 4: no disk left (its log: {})", log.display());
        assert_eq!(run.to_success().await.unwrap_err(), words);
    }

    #[tokio::test]
    async fn a_hook_that_hangs_is_killed_at_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let run = HookRun { limit: Duration::from_millis(100), ..hook(folder.path(), "init.sh", "sleep 600", 0o644) };
        let words = run.to_success().await.unwrap_err();
        assert!(words.starts_with("the hook init took longer than 100ms and was killed"), "{words}");
    }

    #[tokio::test]
    async fn a_program_that_nobody_may_execute_is_told_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let words = hook(folder.path(), "init.py", "print(1)", 0o644).to_success().await.unwrap_err();
        assert!(words.contains("chmod +x"), "{words}");
    }

    #[tokio::test]
    async fn a_package_without_the_hook_has_nothing_to_run() {
        let folder = tempfile::tempdir().unwrap();
        let run = HookRun { hook: Hook::Drain, ..hook(folder.path(), "init", "", 0o755) };
        assert_eq!(run.to_success().await, Ok(None));
    }
}
