//! Jobs of a runner in this very process.

use helium_processes::{Command, Limit, Resource, Signal};
use helium_supervisor::{
    Code, Event, Health, Job, JobSet, Output, Restarts, Start,
    job::{Backoff, RunLimit, Stop},
    supervisor::view::JobState,
};

use crate::support::{Running, command, gone, job, ms, number_in, settings, unlimited};

const LOOP: &str = "while :; do sleep 0.02; done";

fn health(folder: &std::path::Path, script: &str) -> Health {
    Health {
        command: Some(command(folder, script)),
        interval: ms(50),
        ttl: ms(5000),
        timeout: ms(2000),
        output: Output::Lines,
    }
}

fn after(job: Job, code: Code, of: &str) -> Job {
    Job { start: Start::once(Event::of_job(code, of)), ..job }
}

#[tokio::test]
async fn a_shutdown_runs_what_comes_before_and_after_the_stop_in_order_and_takes_no_longer_than_they_do() {
    let folder = tempfile::tempdir().unwrap();
    let job = |name: &str, script: &str| job(folder.path(), name, script);
    let app = job("app", &format!("trap 'echo term >> $DIR/log; exit 0' TERM; echo up; {LOOP}"));
    let jobs = vec![
        after(job("pre", "sleep 0.2; echo pre >> $DIR/log"), Code::Stopping, "app"),
        after(job("post", "echo post >> $DIR/log"), Code::Stopped, "app"),
        app,
    ];
    let running = Running::of(jobs, settings(Some("app"), ms(10_000)));
    running.prints("[app] up").await;
    let (code, took, _) = running.shut_down().await;
    assert_eq!(std::fs::read_to_string(folder.path().join("log")).unwrap(), "pre\nterm\npost\n");
    assert_eq!(code, 0);
    assert!(took < ms(1500), "{took:?}");
}

#[tokio::test]
async fn a_stop_ends_as_soon_as_the_last_process_has() {
    let folder = tempfile::tempdir().unwrap();
    let mut best = ms(10_000);
    // The best of a few: the machine may be busy with something else.
    for _ in 0..5 {
        let mut running = Running::of(vec![job(folder.path(), "app", "exec sleep 600")], settings(None, ms(10_000)));
        running.pid("app").await;
        let (code, took, _) = running.shut_down().await;
        assert_eq!(code, 143);
        best = best.min(took);
    }
    assert!(best < ms(50), "{best:?}");
}

#[tokio::test]
async fn a_hook_on_a_signal_runs_once_each_time_and_the_app_keeps_its_process() {
    let folder = tempfile::tempdir().unwrap();
    let hook = Job { start: Start::each(Event::global(Code::Sighup)), ..job(folder.path(), "hook", "echo hooked") };
    let mut running = Running::of(vec![job(folder.path(), "app", "exec sleep 600"), hook], settings(None, ms(5000)));
    let pid = running.pid("app").await;
    for runs in 1..=2 {
        running.handle.happened(Event::global(Code::Sighup)).await.unwrap();
        running.until("hook", |hook| hook.starts == runs && hook.state == JobState::Waiting).await;
    }
    assert_eq!(running.pid("app").await, pid);
    assert!(running.shut_down().await.2.matches("[hook] hooked").count() == 2);
}

#[tokio::test]
async fn a_job_that_is_killed_is_restarted_as_often_as_it_may_and_again_after_a_reload_with_other_arguments() {
    let folder = tempfile::tempdir().unwrap();
    let app = job(folder.path(), "app", "exec sleep 600");
    let co = |script| Job { restarts: Restarts::Times(1), ..job(folder.path(), "co", script) };
    let mut running = Running::of(vec![app.clone(), co("exec sleep 500")], settings(None, ms(5000)));
    let app_pid = running.pid("app").await;
    for starts in 1..=2 {
        let pid = running.until("co", |co| co.starts == starts && co.pid.is_some()).await.pid.unwrap();
        helium_processes::ProcessIdentity::of(pid).unwrap().signal(Signal::KILL).unwrap();
    }
    assert_eq!(running.until("co", |co| co.state == JobState::Done).await.last_exit, Some(137));
    let set = JobSet::new(vec![app, co("echo new; exec sleep 500")], settings(None, ms(5000))).unwrap();
    running.handle.reload(set).await.unwrap();
    running.prints("[co] new").await;
    let pid = running.pid("co").await;
    helium_processes::ProcessIdentity::of(pid).unwrap().signal(Signal::KILL).unwrap();
    running.until("co", |co| co.starts == 2 && co.pid.is_some_and(|now| now != pid)).await;
    assert_eq!(running.pid("app").await, app_pid);
    running.shut_down().await;
}

