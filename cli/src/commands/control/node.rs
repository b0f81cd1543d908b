//! `helium node`: look at nodes.

use clap::{Args, Subcommand};
use helium_crds::NodeName;
use serde_json::{Value, json};

use super::node_maintenance::{self, MaintenanceCommand};
use crate::{
    output::{
        Console, Exit, Outcome, Tone,
        format::{Document, items, to_document},
        table::Rows,
        time::age,
    },
    session::Session,
};

/// What can be done with nodes.
#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// List the nodes that have joined
    List(ListArgs),
    /// Take a node, or single instances of it, out of service for a while
    #[command(subcommand)]
    Maintenance(MaintenanceCommand),
}

/// Options of `helium node list`.
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Print the nodes as documents
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Document>,
}

/// Runs `helium node ...`.
pub(crate) async fn run(command: NodeCommand, session: &Session, console: &mut Console) -> Outcome {
    let args = match command {
        NodeCommand::List(args) => args,
        NodeCommand::Maintenance(command) => return node_maintenance::run(command, session, console).await,
    };
    let people = session.people("node")?;
    let nodes = people.nodes().await?;
    let load = people.load().await?;
    let load_of = |node: &NodeName| load.get(node).copied().unwrap_or(0);
    if let Some(document) = args.output {
        let values: Vec<Value> = nodes
            .iter()
            .map(|node| {
                json!({
                    "node": node.record,
                    "alive": node.heartbeat.is_some(),
                    "since": node.heartbeat.as_ref().map(|heartbeat| heartbeat.since),
                    "instances": load_of(&node.record.name),
                })
            })
            .collect();
        console.data(to_document(&items(&values), document)?)?;
        return Ok(Exit::Ok);
    }
    if nodes.is_empty() {
        console.say("no node has joined; `helium agent` on a machine makes it one");
        return Ok(Exit::Ok);
    }
    let mut rows =
        Rows::new(&["NAME", "STATE", "INSTANCES", "ADDRESS", "CONSUL NODE", "PLATFORM", "HAS", "AGENT", "AGE"]);
    for node in &nodes {
        let record = &node.record;
        let (state, tone) = match (&node.heartbeat, &record.maintenance) {
            (None, _) => ("Silent", Tone::Bad),
            (Some(_), Some(_)) => ("Maintenance", Tone::Warning),
            (Some(_), None) => ("Alive", Tone::Good),
        };
        let cells = vec![
            record.name.to_string(),
            state.to_owned(),
            load_of(&record.name).to_string(),
            record.address.clone(),
            record.consul_node.clone(),
            record.platform.clone(),
            record.features.as_ref().map_or_else(|| "unknown".to_owned(), ToString::to_string),
            record.agent_version.clone(),
            age(Some(record.joined_at), session.ports.now()),
        ];
        rows.add_toned(cells, 1, tone);
    }
    rows.lines(console).into_iter().try_for_each(|line| console.line(line))?;
    Ok(Exit::Ok)
}
