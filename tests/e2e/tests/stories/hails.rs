//! A profile that looks after others: the script and the unit of the guide, with a real Nix, real programs, and in place of systemd a few lines that
//! keep the unit's program running.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    time::Duration,
};

use helium_e2e::{Helium, Hydra, eventually, holds_for, ports, process};
use serde_json::Value;

use crate::{fleet::ROLLOUT, real_nix::Nix};

/// The one that looks after the others.
const MANAGER: &str = "hails";

/// What systemd does for the unit `helium-hail@NAME`, as far as the script asks for it: `enable`, `disable --now` and `restart --no-block`, and
/// `Restart=on-failure`. The program and its file of variables are the unit's own.
const SYSTEMCTL: &str = r#"#!/bin/sh -eu
verb=$1; shift
case $1 in --*) shift ;; esac
name=${1#helium-hail@}
case $verb in
  enable) : > "$UNITS/$name.enabled" ;;
  disable) flock -o "$UNITS/$name.lock" "$0" stop -- "$name"; /bin/rm -f "$UNITS/$name.enabled" ;;
  stop)
    group=$(cat "$UNITS/$name.group" 2>/dev/null) || exit 0
    kill -s TERM -- "-$group" 2>/dev/null || true
    while ps -A -o pgid=,stat= | grep -q "^ *$group *[^Z ]"; do sleep 0.05; done
    /bin/rm -f "$UNITS/$name.group" ;;
  start) setsid "$0" keep -- "$name" < /dev/null >> "$UNITS/$name.log" 2>&1 & echo $! > "$UNITS/$name.group" ;;
  keep) set -a; . "ENVIRONMENT_FILE"; set +a; until EXEC_START; do sleep 0.2; done ;;
  restart)
    setsid sh -c ': > "$UNITS/$1.queued"; flock -o "$UNITS/$1.lock" sh -c "\"$0\" stop -- $1; \"$0\" start -- $1"' "$0" "$name" < /dev/null > /dev/null 2>&1 &
    while [ ! -e "$UNITS/$name.queued" ]; do sleep 0.01; done
    /bin/rm "$UNITS/$name.queued" ;;
esac
"#;

/// Stands before each program that the script runs and that changes something: at the step that a file counts down to, it tells so and goes no further.
/// In the activation of the store path that another file names, the command that a third one holds fails.
const STEP: &str = r#"#!/bin/sh -eu
if [ "${HELIUM_STORE_PATH-}" = "$(cat "$UNITS/broken" 2>/dev/null)" ] && [ "${0##*/} $*" = "$(cat "$UNITS/breaks")" ]; then
  exit 1
fi
left=$(cat "$UNITS/steps" 2>/dev/null || echo 0)
if [ "$left" -gt 0 ]; then
  echo $((left - 1)) > "$UNITS/steps"
  if [ "$left" -eq 1 ]; then : > "$UNITS/halted"; exec sleep 600; fi
fi
exec THE_PROGRAM "$@"
"#;

/// A machine whose profiles are looked after by one of them.
struct Machine {
    helium: Helium,
    nix: Nix,
    /// Hydra's jobs, by the profile that follows each.
    jobs: BTreeMap<&'static str, Hydra>,
    script: String,
}

