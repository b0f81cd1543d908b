//! Files of a thousand keys: made once, followed, in a burst, and what that costs.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use consul_client::Put;
use helium_e2e::{Daemon, process, wait::pause};

use super::{
    Outcome,
    desk::{Desk, FOLDER, KEYS, LIMIT, WRITTEN, key},
    looks::Memory,
    program::{Program, Shape},
};
use crate::react::percentile;

/// How often a first render is made.
const FIRSTS: usize = 20;
/// How often a key is written.
const WRITES: usize = 100;
/// How long a long poll gets to lie in Consul before what it waits for happens. Nobody can see from outside whether it does.
const PARK: Duration = Duration::from_millis(60);
/// How many writes are a burst, and how many of them are under way together.
const BURST: usize = 200;
const TOGETHER: usize = 8;
/// How long nothing may come after a burst until it is over.
const OVER: Duration = Duration::from_secs(1);
/// How long what follows is let alone before its memory is looked at.
const REST: Duration = Duration::from_secs(3);

/// What a program came to.
pub(super) struct Files {
    /// From the start of the process to the file.
    pub(super) first: Option<Duration>,
    /// The same where the template names the folder alone.
    pub(super) first_by_prefix: Option<Duration>,
    /// Where each key is named, what is followed.
    pub(super) names: Option<Followed>,
    /// The same where the template names the folder alone.
    pub(super) prefix: Option<Followed>,
    /// How often a command was run for a burst of writes.
    pub(super) renders: Option<f64>,
    /// From SIGTERM to the end.
    pub(super) stop: Option<Duration>,
}

/// A program that follows its keys.
pub(super) struct Followed {
    /// From the start of a write to the file.
    pub(super) seen: Seen,
    /// How many connections to Consul there were at most.
    pub(super) sockets: f64,
    /// After the first render and all those writes.
    pub(super) memory: Memory,
}

/// How soon writes were seen.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    /// The 50th percentile.
    pub(super) half: Duration,
    /// The 99th.
    pub(super) most: Duration,
}

/// Measures.
pub(super) fn measure(desk: &Desk, program: &Program) -> Outcome<Files> {
    let (names, folder) = (template(desk, program, Shape::Names)?, template(desk, program, Shape::Prefix)?);
    Ok(Files {
        first: program.figure("first render", || firsts(desk, program, &names))?,
        first_by_prefix: program.figure("first render by prefix", || firsts(desk, program, &folder))?,
        names: program.figure("following keys", || followed(desk, program, &names))?,
        prefix: program.figure("following a prefix", || followed(desk, program, &folder))?,
        renders: program.figure("a burst", || burst(desk, program, &names))?.map(count),
        stop: program.figure("the end", || stops(desk, program, &names))?,
    })
}

fn followed(desk: &Desk, program: &Program, template: &str) -> Outcome<Followed> {
    let file = out(desk, program, "followed");
    let daemon = start(desk, program, &format!("{template}:{}", file.display()), &["--wait", "0s"]);
    desk.write("begun")?;
    desk.shows(&file, "begun")?;
    let seen = rounds(desk, &file, program.name())?;
    let sockets = count(process::sockets_to(daemon.pid(), desk.consul.port()));
    pause(REST);
    Ok(Followed { seen, sockets, memory: Memory::of(&[daemon.pid()]) })
}

#[allow(clippy::cast_precision_loss, reason = "small numbers")]
fn count(number: usize) -> f64 {
    number as f64
}

/// A template of this program.
pub(super) fn template(desk: &Desk, program: &Program, shape: Shape) -> Outcome<String> {
    let file = desk.path(&format!(
        "{}-{shape:?}.{}",
        program.name(),
        if matches!(program, Program::Helium) { "tera" } else { "ctmpl" }
    ));
    fs::write(&file, program.template(shape, (0..KEYS).map(key), FOLDER))?;
    Ok(file.display().to_string())
}

