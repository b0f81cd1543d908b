use std::{
    cell::Cell,
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    process::Command,
};

use super::*;
use crate::{files::RealFiles, output::Secrecy};

/// The real file system, of which one call fails, or that call and all after it, as in a crash.
struct Failing {
    calls: Cell<usize>,
    at: usize,
    dead: bool,
}

impl Failing {
    fn at(at: usize, dead: bool) -> Self {
        Self { calls: Cell::new(0), at, dead }
    }

    fn never() -> Self {
        Self::at(usize::MAX, false)
    }

    fn call(&self) -> io::Result<()> {
        let call = self.calls.get();
        self.calls.set(call + 1);
        let fails = call == self.at || (self.dead && call > self.at);
        if fails { Err(io::Error::other("made to fail")) } else { Ok(()) }
    }
}

impl Files for Failing {
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        self.call().and_then(|()| RealFiles.read(path))
    }
    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        self.call().and_then(|()| RealFiles.stat(path))
    }
    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        self.call().and_then(|()| RealFiles.resolve(path))
    }
    fn create_folders(&self, path: &Path) -> io::Result<()> {
        self.call().and_then(|()| RealFiles.create_folders(path))
    }
    fn write(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
        // A write that fails leaves half a file.
        let write = |bytes: &[u8]| {
            RealFiles.remove(path)?;
            fs::write(path, bytes)?;
            fs::set_permissions(path, fs::Permissions::from_mode(mode))
        };
        self.call().or_else(|error| write(&bytes[..bytes.len() / 2]).and(Err(error)))?;
        write(bytes)
    }
    fn give(&self, path: &Path, owner: (u32, u32)) -> io::Result<()> {
        self.call().and_then(|()| RealFiles.give(path, owner))
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call().and_then(|()| RealFiles.link(from, to))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call().and_then(|()| RealFiles.rename(from, to))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call().and_then(|()| RealFiles.remove(path))
    }
    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        // Thousands of runs need not reach the disk. The worse case: what was done before is done, and still it fails.
        self.call()
    }
}

struct World {
    folder: tempfile::TempDir,
}

impl World {
    /// `a` and `b` are there with their old texts; `sub/c` is not.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("etc")).unwrap();
        let world = Self { folder };
        for name in ["a", "b"] {
            fs::write(world.target(name), format!("old {name}")).unwrap();
        }
        world
    }

    fn target(&self, name: &str) -> PathBuf {
        self.folder.path().join("etc").join(name)
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn output(&self, name: &str, text: &str) -> Output {
        Output {
            target: self.target(name),
            bytes: text.into(),
            mode: None,
            owner: None,
            secrecy: Secrecy::Open,
            backup: false,
        }
    }

    fn set(&self) -> Vec<Output> {
        let output = |name| Output { backup: name == "b", ..self.output(name, &format!("new {name}")) };
        ["a", "b", "sub/c"].map(output).into()
    }

    /// Every file below `etc`, hidden ones too.
    fn files(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        for folder in [self.target(""), self.target("sub")].iter().filter(|folder| folder.is_dir()) {
            for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file())
            {
                let name = entry.strip_prefix(self.target("")).unwrap().display().to_string();
                found.insert(name, fs::read_to_string(entry).unwrap());
            }
        }
        found
    }
}

fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn old() -> BTreeMap<String, String> {
    texts(&[("a", "old a"), ("b", "old b")])
}

fn new() -> BTreeMap<String, String> {
    texts(&[("a", "new a"), ("b", "new b"), ("b.bak", "old b"), ("sub/c", "new sub/c")])
}

/// Runs the set with the n-th call failing, for every n, until none fails any more; returns how many there were.
fn for_every_call(dead: bool, judge: impl Fn(&World, usize, &Result<Applied, TransactionError>)) -> usize {
    for at in 0..1000 {
        let world = World::new();
        let files = Failing::at(at, dead);
        let outcome = apply(&files, &world.state(), &world.set(), &NoCheck);
        judge(&world, at, &outcome);
        if files.calls.get() <= at {
            return at;
        }
    }
    panic!("it never came through");
}

