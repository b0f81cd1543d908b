//! The probe: a whole program, with its guardian or without.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::{Output, Stdio},
};

use helium_processes::{ProcessIdentity, Signal};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::Instant,
};

use crate::support::{gone, ms, until};

const PROBE: &str = env!("CARGO_BIN_EXE_helium-supervisor-probe");
/// How long a process that has ended may wait to be reaped on a busy machine.
const SOON: std::time::Duration = ms(500);

/// A probe that runs.
struct Probe {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    guardian: u32,
}

impl Probe {
    fn start(scenario: &str) -> Self {
        Self::with(&[scenario])
    }

    fn with(arguments: &[&str]) -> Self {
        let mut command = Command::new(PROBE);
        let mut child = command.args(arguments).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let guardian = child.id().unwrap();
        Self { child, lines, guardian }
    }

    /// A probe that is process 1 of a namespace of its own.
    async fn as_process_1(scenario: &str) -> Self {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc", PROBE, scenario]);
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let unshare = child.id().unwrap();
        until("process 1", || children(unshare).len() == 1).await;
        Self { child, lines, guardian: children(unshare)[0] }
    }

    async fn line(&mut self) -> String {
        self.lines.next_line().await.unwrap().expect("it has ended")
    }

    fn signal(&self, signal: Signal) {
        assert!(ProcessIdentity::of(self.guardian).unwrap().signal(signal).unwrap());
    }

    /// The worker, once it has been started.
    async fn worker(&self) -> u32 {
        until("the worker", || !children(self.guardian).is_empty()).await;
        children(self.guardian)[0]
    }

    async fn code(mut self) -> Option<i32> {
        self.child.wait().await.unwrap().code()
    }
}

fn children(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

fn is_zombie(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, tail)| tail.starts_with('Z'))
}

/// All descendants of a process.
fn descendants(pid: u32) -> Vec<u32> {
    children(pid).into_iter().flat_map(|child| [vec![child], descendants(child)].concat()).collect()
}

/// Looks at a probe whose jobs and checks leave orphans: how many orphans it was given, and which zombies stayed.
async fn orphans(probe: &Probe) -> (usize, Vec<u32>) {
    let worker = probe.worker().await;
    let (mut adopted, mut zombies, mut stayed) = (BTreeSet::new(), BTreeMap::new(), BTreeSet::new());
    let begun = Instant::now();
    while begun.elapsed() < ms(3000) {
        adopted.extend(children(probe.guardian).into_iter().filter(|child| *child != worker));
        let now: Vec<u32> = descendants(probe.guardian).into_iter().filter(|pid| is_zombie(*pid)).collect();
        zombies.retain(|pid, _| now.contains(pid));
        for pid in now {
            if zombies.entry(pid).or_insert_with(Instant::now).elapsed() > SOON {
                stayed.insert(pid);
            }
        }
        tokio::time::sleep(ms(5)).await;
    }
    (adopted.len(), stayed.into_iter().collect())
}

#[tokio::test]
async fn no_orphan_stays_a_zombie_where_the_supervisor_is_process_1() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: only root may make a namespace for processes");
        return;
    }
    let probe = Probe::as_process_1("orphans").await;
    let (adopted, stayed) = orphans(&probe).await;
    assert!(adopted >= 10, "only {adopted} orphans were seen");
    assert!(stayed.is_empty(), "zombies: {stayed:?}");
    let worker = probe.worker().await;
    probe.signal(Signal::TERM);
    assert_eq!(probe.code().await, Some(143));
    gone(worker).await;
}

#[tokio::test]
async fn no_orphan_stays_a_zombie_where_another_is_process_1() {
    let probe = Probe::start("orphans");
    let (adopted, stayed) = orphans(&probe).await;
    assert!(adopted >= 10, "only {adopted} orphans were seen");
    assert!(stayed.is_empty(), "zombies: {stayed:?}");
    probe.signal(Signal::TERM);
    assert_eq!(probe.code().await, Some(143));
}

#[tokio::test]
async fn the_exit_code_of_the_main_job_is_the_program_s() {
    assert_eq!(Probe::start("code").code().await, Some(10));
}

#[tokio::test]
async fn a_supervisor_with_nothing_to_stop_ends_when_it_is_told_to() {
    let probe = Probe::start("nothing");
    let worker = probe.worker().await;
    // Before it listens the signal itself would end it. Until it is a program of its own it shows the guardian's handlers.
    let is_worker = || {
        fs::read(format!("/proc/{worker}/environ")).is_ok_and(|env| {
            env.starts_with(b"HELIUM_GUARDIAN=") || env.windows(17).any(|name| name == b"\0HELIUM_GUARDIAN=")
        })
    };
    until("its handlers", || is_worker() && catches_term(worker)).await;
    let begun = Instant::now();
    probe.signal(Signal::TERM);
    assert_eq!(probe.code().await, Some(0));
    assert!(begun.elapsed() < ms(1000));
}

