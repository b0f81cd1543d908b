//! What a controller makes of watches, failures, leadership and shutdowns.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use helium_runtime::{
    controller::Controller,
    leader::{Fence, Leadership, Lease},
    queue::Priority,
    runner::{Action, Handle, PANICKED, Reconciler, Run, RunnerConfig, TIMED_OUT},
    shutdown::{Shutdown, Trigger},
    watcher::WatchConfig,
};
use jiff::Timestamp;
use tokio::{sync::watch, task::JoinHandle};

use crate::world::{Road, World};

const S: fn(u64) -> Duration = Duration::from_secs;

/// What a scripted run does.
#[derive(Clone, Copy, Debug)]
enum Play {
    Do(Action),
    Take(Duration),
    Fail,
    Panic,
}

#[derive(Debug, thiserror::Error)]
#[error("as told")]
struct Told(#[source] std::fmt::Error);

/// A run: its key, its reasons, and whether it led.
type Seen = (String, Vec<&'static str>, bool);

/// A reconciler that plays what it is told, by key, and writes down what it saw.
#[derive(Clone, Default)]
struct Script {
    plays: Arc<Mutex<BTreeMap<String, Play>>>,
    log: Arc<Mutex<Vec<Seen>>>,
    at_once: Arc<Mutex<(BTreeSet<String>, usize)>>,
}

impl Script {
    fn on(&self, key: &str, play: Play) {
        self.plays.lock().unwrap().insert(key.to_owned(), play);
    }

    /// The keys run since the last call.
    fn runs(&self) -> Vec<String> {
        self.take().into_iter().map(|(key, ..)| key).collect()
    }

    fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }
}

impl Reconciler for Script {
    type Key = String;
    type Error = Told;

    async fn reconcile(&self, key: String, run: Run) -> Result<Action, Told> {
        self.log.lock().unwrap().push((key.clone(), run.reasons, run.leadership.is_leading()));
        let _running = Running::begin(self, &key);
        let play = self.plays.lock().unwrap().get(&key).copied().unwrap_or(Play::Do(Action::AwaitChange));
        if let Play::Take(length) = play {
            tokio::time::sleep(length).await;
        }
        match play {
            Play::Do(action) => Ok(action),
            Play::Take(_) => Ok(Action::AwaitChange),
            Play::Fail => Err(Told(std::fmt::Error)),
            Play::Panic => panic!("as told"),
        }
    }

    fn reason(_error: &Told) -> &'static str {
        "Told"
    }
}

/// One key that runs; at its end, however it ends, it runs no more.
struct Running {
    key: String,
    script: Script,
}