impl Machine {
    fn new() -> Self {
        let mut helium = Helium::nowhere();
        let folder = helium.folder().to_owned();
        let nix = Nix::new(folder.join("nix"));
        for (name, value) in &nix.env {
            helium.set_variable(name, value);
        }
        let programs = folder.join("programs");
        for place in ["programs", "units", "etc", "profiles"] {
            fs::create_dir_all(folder.join(place)).unwrap();
        }
        symlink(Helium::binary(), programs.join("helium")).unwrap();
        helium.set_variable("PATH", &format!("{}:{}", programs.display(), nix.env["PATH"]));
        helium.set_variable("UNITS", &folder.join("units").display().to_string());
        let guide = fs::read_to_string(Helium::source().join("docs/guides/nix.md")).unwrap();
        // The guide's text, with its folders where the test has its own.
        let here = |text: &str| {
            text.replace("/etc/helium/hail", &folder.join("etc").display().to_string())
                .replace("/usr/bin/helium", "helium")
                .replace("--profile \"$name\"", &format!("--profile \"{}/$name\"", folder.join("profiles").display()))
                .replace("--profile %i", &format!("--profile {}/%i", folder.join("profiles").display()))
                .replace("%i", "$name")
        };
        let unit = |setting: &str| {
            let line = guide.split("# helium-hail@.service").nth(1).unwrap().lines();
            here(line.into_iter().find_map(|line| line.strip_prefix(setting)).unwrap())
        };
        let systemctl = SYSTEMCTL.replace("ENVIRONMENT_FILE", &unit("EnvironmentFile="));
        let systemctl = systemctl.replace("EXEC_START", &unit("ExecStart="));
        let real = programs.join("real-systemctl").display().to_string();
        let mut texts = vec![("real-systemctl", systemctl.replace("$0", &real))];
        for (program, real) in [("systemctl", real.as_str()), ("cp", "/bin/cp"), ("rm", "/bin/rm")] {
            texts.push((program, STEP.replace("THE_PROGRAM", real)));
        }
        for (program, text) in texts {
            fs::write(programs.join(program), text).unwrap();
            fs::set_permissions(programs.join(program), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let script = guide.split("```sh\n").find(|part| part.contains("share/hail")).unwrap();
        let script = here(script.split("```").next().unwrap());
        let jobs = [MANAGER, "a", "b", "c"].map(|name| (name, Hydra::on(ports::free(), ""))).into();
        Self { helium, nix, jobs, script }
    }

    /// Hydra has built the profile that looks after these and itself, as this build.
    fn manages(&self, build: u64, names: &[&str]) {
        self.built(MANAGER, build, &self.keeper(names, ""));
    }

    /// The profile that looks after these and itself, with one more line in the file of each.
    fn keeper(&self, names: &[&str], line: &str) -> PathBuf {
        let job_of = |name: &str| format!("JOB_URI={}\n{line}", self.jobs[name].job());
        let files: Vec<(String, String)> =
            names.iter().chain(&[MANAGER]).map(|name| (format!("share/hail/{name}"), job_of(name))).collect();
        let mut files: Vec<(&str, &str)> = files.iter().map(|(file, text)| (file.as_str(), text.as_str())).collect();
        files.push(("bin/activate", &self.script));
        self.nix.path_of(&files)
    }

    /// The first activation, by hand.
    fn begin(&self) {
        let (profile, job) = (self.place(MANAGER).display().to_string(), self.jobs[MANAGER].job());
        self.helium.run(&["hail", "--profile", &profile, "--job-uri", &job, "--oneshot"]).ok();
    }

    fn built(&self, name: &str, build: u64, path: &Path) {
        self.jobs[name].built(build, path.to_str().unwrap());
    }

    /// Hydra has built a profile that tells what is done with it.
    fn builds(&self, name: &str, build: u64) {
        self.builds_that_ends(name, build, 0);
    }

    /// The same, and its `bin/deactivate` ends with this code.
    fn builds_that_ends(&self, name: &str, build: u64, code: u8) {
        let tell = |what: &str| format!("#!/bin/sh\necho {what} {build} >> {}.told\n", self.place(name).display());
        let (activate, deactivate) = (tell("activate"), format!("{}exit {code}\n", tell("deactivate")));
        self.built(name, build, &self.nix.path_of(&[("bin/activate", &activate), ("bin/deactivate", &deactivate)]));
    }

    fn place(&self, name: &str) -> PathBuf {
        self.helium.folder().join("profiles").join(name)
    }

    fn told(&self, name: &str) -> Vec<String> {
        let told = fs::read_to_string(format!("{}.told", self.place(name).display())).unwrap_or_default();
        told.lines().map(str::to_owned).collect()
    }

    /// What the profile that looks after the others tells of itself.
    fn status(&self) -> Value {
        let text = fs::read_to_string(format!("{}.hail.json.status", self.place(MANAGER).display()));
        text.ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    /// Whether this build has failed, and all is as the first generation, whose files say `ROUND=1`, wants it, systemd told of it.
    fn is_back(&self, failed: &Path) -> bool {
        let (status, names) = (self.status(), ["a", "b", MANAGER]);
        let refused = status["refused"].as_array().into_iter().flatten();
        let is_refused = refused.into_iter().any(|refused| refused.to_string().contains(failed.to_str().unwrap()));
        let (units, etc) = (self.helium.folder().join("units"), self.helium.folder().join("etc"));
        let is_told = |name: &str| {
            let [now, told] = [name.to_owned(), format!(".{name}")].map(|file| fs::read_to_string(etc.join(file)).ok());
            now.is_some_and(|now| now.contains("ROUND=1\n") && told == Some(now))
                && units.join(format!("{name}.enabled")).exists()
        };
        let is_forgotten = ![etc.join("c"), etc.join(".c"), units.join("c.enabled")].iter().any(|file| file.exists());
        let runs = self.following().iter().all(|(_, pid)| process::variable(*pid, "ROUND").as_deref() == Some("1"));
        let is_settled = status["attempt"].is_null() && names.into_iter().all(is_told);
        is_refused && is_settled && is_forgotten && runs && self.is_followed(&names[..2])
    }

    /// The programs that follow a profile now, by its name.
    fn following(&self) -> Vec<(String, u32)> {
        let units = self.helium.folder().join("units").display().to_string();
        let following = |pid: u32| {
            let arguments = process::arguments(pid);
            let is_hail = arguments.get(1).is_some_and(|argument| argument == "hail");
            let profile = arguments.iter().skip_while(|argument| *argument != "--profile").nth(1)?;
            let name = Path::new(profile).file_name()?.to_str()?.to_owned();
            let stays = !arguments.iter().any(|argument| ["--oneshot", "--remove"].contains(&argument.as_str()));
            (is_hail && stays).then_some((name, pid))
        };
        let mut all: Vec<_> = process::with_variable("UNITS", &units).into_iter().filter_map(following).collect();
        all.sort();
        all
    }

    /// Kills what follows a profile, which then begins anew, and so asks Hydra at once.
    fn kill(&self, name: &str) {
        self.following().into_iter().filter(|(followed, _)| followed == name).for_each(|(_, pid)| process::kill(pid));
    }

    /// Whether exactly these are followed, each by one program, and are where Hydra is.
    fn is_followed(&self, names: &[&str]) -> bool {
        let wanted: BTreeSet<String> = names.iter().chain(&[MANAGER]).map(|name| (*name).to_owned()).collect();
        let followed: Vec<String> = self.following().into_iter().map(|(name, _)| name).collect();
        let active = |name: &str| self.told(name).last().is_some_and(|told| told.starts_with("activate"));
        let is_right = |name: &&str| {
            let there = self.place(name).exists();
            if names.contains(name) { there && active(name) } else { !there }
        };
        followed.iter().eq(&wanted) && ["a", "b", "c"].iter().all(is_right)
    }

    #[track_caller]
    fn await_followed(&self, names: &[&str]) {
        let what = format!("{names:?} and {MANAGER} are followed and nothing else");
        eventually(&what, ROLLOUT, || self.is_followed(names).then_some(()));
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Those that keep the programs running go first.
        let units = self.helium.folder().join("units");
        for group in fs::read_dir(&units)
            .unwrap()
            .flatten()
            .filter(|file| file.path().extension().is_some_and(|end| end == "group"))
        {
            if let Ok(Ok(group)) = fs::read_to_string(group.path()).map(|text| text.trim().parse()) {
                process::kill_group(group);
            }
        }
        process::with_variable("UNITS", &units.display().to_string()).into_iter().for_each(process::kill);
    }
}

#[test]
fn a_profile_starts_and_stops_those_that_follow_others_and_heals_whenever_it_is_killed() {
    let machine = Machine::new();
    for name in ["a", "b", "c"] {
        machine.builds(name, 1);
    }
    machine.manages(1, &["a", "b"]);
    machine.begin();
    machine.await_followed(&["a", "b"]);

    // From here on it follows itself. One goes, one comes, and the third is not touched.
    let of_a = |machine: &Machine| machine.following().into_iter().find(|(name, _)| name == "a");
    let before = of_a(&machine);
    machine.manages(2, &["a", "c"]);
    machine.kill(MANAGER);
    machine.await_followed(&["a", "c"]);
    assert_eq!((of_a(&machine), machine.told("a")), (before, vec!["activate 1".to_owned()]));
    assert_eq!(machine.told("b"), ["activate 1", "deactivate 1"]);
    machine.builds("c", 2);
    machine.kill("c");
    eventually("what it has started follows its own job", ROLLOUT, || {
        (machine.told("c") == ["activate 1", "activate 2"]).then_some(())
    });

    // Killed before each thing that it does.
    let unit = |file: &str| machine.helium.folder().join("units").join(file);
    let mut steps = 0;
    loop {
        let names = if steps % 2 == 0 { ["a", "b"] } else { ["a", "c"] };
        fs::write(unit("steps"), (steps + 1).to_string()).unwrap();
        machine.manages(3 + steps, &names);
        machine.kill(MANAGER);
        let halted = eventually(&format!("step {steps} is reached, or there is none"), ROLLOUT, || {
            if unit("halted").exists() { Some(true) } else { machine.is_followed(&names).then_some(false) }
        });
        fs::write(unit("steps"), "0").unwrap();
        if !halted {
            break;
        }
        fs::remove_file(unit("halted")).unwrap();
        machine.kill(MANAGER);
        // Not only done, but also over: the next round counts the commands of one script.
        eventually(&format!("{names:?} are followed, and nothing is under way"), ROLLOUT, || {
            (machine.status()["attempt"].is_null() && machine.is_followed(&names)).then_some(())
        });
        steps += 1;
    }
    assert_eq!(steps, 8, "rm, disable and rm of one; rm, cp, enable, restart and cp of the other");
    holds_for("each has one program", Duration::from_secs(1), || match machine.following().len() {
        3 => Ok(()),
        _ => Err(format!("{:?}", machine.following())),
    });
}

#[test]
fn a_profile_that_goes_back_has_what_it_started_and_stopped_halfway_as_it_was_before() {
    let machine = Machine::new();
    for name in ["a", "b", "c"] {
        machine.builds(name, 1);
    }
    machine.built(MANAGER, 1, &machine.keeper(&["a", "b"], "ROUND=1\n"));
    machine.begin();
    machine.await_followed(&["a", "b"]);

    // One changes, one goes, one comes, and its own unit changes; at one of these commands it fails, however often it is tried.
    let etc = machine.helium.folder().join("etc").display().to_string();
    let breaks = [
        "systemctl disable --now helium-hail@b".to_owned(),
        format!("rm -f {etc}/b"),
        "systemctl enable helium-hail@a".to_owned(),
        format!("cp a {etc}/.a"),
        "systemctl enable helium-hail@c".to_owned(),
        format!("cp c {etc}/.c"),
        format!("systemctl restart --no-block helium-hail@{MANAGER}"),
        "helium hail --remove, for bin/deactivate fails".to_owned(),
    ];
    let units = machine.helium.folder().join("units");
    for (round, command) in (2..).zip(&breaks) {
        if command.starts_with("helium") {
            machine.builds_that_ends("b", 2, 3);
            machine.kill("b");
            let is_there = || machine.told("b").last().is_some_and(|told| told == "activate 2");
            eventually("b cannot be deactivated", ROLLOUT, || is_there().then_some(()));
        }
        fs::write(units.join("breaks"), command).unwrap();
        let failed = machine.keeper(&["a", "c"], &format!("ROUND={round}\n"));
        fs::write(units.join("broken"), failed.to_str().unwrap()).unwrap();
        machine.built(MANAGER, round, &failed);
        machine.kill(MANAGER);
        let what = format!("it fails at `{command}`, and all is as before");
        eventually(&what, ROLLOUT, || machine.is_back(&failed).then_some(()));
    }
    assert_eq!(machine.told("b").iter().filter(|told| *told == "deactivate 2").count(), 3, "{:?}", machine.told("b"));
}
