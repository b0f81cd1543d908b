//! What a group limits, and which files of it say so: pure.

use crate::hierarchies::{Controller, Version};

/// The time in which a share of processors is counted, in microseconds. It is the kernel's own default.
const PERIOD: u64 = 100_000;

/// What a group limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory in bytes, swap included.
    pub memory: Option<u64>,
    /// Time of processors, in thousandths of one.
    pub cpu: Option<u32>,
    /// Processes and threads.
    pub processes: Option<u32>,
}

/// One file of a group, and what is written to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The file's name.
    pub file: &'static str,
    /// What is written.
    pub value: String,
    /// Whether a kernel without this file keeps the limit all the same, as one without swap does.
    pub may_lack: bool,
}

impl Limits {
    /// The controllers that these limits need.
    pub fn controllers(&self) -> impl Iterator<Item = Controller> + use<> {
        let wanted = [
            (Controller::Memory, self.memory.is_some()),
            (Controller::Cpu, self.cpu.is_some()),
            (Controller::Pids, self.processes.is_some()),
        ];
        wanted.into_iter().filter(|(_, wanted)| *wanted).map(|(controller, _)| controller)
    }

    /// What is written for one controller, in this order. Example: half a processor is 50 ms in each 100 ms.
    pub fn settings(&self, controller: Controller, version: Version) -> Vec<Setting> {
        let set = |file, value: String| Setting { file, value, may_lack: false };
        let swap = |file, value: String| Setting { file, value, may_lack: true };
        match (controller, version) {
            (Controller::Memory, version) => self.memory.map_or_else(Vec::new, |bytes| match version {
                // Memory and swap together may not be less than memory alone at any moment.
                Version::V1 => vec![
                    set("memory.limit_in_bytes", bytes.to_string()),
                    swap("memory.memsw.limit_in_bytes", bytes.to_string()),
                ],
                Version::V2 => vec![set("memory.max", bytes.to_string()), swap("memory.swap.max", "0".to_owned())],
            }),
            (Controller::Cpu, version) => self.cpu.map_or_else(Vec::new, |millis| {
                let quota = u64::from(millis) * PERIOD / 1000;
                match version {
                    Version::V1 => {
                        vec![set("cpu.cfs_period_us", PERIOD.to_string()), set("cpu.cfs_quota_us", quota.to_string())]
                    }
                    Version::V2 => vec![set("cpu.max", format!("{quota} {PERIOD}"))],
                }
            }),
            (Controller::Pids, _) => self.processes.map(|most| set("pids.max", most.to_string())).into_iter().collect(),
        }
    }
}

/// How many processes of a group were killed since there was no memory for them, by what its `memory.oom_control` (v1) or `memory.events` (v2) says.
pub fn kills(text: &str) -> u64 {
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok());
    count.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(limits: Limits, version: Version) -> Vec<String> {
        let all = limits.controllers().flat_map(|one| limits.settings(one, version));
        all.map(|set| format!("{}={}{}", set.file, set.value, if set.may_lack { " if it is there" } else { "" }))
            .collect()
    }

    #[test]
    fn each_limit_is_written_as_each_version_wants_it() {
        let limits = Limits { memory: Some(268_435_456), cpu: Some(500), processes: Some(64) };
        assert_eq!(
            written(limits, Version::V1),
            [
                "memory.limit_in_bytes=268435456",
                "memory.memsw.limit_in_bytes=268435456 if it is there",
                "cpu.cfs_period_us=100000",
                "cpu.cfs_quota_us=50000",
                "pids.max=64"
            ]
        );
        assert_eq!(
            written(limits, Version::V2),
            ["memory.max=268435456", "memory.swap.max=0 if it is there", "cpu.max=50000 100000", "pids.max=64"]
        );
        assert_eq!(written(Limits { cpu: Some(10), ..Limits::default() }, Version::V2), ["cpu.max=1000 100000"]);
        assert_eq!(written(Limits::default(), Version::V1), Vec::<String>::new());
    }

    #[test]
    fn the_count_of_the_killed_is_found_in_both_forms() {
        assert_eq!(kills("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"), 2);
        assert_eq!(kills("low 0\nhigh 0\nmax 12\noom 3\noom_kill 1\noom_group_kill 0\n"), 1);
        assert_eq!(kills("oom_kill_disable 0\nunder_oom 0\n"), 0, "an old kernel does not count");
    }
}
