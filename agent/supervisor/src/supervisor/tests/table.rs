//! Starts, restarts, intervals, health, maintenance and reload.

use super::world::*;
use crate::{
    event::{Code, Event},
    job::{Backoff, Health, Job, Restarts, RunLimit, Start},
    supervisor::{Input, view::JobState},
};

fn healthy(name: &str) -> Event {
    Event::of_job(Code::Healthy, name)
}

fn keeper() -> Job {
    Job::new("keeper", None)
}

#[test]
fn a_job_starts_when_all_that_it_waits_for_was_seen_in_any_order() {
    let all = vec![Event::of_job(Code::ExitSuccess, "pre"), Event::of_watch(Code::Healthy, "db")];
    let app = after("app", Start { after: all, ..Start::default() });
    let mut world = World::of(vec![app, job("pre")], settings(None, 1000));
    assert_eq!(world.told(), "global startup, start pre");
    world.event(Event::of_watch(Code::Healthy, "db"));
    assert_eq!(world.told(), "watch.db healthy");
    world.exit("pre", 0);
    assert_eq!(world.told(), "pre exitSuccess, pre stopping, start app, pre stopped");
}

#[test]
fn once_is_once_and_each_is_each_time_and_while_it_runs_so_many_are_remembered() {
    let hup = || Event::global(Code::Sighup);
    let each = Start { each: Some(2), ..Start::each(hup()) };
    let mut world =
        World::of(vec![keeper(), after("once", Start::once(hup())), after("each", each)], settings(None, 1000));
    world.told();
    world.event(hup());
    assert_eq!(world.told(), "global SIGHUP, start once, start each");
    for _ in 0..5 {
        world.event(hup());
    }
    world.exit("once", 0);
    for _ in 0..2 {
        world.pass(ms(200));
        world.exit("each", 0);
    }
    world.pass(ms(200));
    world.exit("each", 0);
    world.pass(ms(200));
    assert!(!world.runs("each") && !world.runs("once"));
    assert_eq!((world.view("each").starts, world.view("once").starts), (3, 1));
}

#[test]
fn a_job_whose_start_never_comes_quits_and_says_so() {
    let start = Start { timeout: Some(ms(500)), ..Start::once(healthy("a")) };
    let alarm = after("alarm", Start::once(Event::of_job(Code::TimerExpired, "b")));
    let mut world = World::of(vec![unlimited("a"), after("b", start), alarm], settings(None, 1000));
    world.told();
    world.pass(ms(499));
    assert_eq!(world.told(), "");
    world.pass(ms(1));
    assert_eq!(world.told(), "b timerExpired, start alarm");
    assert_eq!(world.view("b").state, JobState::Done);
}

#[test]
fn tasks_run_at_their_interval_as_often_as_they_may_and_never_beside_themselves() {
    let task = |name: &str, ticks, limit| {
        let run_limit = Some(RunLimit { after: ms(limit), kill: true });
        Job { run_limit, ..after(name, Start::every(ms(500), ticks)) }
    };
    let times = Restarts::Times(5);
    let jobs = vec![task("short", times, 500), task("long", times, 100), task("slow", Restarts::Unlimited, 10_000)];
    let mut world = World::of(jobs, settings(None, 1000));
    for tick in 0..35 {
        // `short` takes 200 ms, `long` is killed each time, `slow` takes 1100 ms.
        if tick % 5 == 2 && world.runs("short") {
            world.exit("short", 0);
        }
        if world.runs("slow")
            && world.starts[&world.view("slow").id].last().unwrap().as_millis() + 1100 <= world.now.as_millis()
        {
            world.exit("slow", 0);
        }
        world.pass(ms(100));
    }
    let counts = |name: &str| (world.view(name).starts, world.view(name).timeouts);
    assert_eq!([counts("short"), counts("long"), counts("slow")], [(6, 0), (6, 6), (3, 0)]);
}

#[test]
fn a_task_may_begin_its_interval_after_an_event() {
    let start = Start { after: vec![healthy("a")], ..Start::every(ms(500), Restarts::Unlimited) };
    let mut world = World::of(vec![checked("a"), after("task", start)], settings(None, 1000));
    world.pass(ms(1000));
    assert!(!world.runs("task"));
    world.check("a", true);
    assert!(world.runs("task"));
    world.exit("task", 1);
    world.pass(ms(499));
    assert!(!world.runs("task"));
    world.pass(ms(1));
    assert!(world.runs("task"));
}

#[test]
fn a_job_that_keeps_crashing_is_restarted_ever_more_slowly_and_seen_to_until_a_run_is_stable() {
    let mut world = World::of(vec![unlimited("app")], settings(None, 1000));
    let mut gaps = Vec::new();
    for _ in 0..12 {
        world.exit("app", 1);
        let from = world.now;
        world.pass(world.supervisor.next_wake().unwrap().saturating_sub(world.now));
        gaps.push(world.now.saturating_sub(from).as_millis());
    }
    assert_eq!(gaps, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000, 30_000]);
    assert_eq!(world.view("app").state, JobState::CrashLoop);
    world.pass(Backoff::default().stable);
    assert_eq!(world.view("app").state, JobState::Running);
    world.exit("app", 1);
    world.pass(ms(100));
    assert!(world.runs("app"));
}

