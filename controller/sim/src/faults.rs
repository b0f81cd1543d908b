//! The faults: which kinds there are, which of them a seed uses and how often, and how often each has struck.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use crate::{rng::Rng, wire::Actor};

/// The kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// F1: a controller dies at a call, which never takes effect.
    CrashBefore,
    /// F1: a controller dies at a call, which took effect.
    CrashAfter,
    /// F2: a controller's watches stall for minutes.
    Stall,
    /// F2: a wake comes late, and one comes for many.
    LateWake,
    /// F3: a read is answered from seconds ago.
    StaleRead,
    /// F3: an older snapshot is restored, so indexes go back.
    Restore,
    /// F4: a write is carried out and its answer is lost.
    ReplyLost,
    /// F4: a transaction arrives twice, and the second answer counts.
    Duplicate,
    /// F5: the leader's session ends while it works.
    SessionLost,
    /// F5: the leader is cut off, another takes over, and the first comes back with writes in its hands. It counts if another took over.
    CutOff,
    /// F8: a token loses rights: lists are empty, and nothing says so.
    Denied,
    /// F8: a whole prefix is wiped.
    Wiped,
    /// F8: a sentinel is missing.
    SentinelLost,
    /// F8: a third of the specs vanish, and come back.
    SpecsVanish,
    /// F10: a person edits the spec between plan and commit.
    UserRace,
    /// F10: two people apply at the same instant.
    TwoApply,
    /// F11: a Consul client leaves, and returns.
    ConsulLeft,
    /// An agent dies and is started again.
    AgentCrash,
    /// A machine dies, and may return empty.
    NodeLost,
    /// A process dies.
    ProcessKilled,
    /// A controller is asked to stop, and hands over.
    HandOver,
    /// F11: a Consul client dies without a farewell, and returns; what runs on its node runs on.
    ConsulCrash,
    /// F12: a metric source cannot be asked.
    SourceDown,
    /// F12: a metric source or a gate takes long.
    SourceSlow,
    /// F12: a metric source says the opposite of what is so.
    SourceLies,
    /// F12: a gate does not answer.
    GateSilent,
    /// F6: a machine starts nothing for a while, or not everything.
    StartRefused,
    /// F6: a machine starts something, and the answer that says so is lost.
    StartUnseen,
    /// F6: what a machine has started is seen late.
    SeenLate,
    /// F6: what a machine was told to stop lives on.
    StopLingers,
    /// F7: the wall clock of a machine leaps, for a while or for good.
    ClockJump,
}

impl FaultKind {
    /// All kinds.
    pub const ALL: [Self; 31] = [
        Self::CrashBefore,
        Self::CrashAfter,
        Self::Stall,
        Self::LateWake,
        Self::StaleRead,
        Self::Restore,
        Self::ReplyLost,
        Self::Duplicate,
        Self::SessionLost,
        Self::CutOff,
        Self::Denied,
        Self::Wiped,
        Self::SentinelLost,
        Self::SpecsVanish,
        Self::UserRace,
        Self::TwoApply,
        Self::ConsulLeft,
        Self::AgentCrash,
        Self::NodeLost,
        Self::ProcessKilled,
        Self::HandOver,
        Self::ConsulCrash,
        Self::SourceDown,
        Self::SourceSlow,
        Self::SourceLies,
        Self::GateSilent,
        Self::ClockJump,
        Self::StartRefused,
        Self::StartUnseen,
        Self::SeenLate,
        Self::StopLingers,
    ];