#[test]
fn a_crash_at_any_call_leaves_all_old_or_all_new_after_the_next_start() {
    let calls = for_every_call(true, |world, at, _| {
        recover(&Failing::never(), &world.state()).unwrap();
        let files = world.files();
        assert!(files == old() || files == new(), "call {at}: {files:?}");
        assert!(!recover(&Failing::never(), &world.state()).unwrap(), "call {at}: the journal is still there");
    });
    assert!(calls > 20, "only {calls} calls");
}

#[test]
fn one_failed_call_leaves_the_old_set_when_it_says_so_and_the_new_one_otherwise() {
    for_every_call(false, |world, at, outcome| match outcome {
        Ok(_) => {
            recover(&Failing::never(), &world.state()).unwrap();
            assert_eq!(world.files(), new(), "call {at}");
        }
        Err(error) => {
            assert!(!matches!(error, TransactionError::Torn { .. }), "call {at}: {error}");
            let mut files = world.files();
            files.retain(|name, _| !name.contains(".helium-"));
            assert_eq!(files, old(), "call {at}");
            recover(&Failing::never(), &world.state()).unwrap();
            assert_eq!(world.files(), old(), "call {at}");
        }
    });
}

#[test]
fn a_crash_within_the_recovery_is_recovered_from() {
    // One file to replace and one to make: every pair of calls is tried, and there are many already.
    let set = |world: &World| world.set().split_off(1);
    let mut done = new();
    done.insert("a".to_owned(), "old a".to_owned());
    let mut pairs = 0;
    for first in 0.. {
        let mut crashed = false;
        for second in 0.. {
            let world = World::new();
            let files = Failing::at(first, true);
            let _ = apply(&files, &world.state(), &set(&world), &NoCheck);
            crashed = files.calls.get() > first;
            pairs += 1;
            let files = Failing::at(second, true);
            let _ = recover(&files, &world.state());
            recover(&Failing::never(), &world.state()).unwrap();
            let found = world.files();
            assert!(found == old() || found == done, "calls {first} and {second}: {found:?}");
            if files.calls.get() <= second {
                break;
            }
        }
        if !crashed {
            break;
        }
    }
    assert!(pairs > 200, "only {pairs} pairs");
}

#[test]
fn unchanged_bytes_write_nothing() {
    let world = World::new();
    assert_eq!(
        apply(&RealFiles, &world.state(), &world.set(), &NoCheck).unwrap(),
        Applied::Changed(vec![world.target("a"), world.target("b"), world.target("sub/c")])
    );
    let inode = fs::metadata(world.target("a")).unwrap().ino();
    fs::remove_dir_all(world.state()).unwrap();
    assert_eq!(apply(&RealFiles, &world.state(), &world.set(), &NoCheck).unwrap(), Applied::Unchanged);
    assert_eq!(fs::metadata(world.target("a")).unwrap().ino(), inode);
    assert!(!world.state().exists());
}

#[test]
fn a_refused_set_leaves_the_old_one_and_no_litter() {
    struct Grep;
    impl Check for Grep {
        fn check(&self, staged: &[Staged]) -> Result<(), String> {
            let found = Command::new("grep").arg("-q").arg("new b").args(staged.iter().map(|one| &one.staged)).status();
            if found.unwrap().success() { Err("b is not wanted".to_owned()) } else { Ok(()) }
        }
    }
    let world = World::new();
    let refused = apply(&RealFiles, &world.state(), &world.set(), &Grep).unwrap_err().to_string();
    assert_eq!(refused, "the check refused the new files, the old ones stand: b is not wanted");
    assert_eq!(world.files(), old());
    apply(&RealFiles, &world.state(), &world.set()[..1], &Grep).unwrap();
    assert_eq!(world.files()["a"], "new a");
}

