//! The checks, in their order: each begins with an agent that runs and two instances of `keeper`, and leaves both behind.

mod agent;
mod exits;
mod hail;
mod limits;
mod reboot;

/// Something that has to be so.
pub(crate) struct Check<'a> {
    /// Its name, as a sentence.
    pub(crate) name: &'static str,
    /// What was seen, or why it is not so.
    pub(crate) work: Box<dyn Fn() -> Result<String, String> + 'a>,
}

fn check<'a>(name: &'static str, work: impl Fn() -> Result<String, String> + 'a) -> Check<'a> {
    Check { name, work: Box::new(work) }
}

/// The first ones, which all others need.
const NEEDED: usize = 4;

/// Those before the machine is restarted; if a word is given, only those with it in their name, and those that they need.
pub(crate) fn before(only: Option<&str>) -> Vec<Check<'static>> {
    let mut all = every();
    let wanted = |check: &Check<'_>| only.is_none_or(|word| check.name.contains(word));
    let rest = all.split_off(NEEDED);
    all.extend(rest.into_iter().filter(wanted));
    all
}

fn every() -> Vec<Check<'static>> {
    vec![
        check("systemd is process 1 and control groups are v2", agent::machine),
        check("the agent is started only once it is ready", agent::ready),
        check("systemctl status shows the agent's words", agent::words),
        check("a Deployment runs", agent::deployment),
        check("its instances are in groups with their limits", limits::groups),
        check("a stopped agent is restarted by the watchdog", agent::watchdog),
        check("a killed agent is restarted", agent::killed),
        check("systemctl restart leaves instances alone", agent::restarted),
        check("a replaced program is taken by a restart", agent::replaced),
        check("systemctl reload tells of itself and changes nothing", agent::reloaded),
        check("systemctl stop leaves instances alone", agent::stopped),
        check("all those agents kept the limits", limits::groups),
        check("too much memory is killed for and told", limits::memory),
        check("a limit of processors holds", limits::cpu),
        check("a limit of processes holds", limits::processes_held),
        check("a wrong command line is not tried again", exits::command_line),
        check("a data folder with an owner is not tried again", exits::owned),
        check("with --stop-instances a stop stops them", agent::stop_instances),
        check("helium hail follows a job as its guide says", hail::follows),
        check("one hail looks after the others", hail::looks_after),
    ]
}

/// Those after the machine was restarted, which was first started as the boot `first`; the agent's alone, or all.
pub(crate) fn after(first: &str, agents_alone: bool) -> Vec<Check<'_>> {
    let mut all = vec![
        check("the agent comes back with the machine", || reboot::agent(first)),
        check("every instance comes back once", reboot::instances),
        check("their limits hold again", limits::groups),
    ];
    if !agents_alone {
        all.push(check("hail comes back, and what it follows", reboot::hail));
    }
    all
}
