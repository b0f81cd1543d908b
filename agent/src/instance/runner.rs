//! The task of one instance: gathers the facts, asks the [machine](super::machine) what to do, does it, and writes it down.

use std::{
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    sync::Arc,
    time::Duration,
};

use helium_crds::{
    ids::InstanceId,
    instance::{Report, check_id},
    job::JOBS_CHECK,
    maintenance::Maintenance,
};
use helium_processes::Supervised;
use jiff::Timestamp;
use tokio::sync::watch;

use super::{
    apply::apply,
    dir::InstanceDir,
    freshness::Freshness,
    machine::{Assigned, Contact, Event, Facts, Process, Step, decide},
    record::Record,
    report::{Extras, report},
    standing::Standing,
    system,
    table::{AssignedCell, Cells},
    task::WorkTask,
    work::{Trouble, Work},
};
mod limiting;
mod process;

use crate::{
    checks::{Around, PackageCheck, Scripts},
    config::StopMode,
    driver::environment::{self, Resolved},
    hooks::{Hook, end_left},
    jobs::{line::Line, sweep::sweep},
    leading::Leading,
    package::{
        active,
        lookups::InstanceLookup,
        preparation::{Aim, Preparation, hook_of},
        rendering::{self, Turn},
    },
    shared::Shared,
    telemetry::condition::{self, Obstacles},
};

/// The wait after the disk refused a record.
const DISK_RETRY: Duration = Duration::from_secs(1);

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
    work: WorkTask,
    scripts: Scripts,
    freshness: Freshness,
    leading: Leading,
    jobs: Line,
    turn: Turn,
    standing: Standing,
    /// Whether it leads, once that has been known in this run of the agent.
    leads: Option<bool>,
    /// What is in the way of its package or files.
    obstacles: Obstacles,
    maintenance: watch::Receiver<Maintenance>,
    cells: Cells,
    stop: watch::Receiver<Option<StopMode>>,
    contact: watch::Receiver<Contact>,
}

impl Runner {
    /// The task of the instance of `record`, whose process is adopted if it runs. One that is new was never registered.
    pub(crate) fn new(
        shared: Arc<Shared>,
        dir: InstanceDir,
        record: Record,
        is_new: bool,
        cells: Cells,
        stop: watch::Receiver<Option<StopMode>>,
    ) -> Self {
        let id = record.assignment.id.clone();
        let process = record.process.as_ref().map(system::process).map(Supervised::adopt);
        let mut standing = Standing::new(is_new);
        if process.is_none() {
            standing.process_ended(0);
        }
        let contact = shared.contact.subscribe();
        let template = &record.assignment.template;
        let freshness = Freshness::new(template, shared.lookups.latest(), &shared.ports, shared.now());
        let maintenance = shared.maintenance.subscribe();
        Self {
            shared,
            id,
            dir,
            record,
            process,
            work: WorkTask::default(),
            scripts: Scripts::default(),
            freshness,
            leading: Leading::default(),
            jobs: Line::default(),
            turn: Turn::default(),
            standing,
            leads: None,
            obstacles: Obstacles::default(),
            maintenance,
            cells,
            stop,
            contact,
        }
    }

    /// Runs until the instance is forgotten or the agent stops.
    pub(crate) async fn run(mut self) -> Ended {
        if let Some(process) = &self.record.process
            && self.process.as_ref().is_some_and(|process| process.exit().is_none())
        {
            tracing::info!(instance = %self.id, pid = process.pid, "adopted");
        }
        // Of a stop that has been taken back meanwhile nobody else would.
        end_left(&self.dir.state());
        if self.record.process.is_some() {
            // The agent before may have been killed between an assignment and what follows from it.
            self.make_current();
        } else {
            // Or between a group and the process that it was for. Where that is in vain now it is tried again before anything else is done.
            let _ = self.end_group().await;
        }
        self.end_half_done_files().await;
        loop {
            let ending = *self.stop.borrow_and_update();
            if ending == Some(StopMode::LeaveRunning) {
                // Nobody would tell the package again that it leads no more.
                self.leading.ended().await;
                return Ended::AgentStops;
            }
            let assigned = self.cells.assigned.borrow_and_update().clone();
            self.contact.mark_unchanged();
            self.work.look().await;
            self.follow_scripts();
            self.look_at_answers();
            self.follow_maintenance();
            self.follow_election();
            self.standing.see(&self.cells.seen.borrow_and_update(), &self.record);
            self.jobs.follow(&self.shared, &self.dir, &self.record, &self.standing);
            let step = self.decide(&assigned, ending.is_some());
            if !matches!(step, Step::Rest(_)) {
                tracing::debug!(instance = %self.id, ?step, "next");
            }
            match step {
                Step::Rest(until) => {
                    self.standing.rests(&self.shared, &self.record);
                    let now = self.shared.now();
                    let due = self.freshness.due().filter(|due| self.record.process.is_some() && *due > now);
                    let until = [until, due].into_iter().flatten().min();
                    self.publish(&assigned);
                    self.shared.telemetry.settled(&self.id);
                    self.wait(until).await;
                }
                Step::Forget if self.forget().await => return Ended::Forgotten,
                Step::Leave => {
                    self.leading.ended().await;
                    self.note(Event::Left).await;
                    self.publish(&assigned);
                    return Ended::AgentStops;
                }
                step => self.perform(step, &assigned).await,
            }
        }
    }