#[test]
fn a_job_that_may_restart_once_is_restarted_once_and_its_count_begins_anew_with_another_command() {
    let once = Job { restarts: Restarts::Times(1), ..job("co") };
    let other =
        Job { command: Some(helium_processes::Command { argv: vec!["other".into()], ..command() }), ..once.clone() };
    let mut world = World::of(vec![unlimited("app"), once], settings(None, 1000));
    world.exit("co", 1);
    world.pass(ms(200));
    world.exit("co", 1);
    world.pass(ms(60_000));
    assert_eq!((world.runs("co"), world.view("co").starts, world.view("co").state), (false, 2, JobState::Done));
    world.told();
    world.reload(vec![unlimited("app"), other], settings(None, 1000));
    assert_eq!(world.told(), "start co");
    world.exit("co", 1);
    world.pass(ms(200));
    assert!(world.runs("co"));
}

#[test]
fn a_command_that_cannot_be_started_has_failed_and_is_tried_again_like_any_other() {
    let alarm = after("alarm", Start::each(Event::of_job(Code::ExitFailed, "app")));
    let mut world =
        World::of(vec![Job { restarts: Restarts::Times(1), ..job("app") }, alarm], settings(Some("app"), 1000));
    let running = world.running.remove(0);
    world.told();
    world.input(Input::NotStarted { job: running.job, run: running.run });
    assert_eq!(world.told(), "app exitFailed, start alarm");
    world.exit("alarm", 0);
    world.pass(ms(100));
    let running = world.running.remove(0);
    world.input(Input::NotStarted { job: running.job, run: running.run });
    assert_eq!(world.finished, Some(127));
}

#[test]
fn health_is_told_when_it_changes_or_at_every_check() {
    for (every_check, told) in
        [(false, "app healthy, app unhealthy"), (true, "app healthy, app healthy, app unhealthy, app unhealthy")]
    {
        let set = crate::Settings { every_check, ..settings(None, 1000) };
        let mut world = World::of(vec![checked("app")], set);
        world.told();
        for passed in [true, true, false, false] {
            world.pass(ms(1000));
            world.check("app", passed);
        }
        assert_eq!(world.told(), told);
    }
}

#[test]
fn a_hung_check_delays_no_other_and_ages_what_was_known() {
    let mut world = World::of(vec![checked("hung"), checked("well")], settings(None, 1000));
    world.pass(ms(1000));
    world.check("hung", true);
    world.check("well", true);
    world.told();
    for _ in 0..4 {
        world.pass(ms(1000));
        world.check("well", true);
    }
    assert_eq!(world.told(), "hung unhealthy");
    assert_eq!((world.view("hung").healthy, world.view("well").healthy), (Some(false), Some(true)));
}

#[test]
fn a_healthy_job_whose_process_ends_is_unhealthy_and_an_answer_of_before_counts_no_more() {
    let mut world = World::of(vec![Job { restarts: Restarts::Unlimited, ..checked("app") }], settings(None, 1000));
    world.pass(ms(1000));
    world.check("app", true);
    world.pass(ms(1000));
    let (id, _, check) = world.checks[0].clone();
    world.told();
    world.exit("app", 0);
    assert_eq!(world.told(), "app unhealthy, app exitSuccess");
    world.pass(ms(100));
    world.input(Input::Checked { job: id, check, passed: true });
    assert_eq!(world.view("app").healthy, None);
}

#[test]
fn ready_is_heard_of_the_run_that_goes_on_and_of_no_other() {
    let app = Job { restarts: Restarts::Unlimited, notify: true, ..job("app") };
    let mut world = World::of(vec![app], settings(None, 1000));
    let old = world.running[0].clone();
    world.exit("app", 1);
    world.pass(ms(200));
    world.told();
    world.input(Input::Ready { job: old.job, run: old.run });
    assert_eq!(world.told(), "");
    world.input(Input::Ready { job: old.job, run: world.running[0].run });
    assert_eq!((world.told().as_str(), world.view("app").healthy), ("app healthy", Some(true)));
}

#[test]
fn a_job_without_a_check_command_is_well_while_it_runs() {
    let health = checked("app").health.map(|health| Health { command: None, ..health });
    let mut world = World::of(vec![Job { health, ..job("app") }], settings(None, 1000));
    world.told();
    world.pass(ms(5000));
    assert_eq!(world.told(), "app healthy");
}

