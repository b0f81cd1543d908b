//! What holds whatever happens, in whatever order.

use std::collections::BTreeSet;

use helium_processes::Exit;
use proptest::prelude::*;

use super::world::*;
use crate::{
    event::{Code, Event},
    job::{Job, Periodic, Restarts, RunLimit, Start, Stop},
    set::{JobSet, Settings},
    supervisor::{Input, JobId, view::JobState},
};

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Something that happens in a world.
#[derive(Clone, Debug)]
enum Happening {
    Pass(u64),
    Exit(usize, i32),
    NotStarted(usize),
    Stale,
    Check(usize, bool),
    Outside(Event),
    Maintenance(bool),
    Start,
    Reload(Vec<Job>, Settings),
    Polite(bool),
}

fn outside() -> impl Strategy<Value = Event> {
    let global = (7..15_usize).prop_map(|code| Event::global(Code::ALL[code].0));
    let watch = (4..7_usize).prop_map(|code| Event::of_watch(Code::ALL[code].0, "w"));
    prop_oneof![global, watch]
}

fn event() -> impl Strategy<Value = Event> {
    let of_job = (0..11_usize, 0..NAMES.len()).prop_map(|(code, name)| Event::of_job(Code::ALL[code].0, NAMES[name]));
    prop_oneof![2 => of_job, 1 => outside()]
}

fn restarts() -> impl Strategy<Value = Restarts> {
    prop_oneof![Just(Restarts::Never), (0..4_u32).prop_map(Restarts::Times), Just(Restarts::Unlimited)]
}

fn start() -> impl Strategy<Value = Start> {
    let after = prop_oneof![2 => Just(vec![]), 3 => proptest::collection::vec(event(), 1..3)];
    let every = proptest::option::weighted(0.2, (1..3000_u64, restarts()));
    (after, proptest::option::of(1..4_u32), every, proptest::option::of(0..5000_u64)).prop_map(
        |(after, each, every, timeout)| {
            let every = every.map(|(interval, ticks)| Periodic { interval: ms(interval), ticks });
            Start { after, each, every, timeout: timeout.map(ms), ..Start::default() }
        },
    )
}

fn any_job() -> impl Strategy<Value = Job> {
    let limit = proptest::option::of((1..3000_u64, any::<bool>()));
    let stop = (0..5000_u64, proptest::option::of(0..3000_u64));
    ((0..NAMES.len(), any::<bool>(), any::<bool>()), start(), restarts(), limit, stop).prop_map(
        |((name, has_command, has_health), start, restarts, limit, (timeout, wait))| Job {
            command: has_command.then(command),
            health: checked("").health.filter(|_| has_health),
            start,
            restarts,
            run_limit: limit.map(|(after, kill)| RunLimit { after: ms(after), kill }),
            stop: Stop { timeout: ms(timeout), wait: wait.map(ms), ..Stop::default() },
            ..job(NAMES[name])
        },
    )
}

fn jobs() -> impl Strategy<Value = Vec<Job>> {
    proptest::collection::vec(any_job(), 0..6)
}

fn any_settings() -> impl Strategy<Value = Settings> {
    (0..8000_u64, any::<bool>()).prop_map(|(grace, every_check)| Settings { main: None, grace: ms(grace), every_check })
}

/// The jobs, the first of them as the main one if there is to be one.
fn set(jobs: Vec<Job>, mut settings: Settings) -> JobSet {
    settings.main = settings.main.and_then(|_| Some(jobs.first()?.name.clone()));
    JobSet::lenient(jobs, settings).unwrap().0
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (0..3000_u64).prop_map(Happening::Pass),
        4 => (0..6_usize, 0..2_i32).prop_map(|(at, code)| Happening::Exit(at, code)),
        1 => (0..6_usize).prop_map(Happening::NotStarted),
        1 => Just(Happening::Stale),
        3 => (0..6_usize, any::<bool>()).prop_map(|(at, passed)| Happening::Check(at, passed)),
        3 => outside().prop_map(Happening::Outside),
        1 => any::<bool>().prop_map(Happening::Maintenance),
        1 => Just(Happening::Start),
        1 => (jobs(), any_settings()).prop_map(|(jobs, settings)| Happening::Reload(jobs, settings)),
        1 => any::<bool>().prop_map(Happening::Polite),
    ]
}

