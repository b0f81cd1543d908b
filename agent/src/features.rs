//! What this machine has, for the node record: found before the node joins, and looked for again every minute.
//!
//! Each of it is tried and not guessed: Nix is asked for its version, a control group is made, and what the kernel allows this process decides
//! whether it may switch users.

mod question;

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use helium_crds::features::Features;
use helium_nix::Tools;
use nix::unistd::{Uid, User};

use crate::shared::Shared;
use question::Question;

/// How often the machine is looked at.
const LOOK_AGAIN: Duration = Duration::from_mins(1);
/// How long a look waits for any one answer of the system.
const LIMIT: Duration = Duration::from_secs(10);
/// The drivers of this agent.
const DRIVERS: [&str; 1] = ["exec"];
/// The capabilities of Linux that switching users takes, by number: to give files away, and to set the group and the user of a process.
const SWITCHING: [u32; 3] = [0, 6, 7];

/// What the machine has, as it was found last.
#[derive(Debug)]
pub(crate) struct FeaturesHere {
    found: Mutex<Option<Features>>,
    nix: Question<Option<(Tools, Program)>>,
    /// Nix, as it was asked for its version last.
    asked: Mutex<Option<NixHere>>,
    cgroups: Question<BTreeMap<String, String>>,
    user: Question<Option<String>>,
}

/// What Nix has said of itself.
#[derive(Clone, Debug)]
struct NixHere {
    program: Program,
    /// The last version that it has said; empty if it has never said one.
    version: String,
    /// Why it has said none when it was asked last.
    trouble: Option<String>,
}

/// A program, and when it was changed in nanoseconds, if that can be seen.
type Program = (PathBuf, Option<i128>);

impl Default for FeaturesHere {
    fn default() -> Self {
        Self {
            found: Mutex::default(),
            nix: Question::new("its Nix"),
            asked: Mutex::default(),
            cgroups: Question::new("its control groups"),
            user: Question::new("the user that the agent runs as"),
        }
    }
}

impl FeaturesHere {
    /// What was found last; none before the first look.
    pub(crate) fn found(&self) -> Option<Features> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn asked(&self) -> MutexGuard<'_, Option<NixHere>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this is something else than was found before.
    fn enter(&self, features: Features) -> bool {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = found.as_ref() != Some(&features);
        *found = Some(features);
        is_news
    }
}

/// Looks at the machine for the first time. What the system does not say in time is as it was found before.
pub(crate) async fn look(shared: &Shared) {
    let (nix, cgroups, user) = tokio::join!(nix(shared), cgroups(shared), user(shared));
    let switches_users = switches_users();
    let user = match user {
        Some(user) => user,
        // Who may run others as anybody is not asked for the own name.
        None if switches_users => String::new(),
        // Nobody must take the agent for one without a name: what is found is told once this is known.
        None => return,
    };
    let features = Features { drivers: DRIVERS.map(str::to_owned).into(), nix, cgroups, user, switches_users };
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

/// The version of Nix, if it is here; empty if it has never said one. The program is run only if it is another one than before.
async fn nix(shared: &Shared) -> Option<String> {
    let (features, find) = (&shared.features, shared.packages.nix());
    let find = move || Ok(find().map(|tools| (tools.clone(), program(&tools))));
    let (tools, program) = features.nix.ask(LIMIT, find).await.flatten()?;
    let known = features.asked().clone();
    if let Some(known) = known.as_ref().filter(|known| known.program == program && known.trouble.is_none()) {
        return Some(known.version.clone());
    }
    let asked = asked(program, tools.version().await.map_err(|error| error.to_string()), known);
    let version = asked.version.clone();
    *features.asked() = Some(asked);
    Some(version)
}

/// Which program it is.
fn program(tools: &Tools) -> Program {
    let changed = fs::metadata(&tools.nix_store).ok().map(|about| {
        use std::os::unix::fs::MetadataExt as _;
        i128::from(about.mtime()) * 1_000_000_000 + i128::from(about.mtime_nsec())
    });
    (fs::canonicalize(&tools.nix_store).unwrap_or_else(|_| tools.nix_store.clone()), changed)
}

/// What is known of Nix after it was asked. One that does not answer has the version that it had before.
fn asked(program: Program, answer: Result<String, String>, known: Option<NixHere>) -> NixHere {
    match answer {
        Ok(version) => NixHere { program, version, trouble: None },
        Err(words) => {
            let (version, trouble) = known.map(|known| (known.version, known.trouble)).unwrap_or_default();
            if trouble.as_ref() != Some(&words) {
                tracing::warn!(words, "Nix is here and does not say its version");
            }
            NixHere { program, version, trouble: Some(words) }
        }
    }
}

/// The controllers that limits can be set by, and the form of their groups. What was found once is not tried again: groups do not come and go.
async fn cgroups(shared: &Shared) -> BTreeMap<String, String> {
    let question = &shared.features.cgroups;
    if let Some(known) = question.answer().filter(|known| !known.is_empty()) {
        return known;
    }
    let root = shared.cgroups.clone();
    let ask = move || {
        let usable = root.usable().into_iter();
        Ok(usable.map(|(controller, version)| (controller.to_string(), version.to_string())).collect())
    };
    question.ask(LIMIT, ask).await.unwrap_or_default()
}

/// The user that this process runs as; empty if it has no name, and none if nobody has said. A name that was found once stays.
async fn user(shared: &Shared) -> Option<String> {
    let question = &shared.features.user;
    if let Some(Some(name)) = question.answer() {
        return Some(name);
    }
    let ask = || match User::from_uid(Uid::effective()) {
        Ok(found) => Ok(found.map(|user| user.name)),
        Err(error) => Err(error.to_string()),
    };
    question.ask(LIMIT, ask).await.map(Option::unwrap_or_default)
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
    fn a_nix_that_does_not_answer_has_the_version_that_it_had_before() {
        let program = (PathBuf::from("/bin/nix-store"), None);
        let never = asked(program.clone(), Err("it fails".to_owned()), None);
        assert_eq!((never.version.as_str(), never.trouble.as_deref()), ("", Some("it fails")));
        let said = asked(program.clone(), Ok("2.18.1".to_owned()), Some(never));
        assert_eq!((said.version.as_str(), &said.trouble), ("2.18.1", &None));
        let fails = asked(program, Err("it fails".to_owned()), Some(said));
        assert_eq!((fails.version.as_str(), fails.trouble.is_some()), ("2.18.1", true));
    }

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