#[test]
fn the_mode_of_a_file_is_kept_and_a_secret_one_is_always_0600() {
    let world = World::new();
    let mode = |name| fs::metadata(world.target(name)).unwrap().permissions().mode() & 0o777;
    fs::set_permissions(world.target("a"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::set_permissions(world.target("b"), fs::Permissions::from_mode(0o644)).unwrap();
    let mut secret = world.output("b", "old b");
    (secret.secrecy, secret.mode) = (Secrecy::HoldsSecrets, Some(0o666));
    let mut run = world.output("run", "x");
    run.mode = Some(0o755);
    let set = [world.output("a", "new a"), secret, run, world.output("c", "c")];
    // The bytes of b are right already, and yet it is put right.
    assert!(
        matches!(apply(&RealFiles, &world.state(), &set, &NoCheck).unwrap(), Applied::Changed(files) if files.len() == 4)
    );
    assert_eq!(["a", "b", "run", "c"].map(mode), [0o640, 0o600, 0o755, 0o644]);
}

#[test]
fn a_link_stays_a_link_and_the_file_behind_it_is_replaced() {
    let world = World::new();
    std::os::unix::fs::symlink(world.target("a"), world.target("link")).unwrap();
    apply(&RealFiles, &world.state(), &[world.output("link", "through")], &NoCheck).unwrap();
    assert!(fs::symlink_metadata(world.target("link")).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(world.target("a")).unwrap(), "through");
    let twice = [world.output("link", "x"), world.output("a", "x")];
    let error = apply(&RealFiles, &world.state(), &twice, &NoCheck).unwrap_err();
    assert!(matches!(error, TransactionError::SameTarget { .. }), "{error}");
}

#[test]
fn folders_that_are_missing_are_made_for_one_file_as_for_several() {
    let world = World::new();
    let deep = ["new/one", "new/er/two", "new/est/three"];
    apply(&RealFiles, &world.state(), &[world.output(deep[0], "1")], &NoCheck).unwrap();
    apply(&RealFiles, &world.state(), &[world.output(deep[1], "2"), world.output(deep[2], "3")], &NoCheck).unwrap();
    assert_eq!(deep.map(|name| fs::read_to_string(world.target(name)).unwrap()), ["1", "2", "3"]);
}

#[test]
fn a_folder_in_the_place_of_a_file_is_refused_before_anything_is_written() {
    let world = World::new();
    fs::create_dir(world.target("dir")).unwrap();
    let set = [world.output("a", "new a"), world.output("dir", "x")];
    let error = apply(&RealFiles, &world.state(), &set, &NoCheck).unwrap_err().to_string();
    assert!(error.ends_with("dir: there is something else than a file"), "{error}");
    assert_eq!(world.files(), old());
}

#[test]
fn a_check_command_names_staged_files_by_the_names_of_their_targets() {
    let outputs = ["/etc/app/a.conf", "/etc/app/b.conf"].map(|target| Output {
        target: target.into(),
        bytes: Vec::new(),
        mode: None,
        owner: None,
        secrecy: Secrecy::Open,
        backup: false,
    });
    let staged = [Staged { target: "/etc/app/a.conf".into(), staged: "/etc/app/.a.conf.helium-new".into() }];
    let arguments = ["check", "{a.conf}", "--also={b.conf}", "{}"].map(str::to_owned);
    assert_eq!(
        command(&arguments, &outputs, &staged),
        ["check", "/etc/app/.a.conf.helium-new", "--also=/etc/app/b.conf", "{}"]
    );
    assert_eq!(command(&["{}".to_owned()], &outputs[..1], &staged), ["/etc/app/.a.conf.helium-new"]);
}

#[test]
fn the_owner_of_a_file_is_kept() {
    let world = World::new();
    let me = fs::metadata(world.target("a")).unwrap();
    // Only root can give files away; for anybody else the owner is the one that it would be anyway.
    let owner = if me.uid() == 0 { (1, 2) } else { (me.uid(), me.gid()) };
    RealFiles.give(&world.target("a"), owner).unwrap();
    apply(&RealFiles, &world.state(), &world.set(), &NoCheck).unwrap();
    assert_eq!(RealFiles.stat(&world.target("a")).unwrap().unwrap().owner, owner);
    assert_eq!(RealFiles.stat(&world.target("b")).unwrap().unwrap().owner, (me.uid(), me.gid()));
}

#[test]
fn a_backup_is_the_file_before_this_one_and_there_is_only_one() {
    let world = World::new();
    for text in ["first", "second"] {
        let mut output = world.output("a", text);
        output.backup = true;
        apply(&RealFiles, &world.state(), &[output], &NoCheck).unwrap();
    }
    assert_eq!(world.files(), texts(&[("a", "second"), ("a.bak", "first"), ("b", "old b")]));
}

/// Refuses the one file that there is.
struct No;

impl Check for No {
    fn check(&self, staged: &[Staged]) -> Result<(), String> {
        assert_eq!(staged.len(), 1, "what goes is not looked at");
        Err("no".to_owned())
    }
}

#[test]
fn a_file_that_left_the_set_goes_with_it_and_stays_if_the_set_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let output = |name: &str, text: &str| Output {
        target: path(name),
        bytes: text.into(),
        mode: None,
        owner: None,
        secrecy: Secrecy::Open,
        backup: false,
    };
    let state = path("state");
    apply(&RealFiles, &state, &[output("a", "1"), output("b", "1")], &NoCheck).unwrap();
    let gone = [path("b"), path("never-was"), path("state")];
    replace(&RealFiles, &state, &[output("a", "2")], &gone, &No).unwrap_err();
    assert_eq!(fs::read_to_string(path("b")).unwrap(), "1");
    for at in 0..40 {
        // Whichever call fails, or the machine with it, the set is whole afterwards.
        for dead in [false, true] {
            apply(&RealFiles, &state, &[output("a", "1"), output("b", "1")], &NoCheck).unwrap();
            let _ = replace(&Failing::at(at, dead), &state, &[output("a", "2")], &gone, &NoCheck);
            recover(&RealFiles, &state).unwrap();
            let new = fs::read_to_string(path("a")).unwrap() == "2";
            assert_eq!(path("b").exists(), !new, "call {at}");
        }
    }
    let applied = replace(&RealFiles, &state, &[output("a", "2")], &gone, &NoCheck).unwrap();
    assert!(matches!(applied, Applied::Changed(_) | Applied::Unchanged) && !path("b").exists());
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn a_line_of_the_shell_names_files_in_quotes() {
    let output = |name: &str| Output {
        target: PathBuf::from(format!("/etc/{name}")),
        bytes: vec![],
        mode: None,
        owner: None,
        secrecy: Secrecy::Open,
        backup: false,
    };
    let staged = [Staged { target: "/etc/it's".into(), staged: "/etc/.it's.new".into() }];
    assert_eq!(command_line("check {}", &[output("it's")], &staged), r"check '/etc/.it'\''s.new'");
    assert_eq!(command_line("check {b} {it's}", &[output("it's"), output("b")], &[]), r"check '/etc/b' '/etc/it'\''s'");
}

#[test]
fn one_file_alone_is_all_old_or_all_new_at_any_call_that_fails_and_leaves_no_litter_to_the_next_set() {
    let mut calls = 0;
    for dead in [false, true] {
        for at in 0.. {
            let world = World::new();
            let files = Failing::at(at, dead);
            let outcome = apply(&files, &world.state(), &[world.output("a", "new a")], &NoCheck);
            let mut found = world.files();
            found.retain(|name, _| dead || !name.contains(".helium-"));
            found.remove(".a.helium-new");
            let done = found == texts(&[("a", "new a"), ("b", "old b")]);
            assert!(done || found == old(), "call {at}: {found:?}");
            assert!(dead || done == outcome.is_ok(), "call {at}: {outcome:?}, and {found:?}");
            // Whatever the next set makes of it: the same, or what is there already.
            let next = [world.output("a", &found["a"])];
            apply(&RealFiles, &world.state(), &next, &NoCheck).unwrap();
            assert_eq!(world.files(), found, "call {at}");
            if files.calls.get() <= at {
                break;
            }
            calls += 1;
        }
    }
    assert!(calls > 12, "only {calls} calls");
}

#[test]
fn one_file_alone_costs_one_write_and_no_note() {
    let world = World::new();
    apply(&RealFiles, &world.state(), &[world.output("a", "new a")], &NoCheck).unwrap();
    assert_eq!((world.files()["a"].as_str(), world.state().exists()), ("new a", false));
}
