//! The order in which jobs stop, what bounds it, and the exit code.

use helium_processes::Signal;

use super::world::*;
use crate::{
    event::{Code, Event},
    job::{Job, Restarts, Start, Stop},
    supervisor::{Input, view::JobState},
};

fn on_stopping(name: &str, of: &str) -> Job {
    after(name, Start::once(Event::of_job(Code::Stopping, of)))
}

fn on_stopped(name: &str, of: &str) -> Job {
    after(name, Start::once(Event::of_job(Code::Stopped, of)))
}

fn term(name: &str) -> String {
    format!("{:?} {name}", Signal::TERM)
}

fn kill(name: &str) -> String {
    format!("{:?} {name}", Signal::KILL)
}

#[test]
fn everyone_who_acts_on_stopping_is_waited_for_and_who_acts_on_stopped_comes_last() {
    let jobs =
        vec![unlimited("app"), on_stopping("pre1", "app"), on_stopping("pre2", "app"), on_stopped("post", "app")];
    let mut world = World::of(jobs, settings(Some("app"), 10_000));
    world.told();
    world.input(Input::Shutdown);
    assert_eq!(world.told(), "global shutdown, app stopping, start pre1, start pre2");
    world.exit("pre2", 0);
    assert_eq!(world.told(), "pre2 exitSuccess, pre2 stopping, pre2 stopped");
    world.exit("pre1", 1);
    let all = ["pre1 exitFailed, pre1 stopping, pre1 stopped", &term("app"), "app stopped, start post"].join(", ");
    assert_eq!(world.told(), all);
    world.exit("post", 0);
    assert_eq!(world.told(), "post exitSuccess, post stopping, post stopped, finish 143");
}

#[test]
fn jobs_stop_before_those_that_they_waited_for() {
    let app = after("app", Start::once(Event::of_job(Code::Healthy, "db")));
    let web = after("web", Start::once(Event::of_job(Code::Healthy, "app")));
    let health = checked("app").health;
    let mut world = World::of(vec![web, checked("db"), Job { health, ..app }], settings(None, 10_000));
    world.pass(ms(1000));
    world.check("db", true);
    world.pass(ms(1000));
    world.check("app", true);
    world.polite = false;
    world.told();
    world.input(Input::Shutdown);
    assert_eq!(world.told(), format!("global shutdown, web stopping, {}", term("web")));
    world.exit("web", 0);
    assert_eq!(world.told(), format!("web stopped, app stopping, {}", term("app")));
    world.exit("app", 0);
    assert_eq!(world.told(), format!("app stopped, db stopping, {}", term("db")));
    world.exit("db", 3);
    assert_eq!(world.told(), "db stopped, finish 0");
}

#[test]
fn a_job_that_ignores_its_signal_is_killed_after_its_own_timeout() {
    let stop = Stop { signal: Signal::INT, timeout: ms(700), wait: None };
    let mut world = World::of(vec![Job { stop, ..job("app") }], settings(None, 60_000));
    world.polite = false;
    world.input(Input::Shutdown);
    world.told();
    world.pass(ms(699));
    assert_eq!(world.told(), "");
    world.pass(ms(1));
    assert_eq!(world.told(), format!("{}, app stopped, finish 137", kill("app")));
}

#[test]
fn an_action_before_the_stop_that_takes_too_long_does_not_outlast_the_grace_and_the_job_still_gets_its_word() {
    let mut world =
        World::of(vec![unlimited("app"), on_stopping("pre", "app"), on_stopped("post", "app")], settings(None, 2000));
    world.input(Input::Shutdown);
    world.polite = false;
    world.told();
    world.pass(ms(1500));
    assert_eq!(world.told(), [term("app"), term("pre")].join(", "));
    world.exit("app", 0);
    assert_eq!(world.told(), "app stopped, start post");
    world.pass(ms(499));
    assert_eq!(world.told(), "");
    world.pass(ms(1));
    assert_eq!(world.told(), [kill("pre"), kill("post"), "pre stopped, post stopped, finish 0".to_owned()].join(", "));
}

#[test]
fn the_wait_for_an_action_before_the_stop_has_a_bound_of_its_own_too() {
    let stop = Stop { wait: Some(ms(300)), ..Stop::default() };
    let mut world =
        World::of(vec![Job { stop, ..unlimited("app") }, on_stopping("pre", "app")], settings(None, 60_000));
    world.input(Input::Shutdown);
    world.told();
    world.pass(ms(300));
    assert_eq!(world.told(), format!("{}, app stopped", term("app")));
    world.exit("pre", 0);
    assert_eq!(world.finished, Some(143));
}

#[test]
fn the_second_word_ends_everything_now() {
    let mut world =
        World::of(vec![job("app"), on_stopping("pre", "app"), on_stopped("post", "app")], settings(None, 60_000));
    world.polite = false;
    world.input(Input::Shutdown);
    world.told();
    world.input(Input::Kill);
    assert_eq!(world.told(), [kill("app"), kill("pre"), "app stopped, pre stopped, finish 137".to_owned()].join(", "));
}

