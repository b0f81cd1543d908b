//! Keys as variables of a child.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use helium_lookups::{
    Ended, Follower, FollowerConfig,
    child::{ChildPlan, OnChange},
    environment::{Environment, EnvironmentError, Naming, Sources},
};
use helium_processes::{Command, Exit};
use helium_runtime::shutdown::{Shutdown, Trigger};
use helium_templates::quiet::Wait;
use rustix::process::Signal;
use tokio::{sync::mpsc, task::JoinHandle};

use crate::world::{World, until};

/// Writes its variables with zeros between them, and stays.
const SCRIPT: &str = "trap 'exit 5' TERM; env -0 > new; mv new log.$$; echo $$ >> pids; while :; do sleep 0.01; done";

fn environment(world: &World, folder: &Path, script: &str, patience: Duration) -> Environment {
    let inherited = BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]);
    let sources = Sources { prefixes: vec!["app".into()], naming: Naming { upcase: true, sanitize: true }, inherited };
    let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
    let command = Command { argv, env: BTreeMap::new(), cwd: folder.to_owned(), user: None };
    let plan =
        ChildPlan { command, on_change: OnChange::Restart, stop_signal: Signal::TERM, grace: Duration::from_secs(20) };
    let config = FollowerConfig { patience, ..FollowerConfig::default() };
    let follower = Follower::new(world.client(), world.ports.clone(), config);
    Environment::new(sources, plan, Wait::of(Duration::from_millis(50)), follower, world.ports.clone())
}

fn run(mut environment: Environment) -> (JoinHandle<Ended>, Trigger) {
    let (trigger, shutdown) = Shutdown::new();
    let (_, mut orders) = mpsc::channel(1);
    (tokio::spawn(async move { environment.run(None, &mut orders, &shutdown).await.unwrap() }), trigger)
}

/// The variables of each child, in the order of their starts.
fn children(folder: &Path) -> Vec<BTreeMap<String, String>> {
    let pids = fs::read_to_string(folder.join("pids")).unwrap_or_default();
    let of = |pid: &str| {
        let text = fs::read_to_string(folder.join(format!("log.{pid}"))).unwrap();
        let pairs = text.split_terminator('\0').filter_map(|pair| pair.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    pids.lines().map(of).collect()
}

#[tokio::test]
async fn a_child_sees_whole_values_and_is_restarted_when_they_change_and_not_when_they_do_not() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    world.put("app/db/url", "host=a port=b\nsecond=line").await;
    let (task, trigger) = run(environment(&world, folder.path(), SCRIPT, Duration::from_mins(1)));
    until("it runs", || children(folder.path()).len() == 1).await;
    assert_eq!(children(folder.path())[0]["DB_URL"], "host=a port=b\nsecond=line");
    world.put("app/db/url", "host=a port=b\nsecond=line").await;
    world.put("other/a", "1").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(children(folder.path()).len(), 1);
    world.put("app/port", "80").await;
    until("it runs again", || children(folder.path()).len() == 2).await;
    assert_eq!(children(folder.path())[1]["PORT"], "80");
    trigger.trigger();
    assert_eq!(task.await.unwrap(), Ended::Stopped(Some(Exit::Status(5))));
}

#[tokio::test]
async fn a_prefix_that_is_wiped_restarts_no_child_with_nothing_until_it_has_stayed_so() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    world.put("app/a", "1").await;
    let (task, trigger) = run(environment(&world, folder.path(), SCRIPT, Duration::from_millis(1500)));
    until("it runs", || children(folder.path()).len() == 1).await;
    let wiped = world.ports.monotonic();
    world.delete("app/a").await;
    until("it is believed", || children(folder.path()).len() == 2).await;
    let after = world.ports.monotonic().saturating_sub(wiped);
    assert!(after >= Duration::from_millis(1500), "{after:?}");
    assert!(!children(folder.path())[1].contains_key("A"));
    trigger.trigger();
    task.await.unwrap();
}

#[tokio::test]
async fn consul_away_does_not_end_it_and_later_changes_are_seen() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    world.put("app/a", "1").await;
    let (task, trigger) = run(environment(&world, folder.path(), SCRIPT, Duration::from_mins(1)));
    until("it runs", || children(folder.path()).len() == 1).await;
    world.open_road(false);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!task.is_finished());
    world.put("app/a", "2").await;
    world.open_road(true);
    until("it runs again", || children(folder.path()).len() == 2).await;
    assert_eq!(children(folder.path())[1]["A"], "2");
    trigger.trigger();
    task.await.unwrap();
}

#[tokio::test]
async fn the_child_s_end_is_the_end_and_once_gives_the_command_or_says_what_is_lacking() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    world.put("app/code", "9").await;
    let at = |script| environment(&world, folder.path(), script, Duration::from_mins(1));
    assert_eq!(run(at("exit $CODE")).0.await.unwrap(), Ended::Child(Exit::Status(9)));
    let command = at("").once(None, &Shutdown::never()).await.unwrap();
    assert_eq!(command.env["CODE"], "9");
    world.open_road(false);
    let limit = Some(Duration::from_millis(200));
    let error = at("").once(limit, &Shutdown::never()).await.unwrap_err();
    assert!(matches!(&error, EnvironmentError::Lacking { lacking, .. } if lacking.len() == 1), "{error}");
    assert!(error.to_string().contains("app: ") && error.to_string().contains("the road is broken"), "{error}");
}