fn catches_term(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask & (1 << (Signal::TERM.as_raw() - 1)) != 0
}

#[tokio::test]
async fn signals_become_events_or_go_to_the_main_process() {
    let mut probe = Probe::start("signals");
    assert_eq!(probe.line().await, "[app] app runs");
    for (signal, line) in [(Signal::HUP, "[hup] ran"), (Signal::USR2, "[usr2] ran"), (Signal::USR1, "[app] got one")] {
        probe.signal(signal);
        assert_eq!(probe.line().await, line);
    }
    probe.signal(Signal::INT);
    assert_eq!(probe.code().await, Some(143));
}

#[tokio::test]
async fn the_second_word_kills_what_did_not_hear_the_first() {
    let mut probe = Probe::start("stubborn");
    assert_eq!(probe.line().await, "[app] app runs");
    let begun = Instant::now();
    probe.signal(Signal::TERM);
    tokio::time::sleep(ms(200)).await;
    probe.signal(Signal::TERM);
    assert_eq!(probe.code().await, Some(137));
    assert!((ms(200)..ms(3000)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn where_the_second_word_does_not_kill_it_counts_as_the_first() {
    let mut probe = Probe::start("patient");
    assert_eq!(probe.line().await, "[app] app runs");
    probe.signal(Signal::TERM);
    assert_eq!(probe.line().await, "[app] asked");
    // Also as a manager does that signals a whole group: the guardian, and the worker by itself.
    probe.signal(Signal::TERM);
    for worker in children(probe.guardian) {
        assert!(ProcessIdentity::of(worker).unwrap().signal(Signal::TERM).unwrap());
    }
    assert_eq!(probe.line().await, "[app] done");
    assert_eq!(probe.code().await, Some(0));
}

#[tokio::test]
async fn what_is_raw_is_passed_on_byte_by_byte_and_the_rest_is_wrapped() {
    let Output { stdout, stderr, status } = Command::new(PROBE).arg("raw").output().await.unwrap();
    let stdout = String::from_utf8(stdout).unwrap();
    assert!(status.success());
    assert_eq!(String::from_utf8(stderr).unwrap(), "an error");
    let wrapped = stdout.replacen("no end", "", 1);
    let lines: BTreeSet<&str> = wrapped.lines().collect();
    assert_eq!((lines, stdout.matches("no end").count()), (BTreeSet::from(["[wrapped] one", "[wrapped] two"]), 1));
}

#[tokio::test]
async fn a_worker_whose_guardian_is_killed_stops_its_jobs_and_ends() {
    let mut probe = Probe::start("sleep");
    assert_eq!(probe.line().await, "[app] app runs");
    let all = descendants(probe.guardian);
    assert_eq!(all.len(), 2);
    probe.signal(Signal::KILL);
    for pid in all {
        gone(pid).await;
    }
}

#[tokio::test]
async fn what_a_killed_worker_leaves_is_killed_by_its_guardian() {
    let mut probe = Probe::start("sleep");
    assert_eq!(probe.line().await, "[app] app runs");
    let worker = probe.worker().await;
    let app = children(worker)[0];
    ProcessIdentity::of(worker).unwrap().signal(Signal::KILL).unwrap();
    assert_eq!(probe.code().await, Some(137));
    gone(app).await;
}

#[tokio::test]
async fn what_a_supervisor_that_was_killed_has_left_is_killed_before_the_next_one_starts_anything() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["sleep", folder.path().to_str().unwrap()];
    let mut first = Probe::with(&arguments);
    assert_eq!(first.line().await, "[app] app runs");
    let left = first.worker().await;
    first.signal(Signal::KILL);
    assert_eq!(first.code().await, None);
    assert!(ProcessIdentity::of(left).is_some(), "it was to be left");

    let mut second = Probe::with(&arguments);
    assert_eq!(second.line().await, "[app] app runs");
    assert!(ProcessIdentity::of(left).is_none(), "two copies");

    let refused = Command::new(PROBE).args(arguments).output().await.unwrap();
    let words = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && words.contains("give each a folder of its own"), "{words}");

    second.signal(Signal::TERM);
    assert_eq!(second.code().await, Some(143));
    let files = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(files.collect::<Vec<_>>(), ["lock"]);
}
