//! `cargo xtask bench agent [SECONDS]`: how fast, how small and how steady what runs on a machine is, on a real Consul on loopback.
//!
//! Each figure stands beside its goal and, where there is something to hold it against, beside what was measured in the same run for the least
//! that anybody could do: a bare client of the same keys, a shell that ends, a call of Consul's API. `consul-template` and `containerpilot`
//! are measured in the same way where they are in the PATH. `SECONDS` is how long Consul is away at the end.

mod bare;
mod desk;
mod files;
mod looks;
mod node;
mod outage;
mod program;
mod services;
mod small;
mod table;

use std::{error::Error, time::Duration};

use self::{
    desk::{Desk, KEYS},
    files::Files,
    node::Node,
    outage::Outage,
    program::Program,
    services::Services,
    table::{Row, Table, ms},
};

/// How long Consul is away, unless it is said.
const AWAY: Duration = Duration::from_mins(1);
const MEGABYTES: &str = "MB";
const MILLIS: &str = "ms";
const SECONDS: &str = "s";

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Reads the arguments behind `agent`.
pub(crate) fn from_arguments(mut arguments: impl Iterator<Item = String>) -> Result<Duration, std::num::ParseIntError> {
    arguments.next().map_or(Ok(AWAY), |seconds| seconds.parse().map(Duration::from_secs))
}

/// Measures everything and prints the table. Blocks.
#[allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
pub(crate) fn run(away: Duration) -> Result<(), Box<dyn Error>> {
    let mut table = Table::default();
    whole(away, &mut table).map_err(|error| error as Box<dyn Error>)?;
    println!("{}", table.text());
    Ok(())
}

fn whole(away: Duration, table: &mut Table) -> Outcome<()> {
    let mut desk = Desk::start()?;
    let [helium, template, pilot] =
        [Program::Helium, Program::on_path("consul-template"), Program::on_path("containerpilot")];
    let bare = bare::measure(&desk)?;
    let ours = files::measure(&desk, &helium)?;
    files_into(table, &bare, &ours, &told(&template, || files::measure(&desk, &template)));
    let ours = services::measure(&desk, &helium)?;
    services_into(table, &bare, &ours, &told(&pilot, || services::measure(&desk, &pilot)));
    node_into(table, &node::measure(&desk)?);
    if let Some(program) = small::binary() {
        small_into(table, &small::measure(&desk, &program)?);
    }
    outage_into(table, &outage::measure(&mut desk, away)?, away);
    Ok(())
}

/// What a peer came to, or why there is nothing of it: it is not there, or it could not do it.
fn told<T>(program: &Program, measure: impl FnOnce() -> Outcome<T>) -> Result<T, String> {
    match program {
        Program::Absent(name) => Err(format!("{name} is not on the PATH")),
        Program::Helium | Program::Found { .. } => measure().map_err(|error| error.to_string()),
    }
}