#[tokio::test]
async fn tasks_run_at_their_interval_and_what_takes_too_long_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let task = |name: &str, script: &str, limit| Job {
        start: Start::every(ms(300), Restarts::Times(3)),
        run_limit: Some(RunLimit { after: ms(limit), kill: true }),
        ..job(folder.path(), name, script)
    };
    let app = job(folder.path(), "app", "exec sleep 600");
    let jobs = vec![task("short", "sleep 0.05", 3000), task("long", "sleep 2", 100), app];
    let mut running = Running::of(jobs, settings(None, ms(5000)));
    let long = running.until("long", |long| long.state == JobState::Done).await;
    assert_eq!((long.starts, long.timeouts), (4, 4));
    let short = running.until("short", |short| short.state == JobState::Done).await;
    assert_eq!((short.starts, short.timeouts), (4, 0));
    running.shut_down().await;
}

#[tokio::test]
async fn a_group_whose_time_is_over_is_gone_with_all_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let script = "sleep 600 & echo $! > $DIR/child; wait";
    let limit = Some(RunLimit { after: ms(300), kill: true });
    let running =
        Running::of(vec![Job { run_limit: limit, ..job(folder.path(), "app", script) }], settings(None, ms(5000)));
    let child = number_in(&folder.path().join("child")).await;
    assert_eq!(running.ends().await.0, 137);
    gone(child).await;
}

#[tokio::test]
async fn what_a_process_leaves_in_its_group_goes_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let app = job(folder.path(), "app", "sleep 600 >/dev/null 2>&1 & echo $! > $DIR/child");
    let mut running = Running::of(vec![app, job(folder.path(), "other", "exec sleep 600")], settings(None, ms(5000)));
    running.until("app", |app| app.state == JobState::Done).await;
    gone(number_in(&folder.path().join("child")).await).await;
    running.shut_down().await;
}

#[tokio::test]
async fn hundreds_of_reloads_and_a_burst_of_events_hold_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let app = Job { health: Some(health(path, "true")), ..job(path, "app", "exec sleep 600") };
    let hook = Job { start: Start::each(Event::global(Code::Sighup)), ..job(path, "hook", "true") };
    let jobs = vec![app, hook];
    let mut running = Running::of(jobs.clone(), settings(None, ms(5000)));
    let pid = running.pid("app").await;
    let reloads = (0..300).map(|_| {
        let (handle, set) = (running.handle.clone(), JobSet::new(jobs.clone(), settings(None, ms(5000))).unwrap());
        tokio::spawn(async move { handle.reload(set).await.unwrap() })
    });
    let reloads: Vec<_> = reloads.collect();
    for _ in 0..10_000 {
        running.handle.happened(Event::global(Code::Sighup)).await.unwrap();
    }
    for reload in reloads {
        reload.await.unwrap();
    }
    assert_eq!(running.until("app", |app| app.healthy == Some(true)).await.pid, Some(pid));
    running.until("hook", |hook| hook.state == JobState::Waiting && hook.starts >= 2).await;
    running.shut_down().await;
}

#[tokio::test]
async fn nobody_who_does_not_read_what_is_printed_holds_checks_or_the_stop_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let app = Job { health: Some(health(path, "echo checked")), ..job(path, "app", "yes") };
    let mut running = Running::unread(vec![app], settings(None, ms(5000)));
    running.until("app", |app| app.healthy == Some(true)).await;
    running.event(Event::of_job(Code::Healthy, "app")).await;
    assert!(running.shut_down().await.1 < ms(3000));
}

#[tokio::test]
async fn a_program_that_is_not_there_has_failed_and_the_supervisor_lives() {
    let folder = tempfile::tempdir().unwrap();
    let nothing = Command { argv: vec!["no-such-program".to_owned()], ..command(folder.path(), "") };
    let alarm = after(job(folder.path(), "alarm", "echo alarmed; exec sleep 600"), Code::ExitFailed, "app");
    let mut running = Running::of(vec![Job::new("app", Some(nothing)), alarm], settings(None, ms(5000)));
    running.prints("[alarm] alarmed").await;
    assert_eq!(running.until("app", |app| app.state == JobState::Done).await.last_exit, Some(127));
    assert_eq!(running.shut_down().await.0, 127);
}

