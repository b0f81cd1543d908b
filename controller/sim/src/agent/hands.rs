//! One instance in the hands of an agent: its facts are gathered, the machine is asked, its step is done, and what came of it is noted.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use helium_crds::{
    InstanceId,
    instance::{Assignment, InstancePhase, Report},
};
use helium_instance::{
    apply::apply,
    hooks::Hook,
    machine::{Assigned, Event, Facts, Process, Step, decide},
    process::{Exit, ProcessIdentity},
    record::Record,
    report::{Extras, report},
    work::{Part, Prepared, Trouble, Work, Working},
};

use super::{ADDRESS, Agent, standing::Standing};
use crate::{defects::Defect, faults::FaultKind, fleet::Behaviour};

/// No instance takes so many steps in a row: what goes on for ever would stand still in time.
const MOST_STEPS: usize = 100;
/// Checks that fail are told of once a process is so old.
const SEEN_FAILING: Duration = Duration::from_secs(2);
/// What is told of a start whose answer is lost.
const UNANSWERED: &str = "its start was not answered";

/// How long work beside a process takes.
const WORKING: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(900));

/// What an agent knows of an instance.
pub(super) struct Hand {
    /// As it is on the disk.
    record: Record,
    /// The process that this life of the agent has started: of another one it is not told how it ended.
    own: Option<u32>,
    pub(super) standing: Standing,
    /// What is being done beside the process, which ends with the agent, and until when.
    work: Working,
    worked: Duration,
    /// The answer to its start was lost, and is told of in the next report.
    unanswered: bool,
}

impl Hand {
    /// The instance of a record.
    pub(super) fn of(record: Record, standing: Standing) -> Self {
        Self { record, own: None, standing, work: Working::Nothing, worked: Duration::ZERO, unanswered: false }
    }

    fn id(&self) -> &InstanceId {
        &self.record.assignment.id
    }
}

impl Agent {
    /// Goes on with an instance until there is nothing to do for now; gives none once it is forgotten.
    pub(super) async fn attend(&mut self, mut hand: Hand) -> Option<Hand> {
        let assignment = self.view.of(hand.id());
        for _ in 0..MOST_STEPS {
            self.end_of_work(&mut hand);
            let assigned = self.view.assigned(hand.id(), assignment.as_deref());
            match self.next(&hand, assigned) {
                Step::Rest(_) => {
                    // Said again at the next tick if it fails.
                    let _tried_again = self.tell(&mut hand, assigned).await;
                    return Some(hand);
                }
                Step::Forget => {
                    self.effect(&format!("forgets {}", hand.id()), |table| table.erase(&self.node, hand.id())).await;
                    return None;
                }
                step => {
                    if !self.perform(&mut hand, step, assignment.as_deref()).await {
                        return Some(hand);
                    }
                }
            }
        }
        self.net.check(|checkers, _| checkers.fail("S19", format!("{} takes no rest", hand.id())));
        Some(hand)
    }

    fn next(&self, hand: &Hand, assigned: Assigned<'_>) -> Step {
        decide(&Facts {
            assigned,
            record: &hand.record,
            process: self.exit(hand).map_or(Process::AliveIfAny, Process::Ended),
            registered: hand.standing.registered(&hand.record.assignment),
            work: &hand.work,
            stale: false,
            consul_after: hand.standing.after,
            contact: self.contact,
            halt: false,
            now: self.clock.now(),
        })
    }

    /// How the process of the record ended, if it did.
    fn exit(&self, hand: &Hand) -> Option<Exit> {
        let pid = hand.record.process.as_ref()?.pid;
        let exit = self.net.fleet.table().exit(&self.node, hand.id(), pid)?;
        Some(if hand.own == Some(pid) { exit } else { Exit::Unseen })
    }

