//! `helium node maintenance`: take a node, or single instances of it, out of service for a while, and back.

use clap::{Args, Subcommand};
use helium_crds::{
    InstanceId, NodeName,
    maintenance::{Maintenance, Mark},
};
use helium_engine::people::{MaintenanceError, Whom};
use serde_json::json;

use crate::{
    output::{
        Console, Exit, Failure, Outcome,
        format::{Document, to_document},
        table::Rows,
        time::age,
    },
    session::Session,
};

/// What can be done with maintenance.
#[derive(Debug, Subcommand)]
pub(crate) enum MaintenanceCommand {
    /// Take a node out of discovery: what runs on it runs on, and nothing new is placed there
    On(OnArgs),
    /// Bring it back
    Off(OffArgs),
    /// Show what of a node is in maintenance
    Status(StatusArgs),
}

/// Options of `helium node maintenance on`.
#[derive(Args, Debug)]
pub(crate) struct OnArgs {
    /// The node
    node: String,
    /// Only this instance; may be given several times
    #[arg(long = "instance", value_name = "ID")]
    instances: Vec<String>,
    /// Why; people see it in Consul
    #[arg(long, value_name = "WORDS", default_value = "maintenance")]
    reason: String,
}

/// Options of `helium node maintenance off`.
#[derive(Args, Debug)]
pub(crate) struct OffArgs {
    /// The node
    node: String,
    /// Only this instance; may be given several times
    #[arg(long = "instance", value_name = "ID")]
    instances: Vec<String>,
}

/// Options of `helium node maintenance status`.
#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    /// The node
    node: String,
    /// Print a document
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Document>,
}

/// Runs `helium node maintenance ...`.
pub(crate) async fn run(command: MaintenanceCommand, session: &Session, console: &mut Console) -> Outcome {
    let people = session.people("node")?;
    match command {
        MaintenanceCommand::On(args) => {
            let (node, whom) = (NodeName::new(args.node), whom(args.instances));
            let reason = args.reason.trim();
            if reason.is_empty() || reason.chars().any(char::is_control) {
                return Err(Failure::usage("`--reason` is a line of words"));
            }
            let (_, changed) = people.begin_maintenance(&node, &whom, reason).await.map_err(failed)?;
            let what = if changed { "in maintenance" } else { "in maintenance already" };
            console.line(format!("{} {what}: {reason}", named(&node, &whom)))?;
        }
        MaintenanceCommand::Off(args) => {
            let (node, whom) = (NodeName::new(args.node), whom(args.instances));
            let (left, changed) = people.end_maintenance(&node, &whom).await.map_err(failed)?;
            let what = if changed { "back in service" } else { "in service already" };
            console.line(format!("{} {what}", named(&node, &whom)))?;
            tell_left(&left, &whom, console);
        }
        MaintenanceCommand::Status(args) => return status(args, session, console).await,
    }
    Ok(Exit::Ok)
}

fn whom(instances: Vec<String>) -> Whom {
    if instances.is_empty() {
        return Whom::Node;
    }
    Whom::Instances(instances.into_iter().map(InstanceId::new).collect())
}

fn named(node: &NodeName, whom: &Whom) -> String {
    match whom {
        Whom::Node => format!("node {node}"),
        Whom::Instances(ids) => {
            let ids: Vec<&str> = ids.iter().map(InstanceId::as_str).collect();
            format!("{} on node {node}", ids.join(", "))
        }
    }
}

/// What is still out of service after an end, so that nobody wonders.
fn tell_left(left: &Maintenance, whom: &Whom, console: &mut Console) {
    match (whom, &left.node) {
        (Whom::Instances(_), Some(mark)) => console.say(format!("their node is in maintenance still: {}", mark.reason)),
        (Whom::Node, _) if !left.instances.is_empty() => {
            let ids: Vec<&str> = left.instances.keys().map(InstanceId::as_str).collect();
            console.say(format!("in maintenance for themselves still: {}", ids.join(", ")));
        }
        _ => {}
    }
}

async fn status(args: StatusArgs, session: &Session, console: &mut Console) -> Outcome {
    let node = NodeName::new(args.node);
    let (marks, record) = session.people("node")?.maintenance(&node).await.map_err(failed)?;
    if let Some(document) = args.output {
        let value = json!({ "node": node, "maintenance": marks, "followed": record.maintenance == marks.node });
        console.data(to_document(&value, document)?)?;
        return Ok(Exit::Ok);
    }
    if marks == Maintenance::default() {
        console.line(format!("node {node} is in service"))?;
    } else {
        let now = session.ports.now();
        let mut rows = Rows::new(&["WHAT", "REASON", "BY", "AGE"]);
        let row = |what: &str, mark: &Mark| {
            vec![what.to_owned(), mark.reason.clone(), mark.by.clone(), age(Some(mark.since), now)]
        };
        let own = marks.node.iter().map(|mark| row("node", mark));
        for cells in own.chain(marks.instances.iter().map(|(id, mark)| row(id.as_str(), mark))) {
            rows.add(cells);
        }
        rows.lines(console).into_iter().try_for_each(|line| console.line(line))?;
    }
    if record.maintenance != marks.node {
        console.say("its agent has not taken that up yet");
    }
    Ok(Exit::Ok)
}

fn failed(error: MaintenanceError) -> Failure {
    let words = error.to_string();
    match error {
        MaintenanceError::Store(error) => Failure::from(error),
        MaintenanceError::NoNode { .. } | MaintenanceError::NoInstance { .. } => Failure::new(Exit::NotFound, words),
        MaintenanceError::Garbled { .. } => Failure::internal(words),
        MaintenanceError::Busy { .. } => Failure::new(Exit::Conflict, words),
    }
}
