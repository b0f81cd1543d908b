//! The folders in which groups are made: those of this program's own groups.
//!
//! **What v2 asks for.** A group that hands controllers on to groups below it may hold no process itself. So the program has to be in a group
//! beside those that it makes: a unit of systemd says `Delegate=yes` and `DelegateSubgroup=agent`, and groups are then made beside `agent`. In a
//! container, where the program is alone in its group and no unit, it makes that group `agent` itself and moves there.

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
/// The group that the program itself is in, where groups are made beside it.
const AGENT: &str = "agent";

/// Why limits do not hold, by controller.
pub type Unheld = BTreeMap<Controller, String>;

/// Where groups are made.
#[derive(Clone, Debug, Default)]
pub struct Root {
    own: Hierarchies,
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
        Self { own: Hierarchies::read(&read("mountinfo"), &read("cgroup")) }
    }

    /// With these groups as the program's own.
    pub fn at(own: Hierarchies) -> Self {
        Self { own }
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
            let base = if version == Version::V2 { base_of_v2(own) } else { own };
            let place = places.entry(base.join(HELIUM).join(name)).or_insert((version, Vec::new()));
            place.1.push(controller);
        }
        places
    }

    /// Hands controllers of v2 on to the groups that are made; those of which it could be done.
    fn hand_on(&self, wanted: &[Controller], unheld: &mut Unheld) -> Vec<Controller> {
        let Some(own) = &self.own.v2 else { return Vec::new() };
        let base = base_of_v2(own);
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

/// Where the groups of v2 are made: beside the program's own if it is called `agent`, else within it.
fn base_of_v2(own: &Path) -> &Path {
    let beside = own.file_name().is_some_and(|name| name == AGENT);
    own.parent().filter(|_| beside).unwrap_or(own)
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

/// Sees to it that groups in `<base>/helium` have a controller.
fn hand_on(base: &Path, own: &Path, controller: Controller) -> Result<(), String> {
    let name = controller.name();
    let lists = |file: &str| {
        fs::read_to_string(base.join(file)).is_ok_and(|text| text.split_whitespace().any(|one| one == name))
    };
    if !lists(CONTROLLERS) {
        return Err(format!(
            "the control group {} does not have the controller {name}; as a unit of systemd the agent needs `Delegate=yes`",
            base.display()
        ));
    }
    if !lists("cgroup.subtree_control") {
        if base == own && base.join("cgroup.type").exists() {
            make_way(own)?;
        }
        enable(base, name)?;
    }
    let helium = base.join(HELIUM);
    fs::create_dir_all(&helium).map_err(|error| format!("{}: {error}", helium.display()))?;
    enable(&helium, name)
}

fn enable(folder: &Path, name: &str) -> Result<(), String> {
    let file = folder.join("cgroup.subtree_control");
    fs::write(&file, format!("+{name}")).map_err(|error| format!("{} takes no +{name}: {error}", file.display()))
}

/// Leaves the program's own group for one below it, if nobody else is there and nobody would be surprised.
fn make_way(own: &Path) -> Result<(), String> {
    let words = |error: io::Error| format!("{}: {error}", own.display());
    let there = Group { folders: vec![own.to_owned()] };
    let others = there.processes().map_err(words)?.into_iter().filter(|pid| *pid != process::id()).count();
    if others > 0 || own.extension().is_some_and(|ending| ending == "service") {
        return Err(format!(
            "the agent is in the control group {} itself, with {others} other processes; as a unit of systemd it needs `Delegate=yes` and `DelegateSubgroup={AGENT}`",
            own.display()
        ));
    }
    let beside = own.join(AGENT);
    fs::create_dir_all(&beside).map_err(words)?;
    fs::write(beside.join(PROCESSES), process::id().to_string()).map_err(words)
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
        assert!(memory.contains("/proc/nothing does not have the controller memory"), "{memory}");
    }
}
