//! Consul goes away for a while and comes back, while everything that follows it runs: ours, and the peers that are there.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use consul_client::CheckStatus;
use helium_e2e::{Daemon, wait::pause};

use super::{
    Outcome,
    desk::{Desk, LIMIT},
    files, node,
    program::{Program, Shape},
    services, variables,
};

/// How long a change is waited for after Consul is back.
const HEARD: Duration = Duration::from_mins(1);

/// How often it is looked whether that has happened.
const LOOK: Duration = Duration::from_millis(5);
/// How long something needless may come after it.
const SETTLED: Duration = Duration::from_secs(5);

/// What became of something that runs.
#[derive(Debug, Default)]
pub(super) struct Fate {
    /// How many processes ended or were started anew though nothing asked for it, its child's among them.
    pub(super) ended: f64,
    /// Whether its file had changed when Consul was back, if it has one.
    pub(super) changed: Option<f64>,
    /// From the answer of Consul until it knew of it: a later change is heard, or the service is healthy. None if it never did.
    pub(super) heard: Option<Duration>,
}

/// Ours, and the peer's if there is one.
pub(super) type Pair = (Fate, Option<Fate>);

/// What it did to what runs.
pub(super) struct Outage {
    pub(super) files: Pair,
    pub(super) variables: Pair,
    pub(super) services: Pair,
    pub(super) node: Fate,
}

/// What shows that it has heard of Consul's return.
enum Sign {
    /// The file holds a change; and when it was changed before.
    File(PathBuf, Option<SystemTime>),
    /// A child was started with a change.
    Child,
    /// All checks of a service pass, as the agent that they are reported to has it.
    Healthy(String),
}

/// Something that runs.
struct Kept {
    daemon: Daemon,
    /// A line for each start of its child.
    starts: PathBuf,
    sign: Sign,
    fate: Fate,
}

/// Measures.
pub(super) fn measure(desk: &mut Desk, away: Duration) -> Outcome<Outage> {
    desk.write("before")?;
    let [files, variables, services] = [
        both("consul-template", |program| file(desk, program))?,
        both("envconsul", |program| variable(desk, program))?,
        both("containerpilot", |program| service(desk, program))?,
    ];
    let (controller, agent) = node::start(desk)?;
    let node = Kept::new(agent, node::starts(desk), Sign::Healthy(node::SERVICE.to_owned()));
    is_started(desk, &node.starts)?;
    let mut all = [files, variables, services, (node, None)];
    desk.consul.kill();
    pause(away);
    desk.consul.start_again();
    let back = desk.now();
    for kept in all.iter_mut().flat_map(each) {
        kept.look()?;
    }
    desk.write("after")?;
    variables::write(desk, 0, "after")?;
    while desk.since(back) < HEARD {
        let mut deaf = all.iter_mut().flat_map(each).filter(|kept| kept.fate.heard.is_none()).peekable();
        if deaf.peek().is_none() {
            break;
        }
        deaf.filter(|kept| kept.has_heard(desk)).for_each(|kept| kept.fate.heard = Some(desk.since(back)));
        pause(LOOK);
    }
    // A needless start after the return counts, too; the one that a change asks for does not.
    pause(SETTLED);
    for kept in all.iter_mut().flat_map(each) {
        kept.look_again()?;
    }
    drop(controller);
    let [files, variables, services, node] = all.map(|(ours, peer)| (ours.fate, peer.map(|peer| peer.fate)));
    Ok(Outage { files, variables, services, node: node.0 })
}

fn each(pair: &mut (Kept, Option<Kept>)) -> impl Iterator<Item = &mut Kept> {
    std::iter::once(&mut pair.0).chain(&mut pair.1)
}

/// Ours, and the peer of this name, whose failure to start is no failure of ours.
fn both(name: &'static str, start: impl Fn(&Program) -> Outcome<Kept>) -> Outcome<(Kept, Option<Kept>)> {
    let peer = match Program::on_path(name) {
        Program::Absent(_) => None,
        peer => peer.figure("before the outage", || start(&peer))?,
    };
    Ok((start(&Program::Helium)?, peer))
}