/// A file of this program in a folder of its own.
pub(super) fn out(desk: &Desk, program: &Program, name: &str) -> PathBuf {
    desk.path(&format!("{}-{name}/file", program.name()))
}

fn start(desk: &Desk, program: &Program, wish: &str, more: &[&str]) -> Daemon {
    Daemon::start(program.name(), &mut program.files(desk, wish, more), desk.helium.folder())
}

/// The 50th percentile of first renders, each into a folder that is not there.
fn firsts(desk: &Desk, program: &Program, template: &str) -> Outcome<Duration> {
    let mut times = Vec::new();
    for _ in 0..FIRSTS {
        let file = out(desk, program, "first");
        let begun = desk.now();
        let mut daemon = start(desk, program, &format!("{template}:{}", file.display()), &["--once"]);
        desk.until("a first render", LIMIT, || file.exists().then_some(()))?;
        times.push(desk.since(begun));
        if daemon.wait(LIMIT) != 0 {
            return Err(format!("{} did not end well: {}", program.name(), daemon.last_words()).into());
        }
        fs::remove_dir_all(file.parent().unwrap_or(&file))?;
    }
    times.sort_unstable();
    Ok(percentile(&times, 50))
}

/// Writes a key again and again, and waits each time until a file shows it.
pub(super) fn rounds(desk: &Desk, file: &Path, name: &str) -> Outcome<Seen> {
    let mut times = Vec::new();
    for number in 0..WRITES {
        pause(PARK);
        let value = format!("{name} {number}");
        let begun = desk.now();
        desk.write(&value)?;
        desk.shows(file, &value)?;
        times.push(desk.since(begun));
    }
    times.sort_unstable();
    Ok(Seen { half: percentile(&times, 50), most: percentile(&times, 99) })
}

/// The 50th percentile of ends.
fn stops(desk: &Desk, program: &Program, template: &str) -> Outcome<Duration> {
    let mut times = Vec::new();
    for _ in 0..5 {
        let file = out(desk, program, "stopped");
        let mut daemon = start(desk, program, &format!("{template}:{}", file.display()), &["--wait", "0s"]);
        desk.until("a render", LIMIT, || file.exists().then_some(()))?;
        pause(PARK);
        let begun = desk.now();
        process::terminate(daemon.pid());
        desk.until("it has ended by SIGTERM", LIMIT, || (!process::is_alive(daemon.pid())).then_some(()))?;
        times.push(desk.since(begun));
        daemon.wait(LIMIT);
        fs::remove_dir_all(file.parent().unwrap_or(&file))?;
    }
    times.sort_unstable();
    Ok(percentile(&times, 50))
}

/// How often a command is run for a burst of writes.
fn burst(desk: &Desk, program: &Program, template: &str) -> Outcome<usize> {
    let file = out(desk, program, "burst");
    let ran = format!("{}-ran", program.name());
    // Not every program gives a command to a shell.
    let script = desk.helium.write("ran.sh", "echo ran >> \"$1\"");
    let wish = format!("{template}:{}:sh {script} {}", file.display(), desk.path(&ran).display());
    let daemon = start(desk, program, &wish, &["--wait", "100ms:400ms"]);
    let lines = || desk.text(&ran).lines().count();
    desk.until("the first render of a burst", LIMIT, || (lines() == 1).then_some(()))?;
    pause(REST);
    let numbers: Vec<usize> = (0..BURST).collect();
    for part in numbers.chunks(TOGETHER) {
        desk.wait_for(futures::future::try_join_all(part.iter().map(|number| {
            // The last one of them writes the line that is looked at.
            let place = WRITTEN + 1 - TOGETHER + number % TOGETHER;
            let client = desk.client.clone();
            async move { client.kv_put(&key(place), format!("burst {number}"), &Put::default()).await }
        })))?;
    }
    desk.shows(&file, &format!("burst {}", BURST - 1))?;
    pause(OVER);
    drop(daemon);
    Ok(lines() - 1)
}
