//! The folders in which groups are made: those of this program's own groups.
//!
//! **What v2 asks for.** A group that hands controllers on to groups below it may hold no process itself. So the program has to be in a group
//! beside those that it makes: a unit of systemd says `Delegate=yes` and `DelegateSubgroup=agent`, and groups are then made beside `agent`. In a
//! container, where the program is alone in its group and no unit, it makes that group `agent` itself and moves there.
//! A systemd before 254 starts a unit's program in the unit's own group, and cannot once there are groups with controllers below: then groups are made in
//! the group of another unit, which is named to the program.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process,
};

use crate::{
    group::{CONTROLLERS, Group, HELIUM, PROCESSES},
    hierarchies::{Controller, Hierarchies, Version},
    limits::Limits,
};

/// How often a group is tried to be made whose folder goes away meanwhile.
const TRIES: usize = 8;
/// The file with the controllers that a group of v2 hands on to those below it.
const HANDED_ON: &str = "cgroup.subtree_control";
/// The limit of memory that is tried, in bytes. Nobody is ever under it.
const PROBED: u64 = 64 << 20;
/// The group that the program itself is in, where groups are made beside it.
const AGENT: &str = "agent";

/// Why limits do not hold, by controller.
pub type Unheld = BTreeMap<Controller, String>;

/// Where groups are made.
#[derive(Clone, Debug, Default)]
pub struct Root {
    own: Hierarchies,
    /// The group of v2 to make groups in, where that is another one than the program's own.
    given: Option<PathBuf>,
}

/// A group with nobody in it yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// The group; without a folder where nothing can be limited.
    pub group: Group,
    /// Which limits do not hold, and why.
    pub unheld: Unheld,
    /// What each folder is for.
    controllers: BTreeMap<PathBuf, Vec<Controller>>,
}

impl Root {
    /// The groups of this program; none where the system has none.
    pub fn here() -> Self {
        let read = |file: &str| fs::read_to_string(Path::new("/proc/self").join(file)).unwrap_or_default();
        Self::at(Hierarchies::read(&read("mountinfo"), &read("cgroup")))
    }

    /// With these groups as the program's own.
    pub fn at(own: Hierarchies) -> Self {
        Self { own, given: None }
    }

    /// Makes groups of v2 in this one, which must be there and in which nobody may be, in place of the program's own; that of v1 stays what it is.
    /// For a service manager that starts a program anew in the group itself, which fails while there are groups with controllers below.
    #[must_use]
    pub fn within(self, given: Option<PathBuf>) -> Self {
        Self { given, ..self }
    }

    /// Leaves the program's own group of v2 for one below it, and hands all controllers on, where both is possible. To be done before anything is
    /// started: whoever is in the own group, limited or not, keeps every limit from holding. Where it is not possible each limit will tell why.
    pub fn prepare(&self) {
        let Some(own) = &self.own.v2 else { return };
        for controller in Controller::ALL
            .into_iter()
            .filter(|one| self.own.of(*one).is_some_and(|(version, _)| version == Version::V2))
        {
            let _ = hand_on(self.base_of_v2(own), own, controller);
        }
    }

    /// The controllers that limits can be set by here, tried by a group that is gone again when this returns.
    pub fn usable(&self) -> BTreeMap<Controller, Version> {
        let limits = Limits { memory: Some(PROBED), cpu: Some(1000), processes: Some(1) };
        let name = format!("looked-at-by-{}", process::id());
        // One of this name was left by an agent that was killed: in a container the next one may have its number.
        self.plan(&name, &limits).drop_empty();
        let made = self.make(&name, &limits);
        made.group.drop_empty();
        let held = Controller::ALL.into_iter().filter(|controller| !made.unheld.contains_key(controller));
        held.filter_map(|controller| Some((controller, self.own.of(controller)?.0))).collect()
    }

    /// The group of a name that would limit this. Nothing is made yet.
    pub fn plan(&self, name: &str, limits: &Limits) -> Group {
        Group { folders: self.places(name, limits).into_keys().collect() }
    }

