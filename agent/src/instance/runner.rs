//! The task of one instance: gathers the facts, asks the [machine](super::machine) what to do, does it, and writes it down.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use consul_client::{Client, Error, ServiceDefinition};
use helium_crds::{ids::InstanceId, instance::service_id};
use helium_runtime::{backoff::wait_after, ports::Ports};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, watch};

use super::{
    machine::{Assigned, Checks, Event, Facts, KILL_AGAIN, Process, Step, apply, decide},
    numbers,
    record::{InstanceDir, Record},
    report::{Extras, report},
    table::{AssignedCell, Cells, Table},
};
use crate::{
    config::{AgentConfig, StopMode},
    driver::{
        environment,
        exec::{self, Supervised},
        signal::system_signal,
    },
    failing::failing,
    registration::{self, Known},
    reporter::Reporter,
};

/// How long one call to the local Consul agent may take.
const CALL_LIMIT: Duration = Duration::from_secs(3);
/// The wait after the first failed call, at most, and after many.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// The wait after the disk refused a record.
const DISK_RETRY: Duration = Duration::from_secs(1);
/// How often ports are chosen anew when another instance of this agent was faster.
const PORT_TRIES: usize = 8;

/// What all instances of an agent share.
pub(crate) struct Shared {
    pub(crate) config: AgentConfig,
    pub(crate) client: Client,
    pub(crate) ports: Ports,
    pub(crate) table: Table,
    pub(crate) reporter: Reporter,
    /// Asks the observer for a round soon.
    pub(crate) look: Notify,
    /// The variables that are passed on from the agent's own environment.
    pub(crate) inherited: BTreeMap<String, String>,
    /// Instances whose record cannot be read; nothing of theirs is touched.
    pub(crate) left_alone: BTreeSet<InstanceId>,
    /// The wall clock when the agent started. Within one run of it time does not jump.
    pub(crate) began: (Timestamp, Duration),
    pub(crate) rounds: AtomicU64,
}

impl Shared {
    /// The present instant: the wall clock at the start, and what has passed since.
    pub(crate) fn now(&self) -> Timestamp {
        let passed = self.ports.monotonic().saturating_sub(self.began.1);
        let passed = SignedDuration::try_from(passed).unwrap_or(SignedDuration::ZERO);
        self.began.0.checked_add(passed).unwrap_or(self.began.0)
    }

    /// Begins a round of the observer.
    pub(crate) fn next_round(&self) -> u64 {
        self.rounds.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// The last round that has begun. What it sees may be older than a call that ends now.
    fn round(&self) -> u64 {
        self.rounds.load(Ordering::SeqCst)
    }
}

/// How a runner ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The instance is forgotten.
    Forgotten,
    /// The agent stops.
    AgentStops,
}

/// The task of one instance.
pub(crate) struct Runner {
    shared: Arc<Shared>,
    id: InstanceId,
    dir: InstanceDir,
    record: Record,
    process: Option<Supervised>,
    known: Known,
    /// What was seen in this round or before is older than what we did ourselves.
    known_since: u64,
    failures: u32,
    consul_after: Option<Timestamp>,
    refusal: Option<String>,
    failing: BTreeMap<String, String>,
    cells: Cells,
    stop: watch::Receiver<Option<StopMode>>,
}

impl Runner {
    /// The task of the instance of `record`, whose process is adopted if it runs.
    pub(crate) fn new(
        shared: Arc<Shared>,
        dir: InstanceDir,
        record: Record,
        cells: Cells,
        stop: watch::Receiver<Option<StopMode>>,
    ) -> Self {
        let id = record.assignment.id.clone();
        let process = record.process.clone().map(Supervised::adopt);
        let (known, known_since, failures) = (Known::Unknown, 0, 0);
        let (consul_after, refusal, failing) = (None, None, BTreeMap::new());
        Self {
            shared,
            id,
            dir,
            record,
            process,
            known,
            known_since,
            failures,
            consul_after,
            refusal,
            failing,
            cells,
            stop,
        }
    }

    /// Runs until the instance is forgotten or the agent stops.
    pub(crate) async fn run(mut self) -> Ended {
        if let Some(process) = &self.record.process
            && self.process.as_ref().is_some_and(|process| process.exit().is_none())
        {
            tracing::info!(instance = %self.id, pid = process.pid, "adopted");
        }
        loop {
            let ending = *self.stop.borrow_and_update();
            if ending == Some(StopMode::LeaveRunning) {
                return Ended::AgentStops;
            }
            let assigned = self.cells.assigned.borrow_and_update().clone();
            self.look();
            let step = self.decide(&assigned, ending.is_some());
            if !matches!(step, Step::Rest(_)) {
                tracing::debug!(instance = %self.id, ?step, "next");
            }
            match step {
                Step::Rest(until) => {
                    self.publish(&assigned);
                    self.wait(until).await;
                }
                Step::Forget if self.forget() => return Ended::Forgotten,
                Step::Leave => {
                    self.note(Event::Left).await;
                    self.publish(&assigned);
                    return Ended::AgentStops;
                }
                step => self.perform(step, &assigned).await,
            }
        }
    }