fn files_into(table: &mut Table, bare: &bare::Bare, ours: &Files, peer: &Result<Files, String>) {
    let of = |figure: fn(&Files) -> f64| peer.as_ref().map(figure).map_err(String::clone);
    let write = ("a bare client that reads all keys and writes a plain file", bare);
    table.title(&format!("Files of {KEYS} keys: helium render"));
    table.add(
        &Row::new("first render, each key named, p50", MILLIS, 60.0, ms(ours.first))
            .beside("one read of the keys, and a file", ms(bare.once))
            .peer(of(|files| ms(files.first))),
    );
    table.add(
        &Row::new("first render, by prefix, p50", MILLIS, 60.0, ms(ours.first_by_prefix))
            .beside("sh -c exit", ms(bare.shell))
            .peer(of(|files| ms(files.first_by_prefix))),
    );
    table.add(
        &Row::new("key written, file visible, p50", MILLIS, 2.0, ms(ours.seen.half))
            .beside(write.0, ms(write.1.seen.half))
            .peer(of(|files| ms(files.seen.half))),
    );
    table.add(
        &Row::new("key written, file visible, p99", MILLIS, 20.0, ms(ours.seen.most))
            .beside(write.0, ms(write.1.seen.most))
            .peer(of(|files| ms(files.seen.most))),
    );
    table.add(
        &Row::new("renders of 200 writes, --wait 100ms", "", 2.0, ours.renders)
            .beside("writes", 200.0)
            .peer(of(|files| files.renders)),
    );
    table.add(&Row::new("connections to Consul", "", 10.0, ours.sockets).peer(of(|files| files.sockets)));
    table.add(
        &Row::new("memory, resident", MEGABYTES, 8.0, ours.memory.resident).peer(of(|files| files.memory.resident)),
    );
    table.note(&format!("of it {}", ours.memory));
    table.add(
        &Row::new("asked to end, ended, p50", MILLIS, 50.0, ms(ours.stop))
            .beside("a shell that is", ms(bare.stop))
            .peer(of(|files| ms(files.stop))),
    );
    table.note(&format!(
        "a bare client writes a key in {:.1} ms; a file that is to outlive a loss of power is on this disk after {:.1} ms (p50)",
        ms(bare.write),
        ms(bare.disk)
    ));
}

fn services_into(table: &mut Table, bare: &bare::Bare, ours: &Services, peer: &Result<Services, String>) {
    let of = |figure: fn(&Services) -> f64| peer.as_ref().map(figure).map_err(String::clone);
    table.title("One service: helium agent --containerpilot");
    table.add(
        &Row::new("check failed, critical in Consul, worst", MILLIS, 100.0, ms(ours.critical))
            .beside("one call that says so", ms(bare.critical))
            .peer(of(|services| ms(services.critical))),
    );
    table.add(
        &Row::new("asked to end, app and all ended, p50", MILLIS, 50.0, ms(ours.stop))
            .beside("a shell that is", ms(bare.stop))
            .peer(of(|services| ms(services.stop))),
    );
    table.add(
        &Row::new("deregistered by hand, back, worst", SECONDS, 30.0, ours.back.as_secs_f64())
            .peer(of(|services| services.back.as_secs_f64())),
    );
    table.add(&Row::new("zombies that stay", "", 0.0, ours.zombies).peer(of(|services| services.zombies)));
    table.add(
        &Row::new("memory, resident, both processes", MEGABYTES, 8.0, ours.memory.resident)
            .peer(of(|services| services.memory.resident)),
    );
    table.note(&format!("of it {}", ours.memory));
}

fn node_into(table: &mut Table, ours: &Node) {
    table.title(&format!("One instance with {KEYS} keys in its template: helium agent"));
    table.add(&Row::new("memory, resident", MEGABYTES, 8.0, ours.memory.resident));
    table.note(&format!("of it {}", ours.memory));
    table.add(&Row::new("deregistered by hand, back, worst", SECONDS, 30.0, ours.back.as_secs_f64()));
    table.add(&Row::new("connections to Consul", "", 10.0, ours.sockets));
}

fn small_into(table: &mut Table, ours: &small::Small) {
    table.title(&format!("The build of the agent alone, with the same {KEYS} keys and the same services"));
    for (what, memory) in [
        ("memory, resident, helium render", &ours.render),
        ("memory, resident, helium agent --containerpilot, both", &ours.pilot),
        ("memory, resident, helium agent", &ours.node),
    ] {
        table.add(&Row::new(what, MEGABYTES, 8.0, memory.resident));
        table.note(&format!("of it {memory}"));
    }
}

fn outage_into(table: &mut Table, ours: &Outage, away: Duration) {
    table.title(&format!("Consul is away for {} s", away.as_secs()));
    table.add(&Row::new("processes that ended or were started anew", "", 0.0, ours.ended));
    table.add(&Row::new("files that changed", "", 0.0, ours.changed));
    table.add(&Row::new("Consul answers, a change of then is in the file", SECONDS, 30.0, ours.heard.as_secs_f64()));
}