    /// The name of its class.
    pub fn class(self) -> &'static str {
        match self {
            Self::CrashBefore | Self::CrashAfter => "F1",
            Self::Stall | Self::LateWake => "F2",
            Self::StaleRead | Self::Restore => "F3",
            Self::ReplyLost | Self::Duplicate => "F4",
            Self::SessionLost | Self::CutOff => "F5",
            Self::StartRefused | Self::StartUnseen | Self::SeenLate | Self::StopLingers => "F6",
            Self::ClockJump => "F7",
            Self::Denied | Self::Wiped | Self::SentinelLost | Self::SpecsVanish => "F8",
            Self::UserRace | Self::TwoApply => "F10",
            Self::ConsulLeft | Self::ConsulCrash => "F11",
            Self::SourceDown | Self::SourceSlow | Self::SourceLies | Self::GateSilent => "F12",
            Self::AgentCrash | Self::NodeLost | Self::ProcessKilled | Self::HandOver => "world",
        }
    }

    /// How often, in a thousand chances, it strikes where it is drawn call by call; 0 for those that have their own times.
    fn permille(self, rng: &mut Rng) -> u64 {
        match self {
            Self::LateWake | Self::UserRace => 20 + rng.below(80),
            Self::StaleRead | Self::ReplyLost | Self::Duplicate => 10 + rng.below(60),
            Self::SourceDown | Self::SourceSlow | Self::SourceLies | Self::GateSilent | Self::StartUnseen => {
                100 + rng.below(400)
            }
            // A start that is refused makes the next try wait longer: few of them last long.
            Self::StartRefused => 200 + rng.below(400),
            // At each try, so that it lasts for some seconds.
            Self::SeenLate | Self::StopLingers => 700 + rng.below(250),
            _ => 0,
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{self:?}", self.class())
    }
}

/// The faults of one run.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    enabled: BTreeMap<FaultKind, u64>,
    struck: BTreeMap<FaultKind, u64>,
    /// How many writes of controllers the fence has refused.
    fenced: u64,
    /// Until when an actor's requests wait, and whether only its long polls do.
    held: BTreeMap<Actor, (Duration, bool)>,
    healed: bool,
}

impl Faults {
    /// None at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// A swarm: each kind is in with two chances in five, at a rate of its own.
    pub fn swarm(rng: &mut Rng) -> Self {
        let mut enabled = BTreeMap::new();
        for kind in FaultKind::ALL {
            let (drawn, rate) = (rng.chance(400), kind.permille(rng));
            if drawn {
                enabled.insert(kind, rate);
            }
        }
        Self { enabled, ..Self::default() }
    }

    /// Whether a kind is in.
    pub fn has(&self, kind: FaultKind) -> bool {
        self.enabled.contains_key(&kind)
    }

    /// The kinds that are in.
    pub fn enabled(&self) -> BTreeSet<FaultKind> {
        self.enabled.keys().copied().collect()
    }

    /// Whether a kind that is drawn call by call is to strike, given a number below 1000. Whoever strikes counts it.
    pub fn draws(&self, kind: FaultKind, drawn: u64) -> bool {
        !self.healed && self.enabled.get(&kind).is_some_and(|rate| drawn < *rate)
    }

    /// Counts one that struck.
    pub fn strike(&mut self, kind: FaultKind) {
        *self.struck.entry(kind).or_default() += 1;
    }

    /// How often each has struck.
    pub fn struck(&self) -> &BTreeMap<FaultKind, u64> {
        &self.struck
    }

    /// Counts a write that the fence refused.
    pub fn refuse(&mut self) {
        self.fenced += 1;
    }

    /// How many writes of controllers the fence has refused.
    pub fn fenced(&self) -> u64 {
        self.fenced
    }

    /// Has an actor's requests wait.
    pub fn hold(&mut self, actor: Actor, until: Duration, long_polls_only: bool) {
        self.held.insert(actor, (until, long_polls_only));
    }

    /// Until when a request of an actor has to wait; none if not at all.
    pub fn held_until(&self, actor: Actor, long_poll: bool, now: Duration) -> Option<Duration> {
        let (until, long_polls_only) = self.held.get(&actor).copied()?;
        (until > now && (long_poll || !long_polls_only)).then_some(until)
    }

    /// Whether requests of anybody wait.
    pub fn somebody_waits(&self, now: Duration) -> bool {
        self.held.values().any(|(until, _)| *until > now)
    }

    /// From now on nothing strikes any more, and nothing waits.
    pub fn heal(&mut self) {
        self.healed = true;
        self.held.clear();
    }

    /// Whether all is healed.
    pub fn is_healed(&self) -> bool {
        self.healed
    }
}