    /// Makes the group of a name, which must not be there yet. `name` is one plain name.
    pub fn make(&self, name: &str, limits: &Limits) -> Made {
        let mut made = Made::default();
        for controller in limits.controllers().filter(|one| self.own.of(*one).is_none()) {
            made.unheld.insert(controller, format!("this system shows the agent no control groups for {controller}"));
        }
        for (folder, (version, wanted)) in self.places(name, limits) {
            let ready = match version {
                Version::V1 => wanted,
                Version::V2 => self.hand_on(&wanted, &mut made.unheld),
            };
            if ready.is_empty() {
                continue;
            }
            if let Err(error) = create(&folder) {
                let why = format!("the agent cannot make the control group {}: {error}", folder.display());
                made.unheld.extend(ready.into_iter().map(|controller| (controller, why.clone())));
                continue;
            }
            let held = set_all(&folder, &ready, version, limits, &mut made.unheld);
            made.group.folders.push(folder.clone());
            made.controllers.insert(folder, held);
        }
        made
    }

    /// The folders of a group, with what each is to limit.
    fn places(&self, name: &str, limits: &Limits) -> BTreeMap<PathBuf, (Version, Vec<Controller>)> {
        let mut places: BTreeMap<PathBuf, (Version, Vec<Controller>)> = BTreeMap::new();
        for controller in limits.controllers() {
            let Some((version, own)) = self.own.of(controller) else { continue };
            let base = if version == Version::V2 { self.base_of_v2(own) } else { own };
            let place = places.entry(base.join(HELIUM).join(name)).or_insert((version, Vec::new()));
            place.1.push(controller);
        }
        places
    }

    /// Hands controllers of v2 on to the groups that are made; those of which it could be done.
    fn hand_on(&self, wanted: &[Controller], unheld: &mut Unheld) -> Vec<Controller> {
        let Some(own) = &self.own.v2 else { return Vec::new() };
        let base = self.base_of_v2(own);
        let mut ready = Vec::new();
        for controller in wanted {
            match hand_on(base, own, *controller) {
                Ok(()) => ready.push(*controller),
                Err(why) => {
                    unheld.insert(*controller, why);
                }
            }
        }
        ready
    }

    /// Where the groups of v2 are made: in the group that was given; else beside the program's own if it is called `agent`, else within it.
    fn base_of_v2<'a>(&'a self, own: &'a Path) -> &'a Path {
        let beside = own.file_name().is_some_and(|name| name == AGENT);
        let usual = own.parent().filter(|_| beside).unwrap_or(own);
        self.given.as_deref().unwrap_or(usual)
    }
}

impl Made {
    /// Moves a process in, and with it all that it will start. Limits of a hierarchy that refuses it do not hold.
    pub fn take(&mut self, pid: u32) {
        for (folder, controllers) in &self.controllers {
            if let Err(error) = fs::write(folder.join(PROCESSES), pid.to_string()) {
                let why = format!("the agent cannot move a process into {}: {error}", folder.display());
                self.unheld.extend(controllers.iter().map(|controller| (*controller, why.clone())));
            }
        }
    }
}

/// Makes a folder, and the one that it is in: that may go with the last of the other groups at any moment.
fn create(folder: &Path) -> io::Result<()> {
    let once = || folder.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::create_dir(folder));
    let again = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    (0..TRIES).map(|_| once()).find(|done| !done.as_ref().is_err_and(again)).unwrap_or_else(once)
}

/// Writes all limits of the controllers in one folder; gives those that hold.
fn set_all(
    folder: &Path,
    controllers: &[Controller],
    version: Version,
    limits: &Limits,
    unheld: &mut Unheld,
) -> Vec<Controller> {
    let mut held = Vec::new();
    for controller in controllers {
        let refused = limits.settings(*controller, version).into_iter().find_map(|set| {
            let file = folder.join(set.file);
            if set.may_lack && !file.exists() {
                return None;
            }
            let refused = fs::write(&file, &set.value).err()?;
            Some(format!("{} takes no {}: {refused}", file.display(), set.value))
        });
        match refused {
            None => held.push(*controller),
            Some(why) => {
                unheld.insert(*controller, why);
            }
        }
    }
    held
}

/// Sees to it that groups in `<base>/helium` have a controller, and with it all others that can be had.
fn hand_on(base: &Path, own: &Path, controller: Controller) -> Result<(), String> {
    let name = controller.name();
    if !base.exists() {
        return Err(format!("there is no control group {}", base.display()));
    }
    if !lists(base, CONTROLLERS, name) {
        return Err(format!(
            "the control group {} does not have the controller {name}; if it is that of a unit of systemd, the unit needs `Delegate=yes`",
            base.display()
        ));
    }
    let all: Vec<&str> =
        Controller::ALL.map(Controller::name).into_iter().filter(|one| lists(base, CONTROLLERS, one)).collect();
    if !lists(base, HANDED_ON, name) {
        if base == own && base.join("cgroup.type").exists() {
            make_way(own)?;
        }
        enable(base, &all, name)?;
    }
    let helium = base.join(HELIUM);
    fs::create_dir_all(&helium).map_err(|error| format!("{}: {error}", helium.display()))?;
    if lists(&helium, HANDED_ON, name) {
        return Ok(());
    }
    enable(&helium, &all, name)
}