#[test]
fn in_maintenance_nothing_is_checked_and_after_it_at_once() {
    let mut world = World::of(vec![checked("app")], settings(None, 1000));
    world.pass(ms(1000));
    world.check("app", true);
    world.pass(ms(1000));
    world.told();
    world.input(Input::Maintenance(true));
    assert_eq!((world.told().as_str(), world.checks.len()), ("global enterMaintenance", 0));
    world.pass(ms(10_000));
    assert_eq!((world.told().as_str(), world.checks.len()), ("", 0));
    world.input(Input::Maintenance(false));
    assert_eq!((world.told().as_str(), world.checks.len()), ("global exitMaintenance", 1));
    world.check("app", false);
    assert_eq!(world.told(), "app unhealthy");
}

#[test]
fn a_reload_leaves_alone_what_is_the_same_and_stops_and_starts_the_rest() {
    let other = |name: &str| Job { restarts: Restarts::Times(9), ..job(name) };
    let mut world = World::of(vec![job("same"), job("changed"), job("removed")], settings(None, 1000));
    let run = world.running[0].run;
    world.pass(ms(100));
    world.told();
    world.reload(vec![job("added"), other("changed"), job("same")], settings(None, 1000));
    let told = world.told();
    assert_eq!(
        told,
        "changed stopping, removed stopping, start added, TERM changed, TERM removed, changed stopped, start changed, \
         removed stopped"
            .replace("TERM", &format!("{:?}", helium_processes::Signal::TERM)),
    );
    assert!(world.running.iter().any(|running| running.run == run));
    let names: Vec<_> = world.supervisor.jobs().into_iter().map(|job| job.name).collect();
    assert_eq!(names, ["added", "changed", "same"]);
    assert_eq!(world.view("changed").starts, 1);
}

#[test]
fn a_job_that_is_taken_back_while_it_stops_comes_back_when_it_has_stopped() {
    let mut world = World::of(vec![job("a"), job("b")], settings(None, 1000));
    world.polite = false;
    world.pass(ms(100));
    world.reload(vec![job("a")], settings(None, 1000));
    world.reload(vec![job("a"), job("b")], settings(None, 1000));
    world.told();
    world.exit("b", 0);
    assert_eq!(world.told(), "b stopped, start b");
}

#[test]
fn what_a_new_job_waits_for_may_have_come_about_before_it() {
    let mut world = World::of(vec![checked("db"), job("pre")], settings(None, 1000));
    world.exit("pre", 0);
    world.pass(ms(1000));
    world.check("db", true);
    world.event(Event::of_watch(Code::Healthy, "cache"));
    world.told();
    let facts = vec![healthy("db"), Event::of_job(Code::ExitSuccess, "pre"), Event::of_watch(Code::Healthy, "cache")];
    let app = after("app", Start { after: facts, ..Start::default() });
    world.reload(vec![checked("db"), job("pre"), app], settings(None, 1000));
    assert_eq!(world.told(), "start app");
}

#[test]
fn a_burst_of_events_is_bounded_and_holds_no_heartbeat_up() {
    let mut world =
        World::of(vec![checked("app"), after("hook", Start::each(Event::global(Code::Sighup)))], settings(None, 1000));
    for _ in 0..10_000 {
        world.event(Event::global(Code::Sighup));
    }
    world.pass(ms(1000));
    world.check("app", true);
    assert_eq!(world.view("app").healthy, Some(true));
    world.exit("hook", 0);
    world.pass(ms(1000));
    world.exit("hook", 0);
    world.pass(ms(1000));
    assert_eq!(world.view("hook").starts, 2);
}

#[test]
fn of_what_starts_a_job_each_time_some_may_stay_seen_for_good() {
    let (ready, hup) = (Event::of_watch(Code::Healthy, "db"), Event::global(Code::Sighup));
    let start = Start {
        after: vec![ready.clone(), hup.clone()],
        lasting: vec![ready.clone()],
        each: Some(1),
        ..Start::default()
    };
    let mut world = World::of(vec![keeper(), after("job", start)], settings(None, 1000));
    world.event(hup.clone());
    world.event(ready);
    world.exit("job", 0);
    world.pass(ms(200));
    world.event(hup);
    world.pass(ms(200));
    assert_eq!(world.view("job").starts, 2, "the database was ready once");
}

#[test]
fn what_somebody_outside_sees_of_a_job_counts_as_a_check_while_it_runs() {
    let seen = |healthy| Input::Observed { job: "app".to_owned(), healthy };
    let pre = Start::once(Event::of_job(Code::ExitSuccess, "pre"));
    let jobs = vec![job("pre"), after("app", pre), after("b", Start::once(healthy("app"))), keeper()];
    let mut world = World::of(jobs, settings(Some("app"), 1000));
    world.told();
    world.input(seen(true));
    assert_eq!(world.told(), "", "it does not run yet");
    world.exit("pre", 0);
    world.told();
    world.input(seen(true));
    world.input(seen(true));
    assert_eq!(world.told(), "app healthy, start b");
    world.input(seen(false));
    assert_eq!((world.told().as_str(), world.view("app").healthy), ("app unhealthy", Some(false)));
}
