//! What is tried inside a virtual machine with systemd as process 1: a program that installs the units of the guides, does to them what happens to units, and says line by line what it saw.
//!
//! `cargo xtask machine` starts it, in the first and in the second life of the machine. Each line is `ok` or `FAILED`, the name of a check, the seconds that it took, and what was seen,
//! with tabs between. The last line is `end`.
#![allow(clippy::print_stdout, reason = "its output is all that comes out of the machine")]

mod checks;
mod guide;
mod hydra;
mod node;
mod systemd;
mod tool;

use std::process::ExitCode;

use checks::Check;

/// Notes of what boot the first life was, once it is over.
const FIRST_LIFE: &str = "/var/lib/helium-machine/boot";
/// The word that asks for the restart of the machine and what is to be so behind it.
const REBOOT: &str = "reboot";
/// Notes that the first life has begun.
const BEGUN: &str = "/var/lib/helium-machine/begun";

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("hydra") {
        return if hydra::serve().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let Ok(first) = tool::read(FIRST_LIFE) else { return first_life() };
    let went = run(&checks::after(&first, only().is_some()));
    println!("end");
    if went { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The word that was asked for, if not everything was.
fn only() -> Option<String> {
    tool::read(&format!("{}/only", node::GIVEN)).ok().filter(|word| !word.is_empty())
}

/// Everything up to the restart of the machine, or the few checks that were asked for.
fn first_life() -> ExitCode {
    if tool::read(BEGUN).is_ok() {
        println!(
            "FAILED\tthe machine lives until it is restarted\t0\tit began anew in the middle; its console says why\nend"
        );
        return ExitCode::FAILURE;
    }
    let noted = tool::write(BEGUN, "").and_then(|()| tool::run("sync", &[]));
    if let Err(why) = noted {
        println!("FAILED\tits disk can be written\t0\t{why}\nend");
        return ExitCode::FAILURE;
    }
    let only = only();
    let went = run(&checks::before(only.as_deref()));
    if only.as_deref().is_some_and(|word| word != REBOOT) {
        println!("end");
        return if went { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let again = || {
        tool::write(FIRST_LIFE, &systemd::boot()?)?;
        tool::run("sync", &[])?;
        tool::run("systemctl", &["reboot"])
    };
    if let Err(why) = again() {
        println!("FAILED\treboot\t0\t{why}\nend");
        return ExitCode::FAILURE;
    }
    if went { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs checks one after the other, also behind one that failed: whether all went well.
fn run(checks: &[Check<'_>]) -> bool {
    let mut went = true;
    for check in checks {
        let since = tool::now();
        let (verdict, words) = match (check.work)() {
            Ok(words) => ("ok", words),
            Err(why) => ("FAILED", why),
        };
        went &= verdict == "ok";
        println!(
            "{verdict}\t{}\t{:.1}\t{}",
            check.name,
            since.elapsed().as_secs_f32(),
            words.replace(['\n', '\t'], " ")
        );
        if verdict != "ok" {
            let journal =
                systemd::journal(&["-n", "40", "-u", systemd::AGENT, "-u", "helium-hail*"]).unwrap_or_else(|why| why);
            journal.lines().for_each(|line| println!("    {line}"));
        }
    }
    went
}