#[tokio::test]
async fn a_job_waits_for_the_health_of_another_and_quits_if_it_never_comes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let well = Job { health: Some(health(path, "echo fine; exit 0")), ..job(path, "well", "exec sleep 600") };
    let ill = Job { health: Some(health(path, "exit 1")), ..job(path, "ill", "exec sleep 600") };
    let on_ill = after(job(path, "b", "exec sleep 600"), Code::Healthy, "ill");
    let on_ill = Job { start: Start { timeout: Some(ms(400)), ..on_ill.start }, ..on_ill };
    let jobs = vec![after(job(path, "a", "echo a runs; exec sleep 600"), Code::Healthy, "well"), on_ill, well, ill];
    let mut running = Running::of(jobs, settings(None, ms(5000)));
    running.event(Event::of_job(Code::TimerExpired, "b")).await;
    running.prints("[a] a runs").await;
    let b = running.until("b", |b| b.state == JobState::Done).await;
    assert_eq!(b.starts, 0);
    assert!(running.shut_down().await.2.contains("[well] fine"));
}

#[tokio::test]
async fn a_changed_job_is_stopped_by_its_signal_before_its_new_process_starts() {
    let folder = tempfile::tempdir().unwrap();
    let stop = Stop { signal: Signal::USR1, ..Stop::default() };
    let app = |line: &str| {
        let script = format!("trap 'echo stopped by USR1; exit 0' USR1; echo {line}; {LOOP}");
        Job { stop, ..job(folder.path(), "app", &script) }
    };
    let mut running = Running::of(vec![app("one")], settings(None, ms(5000)));
    running.prints("[app] one").await;
    let old = running.pid("app").await;
    running.handle.reload(JobSet::new(vec![app("two")], settings(None, ms(5000))).unwrap()).await.unwrap();
    running.prints("[app] two").await;
    assert!(helium_processes::ProcessIdentity::of(old).is_none(), "two copies");
    let printed = running.shut_down().await.2;
    let place = |words: &str| printed.find(words).unwrap_or_else(|| panic!("{words}: {printed}"));
    assert!(place("[app] stopped by USR1") < place("[app] two"), "{printed}");
}

