//! A world in which processes are entries of a list and time goes where the test says.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use helium_processes::{Command, Exit, Signal};

use crate::{
    event::Event,
    job::{Backoff, Health, Job, Output, Restarts, Start},
    set::{JobSet, Settings},
    supervisor::{Effect, Input, JobId, Supervisor, view::JobView},
};

pub(super) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) fn command() -> Command {
    Command { argv: vec!["it".to_owned()], env: BTreeMap::new(), cwd: "/".into(), user: None }
}

pub(super) fn job(name: &str) -> Job {
    Job::new(name, Some(command()))
}

pub(super) fn after(name: &str, start: Start) -> Job {
    Job { start, ..job(name) }
}

pub(super) fn unlimited(name: &str) -> Job {
    Job { restarts: Restarts::Unlimited, ..job(name) }
}

pub(super) fn checked(name: &str) -> Job {
    let health = Health {
        command: Some(command()),
        interval: ms(1000),
        ttl: ms(2500),
        timeout: ms(900),
        output: Output::Nowhere,
    };
    Job { health: Some(health), ..job(name) }
}

pub(super) fn settings(main: Option<&str>, grace: u64) -> Settings {
    Settings { main: main.map(str::to_owned), grace: ms(grace), every_check: false }
}

/// A process of the world.
#[derive(Clone, Debug)]
pub(super) struct Running {
    pub(super) job: JobId,
    pub(super) name: String,
    pub(super) run: u64,
}

pub(super) struct World {
    pub(super) supervisor: Supervisor,
    pub(super) now: Duration,
    pub(super) running: Vec<Running>,
    pub(super) checks: Vec<(JobId, String, u64)>,
    /// Everything that was done and told since it was looked at last, in words.
    pub(super) log: Vec<String>,
    pub(super) starts: BTreeMap<JobId, Vec<Duration>>,
    pub(super) finished: Option<i32>,
    /// Jobs that end as soon as they are asked to.
    pub(super) polite: bool,
    pub(super) random: u64,
}

impl World {
    pub(super) fn of(jobs: Vec<Job>, settings: Settings) -> Self {
        let mut world = Self::idle(JobSet::lenient(jobs, settings).unwrap().0);
        world.input(Input::Start);
        world
    }

    pub(super) fn idle(set: JobSet) -> Self {
        Self {
            supervisor: Supervisor::new(set),
            now: ms(0),
            running: Vec::new(),
            checks: Vec::new(),
            log: Vec::new(),
            starts: BTreeMap::new(),
            finished: None,
            polite: true,
            random: 250,
        }
    }

    pub(super) fn input(&mut self, input: Input) {
        let mut ended = Vec::new();
        for effect in self.supervisor.step(self.now, self.random, input) {
            self.carry_out(effect, &mut ended);
        }
        for (job, run, exit) in ended {
            self.running.retain(|running| running.run != run);
            self.input(Input::Exited { job, run, exit });
        }
    }

    fn carry_out(&mut self, effect: Effect, ended: &mut Vec<(JobId, u64, Exit)>) {
        assert!(self.finished.is_none(), "{effect:?} after the end");
        match effect {
            Effect::Spawn { job, run, spec } => self.spawn(job, run, &spec),
            Effect::Signal { job, run, signal, group } => {
                let Some(running) = self.running.iter().find(|running| running.run == run) else { return };
                assert_eq!(running.job, job);
                self.log.push(format!("{signal:?} {}{}", running.name, if group { "" } else { " alone" }));
                if group && (signal == Signal::KILL || self.polite) {
                    ended.push((job, run, Exit::Signal(signal.as_raw())));
                }
            }
            Effect::Check { job, check, spec } => {
                assert!(self.checks.iter().all(|(of, _, _)| *of != job), "two checks of {} at once", spec.name);
                self.checks.push((job, spec.name.clone(), check));
            }
            Effect::AbortCheck { check, .. } => self.checks.retain(|(_, _, known)| *known != check),
            Effect::Tell(event) => self.log.push(event.to_string()),
            Effect::Finish { code } => {
                self.finished = Some(code);
                self.log.push(format!("finish {code}"));
            }
        }
    }

    fn spawn(&mut self, job: JobId, run: u64, spec: &Arc<Job>) {
        assert!(self.running.iter().all(|running| running.job != job), "two copies of {}", spec.name);
        let starts = self.starts.entry(job).or_default();
        let soon = starts.last().is_some_and(|last| self.now < *last + Backoff::LEAST);
        assert!(!soon, "{} was started again too soon", spec.name);
        starts.push(self.now);
        self.running.push(Running { job, name: spec.name.clone(), run });
        self.log.push(format!("start {}", spec.name));
    }

    /// Lets time pass, with every timer at its instant.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(wake) = self.supervisor.next_wake().filter(|wake| *wake <= end) {
            assert!(wake >= self.now || self.finished.is_some(), "a timer of the past was left");
            self.now = self.now.max(wake);
            self.input(Input::Timer);
            assert!(self.supervisor.next_wake().is_none_or(|next| next > self.now), "a timer was not taken");
        }
        self.now = end;
    }

    /// The process of a job ends.
    pub(super) fn exit(&mut self, name: &str, code: i32) {
        let at =
            self.running.iter().position(|running| running.name == name).unwrap_or_else(|| panic!("{name} runs not"));
        let running = self.running.remove(at);
        self.input(Input::Exited { job: running.job, run: running.run, exit: Exit::Status(code) });
    }

    /// The check of a job that is under way ends.
    pub(super) fn check(&mut self, name: &str, passed: bool) {
        let at = self.checks.iter().position(|(_, of, _)| of == name).unwrap_or_else(|| panic!("no check of {name}"));
        let (job, _, check) = self.checks.remove(at);
        self.input(Input::Checked { job, check, passed });
    }

    pub(super) fn event(&mut self, event: Event) {
        self.input(Input::Outside(event));
    }

    pub(super) fn reload(&mut self, jobs: Vec<Job>, settings: Settings) {
        self.input(Input::Reload(JobSet::new(jobs, settings).unwrap()));
    }

    pub(super) fn runs(&self, name: &str) -> bool {
        self.running.iter().any(|running| running.name == name)
    }

    /// What happened since the last call.
    pub(super) fn told(&mut self) -> String {
        std::mem::take(&mut self.log).join(", ")
    }

    pub(super) fn view(&self, name: &str) -> JobView {
        self.supervisor.jobs().into_iter().find(|job| job.name == name).unwrap()
    }
}