    /// Does a step; false if there is nothing more to do before the next tick.
    async fn perform(&mut self, hand: &mut Hand, step: Step, assigned: Option<&Assignment>) -> bool {
        let event = match step {
            Step::Accept => match assigned {
                Some(assignment) => Event::Accepted(Box::new(assignment.clone())),
                None => return false,
            },
            Step::NoteEnd(exit) => return self.note_end(hand, exit).await,
            Step::Launch => return self.launch(hand).await,
            Step::NoteRunning => Event::Running,
            Step::NoteStable => Event::Stable,
            Step::NoteCutOff => Event::CutOff,
            Step::BeginStop => Event::StopBegun,
            Step::NoteOut => Event::Out,
            Step::NoteClosing => Event::Closing,
            Step::CancelStop => Event::StopCancelled,
            Step::NoteStopped => Event::Stopped,
            Step::Signal => return self.signal(hand).await,
            Step::Kill => return self.kill(hand).await,
            Step::Register(_) | Step::StandBy(_) | Step::Deregister => return self.call(hand, step).await,
            Step::Begin(work) => return self.begin(hand, work).await,
            Step::NoteProgress(phase) => Event::Progress(phase),
            Step::NoteWork => match std::mem::replace(&mut hand.work, Working::Nothing) {
                Working::Done(work, outcome) => Event::Worked(work, outcome),
                Working::Nothing | Working::Busy(..) => return true,
            },
            Step::CancelWork => {
                hand.work = Working::Nothing;
                return true;
            }
            // Nobody asks for maintenance, and no agent takes its instances with it. The others are done by whoever asked.
            Step::Maintain(_) | Step::Rest(_) | Step::Leave | Step::Forget => return false,
        };
        self.note(hand, event).await;
        true
    }

    /// Writes the record after an event.
    async fn note(&mut self, hand: &mut Hand, event: Event) {
        let what = format!("notes of {}: {event:?}", hand.id());
        let what = what.split(['(', '{']).next().unwrap_or_default().to_owned();
        let next = apply(&hand.record, event, self.clock.now(), self.rng.draw());
        self.effect(&what, |table| table.write(&self.node, next.clone())).await;
        hand.record = next;
    }

    async fn note_end(&mut self, hand: &mut Hand, exit: Exit) -> bool {
        let pid = hand.record.process.as_ref().map(|process| process.pid);
        self.note(hand, Event::Ended(exit)).await;
        hand.own = None;
        if let Some(pid) = pid {
            self.net.fleet.table().reap(&self.node, hand.id(), pid);
        }
        true
    }

    /// Begins work, which takes a while.
    async fn begin(&mut self, hand: &mut Hand, work: Work) -> bool {
        self.effect(&format!("begins {work:?} of {}", hand.id()), |_| ()).await;
        hand.work = Working::Busy(work, (work == Work::Prepare).then_some(InstancePhase::Installing));
        hand.worked = self.net.now() + self.rng.between(WORKING.0, WORKING.1);
        true
    }

    /// What becomes of work once its time is over: a machine that refuses starts brings no package either.
    fn end_of_work(&mut self, hand: &mut Hand) {
        let Working::Busy(work, _) = hand.work else { return };
        if self.net.now() >= hand.worked {
            let refused = work == Work::Prepare && self.strikes(FaultKind::StartRefused);
            hand.work = Working::Done(work, if refused { Err(no_package()) } else { Ok(found_by(work)) });
        }
    }

    /// Starts a process at its gate, writes it down, and lets it through.
    async fn launch(&mut self, hand: &mut Hand) -> bool {
        if self.strikes(FaultKind::StartRefused) {
            self.note(hand, Event::LaunchFailed("no room for a process".to_owned())).await;
            return true;
        }
        let (now, what) = (self.net.now(), format!("starts {} at its gate", hand.id()));
        let process = self.effect(&what, |table| table.start(&self.node, &hand.record.assignment, now)).await;
        let pid = process.pid;
        if self.net.defect == Some(Defect::S4Unwritten) {
            self.open(hand, pid).await;
            self.note(hand, Event::Launched(process)).await;
        } else {
            self.note(hand, Event::Launched(process)).await;
            self.open(hand, pid).await;
        }
        hand.unanswered = self.strikes(FaultKind::StartUnseen);
        true
    }

    async fn open(&mut self, hand: &mut Hand, pid: u32) {
        let (now, what) = (self.net.now(), format!("lets {} through", hand.id()));
        let twice = self.effect(&what, |table| table.open(&self.node, hand.id(), pid, now)).await;
        hand.own = Some(pid);
        if !twice.is_empty() {
            self.net.check(|checkers, _| checkers.two_copies(hand.id(), &twice, &self.node));
        }
    }

