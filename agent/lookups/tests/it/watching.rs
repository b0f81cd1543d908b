//! The watcher: from keys in the store to files on the disk and commands that were run.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use helium_lookups::{
    Ended, Follower, FollowerConfig, Order, Set, Watcher, WatcherConfig, Work,
    child::{ChildPlan, OnChange},
    memory::Memory,
    shell::Surroundings,
    watcher::{OnceError, Status},
};
use helium_processes::{Command, Exit};
use helium_runtime::shutdown::{Shutdown, Trigger};
use helium_templates::{files::RealFiles, quiet::Wait, template::Template, values::Values};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use crate::world::{World, until};

const LONG: Duration = Duration::from_secs(20);

/// A folder with templates, and what a watcher is made of.
struct Bench {
    world: World,
    folder: TempDir,
    work: Work,
    config: WatcherConfig,
}

/// A watcher at work.
struct Running {
    task: JoinHandle<Ended>,
    trigger: Trigger,
    orders: mpsc::Sender<Order>,
    status: watch::Receiver<Status>,
}

impl Bench {
    /// Templates by the names of their files.
    fn new(templates: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let surroundings = Surroundings {
            environment: environment(),
            cwd: folder.path().to_owned(),
            user: None,
            limit: LONG,
            grace: Duration::from_secs(1),
        };
        let config = WatcherConfig {
            state: folder.path().join("state"),
            wait: Wait::of(Duration::from_millis(50)),
            render_limit: LONG,
            surroundings,
            remove_left: true,
            child: None,
        };
        let work = Work {
            set: Arc::default(),
            checks: vec![],
            commands: BTreeMap::new(),
            reload: vec![],
            values_from: String::new(),
        };
        let mut bench = Self { world: World::new(), folder, work, config };
        bench.work.set = bench.set(templates);
        bench
    }

    fn set(&self, templates: &[(&str, &str)]) -> Arc<Set> {
        let template = |(name, text): &(&str, &str)| Template::read_from(Path::new(name), *text, self.folder.path());
        let templates = templates.iter().map(|each| template(each).unwrap()).collect();
        Arc::new(Set { templates, values: Values::default(), ..Set::default() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn watcher(&self) -> Watcher {
        let believed = Memory::load(&RealFiles, &self.config.state).unwrap().believed;
        let config = FollowerConfig { believed, ..FollowerConfig::default() };
        let follower = Follower::new(self.world.client(), self.world.ports.clone(), config);
        Watcher::open(self.work.clone(), self.config.clone(), follower, self.world.ports.clone()).unwrap()
    }

    fn run(&self) -> Running {
        let mut watcher = self.watcher();
        let status = watcher.status();
        let (trigger, shutdown) = Shutdown::new();
        let (orders, mut taken) = mpsc::channel(4);
        let task = tokio::spawn(async move { watcher.run(&mut taken, &shutdown).await.unwrap() });
        Running { task, trigger, orders, status }
    }

    async fn once(&self) -> Result<Vec<PathBuf>, OnceError> {
        self.watcher().once(LONG, &Shutdown::never()).await
    }
}

impl Running {
    async fn stop(self) -> Ended {
        self.trigger.trigger();
        self.task.await.unwrap()
    }

    fn failure(&self) -> String {
        self.status.borrow().failure.clone().unwrap_or_default()
    }
}

fn environment() -> BTreeMap<String, String> {
    BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())])
}

/// First the list of services, then a key of each.
const TWO_PASSES: &str =
    "{% for name, _ in keys(prefix=\"names/\") %}{{ name }}={{ key(path=\"ports/\" ~ name) }}\n{% endfor %}";

#[tokio::test]
async fn a_template_that_needs_two_passes_is_complete_and_never_partly_written() {
    let bench = Bench::new(&[("list.tera", TWO_PASSES)]);
    for (key, value) in [("names/a", ""), ("names/b", ""), ("ports/a", "1"), ("ports/b", "2")] {
        bench.world.put(key, value).await;
    }
    let running = bench.run();
    until("the file is there", || bench.path("list").exists()).await;
    assert_eq!(bench.text("list"), "a=1\nb=2\n");
    // Another name, whose port is not there at first: the old list stands.
    bench.world.put("names/c", "").await;
    until("it is told", || running.failure().contains("ports/c")).await;
    assert_eq!(bench.text("list"), "a=1\nb=2\n");
    bench.world.put("ports/c", "3").await;
    until("it is complete", || bench.text("list") == "a=1\nb=2\nc=3\n").await;
    until("nothing is wrong any more", || running.failure().is_empty()).await;
    assert_eq!(running.stop().await, Ended::Stopped(None));
}

