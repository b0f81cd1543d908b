//! A small supervisor for tests: a guardian and a worker with the jobs of a scenario, which is the first argument.
//!
//! With a second argument it has no guardian, and keeps its notes in that folder. `say-ready` is no supervisor, but what one starts.

use std::{collections::BTreeMap, error::Error, path::PathBuf, process::ExitCode, time::Duration};

use helium_processes::Command;
use helium_supervisor::{
    Code, Event, Health, Job, JobSet, Options, Output, Restarts, Runner, Settings, Start, guardian,
};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    if std::env::args().nth(1).as_deref() == Some("say-ready") {
        say_ready()?;
        return Ok(ExitCode::SUCCESS);
    }
    let scenario = std::env::args().nth(1).unwrap_or_default();
    // The folder of notes; with one, there is no guardian.
    let notes = std::env::args().nth(2).map(PathBuf::from);
    if notes.is_none()
        && let Some(code) = guardian::guard()?
    {
        return Ok(ExitCode::from(code));
    }
    let (jobs, main) = jobs(&scenario).ok_or_else(|| format!("no scenario `{scenario}`"))?;
    let settings = Settings { main, grace: Duration::from_secs(5), every_check: false };
    let set = JobSet::new(jobs, settings)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = runtime.block_on(async {
        let second_kills = scenario != "patient";
        let (runner, _handle) = Runner::new(set, Options { notes, second_kills, ..Options::of_a_program() });
        runner.run().await
    })?;
    Ok(ExitCode::from(u8::try_from(code)?))
}

/// What a service does that uses `sd_notify`.
#[cfg(target_os = "linux")]
fn say_ready() -> Result<(), Box<dyn Error>> {
    use std::os::{linux::net::SocketAddrExt as _, unix::net};
    let socket = std::env::var("NOTIFY_SOCKET")?;
    let name = socket.strip_prefix('@').ok_or("the socket has a file")?;
    let address = net::SocketAddr::from_abstract_name(name)?;
    net::UnixDatagram::unbound()?.send_to_addr(b"STATUS=it is well\nREADY=1\n", &address)?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn say_ready() -> Result<(), Box<dyn Error>> {
    Err("there are no such sockets here".into())
}

fn jobs(scenario: &str) -> Option<(Vec<Job>, Option<String>)> {
    let sleeper = || job("app", "echo app runs; exec sleep 600");
    let jobs = match scenario {
        // A check that leaves an orphan which left the group, each time, and a slow child that does so too.
        "orphans" => {
            let health = Health {
                command: Some(command("setsid sh -c 'sleep 0.2 & sleep 0.1' >/dev/null & exit 0")),
                interval: Duration::from_millis(100),
                ttl: Duration::from_secs(10),
                timeout: Duration::from_secs(1),
                output: Output::Lines,
            };
            let slow = job("slow", "setsid sh -c 'sleep 0.7 & exit 0' & sleep 0.3");
            let start = Start::every(Duration::from_millis(400), Restarts::Unlimited);
            let app = Job { health: Some(health), ..job("app", "exec sleep 600") };
            (vec![app, Job { start, ..slow }], None)
        }
        "code" => (vec![job("side", "exec sleep 600"), job("app", "sleep 0.2; exit 10")], Some("app".to_owned())),
        "sleep" => (vec![sleeper()], Some("app".to_owned())),
        "nothing" => (vec![Job::new("app", None)], None),
        "raw" => {
            let raw = Job { output: Output::Raw, ..job("raw", "printf 'no end'; printf 'an error' >&2") };
            (vec![job("wrapped", "echo one; echo two >&2"), raw], None)
        }
        "signals" => {
            let say = "trap 'echo got one' USR1; echo app runs; while :; do sleep 0.02; done";
            let on = |name: &str, code| Job { start: Start::each(Event::global(code)), ..job(name, "echo ran") };
            let jobs = vec![job("app", say), on("hup", Code::Sighup), on("usr2", Code::Sigusr2)];
            (jobs, Some("app".to_owned()))
        }
        // It takes its time to end, and says when it has.
        "patient" => {
            let say = "exec 2>/dev/null; trap 'echo asked; sleep 0.5; echo done; exit 0' TERM; echo app runs; while :; do sleep 0.02; done";
            (vec![job("app", say)], Some("app".to_owned()))
        }
        "stubborn" => (vec![job("app", "trap '' TERM; echo app runs; while :; do sleep 0.02; done")], None),
        _ => return None,
    };
    Some(jobs)
}

fn job(name: &str, script: &str) -> Job {
    Job::new(name, Some(command(script)))
}

fn command(script: &str) -> Command {
    Command {
        argv: ["/bin/sh", "-c", script].map(str::to_owned).into(),
        env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
        cwd: "/".into(),
        user: None,
    }
}