    /// Sends the stop signal, then notes it.
    async fn signal(&mut self, hand: &mut Hand) -> bool {
        let excused = hand.standing.after.is_some_and(|after| after > self.clock.now());
        self.net.check(|checkers, net| checkers.signalled(net, &self.node, hand.id(), excused));
        let lingers = self.strikes(FaultKind::StopLingers);
        if let Some(ProcessIdentity { pid, .. }) = hand.record.process.clone() {
            let (now, what) = (self.net.now(), format!("tells {} to stop", hand.id()));
            self.effect(&what, |table| table.signal(&self.node, hand.id(), pid, lingers, now)).await;
        }
        self.note(hand, Event::Signalled).await;
        true
    }

    async fn kill(&mut self, hand: &mut Hand) -> bool {
        if self.strikes(FaultKind::StopLingers) {
            return false;
        }
        if let Some(ProcessIdentity { pid, .. }) = hand.record.process.clone() {
            let what = format!("kills {}", hand.id());
            self.effect(&what, |table| table.end(&self.node, hand.id(), pid)).await;
        }
        false
    }

    /// A call to Consul.
    async fn call(&mut self, hand: &mut Hand, step: Step) -> bool {
        let registers = matches!(step, Step::Register(_));
        if registers && !hand.standing.is_there() && self.strikes(FaultKind::SeenLate) {
            return false;
        }
        if step == Step::Deregister && hand.record.stopping.is_some() && self.net.defect == Some(Defect::S19) {
            hand.standing.believe_absent();
            return true;
        }
        let early = self.net.defect == Some(Defect::S19Early) && hand.record.process.is_some();
        if step == Step::Deregister && hand.record.stopping.is_some_and(|begun| begun.signalled.is_none()) && early {
            return self.signal(hand).await;
        }
        match hand.standing.call(step, &self.client, &self.node, &hand.record.assignment).await {
            Ok(()) if registers => self.services_at = Duration::ZERO,
            Ok(()) => {}
            Err(error) => hand.standing.failed(&error, self.clock.now(), &mut self.rng),
        }
        true
    }

    /// Reports how it is. Of one that was adopted nothing is said before Consul was asked.
    async fn tell(&mut self, hand: &mut Hand, assigned: Assigned<'_>) -> Result<(), consul_client::Error> {
        if hand.record.process.is_some() && !hand.standing.asked {
            return Ok(());
        }
        let there = hand.standing.is_there();
        let extras = Extras {
            address: there.then(|| ADDRESS.to_owned()),
            jobs: BTreeMap::new(),
            failing: self.failing(hand),
            unassigned: matches!(assigned, Assigned::Missing),
            refusal: hand.standing.refusal.clone(),
        };
        let mut report = report(&self.node, &hand.record, extras);
        if hand.unanswered {
            report = Report { phase: InstancePhase::Failed, message: Some(UNANSWERED.to_owned()), ..report };
        }
        self.say(report).await?;
        hand.unanswered = false;
        Ok(())
    }

    /// What the checks of a process say that has run for a while and answers with errors.
    fn failing(&self, hand: &Hand) -> BTreeMap<String, String> {
        let Record { assignment, .. } = &hand.record;
        let (now, healed) = (self.net.now(), self.net.faults().is_healed());
        let fails = self.net.fleet.table().get(&self.node, &assignment.id).is_some_and(|process| {
            let age = now.saturating_sub(process.started);
            age >= SEEN_FAILING && !Behaviour::of(&process.version).passes(age, healed)
        });
        let checks = assignment.template.checks.iter().filter(|_| fails);
        checks.map(|check| (check.name.clone(), "GET /health -> 500".to_owned())).collect()
    }
}

/// A package here has the hooks around a start and a stop.
fn found_by(work: Work) -> Prepared {
    let hooks = BTreeSet::from([Hook::PostStart, Hook::PreStop, Hook::PostStop]);
    if work == Work::Prepare { Prepared { hooks, ..Prepared::default() } } else { Prepared::default() }
}

fn no_package() -> Trouble {
    Trouble::may_heal("no room for its package").of(Part::Package)
}