#[tokio::test]
async fn unchanged_bytes_are_not_written_and_run_no_command_and_equal_commands_are_run_once() {
    let both = "{{ key(path=\"app/a\") }}";
    let mut bench = Bench::new(&[("a.tera", both), ("b.tera", both), ("c.tera", "{{ key(path=\"app/c\") }}")]);
    for name in ["a", "b", "c"] {
        bench.work.commands.insert(bench.path(name), "echo ran >> ran".to_owned());
    }
    bench.world.put("app/a", "1").await;
    bench.world.put("app/c", "1").await;
    let running = bench.run();
    until("the command has run", || bench.text("ran") == "ran\n").await;
    let before = fs::metadata(bench.path("a")).unwrap();
    // The same value again, and a change that only c sees.
    bench.world.put("app/a", "1").await;
    bench.world.put("app/c", "2").await;
    until("c has changed", || bench.text("c") == "2").await;
    until("the command has run", || bench.text("ran") == "ran\nran\n").await;
    let after = fs::metadata(bench.path("a")).unwrap();
    assert_eq!((before.ino(), before.mtime_nsec()), (after.ino(), after.mtime_nsec()));
    // Whoever is stopped before it has seen the end of a command owes it still.
    until("nothing is owed", || Memory::load(&RealFiles, &bench.config.state).unwrap().owed.is_empty()).await;
    running.stop().await;
    // A new watcher finds everything right.
    bench.once().await.unwrap();
    assert_eq!(bench.text("ran"), "ran\nran\n");
}

