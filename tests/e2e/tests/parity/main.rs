//! The same cases on the embedded server, called directly and over HTTP, and on a real Consul: what keeps the embedded one
//! honest. A case asserts the same on all three; a difference is a bug of the embedded server.
//!
//! The real Consul is `CONSUL_BIN`, or `consul` of PATH; without one its cases show as ignored.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "tests fail by panicking")]

mod agent;
mod blocking;
mod catalog;
mod checks;
mod health;
mod kv;
mod program;
mod rig;
mod session;
mod txn;
mod whole;
mod world;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};

use rig::{Kind, Rig};
use world::{Backends, Case, Pair};

/// Cases mostly wait, so there may be many at once.
const THREADS: usize = 24;

fn cases() -> Vec<Case> {
    let mut cases = blocking::cases();
    cases.extend(kv::cases());
    cases.extend(txn::cases());
    cases.extend(session::cases());
    cases.extend(catalog::cases());
    cases.extend(health::cases());
    cases.extend(agent::cases());
    cases.extend(checks::cases());
    cases
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(THREADS));
    let runtime = Arc::new(tokio::runtime::Runtime::new().unwrap());
    let backends = if arguments.list { Backends::listed() } else { runtime.block_on(Backends::start()) };
    let mut trials = Vec::new();
    for (name, pair) in backends.pairs() {
        // The program needs an address, and itself.
        let served = *name != "embedded";
        let program = program::cases().into_iter().filter(|_| served && helium_e2e::Consul::binary().is_some());
        for case in cases().into_iter().chain(program) {
            let sentence = format!("{name}: {}", case.name.replace('_', " "));
            let (runtime, lent) = (Arc::clone(&runtime), pair.clone());
            let run = move || {
                if let Some(pair) = lent {
                    run(&runtime, case, &pair);
                }
                Ok(())
            };
            trials.push(Trial::test(sentence, run).with_ignored_flag(pair.is_none() && !arguments.list));
        }
    }
    for (name, kind) in [("embedded", Kind::Embedded), ("Consul", Kind::Consul)] {
        let absent = kind == Kind::Consul && helium_e2e::Consul::binary().is_none();
        for case in whole::cases() {
            let runtime = Arc::clone(&runtime);
            let run = move || {
                runtime.block_on(async { (case.run)(Rig::start(kind, case.needs).await).await });
                Ok(())
            };
            trials.push(Trial::test(format!("{name}: {}", case.name.replace('_', " ")), run).with_ignored_flag(absent));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    // The servers end before the process does.
    drop(backends);
    conclusion.exit_code()
}

/// A case fails by panicking.
fn run(runtime: &tokio::runtime::Runtime, case: Case, pair: &Pair) {
    runtime.block_on(async {
        if case.quiet {
            let alone = pair.alone.lock().await;
            (case.run)(alone.clone()).await;
        } else {
            (case.run)(pair.shared.clone()).await;
        }
    });
}
