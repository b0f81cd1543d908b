//! `cargo xtask bench agent [SECONDS] [PART...]`: how fast, how small and how steady what runs on a machine is, on a real Consul on loopback.
//!
//! Each figure stands beside its goal and, where there is something to hold it against, beside what was measured in the same run for the least
//! that anybody could do: a bare client of the same keys, a shell that ends, a call of Consul's API. `consul-template`, `envconsul` and
//! `containerpilot` are measured in the same way where they are in the PATH; a figure that a peer does not come to is a dash, and why it does
//! not is told on the side. `SECONDS` is how long Consul is away; the parts are in `wish.rs`, and without one all are measured.

mod bare;
mod desk;
mod files;
mod latency;
mod looks;
mod node;
mod outage;
mod print;
mod program;
mod services;
mod small;
mod table;
mod variables;
mod wish;

use std::error::Error;

use self::{desk::Desk, program::Program, table::Table, wish::Part};

pub(crate) use wish::Wish;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Measures what is wished and prints each part as soon as it is there. Blocks.
#[allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
pub(crate) fn run(wish: &Wish) -> Result<(), Box<dyn Error>> {
    for part in Part::all().filter(|part| wish.has(*part)) {
        println!("{}", measured(part, wish).map_err(|error| error as Box<dyn Error>)?);
    }
    Ok(())
}

/// Each part has a Consul of its own.
fn measured(part: Part, wish: &Wish) -> Outcome<String> {
    let (mut table, mut desk) = (Table::default(), Desk::start()?);
    let desk = &mut desk;
    match part {
        Part::Files => {
            let peer = Program::on_path("consul-template");
            let (bare, ours) = (bare::measure(desk)?, files::measure(desk, &Program::Helium)?);
            print::files(&mut table, &bare, &ours, &told(&peer, || files::measure(desk, &peer)));
        }
        Part::Variables => {
            let peer = Program::on_path("envconsul");
            let ours = variables::measure(desk, &Program::Helium)?;
            print::variables(&mut table, &ours, &told(&peer, || variables::measure(desk, &peer)));
        }
        Part::Services => {
            let peer = Program::on_path("containerpilot");
            let (bare, ours) = (bare::measure_calls(desk)?, services::measure(desk, &Program::Helium)?);
            print::services(&mut table, &bare, &ours, &told(&peer, || services::measure(desk, &peer)));
        }
        Part::Node => print::node(&mut table, &node::measure(desk)?),
        Part::Small => match small::binary() {
            Some(program) => print::small(&mut table, &small::measure(desk, &program)?),
            None => table.title("The build of the agent alone: HELIUM_AGENT_BIN names none"),
        },
        Part::Outage => print::outage(&mut table, &outage::measure(desk, wish.away)?, wish.away),
        Part::Latency => return latency::measure(desk),
    }
    Ok(table.text())
}

/// What a peer came to, or why there is nothing of it: it is not there, or it could not do it.
fn told<T>(program: &Program, measure: impl FnOnce() -> Outcome<T>) -> Result<T, String> {
    match program {
        Program::Absent(name) => Err(format!("{name} is not on the PATH")),
        Program::Helium | Program::Found { .. } => measure().map_err(|error| error.to_string()),
    }
}
