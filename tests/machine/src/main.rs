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

/// Notes that the machine has been started anew, and of what boot it was.
const FIRST_LIFE: &str = "/var/lib/helium-machine/boot";

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("hydra") {
        return if hydra::serve().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let Ok(first) = tool::read(FIRST_LIFE) else { return first_life() };
    let went = run(&checks::after(&first));
    println!("end");
    if went { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Everything up to the restart of the machine.
fn first_life() -> ExitCode {
    let went = run(&checks::before());
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
            let journal = systemd::journal(&["-n", "40", "-u", systemd::AGENT]).unwrap_or_else(|why| why);
            println!("{}", journal.lines().map(|line| format!("    {line}\n")).collect::<String>());
        }
    }
    went
}
