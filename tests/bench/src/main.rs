//! `cargo xtask bench converge`: many Deployments from `apply` to all healthy, on a real Consul with simulated agents. `react.rs` is the
//! second benchmark: how soon a canary that fails is given up. `agent/` is the third: what runs on a machine.
//!
//! Both runs are of the same process, one after the other, each on a Consul of its own:
//!
//! - *bare*: a client that knows the outcome writes the same records in the same dependent phases (specs; instances and
//!   assignments; reports and registrations; statuses) in transactions of 64 operations;
//! - *helium*: `helium controller` does the work, and agents that only write reports and registrations answer it.
//!
//! What is printed is the ratio of the two, and what the controller used: machines differ, the ratio hardly does.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod agent;
mod bare;
mod controller;
mod fleet;
mod react;
mod world;

use std::time::Duration;

use helium_e2e::{Consul, Options};
use helium_runtime::ports::Ports;

use crate::{controller::Controller, world::Size};

/// The goals that the figures are held against.
const GOAL_RATIO: f64 = 2.0;
const GOAL_MEMORY_MB: f64 = 150.0;
const GOAL_CPU_PERCENT: f64 = 1.0;
/// How often a canary is given up, unless it is said.
const REACTIONS: usize = 100;
/// How long the converged system is watched.
const REST: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if(|argument| argument == "react").is_some() {
        let rounds = arguments.next().map_or(Ok(REACTIONS), |rounds| rounds.parse())?;
        return react::run(rounds).await;
    }
    if arguments.next_if(|argument| argument == "agent").is_some() {
        let wish = agent::Wish::from_arguments(arguments)?;
        return tokio::task::block_in_place(|| agent::run(&wish));
    }
    let size = Size::from_arguments(arguments)?;
    let ports = Ports::real();
    println!("{} Deployments of {} instances on {} nodes", size.deployments, size.replicas, size.nodes);

    let bare = bare_run(size, &ports).await?;
    println!("bare client   {:>8.2} s", bare.as_secs_f64());
    let consul = production_server();
    let controller = Controller::start(&consul);
    let helium = helium_run(size, &ports, &consul).await?;
    println!("helium        {:>8.2} s", helium.as_secs_f64());
    let ratio = helium.as_secs_f64() / bare.as_secs_f64();
    println!("ratio         {ratio:>8.2}     goal at most {GOAL_RATIO}");

    let memory = controller.peak_memory_mb()?;
    println!("peak memory   {memory:>8.1} MB  goal at most {GOAL_MEMORY_MB}");
    let rest = controller.at_rest(&consul, REST).await?;
    println!("writes at rest{:>8}     goal 0 (Consul's KV index over {} s)", rest.writes, REST.as_secs());
    println!("cpu at rest   {:>8.2} %   goal under {GOAL_CPU_PERCENT} % of a core", rest.cpu_percent);
    Ok(())
}

/// A server as it runs in production, its log on disk. In memory (`-dev`) Consul lays out every answer for people to read, which takes a
/// third of its time.
fn production_server() -> Consul {
    Consul::with(Options { durable: true, ..Options::default() })
}

async fn bare_run(size: Size, ports: &Ports) -> Result<Duration, Box<dyn std::error::Error>> {
    let consul = production_server();
    let client = world::client(&consul)?;
    let started = ports.monotonic();
    bare::run(&client, size, ports).await?;
    Ok(ports.monotonic().saturating_sub(started))
}

async fn helium_run(size: Size, ports: &Ports, consul: &Consul) -> Result<Duration, Box<dyn std::error::Error>> {
    let people = world::people(world::client(consul)?, ports);
    people.initialise().await?;
    let fleet = fleet::start(&world::client(consul)?, size, ports).await?;
    let manifests = world::manifests(size)?;
    let started = ports.monotonic();
    for batch in manifests.chunks(world::APPLY_BATCH) {
        people.apply(batch).await?;
    }
    world::until_all_healthy(&people, size, ports).await?;
    let took = ports.monotonic().saturating_sub(started);
    drop(fleet);
    Ok(took)
}