impl Running {
    fn begin(script: &Script, key: &str) -> Self {
        let mut at_once = script.at_once.lock().unwrap();
        assert!(at_once.0.insert(key.to_owned()), "{key} runs twice at once");
        at_once.1 = at_once.1.max(at_once.0.len());
        Self { key: key.to_owned(), script: script.clone() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.script.at_once.lock().unwrap().0.remove(&self.key);
    }
}

struct Stage {
    world: World,
    script: Script,
    handle: Handle<String>,
    leadership: watch::Sender<Leadership>,
    trigger: Trigger,
    task: JoinHandle<()>,
}

/// A controller of the rows under `p/`, each its own key without the prefix.
fn stage(world: World, config: RunnerConfig) -> Stage {
    let (leadership, receiver) = watch::channel(Leadership::Standby { leader: None });
    let (trigger, shutdown) = Shutdown::new();
    let script = Script::default();
    let views = world.watch(WatchConfig::new("p"));
    let controller =
        Controller::with_config(config, receiver, world.ports.clone())
            .watch(views, Priority::USER, |key, _row| key.strip_prefix("p/").map(str::to_owned));
    let handle = controller.handle();
    let task = tokio::spawn(controller.run(script.clone(), shutdown));
    Stage { world, script, handle, leadership, trigger, task }
}

async fn rows(rows: &[&str]) -> World {
    let world = World::new();
    world.put("p/.keep", "").await;
    for row in rows {
        world.put(&format!("p/{row}"), "1").await;
    }
    world
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}

#[tokio::test(start_paused = true)]
async fn every_row_is_run_once_at_the_start_and_a_changed_one_again() {
    let stage = stage(rows(&["a", "b"]).await, RunnerConfig::default());
    settle().await;
    assert_eq!(stage.script.runs(), ["a", "b"]);
    stage.world.put("p/b", "2").await;
    settle().await;
    assert_eq!(stage.script.take(), [("b".to_owned(), vec!["Modified"], false)]);
    stage.world.user().kv_delete("p/a", None).await.unwrap();
    tokio::time::sleep(S(1)).await;
    assert_eq!(stage.script.take(), [("a".to_owned(), vec!["Vanished"], false)]);
}

#[tokio::test(start_paused = true)]
async fn nothing_runs_before_the_first_whole_list_not_even_what_was_added_by_hand() {
    let world = rows(&["a"]).await;
    world.set_road(Road::Broken);
    let stage = stage(world, RunnerConfig::default());
    stage.handle.add(&"by hand".to_owned(), Priority::USER, "Hand");
    tokio::time::sleep(S(60)).await;
    assert!(stage.script.runs().is_empty());
    stage.world.set_road(Road::Open);
    tokio::time::sleep(S(11)).await;
    assert_eq!(stage.script.runs(), ["by hand", "a"]);
}

#[tokio::test(start_paused = true)]
async fn every_key_is_looked_at_again_without_any_event() {
    let stage = stage(rows(&["a", "b"]).await, RunnerConfig::default());
    settle().await;
    stage.script.take();
    tokio::time::sleep(S(269)).await;
    assert!(stage.script.take().is_empty());
    tokio::time::sleep(S(62)).await;
    let mut runs = stage.script.take();
    runs.sort();
    assert_eq!(runs, [("a".to_owned(), vec!["Resync"], false), ("b".to_owned(), vec!["Resync"], false)]);
}

#[tokio::test(start_paused = true)]
async fn a_requeue_is_punctual_and_a_forgotten_key_is_not_run_again() {
    let stage = stage(rows(&["soon", "gone"]).await, RunnerConfig::default());
    stage.script.on("soon", Play::Do(Action::RequeueAfter(S(10))));
    stage.script.on("gone", Play::Do(Action::Forget));
    settle().await;
    assert_eq!(stage.script.runs(), ["gone", "soon"]);
    assert_eq!(stage.handle.keys(), ["soon"]);
    assert!(!stage.handle.table().contains_key("gone"));
    tokio::time::sleep(S(3600)).await;
    assert_eq!(stage.script.runs(), vec!["soon"; 360]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_backs_off_and_the_users_change_ends_the_backoff() {
    let stage = stage(rows(&["a"]).await, RunnerConfig::default());
    stage.script.on("a", Play::Fail);
    tokio::time::sleep(S(3600)).await;
    let runs = stage.script.runs().len();
    assert!((15..60).contains(&runs), "{runs} runs in an hour");
    let status = stage.handle.table()["a"].clone();
    assert_eq!(status.last_error, Some(("Told".to_owned(), format!("as told: {}", std::fmt::Error))));
    assert!(status.failures >= 15);
    stage.script.on("a", Play::Do(Action::AwaitChange));
    stage.world.put("p/a", "2").await;
    settle().await;
    assert_eq!(stage.script.runs(), ["a"]);
    assert_eq!(stage.handle.table()["a"].failures, 0);
    assert_eq!(stage.handle.totals().failures["Told"], u64::try_from(runs).unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_panic_and_a_hang_are_failures_and_harm_no_other_key() {
    let stage = stage(rows(&["good", "hangs", "panics"]).await, RunnerConfig::default());
    stage.script.on("hangs", Play::Take(S(3600)));
    stage.script.on("panics", Play::Panic);
    tokio::time::sleep(S(61)).await;
    let table = stage.handle.table();
    assert_eq!(table["good"].last_error, None);
    assert_eq!(table["panics"].last_error, Some((PANICKED.to_owned(), "as told".to_owned())));
    assert_eq!(table["hangs"].last_error.as_ref().map(|(reason, _)| reason.as_str()), Some(TIMED_OUT));
    assert_eq!(table["hangs"].last_duration_ms, 60_000);
}

#[tokio::test(start_paused = true)]
async fn so_many_at_a_time_and_no_key_twice() {
    let names: Vec<String> = (0..40).map(|row| format!("r{row:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let stage = stage(rows(&names).await, RunnerConfig { concurrency: 4, ..RunnerConfig::default() });
    for name in &names {
        stage.script.on(name, Play::Take(S(1)));
    }
    for _ in 0..300 {
        stage.handle.add(&"r00".to_owned(), Priority::CHANGE, "Often");
        tokio::time::sleep(Duration::from_millis(90)).await;
    }
    tokio::time::sleep(S(20)).await;
    assert_eq!(stage.script.at_once.lock().unwrap().1, 4);
    let runs = stage.script.runs();
    assert_eq!(runs.iter().collect::<BTreeSet<_>>().len(), 40);
    assert!(runs.iter().filter(|key| *key == "r00").count() >= 5);
    assert_eq!(stage.handle.depth(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_wins_the_leadership_looks_at_everything_at_once() {
    let stage = stage(rows(&["a", "b"]).await, RunnerConfig::default());
    settle().await;
    stage.script.take();
    let fence = Fence { lock_key: "lock".into(), session: "s".into() };
    stage.leadership.send_replace(Leadership::Leading(Lease::new(fence, Timestamp::UNIX_EPOCH, S(15))));
    settle().await;
    let led = |key: &str| (key.to_owned(), vec!["Leadership"], true);
    assert_eq!(stage.script.take(), [led("a"), led("b")]);
}

#[tokio::test(start_paused = true)]
async fn a_view_that_is_trusted_again_has_its_rows_looked_at() {
    let stage = stage(rows(&["a"]).await, RunnerConfig { resync: S(100_000), ..RunnerConfig::default() });
    settle().await;
    stage.script.take();
    stage.world.set_road(Road::Broken);
    tokio::time::sleep(S(60)).await;
    assert!(stage.script.take().is_empty());
    stage.world.set_road(Road::Open);
    tokio::time::sleep(S(11)).await;
    assert_eq!(stage.script.take(), [("a".to_owned(), vec!["Trusted"], false)]);
}

#[tokio::test(start_paused = true)]
async fn at_a_shutdown_nothing_begins_and_what_runs_may_end_within_the_grace() {
    let config = RunnerConfig { concurrency: 2, ..RunnerConfig::default() };
    let stage = stage(rows(&["a", "b", "c"]).await, config);
    stage.script.on("a", Play::Take(S(5)));
    stage.script.on("b", Play::Take(S(50)));
    tokio::time::sleep(S(1)).await;
    stage.trigger.trigger();
    let began = stage.world.ports.monotonic();
    stage.task.await.unwrap();
    assert_eq!(stage.world.ports.monotonic(), began + S(25), "b is not waited for longer than the grace");
    assert_eq!(stage.script.runs(), ["a", "b"]);
    assert_eq!(stage.handle.table()["a"].runs, 1, "a has ended well");
    assert_eq!(stage.handle.table()["b"].runs, 0);
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_runs_the_same() {
    let mut logs = Vec::new();
    for _ in 0..2 {
        let stage = stage(rows(&["a", "b", "c"]).await, RunnerConfig::default());
        stage.script.on("b", Play::Fail);
        stage.script.on("c", Play::Do(Action::RequeueAfter(S(7))));
        tokio::time::sleep(S(1800)).await;
        logs.push(stage.script.take());
    }
    assert!(logs[0].len() > 100);
    assert_eq!(logs[0], logs[1]);
}