    fn decide(&self, assigned: &AssignedCell, halt: bool) -> Step {
        let wanted = registration::wanted(&self.shared.config, &self.record);
        let exit = self.process.as_ref().and_then(Supervised::exit);
        decide(&Facts {
            assigned: match assigned {
                AssignedCell::Unknown => Assigned::Unknown,
                AssignedCell::Missing => Assigned::Missing,
                AssignedCell::Present(assignment) => Assigned::Present(assignment),
            },
            record: &self.record,
            process: exit.map_or(Process::AliveIfAny, Process::Ended),
            registered: registration::compare(&wanted, &self.known),
            consul_after: self.consul_after,
            halt,
            now: self.shared.now(),
        })
    }

    async fn perform(&mut self, step: Step, assigned: &AssignedCell) {
        match step {
            Step::Accept => {
                if let AssignedCell::Present(assignment) = assigned {
                    self.note(Event::Accepted(Box::new(assignment.as_ref().clone()))).await;
                }
            }
            Step::NoteEnd(exit) => {
                tracing::info!(instance = %self.id, %exit, "ended");
                if let Some(process) = &self.record.process {
                    process.sweep_group();
                }
                if self.note(Event::Ended(exit)).await {
                    self.process = None;
                }
            }
            Step::Launch => self.launch().await,
            Step::NoteRunning => drop(self.note(Event::Running).await),
            Step::NoteStable => drop(self.note(Event::Stable).await),
            Step::Register(checks) => self.register(checks).await,
            Step::Deregister => self.deregister().await,
            Step::BeginStop => drop(self.note(Event::StopBegun).await),
            Step::CancelStop => drop(self.note(Event::StopCancelled).await),
            Step::Signal => self.signal().await,
            Step::Kill => self.kill().await,
            Step::NoteStopped => {
                tracing::info!(instance = %self.id, "stopped");
                self.note(Event::Stopped).await;
            }
            Step::Forget => tokio::time::sleep(DISK_RETRY).await,
            Step::Rest(_) | Step::Leave => {}
        }
    }

    /// Takes over what the observer has seen, unless it is older than what we did.
    fn look(&mut self) {
        let seen = self.cells.seen.borrow_and_update();
        if seen.round > self.known_since {
            let checks = seen.checks.keys().cloned().collect();
            self.known = match &seen.service {
                None => Known::Absent,
                Some(service) => Known::Present(Box::new(service.clone()), checks),
            };
            self.failing = failing(&self.id, &self.record.assignment.template, &seen.checks);
        }
    }

    /// Writes the record after an event; false if the disk refused, and then nothing has changed.
    async fn note(&mut self, event: Event) -> bool {
        let next = apply(&self.record, event, self.shared.now(), self.shared.ports.entropy.next_u64());
        if let Err(error) = self.save(next).await {
            tracing::error!(instance = %self.id, %error, "the local record cannot be written; trying again");
            tokio::time::sleep(DISK_RETRY).await;
            return false;
        }
        true
    }

    async fn save(&mut self, next: Record) -> io::Result<()> {
        let (dir, kept) = (self.dir.clone(), next.clone());
        tokio::task::spawn_blocking(move || dir.create().and_then(|()| dir.save(&next)))
            .await
            .map_err(io::Error::other)??;
        self.record = kept;
        Ok(())
    }

    /// Chooses ports, starts the process at its gate, writes it down, and lets it through.
    async fn launch(&mut self) {
        let gated = match self.prepare().await {
            Ok(gated) => gated,
            Err(words) => {
                tracing::warn!(instance = %self.id, words, "cannot be started");
                self.note(Event::LaunchFailed(words)).await;
                return;
            }
        };
        let identity = gated.identity().clone();
        let pid = identity.pid;
        if self.note(Event::Launched(identity)).await {
            self.process = Some(gated.open().await);
            self.failing = BTreeMap::new();
            tracing::info!(instance = %self.id, pid, "started");
            if self.known == Known::Unknown {
                self.known = Known::Absent;
            }
        }
    }

    async fn prepare(&mut self) -> Result<exec::Gated, String> {
        self.dir.create().map_err(|error| format!("{}: {error}", self.dir.path().display()))?;
        self.choose_ports().await?;
        let Shared { config, inherited, .. } = &*self.shared;
        let command = environment::resolve(config, &self.record.assignment, &self.record.ports, inherited)
            .map_err(|error| error.to_string())?;
        exec::start(&command, &self.dir.work(), &self.dir.log()).map_err(|error| error.to_string())
    }