    async fn end_half_done_files(&self) {
        match rendering::end_half_done(self.dir.state()).await {
            Ok(true) => tracing::info!(instance = %self.id, "its files were half done, and are whole"),
            Ok(false) => {}
            // The next time that files are made it is tried again.
            Err(words) => tracing::error!(instance = %self.id, words, "its files are half done"),
        }
    }

    fn decide(&self, assigned: &AssignedCell, halt: bool) -> Step {
        let exit = self.process.as_ref().and_then(Supervised::exit);
        decide(&Facts {
            assigned: match assigned {
                AssignedCell::Unknown => Assigned::Unknown,
                AssignedCell::Missing => Assigned::Missing,
                AssignedCell::Present(assignment) => Assigned::Present(assignment),
            },
            record: &self.record,
            process: exit.map(system::end_of).map_or(Process::AliveIfAny, Process::Ended),
            registered: self.standing.registered(&self.shared, &self.record),
            work: self.work.working(),
            stale: self.record.assignment.template.package.is_some() && self.freshness.is_stale(self.shared.now()),
            consul_after: self.standing.after,
            contact: *self.contact.borrow(),
            halt,
            now: self.shared.now(),
        })
    }

    async fn perform(&mut self, step: Step, assigned: &AssignedCell) {
        match step {
            Step::Accept => {
                if let AssignedCell::Present(assignment) = assigned {
                    self.note(Event::Accepted(Box::new(assignment.as_ref().clone()))).await;
                    self.make_current();
                }
            }
            Step::Begin(work) => self.begin(work).await,
            Step::NoteProgress(phase) => drop(self.note(Event::Progress(phase)).await),
            Step::NoteWork => self.note_work().await,
            Step::CancelWork => self.work.cancel(),
            Step::NoteEnd(exit) => {
                tracing::info!(instance = %self.id, %exit, "ended");
                if let Some(process) = &self.record.process {
                    system::process(process).sweep_group();
                }
                if let Err(words) = self.end_group().await {
                    return self.wait_for_the_rest(words, assigned).await;
                }
                if let Err(words) = sweep(&self.dir, &self.record).await {
                    tracing::error!(instance = %self.id, words, "its jobs have not ended; trying again");
                    return tokio::time::sleep(DISK_RETRY).await;
                }
                if self.note(Event::Ended(exit)).await {
                    self.process = None;
                    self.standing.process_ended(self.shared.round());
                    if self.record.stopping.is_none() {
                        self.shared.telemetry.metrics().restarts.inc();
                    }
                }
            }
            Step::Launch => self.launch().await,
            Step::NoteRunning => drop(self.note(Event::Running).await),
            Step::NoteStable => drop(self.note(Event::Stable).await),
            Step::Register(checks) => {
                self.standing.register(&self.shared, &self.record, checks).await;
                if self.standing.is_known() {
                    self.jobs.registered();
                }
            }
            Step::StandBy(standby) => self.standing.stand_by(&self.shared, &self.record, standby).await,
            Step::Maintain(maintained) => self.standing.maintain(&self.shared, &self.record, maintained).await,
            Step::Deregister => self.standing.deregister(&self.shared, &self.record).await,
            Step::NoteCutOff => {
                tracing::warn!(instance = %self.id, "Consul has been away for too long; it stops");
                self.note(Event::CutOff).await;
            }
            Step::BeginStop => drop(self.note(Event::StopBegun).await),
            Step::NoteClosing => drop(self.note(Event::Closing).await),
            Step::NoteOut => drop(self.note(Event::Out).await),
            Step::CancelStop => drop(self.note(Event::StopCancelled).await),
            Step::Signal => self.signal().await,
            Step::Kill => self.kill().await,
            Step::NoteStopped => {
                // An agent before this one may have noted an end, and then been killed.
                if let Err(words) = self.end_group().await {
                    return self.wait_for_the_rest(words, assigned).await;
                }
                tracing::info!(instance = %self.id, "stopped");
                if self.note(Event::Stopped).await {
                    self.shared.table.release(&self.id);
                }
            }
            Step::Forget => tokio::time::sleep(DISK_RETRY).await,
            Step::Rest(_) | Step::Leave => {}
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

    fn resolve(&self) -> Result<Resolved, String> {
        let Shared { config, inherited, .. } = &*self.shared;
        environment::resolve(config, &self.record.assignment, &self.record.ports, inherited, &self.dir)
            .map_err(|error| error.to_string())
    }

    /// Begins work beside the process. What cannot even begin has ended in vain.
    async fn begin(&mut self, work: Work) {
        if work == Work::Prepare
            && let Err(words) = self.choose_ports().await
        {
            self.note(Event::Worked(work, Err(Trouble::may_heal(words)))).await;
            return;
        }
        match self.resolve() {
            Ok(resolved) => {
                let (env, check, owner) = (resolved.command.env, resolved.check, resolved.command.user);
                if matches!(work, Work::Prepare | Work::Refresh) {
                    self.freshness.begun();
                }
                let aim = match (work, &self.record.process) {
                    (Work::Refresh, Some(process)) => Aim::Refresh(system::process(process)),
                    _ => Aim::Start { first: !self.record.initialised },
                };
                match work.hook() {
                    Some(hook) => {
                        self.work.begin_hook(work, hook_of(&self.dir, hook, env).counted_by(&self.shared.telemetry));
                    }
                    None => self.work.begin_preparation(work, |progress| Preparation {
                        shared: Arc::clone(&self.shared),
                        dir: self.dir.clone(),
                        assignment: self.record.assignment.clone(),
                        env,
                        check,
                        owner,
                        turn: self.turn.next(),
                        aim,
                        progress,
                    }),
                }
            }
            Err(words) => {
                // Of files that cannot be made now nothing is known to be wrong for good.
                let trouble = if work == Work::Refresh { Trouble::may_heal(words) } else { Trouble::lasting(words) };
                tracing::warn!(instance = %self.id, words = trouble.words, "cannot begin: {work:?}");
                let outcome = Err(trouble);
                self.freshness.ended(work, &outcome, None, self.shared.now());
                self.note(Event::Worked(work, outcome)).await;
            }
        }
    }

    /// The scripts that look at the instance run while its process does.
    fn follow_scripts(&mut self) {
        let pid = self.record.process.as_ref().map(|process| process.pid);
        let pid = pid.filter(|_| self.record.checks.iter().any(PackageCheck::is_script));
        if self.scripts.are_of(pid, &self.record.checks) {
            return;
        }
        let Some(pid) = pid else { return self.scripts.end() };
        match self.resolve() {
            Ok(Resolved { command, .. }) => {
                let (shared, instance) = (Arc::clone(&self.shared), self.id.clone());
                let around = Around {
                    client: shared.client.clone(),
                    health: hook_of(&self.dir, Hook::Health, command.env.clone()).counted_by(&self.shared.telemetry),
                    view: self.dir.view(),
                    state: self.dir.state(),
                    env: command.env,
                    id: Box::new(move |name| check_id(&instance, name)),
                    told: Box::new(move || shared.look.notify_one()),
                };
                self.scripts.begin(pid, &self.record.checks, around);
            }
            Err(words) => tracing::error!(instance = %self.id, words, "its scripts cannot be run"),
        }
    }

    /// Whether it is in maintenance follows from what people say, and from nothing that is remembered of it.
    fn follow_maintenance(&mut self) {
        let marked = self.maintenance.borrow_and_update().of(&self.id).map(|mark| mark.reason.clone());
        self.record.maintenance = marked;
    }

    /// It stands for election while it runs, is in Consul as it should be, and may serve.
    fn follow_election(&mut self) {
        let Record { assignment, stopping, process, maintenance, .. } = &self.record;
        let known = self.standing.is_known();
        let stands = assignment.template.election.is_some() && !assignment.role.is_standby() && stopping.is_none();
        let stands = stands && maintenance.is_none();
        let pid = process.as_ref().map(|process| process.pid).filter(|_| stands);
        let told = match pid {
            None => Some(false),
            Some(_) if self.leading.is_of(pid) => self.leading.leads(),
            Some(_) => None,
        };
        self.record.leads = self.leading.leads() == Some(true);
        // Who has stood for election in this run, and does so anew, does not lead until it is told so.
        self.leads = told.or(self.leads.map(|_| false));
        // What is not registered yet has no checks that a session could be bound to. Who stands already goes on standing.
        if self.leading.is_of(pid) || (pid.is_some() && !known) {
            return;
        }
        let Some(pid) = pid else { return self.leading.end() };
        match self.resolve() {
            Ok(Resolved { command, .. }) => self.leading.begin(pid, &self.shared, &self.dir, &self.record, command.env),
            Err(words) => tracing::error!(instance = %self.id, words, "it cannot stand for election"),
        }
    }

    /// What the templates ask may have other answers now.
    fn look_at_answers(&mut self) {
        if !self.freshness.has_news() {
            return;
        }
        let env = self.resolve().map(|resolved| resolved.command.env).unwrap_or_default();
        let answers = Arc::clone(&self.shared.lookups.latest().borrow());
        let namespace = self.record.assignment.deployment.namespace.clone();
        let known = InstanceLookup { answers, namespace, env: Arc::new(env) };
        self.freshness.look(&known, self.shared.now());
    }

    /// What takes more than a line belongs where people look for what an instance says.
    fn tell_in_log(&self, details: &str) {
        let log = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(self.dir.log());
        let told = log.and_then(|mut log| writeln!(log, "helium: {details}"));
        if let Err(error) = told {
            tracing::warn!(instance = %self.id, %error, "the log cannot be written");
        }
    }

    async fn note_work(&mut self) {
        let Some((work, outcome, seen)) = self.work.done() else { return };
        if let Err(trouble) = &outcome {
            // While Consul is away the same is in vain again and again, and said once.
            if self.record.message.as_ref() != Some(&trouble.words) {
                tracing::warn!(instance = %self.id, words = trouble.words, "in vain: {work:?}");
            }
            if let Some(details) = &trouble.details {
                self.tell_in_log(details);
            }
        }
        self.freshness.ended(work, &outcome, seen, self.shared.now());
        self.obstacles.worked(work, &outcome);
        if self.note(Event::Worked(work, outcome)).await {
            self.work.clear();
        }
    }

    /// Which version is the current one depends on who serves, and which is the active one on who runs.
    fn make_current(&self) {
        let assignment = &self.record.assignment;
        self.shared.table.note(assignment);
        let service = &assignment.service.name;
        if self.shared.table.newest_version(service).is_some() {
            active::follow(&self.shared, service);
        }
    }

    async fn forget(&mut self) -> bool {
        self.leading.ended().await;
        if self.end_group().await.is_err() {
            return false;
        }
        match self.dir.forget() {
            Ok(()) => {
                self.shared.reporter.set(&self.id, None);
                self.shared.lookups.forget(&self.id);
                self.jobs.end(&self.shared, &self.id);
                self.shared.telemetry.forget(&self.id);
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
        let is_known = self.standing.asked() && !self.jobs.is_expected(&self.shared);
        if !is_known && self.record.process.is_some() {
            return;
        }
        let Standing { address, failing, refusal, .. } = &self.standing;
        let template = &self.record.assignment.template;
        let trouble = self.jobs.trouble(template).map(|words| (JOBS_CHECK.to_owned(), words));
        let extras = Extras {
            address: address.clone(),
            jobs: self.jobs.reports(template),
            failing: failing.clone().into_iter().chain(trouble).collect(),
            unassigned: *assigned == AssignedCell::Missing,
            refusal: refusal.clone(),
        };
        let report = report(&self.shared.config.node, &self.record, extras);
        let facts = condition::Facts {
            record: &self.record,
            report: &report,
            obstacles: &self.obstacles,
            registered: self.standing.is_registered(),
            refusal: self.standing.refusal.as_deref(),
            with_node: !self.maintenance.borrow().instances.contains_key(&self.id),
            leads: self.leads,
            unpassing: self.standing.unpassing,
        };
        let conditions = self.shared.telemetry.show(&self.record, &facts);
        self.shared.reporter.set(&self.id, Some(Report { conditions, ..report }));
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
            _ = self.contact.changed() => {}
            () = ended => {}
            () = self.work.changed() => {}
            () = self.freshness.changed() => {}
            () = self.leading.changed() => {}
            () = self.jobs.changed() => {}
            _ = self.maintenance.changed() => {}
            _ = self.cells.assigned.changed() => {}
            _ = self.cells.seen.changed() => {}
            () = asleep => {}
        }
    }
}
