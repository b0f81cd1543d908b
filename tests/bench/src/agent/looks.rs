//! What is seen of processes from outside: their memory, and whether any stays as a zombie.

use std::{collections::BTreeSet, fmt, fs, time::Duration};

use helium_e2e::wait::pause;

/// How long a process that has ended may be there until its parent has noticed.
const NOTICED: Duration = Duration::from_millis(250);

/// What a process has in memory, in megabytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Memory {
    /// All of it.
    pub(super) resident: f64,
    /// What is its own: heap, stacks, and what was written to.
    own: f64,
    /// Pages of its program file, which all processes of it share.
    file: f64,
    /// The most that was resident.
    peak: f64,
}

impl Memory {
    /// That of some processes together.
    pub(super) fn of(pids: &[u32]) -> Self {
        let mut sum = Self::default();
        for pid in pids {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let megabytes = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
                line.trim().trim_end_matches("kB").trim().parse::<f64>().unwrap_or_default() / 1024.0
            };
            sum.resident += megabytes("VmRSS:");
            sum.own += megabytes("RssAnon:");
            sum.file += megabytes("RssFile:");
            sum.peak += megabytes("VmHWM:");
        }
        sum
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.1} MB its own and {:.1} MB of the program file; at most it was {:.1} MB",
            self.own, self.file, self.peak
        )
    }
}

/// The most zombies among the children of these processes that were still there at the next look, within so many looks.
pub(super) fn lasting_zombies(parents: &[u32], looks: usize) -> usize {
    let mut before = zombies(parents);
    let mut most = 0;
    for _ in 0..looks {
        pause(NOTICED);
        let now = zombies(parents);
        most = most.max(before.intersection(&now).count());
        before = now;
    }
    most
}

fn zombies(parents: &[u32]) -> BTreeSet<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| parent_of_zombie(*pid).is_some_and(|parent| parents.contains(&parent))).collect()
}

/// The parent of a process, if that is a zombie.
fn parent_of_zombie(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    (fields.next()? == "Z").then(|| fields.next()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_child_that_nobody_waits_for_is_a_zombie_that_stays_and_is_seen_as_one() {
        let own = [std::process::id()];
        let mut child = Command::new("true").spawn().unwrap();
        helium_e2e::eventually("it has ended", Duration::from_secs(10), || (!zombies(&own).is_empty()).then_some(()));
        assert_eq!(lasting_zombies(&own, 1), 1);
        child.wait().unwrap();
        assert_eq!(lasting_zombies(&own, 1), 0);
    }

    #[test]
    fn this_process_has_memory() {
        let memory = Memory::of(&[std::process::id()]);
        assert!(memory.resident > 0.5 && memory.peak >= memory.resident, "{memory:?}");
    }
}