    async fn choose_ports(&mut self) -> Result<(), String> {
        for _ in 0..PORT_TRIES {
            let given = numbers::give(
                &self.record.assignment.template.ports,
                &self.record.ports,
                &self.shared.table.ports_of_others(&self.id),
                &self.shared.config.port_range,
                numbers::is_free,
                || self.shared.ports.entropy.next_u64(),
            )
            .map_err(|error| error.to_string())?;
            if !self.shared.table.reserve(&self.id, &given) {
                continue;
            }
            if given != self.record.ports {
                let next = Record { ports: given, ..self.record.clone() };
                self.save(next).await.map_err(|error| format!("the local record cannot be written: {error}"))?;
            }
            return Ok(());
        }
        Err("the ports of this node are in heavy demand".to_owned())
    }

    async fn register(&mut self, checks: Checks) {
        let whole = registration::wanted(&self.shared.config, &self.record);
        let definition = match checks {
            Checks::Inline => whole,
            Checks::Kept => ServiceDefinition { checks: None, ..whole },
        };
        let call = self.shared.client.agent_register_service(&definition, checks == Checks::Inline);
        let outcome = tokio::time::timeout(CALL_LIMIT, call).await;
        if self.consul_answered(outcome) {
            self.known = registration::after(&definition, &self.known);
            self.shared.look.notify_one();
        }
    }

    async fn deregister(&mut self) {
        let id = service_id(&self.id);
        let outcome = tokio::time::timeout(CALL_LIMIT, self.shared.client.agent_deregister_service(&id)).await;
        if self.consul_answered(outcome) {
            self.known = Known::Absent;
        }
    }

    /// Notes the outcome of a call; true if it was done.
    fn consul_answered(&mut self, outcome: Result<Result<(), Error>, tokio::time::error::Elapsed>) -> bool {
        self.known_since = self.shared.round();
        let words = match outcome {
            Ok(Ok(())) => {
                (self.failures, self.consul_after, self.refusal) = (0, None, None);
                return true;
            }
            Ok(Err(error)) => {
                self.refusal = (!error.is_unreachable()).then(|| error.to_string());
                error.to_string()
            }
            Err(_) => format!("no answer within {CALL_LIMIT:?}"),
        };
        self.failures = self.failures.saturating_add(1);
        if self.failures == 1 {
            tracing::warn!(instance = %self.id, words, "the local Consul agent did not take a registration");
        }
        let wait = RETRY.0 + wait_after(self.failures, RETRY.0, RETRY.1, &self.shared.ports);
        self.consul_after = Some(self.shared.now() + SignedDuration::try_from(wait).unwrap_or(SignedDuration::ZERO));
        false
    }

    /// Sends the stop signal, then notes it: an agent that is killed in between sends it again, which is better than never.
    async fn signal(&mut self) {
        let signal = system_signal(self.record.assignment.stop_signal);
        if let Some(process) = &self.record.process
            && let Err(error) = process.signal_group(signal)
        {
            tracing::error!(instance = %self.id, %error, "cannot be signalled");
        }
        self.note(Event::Signalled).await;
    }

    async fn kill(&mut self) {
        tracing::warn!(instance = %self.id, "did not stop within its grace period; killed");
        if let Some(process) = &self.record.process
            && let Err(error) = process.signal_group(rustix::process::Signal::KILL)
        {
            tracing::error!(instance = %self.id, %error, "cannot be killed");
        }
        self.wait(Some(self.shared.now() + KILL_AGAIN)).await;
    }

    fn forget(&mut self) -> bool {
        match self.dir.forget() {
            Ok(()) => {
                self.shared.reporter.set(&self.id, None);
                true
            }
            Err(error) => {
                tracing::error!(instance = %self.id, %error, "the local record cannot be removed");
                false
            }
        }
    }

    /// Says what is to be reported. Of an adopted instance nothing is said before Consul was asked: its report is in the store,
    /// and half of one would be written for nothing.
    fn publish(&mut self, assigned: &AssignedCell) {
        if self.known == Known::Unknown && self.record.process.is_some() {
            return;
        }
        let extras = Extras {
            address: matches!(self.known, Known::Present(..)).then(|| self.shared.config.address.clone()),
            failing: self.failing.clone(),
            unassigned: *assigned == AssignedCell::Missing,
            refusal: self.refusal.clone(),
        };
        let report = report(&self.shared.config.node, &self.record, extras);
        self.shared.reporter.set(&self.id, Some(report));
    }

    /// Waits until something of this instance changes, or until an instant.
    async fn wait(&mut self, until: Option<Timestamp>) {
        let pause = until.map(|until| Duration::try_from(until.duration_since(self.shared.now())).unwrap_or_default());
        let asleep = async {
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        let ended = async {
            match &mut self.process {
                Some(process) if process.exit().is_none() => drop(process.ended().await),
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = self.stop.changed() => {}
            () = ended => {}
            _ = self.cells.assigned.changed() => {}
            _ = self.cells.seen.changed() => {}
            () = asleep => {}
        }
    }
}