/// Whether a file of a group lists a controller.
fn lists(folder: &Path, file: &str, name: &str) -> bool {
    fs::read_to_string(folder.join(file)).is_ok_and(|text| text.split_whitespace().any(|one| one == name))
}

/// Hands on all of these controllers, or if one of them cannot be had, the one that it is about.
fn enable(folder: &Path, all: &[&str], name: &str) -> Result<(), String> {
    let file = folder.join(HANDED_ON);
    let words: Vec<String> = all.iter().map(|one| format!("+{one}")).collect();
    fs::write(&file, words.join(" "))
        .or_else(|_| fs::write(&file, format!("+{name}")))
        .map_err(|error| format!("{} takes no +{name}: {error}", file.display()))
}

/// Leaves the program's own group for one below it, if nobody else is there and nobody would be surprised. Whoever is in a group below is in no way.
fn make_way(own: &Path) -> Result<(), String> {
    let words = |error: io::Error| format!("{}: {error}", own.display());
    let there = fs::read_to_string(own.join(PROCESSES)).map_err(words)?;
    let us = process::id().to_string();
    let (ours, others): (Vec<&str>, Vec<&str>) = there.lines().partition(|pid| *pid == us);
    if ours.is_empty() && others.is_empty() {
        return Ok(());
    }
    let others = others.len();
    if others > 0 || own.extension().is_some_and(|ending| ending == "service") {
        return Err(format!(
            "the agent is in the control group {} itself, with {others} other processes; as a unit of systemd it needs `Delegate=yes` and `DelegateSubgroup={AGENT}`, or before systemd 254 another group by `--cgroup`",
            own.display()
        ));
    }
    let beside = own.join(AGENT);
    fs::create_dir_all(&beside).map_err(words)?;
    fs::write(beside.join(PROCESSES), us).map_err(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_lies_below_the_program_s_own_and_in_v2_beside_one_called_agent() {
        let own = |v2: &str| {
            Root::at(Hierarchies {
                v1: BTreeMap::from([(Controller::Memory, "/m/a.service".into())]),
                v2: Some(v2.into()),
            })
        };
        let limits = Limits { memory: Some(1), cpu: Some(10), processes: Some(1) };
        let folders = |v2| own(v2).plan("hello-0", &limits).folders;
        assert_eq!(
            folders("/c/a.service/agent"),
            ["/c/a.service/helium/hello-0", "/m/a.service/helium/hello-0"].map(PathBuf::from)
        );
        assert_eq!(folders("/c"), ["/c/helium/hello-0", "/m/a.service/helium/hello-0"].map(PathBuf::from));
        assert_eq!(own("/c").plan("hello-0", &Limits::default()), Group::default());
    }

    /// Folders and files as a system with v2 shows them, of a program that is in a group of its own. They do what the system does only where the
    /// test does it.
    struct Tree(tempfile::TempDir);

    impl Tree {
        fn new(there: &str) -> Self {
            let tree = Self(tempfile::tempdir().unwrap());
            for (file, text) in
                [("cgroup.controllers", "cpu io memory pids"), ("cgroup.type", "domain"), (HANDED_ON, "")]
            {
                tree.write(file, text);
            }
            tree.write(PROCESSES, there);
            tree
        }

        fn root(&self) -> Root {
            Root::at(Hierarchies { v1: BTreeMap::new(), v2: Some(self.0.path().to_owned()) })
        }

        fn write(&self, file: &str, text: &str) {
            let file = self.0.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }

        fn read(&self, file: &str) -> String {
            fs::read_to_string(self.0.path().join(file)).unwrap_or_else(|error| format!("{file}: {error}"))
        }
    }

    const MEMORY: Limits = Limits { memory: Some(1 << 20), cpu: None, processes: None };
    const CPU: Limits = Limits { memory: None, cpu: Some(500), processes: None };

    #[test]
    fn a_program_alone_in_its_group_makes_way_before_it_starts_anything_and_hands_on_all_that_can_be_had() {
        let us = process::id().to_string();
        let tree = Tree::new(&format!("{us}\n"));
        tree.root().prepare();
        assert_eq!(tree.read("agent/cgroup.procs"), us);
        for file in ["cgroup.subtree_control", "helium/cgroup.subtree_control"] {
            let mut handed_on: Vec<_> = tree.read(file).split(' ').map(str::to_owned).collect();
            handed_on.sort();
            assert_eq!(handed_on, ["+cpu", "+memory", "+pids"], "{file}");
        }
    }

    #[test]
    fn instances_in_groups_below_keep_no_further_controller_from_being_handed_on() {
        let tree = Tree::new(&format!("{}\n", process::id()));
        assert_eq!(tree.root().make("a", &MEMORY).unheld, Unheld::new());
        tree.write(PROCESSES, "");
        tree.write(HANDED_ON, "memory");
        tree.write("helium/cgroup.subtree_control", "memory");
        tree.write("helium/a/cgroup.procs", "4000001\n4000002\n");
        tree.write("agent/cgroup.procs", "untouched");
        let made = tree.root().make("b", &CPU);
        assert_eq!((made.unheld, made.group.folders.len()), (Unheld::new(), 1));
        assert_eq!(tree.read("agent/cgroup.procs"), "untouched", "the program is there already");
        assert_eq!(tree.read("helium/b/cpu.max").split(' ').count(), 2);
    }

    #[test]
    fn groups_are_made_in_the_group_that_was_given_and_the_program_stays_where_it_is() {
        let (own, given) = (Tree::new(&format!("{}\n", process::id())), Tree::new(""));
        let root = own.root().within(Some(given.0.path().to_owned()));
        root.prepare();
        let made = root.make("a", &MEMORY);
        assert_eq!((made.unheld, made.group.folders), (Unheld::new(), vec![given.0.path().join("helium/a")]));
        assert_eq!(given.read("helium/a/memory.max"), (1 << 20).to_string());
        assert!(!own.0.path().join("agent").exists() && !own.0.path().join("helium").exists());
        assert_eq!(own.read(HANDED_ON), "");
    }

    #[test]
    fn a_group_that_was_given_and_is_not_there_is_named() {
        let (own, there) = (Tree::new(""), Tree::new(""));
        let gone = there.0.path().join("helium-instances.service");
        let made = own.root().within(Some(gone.clone())).make("a", &MEMORY);
        assert_eq!(made.unheld[&Controller::Memory], format!("there is no control group {}", gone.display()));
        assert!(!gone.exists());
    }

    #[test]
    fn who_shares_the_group_of_the_program_is_not_moved_and_the_limit_says_so() {
        let tree = Tree::new(&format!("{}\n4000001\n", process::id()));
        tree.root().prepare();
        let made = tree.root().make("a", &MEMORY);
        let why = &made.unheld[&Controller::Memory];
        assert!(why.contains("with 1 other processes") && made.group.folders.is_empty(), "{why}");
        assert!(!tree.0.path().join("agent").exists());
    }

    #[test]
    fn where_there_are_no_groups_each_limit_is_told_with_the_reason() {
        let limits = Limits { memory: Some(1 << 20), processes: Some(3), ..Limits::default() };
        let made = Root::default().make("hello-0", &limits);
        assert_eq!(made.group, Group::default());
        let why = |name: &str| format!("this system shows the agent no control groups for {name}");
        assert_eq!(made.unheld, [(Controller::Memory, why("memory")), (Controller::Pids, why("pids"))].into());
    }

    #[test]
    fn where_no_group_can_be_made_each_limit_is_told_with_the_reason() {
        let own =
            Hierarchies { v1: [(Controller::Cpu, "/proc/nowhere".into())].into(), v2: Some("/proc/nothing".into()) };
        let made = Root::at(own).make("hello-0", &Limits { memory: Some(1 << 20), cpu: Some(500), processes: None });
        assert_eq!(made.group, Group::default());
        let cpu = &made.unheld[&Controller::Cpu];
        assert!(cpu.starts_with("the agent cannot make the control group /proc/nowhere/helium/hello-0: "), "{cpu}");
        let memory = &made.unheld[&Controller::Memory];
        assert_eq!(memory, "there is no control group /proc/nothing");
    }
}
