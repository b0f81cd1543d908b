//! What this machine has, for the node record: found before the node joins, and looked for again every minute.
//!
//! Each of it is tried and not guessed: Nix is asked for its version, a control group is made, and what the kernel allows this process decides
//! whether it may switch users.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use helium_crds::features::Features;
use nix::unistd::{Uid, User};

use crate::shared::Shared;

/// How often the machine is looked at.
const LOOK_AGAIN: Duration = Duration::from_mins(1);
/// The drivers of this agent.
const DRIVERS: [&str; 1] = ["exec"];
/// The capabilities of Linux that switching users takes, by number: to give files away, and to set the group and the user of a process.
const SWITCHING: [u32; 3] = [0, 6, 7];

/// What the machine has, as it was found last.
#[derive(Debug, Default)]
pub(crate) struct FeaturesHere {
    found: Mutex<Option<Features>>,
    /// The program of Nix that was asked for its version last, when it was changed, and its answer.
    asked: Mutex<Option<(Program, String)>>,
}

/// A program, and when it was changed in nanoseconds, if that can be seen.
type Program = (PathBuf, Option<i128>);

impl FeaturesHere {
    /// What was found last; none before the first look.
    pub(crate) fn found(&self) -> Option<Features> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether this is something else than was found before.
    fn enter(&self, features: Features) -> bool {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = found.as_ref() != Some(&features);
        *found = Some(features);
        is_news
    }
}

/// Looks at the machine for the first time.
pub(crate) async fn look(shared: &Shared) {
    let features = Features {
        drivers: DRIVERS.map(str::to_owned).into(),
        nix: nix(shared).await,
        cgroups: cgroups(shared),
        user: User::from_uid(Uid::effective()).ok().flatten().map(|user| user.name).unwrap_or_default(),
        switches_users: switches_users(),
    };
    let said = features.to_string();
    if shared.features.enter(features) {
        tracing::info!(has = said, "looked at the machine");
        shared.look_at_node.notify_one();
    }
}

/// Looks at the machine again and again.
pub(crate) async fn follow(shared: &Shared) {
    loop {
        tokio::time::sleep(shared.ports.jittered(LOOK_AGAIN, 10)).await;
        look(shared).await;
    }
}

/// The version of Nix, if it is here. The program is run only if it is another one than before.
async fn nix(shared: &Shared) -> Option<String> {
    let tools = shared.packages.nix()?;
    let changed = fs::metadata(&tools.nix_store).ok().map(|about| {
        use std::os::unix::fs::MetadataExt as _;
        i128::from(about.mtime()) * 1_000_000_000 + i128::from(about.mtime_nsec())
    });
    let program = (fs::canonicalize(&tools.nix_store).unwrap_or_else(|_| tools.nix_store.clone()), changed);
    let known = shared.features.asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some((_, version)) = known.filter(|(asked, _)| *asked == program) {
        return Some(version);
    }
    match tools.version().await {
        Ok(version) => {
            let answer = Some((program, version.clone()));
            *shared.features.asked.lock().unwrap_or_else(PoisonError::into_inner) = answer;
            Some(version)
        }
        Err(error) => {
            tracing::warn!(%error, "Nix is here and does not say its version");
            Some(String::new())
        }
    }
}

/// The controllers that limits can be set by, and the form of their groups. What was found once is not tried again: groups do not come and go.
fn cgroups(shared: &Shared) -> BTreeMap<String, String> {
    let known = shared.features.found().map(|found| found.cgroups).filter(|cgroups| !cgroups.is_empty());
    known.unwrap_or_else(|| {
        let usable = shared.cgroups.usable().into_iter();
        usable.map(|(controller, version)| (controller.to_string(), version.to_string())).collect()
    })
}

/// Whether this process may run others as any user.
fn switches_users() -> bool {
    let allowed = fs::read_to_string("/proc/self/status").ok().and_then(|status| effective(&status));
    allowed.map_or_else(|| Uid::effective().is_root(), may_switch)
}

/// The effective capabilities that the text of `/proc/<pid>/status` tells, a bit for each.
fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn may_switch(capabilities: u64) -> bool {
    SWITCHING.iter().all(|number| capabilities >> number & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_give_files_away_and_set_user_and_group_may_switch_users() {
        let status = "Name:\thelium\nCapInh:\t0000000000000000\nCapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\n";
        assert_eq!(effective(status), Some(0xa804_25fb));
        for (capabilities, may) in [(0xa804_25fb, true), (u64::MAX, true), (0, false), (0xc0, false), (0xc1, true)] {
            assert_eq!(may_switch(capabilities), may, "{capabilities:x}");
        }
        assert_eq!(effective("Name:\thelium\n"), None, "another system");
    }
}