#[tokio::test]
async fn a_job_that_ignores_its_signal_is_killed_after_its_timeout() {
    let folder = tempfile::tempdir().unwrap();
    let stop = Stop { timeout: ms(300), ..Stop::default() };
    let app = Job { stop, ..job(folder.path(), "app", &format!("trap '' TERM; echo up; {LOOP}")) };
    let running = Running::of(vec![app], settings(None, ms(10_000)));
    running.prints("[app] up").await;
    let (code, took, _) = running.shut_down().await;
    assert_eq!(code, 137);
    assert!((ms(300)..ms(2000)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn an_action_before_the_stop_that_never_ends_does_not_outlast_the_grace() {
    let folder = tempfile::tempdir().unwrap();
    let app = job(folder.path(), "app", &format!("trap 'echo asked; exit 0' TERM; echo up; {LOOP}"));
    let pre = after(job(folder.path(), "pre", "trap '' TERM; sleep 600"), Code::Stopping, "app");
    let running = Running::of(vec![app, pre], settings(None, ms(800)));
    running.prints("[app] up").await;
    let (code, took, printed) = running.shut_down().await;
    assert_eq!(code, 0);
    assert!(printed.contains("[app] asked"), "{printed}");
    assert!((ms(550)..ms(2000)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn a_job_that_crashes_again_and_again_is_seen_to_and_never_restarted_ten_times_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let backoff = Backoff { most: ms(100), ..Backoff::default() };
    let app = Job { backoff, ..unlimited(job(folder.path(), "app", "exit 1")) };
    let begun = tokio::time::Instant::now();
    let mut running = Running::of(vec![app], settings(None, ms(1000)));
    let seen = running.until("app", |app| app.state == JobState::CrashLoop && app.starts >= 8).await;
    assert!(begun.elapsed() >= ms(700), "{} starts in {:?}", seen.starts, begun.elapsed());
    running.shut_down().await;
}

#[tokio::test]
async fn it_ends_with_the_code_of_the_main_job_or_else_of_the_first_as_soon_as_all_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let jobs = || vec![job(folder.path(), "first", "sleep 0.1; exit 10"), job(folder.path(), "second", "exit 3")];
    let (code, took, _) = Running::of(jobs(), settings(None, ms(60_000))).ends().await;
    assert_eq!(code, 10);
    assert!(took < ms(5000), "{took:?}");
    assert_eq!(Running::of(jobs(), settings(Some("second"), ms(60_000))).ends().await.0, 3);
}

#[tokio::test]
async fn processes_know_each_other_s_process_ids_and_have_their_limits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let my_app = Job { health: Some(health(path, "true")), ..job(path, "my-app", "exec sleep 600") };
    let limits = vec![Limit { resource: Resource::OpenFiles, most: 99 }];
    let reader = job(path, "reader", "echo pid $CONTAINERPILOT_MY_APP_PID files $(ulimit -n); exec sleep 600");
    let reader = Job { limits, ..after(reader, Code::Healthy, "my-app") };
    let mut running = Running::of(vec![my_app, reader], settings(None, ms(5000)));
    let pid = running.pid("my-app").await;
    running.prints(&format!("[reader] pid {pid} files 99\n")).await;
    running.shut_down().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_process_that_says_it_is_ready_starts_those_that_wait_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let probe = env!("CARGO_BIN_EXE_helium-supervisor-probe");
    let script = format!("echo not yet; until [ -e $DIR/go ]; do sleep 0.02; done; {probe} say-ready; exec sleep 600");
    let app = Job { notify: true, ..job(folder.path(), "app", &script) };
    let next = after(job(folder.path(), "next", "echo next runs; exec sleep 600"), Code::Healthy, "app");
    let mut running = Running::of(vec![app, next], settings(None, ms(5000)));
    running.prints("[app] not yet").await;
    let jobs = running.handle.jobs();
    assert_eq!((jobs[0].healthy, jobs[1].starts), (None, 0));
    std::fs::write(folder.path().join("go"), "").unwrap();
    running.prints("[next] next runs").await;
    assert_eq!(running.until("app", |app| app.healthy == Some(true)).await.state, JobState::Running);
    running.shut_down().await;
}

#[tokio::test]
async fn a_job_runs_as_its_user() {
    let folder = tempfile::tempdir().unwrap();
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: only root may run a job as somebody else");
        return;
    }
    let command = Command { user: Some((65_534, 65_534)), cwd: "/".into(), ..command(folder.path(), "id -u; id -g") };
    let printed = Running::of(vec![Job::new("app", Some(command))], settings(None, ms(5000))).ends().await.2;
    assert_eq!(printed, "[app] 65534\n[app] 65534\n");
}

#[tokio::test]
async fn a_hung_check_ends_in_its_time_and_maintenance_ends_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let hung = |file: &str, timeout| {
        let script = format!("echo $$ > $DIR/{file}; exec sleep 600");
        let health = Health { timeout: ms(timeout), ..health(path, &script) };
        Job { health: Some(health), ..job(path, file, "exec sleep 600") }
    };
    let well = Job { health: Some(health(path, "true")), ..job(path, "well", "exec sleep 600") };
    let mut running = Running::of(vec![hung("short", 200), hung("long", 600_000), well], settings(None, ms(5000)));
    let check = number_in(&path.join("long")).await;
    running.until("well", |well| well.healthy == Some(true)).await;
    running.until("short", |short| short.healthy == Some(false)).await;
    assert!(helium_processes::ProcessIdentity::of(check).is_some());
    running.handle.maintenance(true).await.unwrap();
    gone(check).await;
    running.shut_down().await;
}

#[tokio::test]
async fn a_runner_that_is_dropped_leaves_no_process() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = Running::of(
        vec![job(folder.path(), "app", "trap '' TERM; sleep 600 & echo $! > $DIR/child; wait")],
        settings(None, ms(5000)),
    );
    let (pid, child) = (running.pid("app").await, number_in(&folder.path().join("child")).await);
    running.drop_runner();
    gone(pid).await;
    gone(child).await;
}

#[tokio::test]
async fn what_a_check_found_is_told_with_its_words() {
    let folder = tempfile::tempdir().unwrap();
    let job = |name: &str, script: &str| Job {
        health: Some(health(folder.path(), script)),
        ..job(folder.path(), name, "exec sleep 600")
    };
    let running = Running::of(
        vec![job("well", "echo fine"), job("ill", "echo broken >&2; exit 3"), job("mute", "exit 3")],
        settings(None, ms(1000)),
    );
    let mut checks = running.handle.checks().unwrap();
    let mut found = std::collections::BTreeMap::new();
    while found.len() < 3 {
        let report = tokio::time::timeout(ms(20_000), checks.recv()).await.unwrap().unwrap();
        found.insert(report.job, (report.passed, report.output));
    }
    assert_eq!(found["well"], (true, "fine\n".to_owned()));
    assert_eq!(found["ill"], (false, "broken\n".to_owned()));
    assert_eq!(found["mute"], (false, "the check ended with 3".to_owned()));
    running.shut_down().await;
}
