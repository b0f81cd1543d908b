//! Where this program's control groups are, by what `/proc/self/mountinfo` and `/proc/self/cgroup` say: a pure function of the two texts.
//!
//! In v1 each hierarchy is a mount of its own that names its controllers among its options, and a program is in one group of each. In v2 there is
//! one hierarchy for all. Both may be there at once, with each controller in one of them.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Component, Path, PathBuf},
};

/// What a group can limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    /// Memory.
    Memory,
    /// Time of processors.
    Cpu,
    /// The number of processes and threads.
    Pids,
}

/// The two forms of control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A hierarchy for each controller, or for some together.
    V1,
    /// One hierarchy for all.
    V2,
}

/// The folders of the groups that a program is in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hierarchies {
    /// By controller, of those that are in a hierarchy of v1.
    pub v1: BTreeMap<Controller, PathBuf>,
    /// In the hierarchy of v2, if it is there.
    pub v2: Option<PathBuf>,
}

impl Controller {
    /// Every controller.
    pub const ALL: [Controller; 3] = [Controller::Memory, Controller::Cpu, Controller::Pids];

    /// The system's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Controller::Memory => "memory",
            Controller::Cpu => "cpu",
            Controller::Pids => "pids",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Version::V1 => "v1",
            Version::V2 => "v2",
        })
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Hierarchies {
    /// Reads the two texts. A group that lies outside of what is mounted here, as it does for some containers, is not found.
    pub fn read(mountinfo: &str, cgroup: &str) -> Self {
        let mut found = Self::default();
        for mount in mountinfo.lines().filter_map(Mount::read) {
            match mount.controllers {
                None => {
                    let own = own_path(cgroup, str::is_empty);
                    found.v2 = found.v2.or(own.and_then(|own| mount.folder(own)));
                }
                Some(options) => {
                    for controller in Controller::ALL.into_iter().filter(|one| has(options, one.name())) {
                        let own = own_path(cgroup, |controllers| has(controllers, controller.name()));
                        if let Some(folder) = own.and_then(|own| mount.folder(own)) {
                            found.v1.entry(controller).or_insert(folder);
                        }
                    }
                }
            }
        }
        found
    }

    /// The version that a controller is looked for in, and the program's own folder there.
    pub fn of(&self, controller: Controller) -> Option<(Version, &Path)> {
        let v1 = self.v1.get(&controller).map(|folder| (Version::V1, folder.as_path()));
        v1.or_else(|| self.v2.as_deref().map(|folder| (Version::V2, folder)))
    }
}

/// One line of `mountinfo` that is of control groups.
struct Mount<'a> {
    /// Which group of the hierarchy is mounted.
    root: String,
    /// Where.
    point: PathBuf,
    /// The options of v1, the controllers among them; none for v2.
    controllers: Option<&'a str>,
}

impl<'a> Mount<'a> {
    /// `33 31 0:30 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu`: behind the fifth field there are any number of further ones
    /// up to a dash, then type, source and options of the file system.
    fn read(line: &'a str) -> Option<Self> {
        let (mount, system) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (unescaped(fields.next()?), unescaped(fields.next()?).into());
        let mut system = system.split(' ');
        let controllers = match system.next()? {
            "cgroup2" => None,
            "cgroup" => Some(system.nth(1)?),
            _ => return None,
        };
        Some(Self { root, point, controllers })
    }

    /// The folder of a group, if it is within what is mounted.
    fn folder(&self, own: &str) -> Option<PathBuf> {
        let within = Path::new(own).strip_prefix(&self.root).ok()?;
        let plain = within.components().all(|part| matches!(part, Component::Normal(_)));
        plain.then(|| if within.as_os_str().is_empty() { self.point.clone() } else { self.point.join(within) })
    }
}

/// The group by a line such as `4:memory:/some/where`, of which the middle is as wanted.
fn own_path(cgroup: &str, wanted: impl Fn(&str) -> bool) -> Option<&str> {
    let mut lines = cgroup.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    lines.find(|(controllers, _)| wanted(controllers)).map(|(_, path)| path)
}

fn has(list: &str, name: &str) -> bool {
    list.split(',').any(|one| one == name)
}

/// Blanks, tabs, line breaks and backslashes are written as three octal digits.
fn unescaped(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (written, meant)| text.replace(written, meant))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 master:2 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    fn folders(found: &Hierarchies) -> Vec<(Controller, Version, &str)> {
        let of = |one| found.of(one).map(|(version, folder)| (one, version, folder.to_str().unwrap()));
        Controller::ALL.into_iter().filter_map(of).collect()
    }

    #[test]
    fn each_controller_of_v1_is_found_in_its_own_hierarchy() {
        let own =
            "8:pids:/\n5:cpu,cpuacct:/system.slice/helium.service\n4:memory:/system.slice/helium.service\n0::/u\n";
        let found = Hierarchies::read(V1, own);
        let service = "system.slice/helium.service";
        assert_eq!(
            folders(&found),
            [
                (Controller::Memory, Version::V1, format!("/sys/fs/cgroup/memory/{service}").as_str()),
                (Controller::Cpu, Version::V1, format!("/sys/fs/cgroup/cpu,cpuacct/{service}").as_str()),
                (Controller::Pids, Version::V1, "/sys/fs/cgroup/pids"),
            ]
        );
        assert_eq!(found.v2.as_deref(), Some(Path::new("/sys/fs/cgroup/unified/u")));
    }

    #[test]
    fn one_hierarchy_of_v2_stands_for_all_and_for_what_v1_does_not_have() {
        let mounts = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = Hierarchies::read(mounts, "0::/system.slice/helium.service/agent\n");
        let folder = "/sys/fs/cgroup/system.slice/helium.service/agent";
        assert_eq!(folders(&found), Controller::ALL.map(|one| (one, Version::V2, folder)));
        let mixed = format!("{mounts}35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
        let found = Hierarchies::read(&mixed, "1:memory:/m\n0::/all\n");
        assert_eq!(found.of(Controller::Memory), Some((Version::V1, Path::new("/sys/fs/cgroup/memory/m"))));
        assert_eq!(found.of(Controller::Cpu), Some((Version::V2, Path::new("/sys/fs/cgroup/all"))));
    }

    #[test]
    fn a_container_that_has_its_own_group_mounted_finds_it_and_one_that_lies_outside_is_not_taken() {
        let mounts = "35 31 0:32 /docker/ab\\040c /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        let found = Hierarchies::read(mounts, "4:memory:/docker/ab c\n");
        assert_eq!(found.of(Controller::Memory), Some((Version::V1, Path::new("/sys/fs/cgroup/memory"))));
        let inner = Hierarchies::read(mounts, "4:memory:/docker/ab c/x\n");
        assert_eq!(inner.of(Controller::Memory), Some((Version::V1, Path::new("/sys/fs/cgroup/memory/x"))));
        for outside in ["/docker/other", "/", "/docker/ab c/../../x"] {
            let found = Hierarchies::read(mounts, &format!("4:memory:{outside}\n"));
            assert_eq!(found.of(Controller::Memory), None, "{outside}");
        }
        let namespaced = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
        assert_eq!(Hierarchies::read(namespaced, "0::/../elsewhere\n"), Hierarchies::default());
    }

    #[test]
    fn a_system_without_control_groups_has_none() {
        assert_eq!(Hierarchies::read("", ""), Hierarchies::default());
        assert_eq!(Hierarchies::read("nonsense\n1 2 - cgroup\n", "nonsense\n::"), Hierarchies::default());
    }
}