#[test]
fn the_end_of_the_main_job_ends_all_with_its_code() {
    let main = Job { restarts: Restarts::Times(1), ..job("main") };
    let mut world = World::of(vec![unlimited("side"), main], settings(Some("main"), 1000));
    world.exit("main", 3);
    world.pass(ms(200));
    assert!(world.runs("main"));
    world.exit("main", 4);
    assert_eq!((world.finished, world.running.len()), (Some(4), 0));
}

#[test]
fn it_ends_at_once_with_the_code_of_the_first_job_when_nothing_is_left_that_could_run() {
    let jobs = vec![
        job("first"),
        job("second"),
        after("never", Start::once(Event::of_job(Code::ExitFailed, "second"))),
        after("nor this", Start::once(Event::of_job(Code::ExitSuccess, "never"))),
        after("last words", Start::once(Event::global(Code::Shutdown))),
    ];
    let mut world = World::of(jobs, settings(None, 1000));
    world.exit("first", 7);
    assert_eq!(world.finished, None);
    world.exit("second", 0);
    assert!(world.runs("last words"));
    world.exit("last words", 0);
    assert_eq!(world.finished, Some(7));
}

#[test]
fn it_stays_while_something_from_outside_could_start_a_job() {
    for event in
        [Event::global(Code::Sighup), Event::of_watch(Code::Changed, "db"), Event::global(Code::EnterMaintenance)]
    {
        let mut world = World::of(vec![job("first"), after("hook", Start::each(event))], settings(None, 1000));
        world.exit("first", 0);
        assert_eq!(world.finished, None);
        world.input(Input::Shutdown);
        assert_eq!(world.finished, Some(0));
    }
    let mut world = World::of(vec![Job::new("no command", None)], settings(None, 1000));
    world.pass(ms(100_000));
    assert_eq!(world.finished, None);
    world.input(Input::Shutdown);
    assert_eq!(world.finished, Some(0));
}

#[test]
fn nothing_is_started_again_while_everything_stops() {
    let app = Job { start: Start::once(Event::of_job(Code::Healthy, "db")), ..unlimited("app") };
    let db = Job { restarts: Restarts::Unlimited, ..checked("db") };
    let mut world = World::of(vec![db, app], settings(None, 10_000));
    world.pass(ms(1000));
    world.check("db", true);
    world.polite = false;
    world.exit("db", 1);
    world.input(Input::Shutdown);
    world.told();
    world.pass(ms(1000));
    assert_eq!(world.told(), "");
    world.exit("app", 0);
    assert_eq!(world.told(), "app stopped, finish 1");
}

#[test]
fn jobs_that_wait_for_each_other_stop_all_the_same() {
    let each = |name: &str, of: &str| {
        after(
            name,
            Start {
                after: vec![Event::of_job(Code::ExitSuccess, of), Event::global(Code::Sighup)],
                ..Start::default()
            },
        )
    };
    let mut world = World::of(
        vec![job("x"), each("a", "b"), each("b", "a"), after("c", Start::once(Event::of_job(Code::Healthy, "c")))],
        settings(None, 1000),
    );
    world.input(Input::Shutdown);
    assert_eq!(world.finished, Some(143));
}

#[test]
fn a_changed_job_stops_with_all_its_actions_and_they_act_again_the_next_time() {
    let jobs = |restarts| vec![Job { restarts, ..job("app") }, on_stopping("pre", "app"), on_stopped("post", "app")];
    let mut world = World::of(jobs(Restarts::Unlimited), settings(None, 60_000));
    world.pass(ms(100));
    world.told();
    world.reload(jobs(Restarts::Never), settings(None, 60_000));
    assert_eq!(world.told(), "app stopping, start pre");
    world.exit("pre", 0);
    assert_eq!(
        world.told(),
        format!("pre exitSuccess, pre stopping, pre stopped, {}, app stopped, start app, start post", term("app"))
    );
    world.pass(ms(1000));
    world.exit("post", 0);
    assert_eq!(world.view("pre").state, JobState::Waiting);
    world.told();
    world.input(Input::Shutdown);
    assert_eq!(world.told(), "global shutdown, app stopping, start pre");
}

#[test]
fn a_removed_job_stops_with_the_actions_that_are_removed_with_it() {
    let mut world = World::of(
        vec![job("app"), job("old"), on_stopping("pre", "old"), on_stopped("post", "old")],
        settings(None, 60_000),
    );
    world.told();
    world.reload(vec![job("app")], settings(None, 60_000));
    assert_eq!(world.told(), "old stopping, start pre");
    world.exit("pre", 0);
    assert!(world.told().ends_with("old stopped, start post"));
    world.exit("post", 0);
    assert_eq!(world.supervisor.jobs().len(), 1);
    assert!(world.runs("app"));
}

#[test]
fn a_signal_is_passed_on_to_the_main_process_alone() {
    let mut world = World::of(vec![job("side"), job("main")], settings(Some("main"), 1000));
    world.told();
    world.input(Input::Forward(Signal::USR1));
    assert_eq!(world.told(), format!("{:?} main alone", Signal::USR1));
}