fn file(desk: &Desk, program: &Program) -> Outcome<Kept> {
    let template = files::template(desk, program, Shape::Prefix)?;
    let (file, starts) = (files::out(desk, program, "outage"), desk.path(&format!("{}-starts", program.name())));
    // The child is restarted by any change of the file.
    let script = desk.helium.write("outage.sh", "echo $$ >> \"$1\"; exec sleep 3600");
    let words = ["sh", &script, &starts.display().to_string()].map(str::to_owned);
    let mut command = program.files(desk, &format!("{template}:{}", file.display()), &[]);
    match program {
        Program::Found { .. } => command.args(["-exec", &words.join(" ")]),
        _ => command.arg("--").args(words),
    };
    let daemon = Daemon::start(&format!("{}-outage", program.name()), &mut command, desk.helium.folder());
    desk.shows(&file, "before")?;
    is_started(desk, &starts)?;
    let changed = modified(&file);
    Ok(Kept::new(daemon, starts, Sign::File(file, changed)))
}

fn variable(desk: &Desk, program: &Program) -> Outcome<Kept> {
    let daemon = variables::start(desk, program)?;
    Ok(Kept::new(daemon, variables::log(desk, program), Sign::Child))
}

fn service(desk: &Desk, program: &Program) -> Outcome<Kept> {
    let daemon = services::start(desk, program)?;
    let starts = services::starts(desk, program);
    is_started(desk, &starts)?;
    Ok(Kept::new(daemon, starts, Sign::Healthy(services::app(program))))
}

fn is_started(desk: &Desk, starts: &Path) -> Outcome<()> {
    desk.until("the child runs", LIMIT, || {
        fs::read_to_string(starts).ok().filter(|starts| starts.ends_with('\n')).map(drop)
    })
}

fn modified(file: &Path) -> Option<SystemTime> {
    fs::metadata(file).and_then(|found| found.modified()).ok()
}

impl Kept {
    fn new(daemon: Daemon, starts: PathBuf, sign: Sign) -> Self {
        Self { daemon, starts, sign, fate: Fate::default() }
    }

    /// What has become of it when Consul is back and nothing has changed yet.
    fn look(&mut self) -> Outcome<()> {
        self.fate.ended = self.ends(1)?;
        if let Sign::File(file, before) = &self.sign {
            self.fate.changed = Some(f64::from(u8::from(modified(file) != *before)));
        }
        Ok(())
    }

    /// What has become of it when the change has been heard, which is worth one start of a child that is started by changes.
    fn look_again(&mut self) -> Outcome<()> {
        let asked_for = usize::from(self.fate.heard.is_some() && !matches!(self.sign, Sign::Healthy(_)));
        self.fate.ended = self.fate.ended.max(self.ends(1 + asked_for)?);
        Ok(())
    }

    /// How many processes have ended or were started beyond so many starts.
    #[allow(clippy::cast_precision_loss, reason = "a small number")]
    fn ends(&mut self, expected: usize) -> Outcome<f64> {
        let starts = fs::read_to_string(&self.starts)?.lines().count();
        Ok((usize::from(!self.daemon.is_running()) + starts.saturating_sub(expected)) as f64)
    }

    fn has_heard(&self, desk: &Desk) -> bool {
        match &self.sign {
            Sign::File(file, _) => Desk::has_line(file, "after"),
            Sign::Child => variables::has_noted(&self.starts, "after"),
            Sign::Healthy(service) => {
                let Ok(checks) = desk.wait_for(desk.client.agent_checks()) else { return false };
                let mut own = checks.into_values().filter(|check| check.service_name == *service).peekable();
                own.peek().is_some() && own.all(|check| check.status == CheckStatus::Passing)
            }
        }
    }
}