fn happen(world: &mut World, happening: Happening) {
    match happening {
        Happening::Pass(millis) => world.pass(ms(millis)),
        Happening::Exit(at, code) => {
            if let Some(running) = world.running.get(at).cloned() {
                world.exit(&running.name, code);
            }
        }
        Happening::NotStarted(at) if at < world.running.len() => {
            let running = world.running.remove(at);
            world.input(Input::NotStarted { job: running.job, run: running.run });
        }
        Happening::NotStarted(_) => {}
        Happening::Stale => {
            for job in world.supervisor.jobs() {
                world.input(Input::Exited { job: job.id, run: 0, exit: Exit::Status(0) });
                world.input(Input::Checked { job: job.id, check: 0, passed: true });
                world.input(Input::Ready { job: job.id, run: world.running.first().map_or(0, |running| running.run) });
            }
        }
        Happening::Check(at, passed) => {
            if let Some((_, name, _)) = world.checks.get(at).cloned() {
                world.check(&name, passed);
            }
        }
        Happening::Outside(event) => world.event(event),
        Happening::Start => world.input(Input::Start),
        Happening::Maintenance(on) => world.input(Input::Maintenance(on)),
        Happening::Reload(jobs, settings) => {
            world.input(Input::Reload(set(jobs, settings)));
        }
        Happening::Polite(polite) => world.polite = polite,
    }
}

proptest! {
    /// [`World`] itself fails on a second copy, a second check, two starts within 100 ms, a timer that is not taken, and effects after the end.
    #[test]
    fn whatever_happens_there_is_one_copy_restarts_are_bounded_and_a_shutdown_ends_within_its_grace(
        jobs in jobs(),
        settings in any_settings(),
        before in proptest::collection::vec(happening(), 0..40),
        after in proptest::collection::vec(happening(), 0..10),
        random in any::<u64>(),
        (polite, begins) in (any::<bool>(), any::<bool>()),
    ) {
        let mut world = World::idle(set(jobs, settings));
        world.random = random;
        world.polite = polite;
        if begins {
            world.input(Input::Start);
        }
        for happening in before {
            happen(&mut world, happening);
        }
        prop_assert!(world.supervisor.begun || world.starts.is_empty(), "it began by itself");
        let grace = world.supervisor.settings.grace;
        let begun = world.now;
        world.input(Input::Shutdown);
        for happening in after {
            happen(&mut world, happening);
        }
        world.pass((begun + grace).saturating_sub(world.now));
        prop_assert!(world.finished.is_some(), "it runs on: {:?} {:?}", world.running, world.supervisor.jobs());
        prop_assert!(world.running.is_empty());
    }

    /// Each wait before a stop is bounded, in a shutdown or not.
    #[test]
    fn no_job_is_stuck_between_being_told_to_stop_and_having_stopped(
        jobs in jobs(),
        settings in any_settings(),
        before in proptest::collection::vec(happening(), 0..40),
    ) {
        let mut world = World::idle(set(jobs, settings));
        world.input(Input::Start);
        for happening in before {
            happen(&mut world, happening);
        }
        let stopping = |world: &World| -> BTreeSet<(JobId, u64)> {
            let jobs = world.supervisor.jobs().into_iter();
            jobs.filter(|job| job.state == JobState::Stopping).map(|job| (job.id, job.starts)).collect()
        };
        let mut stuck = stopping(&world);
        for _ in 0..20 {
            world.pass(ms(1000));
            stuck = &stuck & &stopping(&world);
        }
        prop_assert!(stuck.is_empty(), "{:?}", world.supervisor.jobs());
    }
}