#[tokio::test]
async fn a_burst_of_writes_is_one_render_for_each_longest_wait_and_one_more_at_most() {
    let mut bench = Bench::new(&[("a.tera", "{{ key(path=\"app/a\") }}")]);
    bench.config.wait = Wait::of(Duration::from_millis(100));
    bench.world.put("app/a", "start").await;
    let running = bench.run();
    until("the file is there", || bench.text("a") == "start").await;
    let (before, begun) = (running.status.borrow().changes, bench.world.ports.monotonic());
    for value in 0..200 {
        bench.world.put("app/a", &value.to_string()).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let waits = bench.world.ports.monotonic().saturating_sub(begun).as_millis().div_ceil(400);
    until("the last value is there", || bench.text("a") == "199").await;
    let renders = running.status.borrow().changes - before;
    assert!(u128::from(renders) <= waits + 1, "{renders} renders within {waits} longest waits");
    running.stop().await;
}

#[tokio::test]
async fn a_key_that_is_deleted_leaves_the_file_and_is_told_and_one_that_comes_back_is_rendered() {
    let mut bench = Bench::new(&[("a.tera", "{{ key(path=\"app/a\") }} {{ key(path=\"app/b\") }}")]);
    bench.work.reload = vec!["echo ran >> ran".to_owned()];
    bench.world.put("app/a", "1").await;
    bench.world.put("app/b", "1").await;
    let running = bench.run();
    until("the file is there", || bench.text("a") == "1 1").await;
    bench.world.delete("app/a").await;
    until("it is told", || running.failure().contains("the key app/a")).await;
    assert_eq!(bench.text("a"), "1 1");
    bench.world.put("app/a", "2").await;
    until("it is rendered", || bench.text("a") == "2 1").await;
    until("the command has run", || bench.text("ran") == "ran\nran\n").await;
    until("nothing is wrong any more", || running.failure().is_empty()).await;
    running.stop().await;
}

#[tokio::test]
async fn a_template_that_is_wrong_leaves_the_old_file_and_a_new_set_takes_its_place_at_once() {
    let bench = Bench::new(&[("a.tera", "good {{ key(path=\"app/a\") }}"), ("b.tera", "b")]);
    bench.world.put("app/a", "1").await;
    let running = bench.run();
    until("the files are there", || bench.text("a") == "good 1" && bench.text("b") == "b").await;
    let order =
        |templates: &[(&str, &str)]| Order::Replace(Box::new(Work { set: bench.set(templates), ..bench.work.clone() }));
    running.orders.send(order(&[("a.tera", "{% if %}")])).await.unwrap();
    until("it is told", || running.failure().contains("a.tera:1:")).await;
    assert_eq!((bench.text("a"), bench.text("b")), ("good 1".to_owned(), "b".to_owned()));
    running.orders.send(order(&[("a.tera", "better {{ key(path=\"app/a\") }}")])).await.unwrap();
    until("it is there", || bench.text("a") == "better 1").await;
    until("what no template makes any more is gone", || !bench.path("b").exists()).await;
    running.stop().await;
}

#[tokio::test]
async fn a_check_that_refuses_keeps_the_old_set_and_shows_no_secret() {
    let mut bench = Bench::new(&[("a.tera", "{{ key(path=\"app/a\") }}")]);
    bench.work.checks = vec!["grep -q good {} || { cat {} >&2; exit 3; }".to_owned()];
    bench.work.reload = vec!["echo ran >> ran".to_owned()];
    bench.world.put("app/a", "good").await;
    let running = bench.run();
    until("the file is there", || bench.text("a") == "good").await;
    until("the command has run", || bench.text("ran") == "ran\n").await;
    bench.world.put("app/a", "bad").await;
    until("it is told", || running.failure().contains("exit status 3: bad")).await;
    assert_eq!((bench.text("a"), bench.text("ran")), ("good".to_owned(), "ran\n".to_owned()));
    bench.world.put("app/a", "good again").await;
    until("it is there", || bench.text("a") == "good again").await;
    running.stop().await;
}

#[tokio::test]
async fn a_command_that_failed_or_was_never_run_is_owed_and_a_restart_runs_it() {
    let mut bench = Bench::new(&[("a.tera", "{{ key(path=\"app/a\") }}")]);
    bench.work.reload = vec!["test -e allowed && echo ran >> ran".to_owned()];
    bench.world.put("app/a", "1").await;
    let error = bench.once().await.unwrap_err();
    assert!(matches!(&error, OnceError::NotTold(_)), "{error}");
    assert_eq!(bench.text("a"), "1");
    fs::write(bench.path("allowed"), "").unwrap();
    assert_eq!(bench.once().await, Ok(vec![]));
    assert_eq!(bench.text("ran"), "ran\n");
    bench.once().await.unwrap();
    assert_eq!(bench.text("ran"), "ran\n");
}

#[tokio::test]
async fn with_consul_away_files_stay_nothing_ends_and_on_its_return_nothing_is_run_needlessly() {
    let mut bench = Bench::new(&[("a.tera", "{{ key(path=\"app/a\") }}")]);
    bench.work.reload = vec!["echo ran >> ran".to_owned()];
    bench.world.put("app/a", "1").await;
    let running = bench.run();
    until("the command has run", || bench.text("ran") == "ran\n").await;
    bench.world.open_road(false);
    tokio::time::sleep(Duration::from_millis(500)).await;
    bench.world.open_road(true);
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!((bench.text("a"), bench.text("ran"), running.task.is_finished()), ("1".into(), "ran\n".into(), false));
    bench.world.put("app/a", "2").await;
    until("a later change is seen", || bench.text("a") == "2").await;
    running.stop().await;
}

#[tokio::test]
async fn with_consul_away_from_the_beginning_nothing_is_written_and_once_says_all_that_is_lacking() {
    let bench = Bench::new(&[("a.tera", "{{ key(path=\"app/a\") }}{% for i in services(name=\"db\") %}{% endfor %}")]);
    bench.world.open_road(false);
    let error = bench.watcher().once(Duration::from_millis(300), &Shutdown::never()).await.unwrap_err().to_string();
    assert!(error.starts_with("2 questions are not answered within 300ms:"), "{error}");
    assert!(error.contains("the key app/a: ") && error.contains("the road is broken"), "{error}");
    assert!(error.contains("the instances of db: "), "{error}");
    assert!(!bench.path("a").exists() && !bench.path("state").exists());
}

#[tokio::test]
async fn once_says_every_name_that_is_missing_at_once_and_writes_nothing() {
    let bench =
        Bench::new(&[("a.tera", "{{ key(path=\"app/a\") }}{{ nowhere }}"), ("b.tera", "{{ key(path=\"app/b\") }}")]);
    let error = bench.once().await.unwrap_err();
    let OnceError::Missing(words) = &error else { panic!("{error}") };
    for name in ["the key app/a", "nowhere", "the key app/b"] {
        assert!(words.contains(name), "{words}");
    }
    assert!(!bench.path("a").exists());
}

#[tokio::test]
async fn a_preview_shows_what_would_change_and_writes_nothing() {
    let bench = Bench::new(&[("a.tera", "x = {{ key(path=\"app/a\") }}\n")]);
    bench.world.put("app/a", "1").await;
    let preview = async || bench.watcher().preview(LONG, &Shutdown::never()).await.unwrap();
    let shown = preview().await;
    assert!(shown.contains("+x = 1"), "{shown}");
    assert!(!bench.path("a").exists() && !bench.path("state").exists());
    bench.once().await.unwrap();
    assert_eq!(preview().await, "");
}

#[tokio::test]
async fn two_watchers_do_not_share_a_state_and_a_preview_disturbs_nobody() {
    let bench = Bench::new(&[("a.tera", "{{ key(path=\"app/a\") }}")]);
    bench.world.put("app/a", "1").await;
    let running = bench.run();
    until("the file is there", || bench.text("a") == "1").await;
    let error = bench.once().await.unwrap_err().to_string();
    assert!(error.contains("somebody else keeps the files of this state"), "{error}");
    assert_eq!(bench.watcher().preview(LONG, &Shutdown::never()).await.unwrap(), "");
    running.stop().await;
    assert_eq!(bench.once().await, Ok(vec![]));
}

#[tokio::test]
async fn a_template_that_does_not_end_hangs_nobody_and_is_told() {
    let loops = format!("{}{}", "{% for a in range(end=100000) %}".repeat(3), "x{% endfor %}".repeat(3));
    let mut bench = Bench::new(&[("a.tera", &loops)]);
    bench.config.render_limit = Duration::from_millis(200);
    let running = bench.run();
    until("it is told", || running.failure().contains("took longer than 200ms")).await;
    running.stop().await;
}

#[tokio::test]
async fn a_file_that_a_template_reads_is_looked_at_again() {
    let bench = Bench::new(&[]);
    fs::write(bench.path("input"), "1").unwrap();
    let text = format!("{{{{ file(path=\"{}\") }}}}", bench.path("input").display());
    let mut bench = Bench { work: Work { set: bench.set(&[("a.tera", &text)]), ..bench.work.clone() }, ..bench };
    bench.config.wait = Wait::default();
    let local = helium_lookups::Local { files: true, ..helium_lookups::Local::default() };
    let config = FollowerConfig { local, ..FollowerConfig::default() };
    let follower = Follower::new(bench.world.client(), bench.world.ports.clone(), config);
    let mut watcher =
        Watcher::open(bench.work.clone(), bench.config.clone(), follower, bench.world.ports.clone()).unwrap();
    let (trigger, shutdown) = Shutdown::new();
    let (_orders, mut taken) = mpsc::channel(1);
    let task = tokio::spawn(async move { watcher.run(&mut taken, &shutdown).await.unwrap() });
    until("the file is there", || bench.text("a") == "1").await;
    fs::write(bench.path("input"), "22").unwrap();
    until("the file has changed", || bench.text("a") == "22").await;
    trigger.trigger();
    task.await.unwrap();
}

fn child(bench: &mut Bench, script: &str, on_change: OnChange) {
    let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
    let command = Command { argv, env: environment(), cwd: bench.folder.path().to_owned(), user: None };
    bench.config.child = Some(ChildPlan { command, on_change, stop_signal: Signal::TERM, grace: LONG });
}

#[tokio::test]
async fn a_child_is_started_after_the_first_render_and_signalled_on_change_and_its_end_is_the_end() {
    let mut bench = Bench::new(&[("a.tera", "{{ key(path=\"app/a\") }}")]);
    let script = "echo start $(cat a) >> log; trap 'echo told $(cat a) >> log' USR2; trap 'exit 7' USR1; \
                  echo ready >> log; while :; do sleep 0.01; done";
    child(&mut bench, script, OnChange::Signal(Signal::USR2));
    let running = bench.run();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(bench.text("log"), "", "without its file it is not started");
    bench.world.put("app/a", "1").await;
    until("it runs", || bench.text("log") == "start 1\nready\n").await;
    bench.world.put("app/a", "2").await;
    until("it is told", || bench.text("log") == "start 1\nready\ntold 2\n").await;
    running.orders.send(Order::Forward(Signal::USR1)).await.unwrap();
    assert_eq!(running.task.await.unwrap(), Ended::Child(Exit::Status(7)));
}

#[tokio::test]
async fn a_child_is_ended_when_the_watcher_is_and_its_code_is_told() {
    let mut bench = Bench::new(&[("a.tera", "a")]);
    child(&mut bench, "trap 'exit 3' TERM; echo ready >> log; while :; do sleep 0.01; done", OnChange::Restart);
    let running = bench.run();
    until("it runs", || bench.text("log") == "ready\n").await;
    assert_eq!(running.stop().await, Ended::Stopped(Some(Exit::Status(3))));
}
