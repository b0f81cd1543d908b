//! The project's only scripts: `cargo xtask test | tidy | schema | bench | consul | prometheus | haproxy | nginx | moto | nix | machine`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a script talks to whoever runs it")]

mod apt;
mod bench;
mod machine;
mod metadata;
mod moto;
mod nix;
mod project;
mod schema;
mod servers;
mod step;
mod test;
mod tidy;
mod wrapped;

use std::{env, process::ExitCode};

use project::Project;
use servers::{CONSUL, PROMETHEUS};

const USAGE: &str = "\
cargo xtask test [--quick] [--without-consul|-prometheus|-haproxy|-nginx|-moto|-nix]
                                                everything that has to hold; --quick: what to run before a commit
cargo xtask tidy                                the rules of the house that no compiler checks
cargo xtask schema                              write crds/schemas and docs/reference
cargo xtask bench converge [N [REPLICAS [NODES]]]   how fast N Deployments converge, as a ratio to a bare client
cargo xtask bench react [ROUNDS]                how soon a canary that fails is given up, as a ratio to a bare watcher
cargo xtask bench agent [SECONDS] [PART...]     how fast, small and steady what runs on a machine is; SECONDS of them Consul is away
cargo xtask machine [bookworm] [trixie] [--only=WORD]
                                                the units of the guides under a real systemd, in virtual machines; takes minutes
cargo xtask consul                              print the path of the Consul that tests use, fetching it if need be
cargo xtask prometheus                          the same of the Prometheus
cargo xtask haproxy                             the same of the HAProxy
cargo xtask nginx                               the same of the nginx
cargo xtask moto                                the same of moto's server, which stands in for S3
cargo xtask nix                                 the same of the folder with Nix's programs";

/// The exit code for arguments that mean nothing.
const BAD_USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let project = Project::here();
    match arguments.as_slice() {
        ["test", flags @ ..] => match test::Choice::parse(flags) {
            Ok(choice) => test::run(&project, &choice),
            Err(unknown) => usage(&unknown),
        },
        ["tidy"] => finish(tidy::run(&project)),
        ["consul"] => finish(CONSUL.path(&project)),
        ["prometheus"] => finish(PROMETHEUS.path(&project)),
        ["haproxy"] => finish(wrapped::HAPROXY.path(&project)),
        ["nginx"] => finish(wrapped::NGINX.path(&project)),
        ["moto"] => finish(moto::path(&project)),
        ["nix"] => finish(nix::path(&project)),
        ["machine", suites @ ..] => finish(machine::run(&project, suites)),
        ["schema"] => finish(schema::write(&project)),
        ["bench", "converge", size @ ..] => finish(bench::run(&project, size)),
        ["bench", "react", rounds @ ..] => finish(bench::run(&project, &[&["react"], rounds].concat())),
        ["bench", "agent", seconds @ ..] => finish(bench::run(&project, &[&["agent"], seconds].concat())),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        _ => usage(&arguments.join(" ")),
    }
}

fn usage(unknown: &str) -> ExitCode {
    eprintln!("not understood: `{unknown}`\n\n{USAGE}");
    ExitCode::from(BAD_USAGE)
}

/// Prints how a single script ended.
fn finish(outcome: step::Outcome) -> ExitCode {
    match outcome {
        step::Outcome::Passed(words) | step::Outcome::NotRun(words) => {
            if !words.is_empty() {
                println!("{words}");
            }
            ExitCode::SUCCESS
        }
        step::Outcome::Failed { code, words } => {
            eprintln!("{words}");
            ExitCode::from(code)
        }
    }
}
