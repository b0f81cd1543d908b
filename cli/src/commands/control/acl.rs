//! `helium acl`: the least rights in Consul that each of Helium's parts needs.

use clap::{Args, Subcommand, ValueEnum};
use helium_crds::keys::Keys;

use crate::{
    output::{Console, Exit, Failure, Outcome},
    session::Session,
};

/// What can be asked about Consul's access rules.
#[derive(Debug, Subcommand)]
pub(crate) enum AclCommand {
    /// Print the least policy for a part of Helium
    #[command(
        after_help = "Example:\n  helium acl policy controller | consul acl policy create -name helium-controller -rules -"
    )]
    Policy(PolicyArgs),
}

/// Options of `helium acl policy`.
#[derive(Args, Debug)]
pub(crate) struct PolicyArgs {
    /// The part
    part: Part,
    /// Only for this node's agent: it may then touch no other node's keys
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
}

/// The parts of Helium that use the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// `helium controller`.
    Controller,
    /// `helium agent`.
    Agent,
    /// People and pipelines: `helium apply`, `helium canary promote`, ...
    Deployer,
    /// `helium haproxy`.
    Haproxy,
}

/// Runs `helium acl ...`.
pub(crate) fn run(command: &AclCommand, session: &Session, console: &mut Console) -> Outcome {
    let AclCommand::Policy(args) = command;
    if args.node.is_some() && args.part != Part::Agent {
        return Err(Failure::usage("`--node` is for the agent's policy"));
    }
    console.data(policy(args.part, &session.keys(), args.node.as_deref()))?;
    Ok(Exit::Ok)
}

fn policy(part: Part, keys: &Keys, node: Option<&str>) -> String {
    let root = keys.root();
    match part {
        Part::Controller => controller(keys),
        Part::Agent => agent(root, node),
        Part::Deployer => deployer(keys),
        Part::Haproxy => haproxy(),
    }
}

/// One rule: `key_prefix "helium/v1/spec/" { policy = "write" }`.
fn rule(resource: &str, name: &str, access: &str) -> String {
    format!("{resource} \"{name}\" {{ policy = \"{access}\" }}\n")
}

fn controller(keys: &Keys) -> String {
    let root = keys.root();
    let mut text = "# Helium's controller: reads everything of Helium, and writes its own part.\n".to_owned();
    text += &rule("key_prefix", root, "read");
    text += "# It makes the store ready, and removes objects that were marked and of which nothing is left.\n";
    text += &rule("key", &format!("{root}layout"), "write");
    for room in ["spec/", "status/", "inst/", "assign/", "revision/", "events/", "lock/"] {
        text += &rule("key_prefix", &format!("{root}{room}"), "write");
    }
    text += "# Sentinels in what agents and people write.\n";
    let of_others = |key: &String| {
        ["report/", "node/", "alive/", "config/"].iter().any(|room| key.starts_with(&format!("{root}{room}")))
    };
    for sentinel in keys.sentinels().into_iter().filter(of_others) {
        text += &rule("key", &sentinel, "write");
    }
    text += "# Its lock, and its own service, by which it sees whether the catalog shows all.\n";
    text += &rule("session_prefix", "", "write");
    text += &rule("service_prefix", "helium-controller", "write");
    text += "# Health of everything that runs. Without the right to read all nodes, Consul leaves instances out without a word.\n";
    text += &rule("service_prefix", "", "read");
    text += &rule("node_prefix", "", "read");
    text
}

fn agent(root: &str, node: Option<&str>) -> String {
    let mut text = "# Helium's agent: reads what its node is to run, and reports.\n".to_owned();
    if let Some(node) = node {
        let name = helium_crds::NodeName::from(node);
        let keys = Keys::under(root);
        text += &rule("key_prefix", &keys.assignments(&name), "read");
        text += &rule("key", &format!("{}.keep", keys.assignments(&name)), "write");
        text += &rule("key_prefix", &keys.reports(&name), "write");
        text += &rule("key", &keys.node(&name), "write");
        text += &rule("key", &keys.heartbeat(&name), "write");
        text += &rule("key", &keys.maintenance(&name), "write");
    } else {
        text += &rule("key_prefix", &format!("{root}assign/"), "write");
        for room in ["report/", "node/", "alive/", "maintenance/"] {
            text += &rule("key_prefix", &format!("{root}{room}"), "write");
        }
    }
    text += &rule("key", &format!("{root}layout"), "read");
    text += "# Values of templates; what else templates ask of the KV store, and each secret that they name, has to be added here.\n";
    text += &rule("key_prefix", &format!("{root}config/"), "read");
    text += "# Leaders of services.\n";
    text += &rule("key_prefix", &format!("{root}lock/service/"), "write");
    text += "# Its heartbeat.\n";
    text += &rule("session_prefix", "", "write");
    text += "# It registers instances under the names of their Deployments; narrow this if your names allow it.\n";
    text += &rule("service_prefix", "", "write");
    text += &rule("node_prefix", "", "read");
    text += &rule("agent_prefix", "", "read");
    text
}

fn deployer(keys: &Keys) -> String {
    let root = keys.root();
    let mut text =
        "# Who applies: reads everything of Helium, writes specs and requests, and takes nodes out of service.\n"
            .to_owned();
    text += &rule("key_prefix", root, "read");
    text += &rule("key_prefix", &format!("{root}spec/"), "write");
    text += &rule("key_prefix", &format!("{root}maintenance/"), "write");
    text += "# What the controller shows to metric sources and gates is named in specs, and seen by nobody else.\n";
    text += &rule("key_prefix", &keys.secrets(), "deny");
    text
}

fn haproxy() -> String {
    let mut text =
        "# helium haproxy: reads the catalog, all of it, so that it can tell an empty service from lost rights.\n"
            .to_owned();
    text += &rule("service_prefix", "", "read");
    text += &rule("node_prefix", "", "read");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployer_may_write_specs_and_maintenance_and_nothing_else() {
        let text = policy(Part::Deployer, &Keys::default(), None);
        let writes: Vec<&str> = text.lines().filter(|line| line.contains("write\"")).collect();
        let may =
            ["spec", "maintenance"].map(|room| format!("key_prefix \"helium/v1/{room}/\" {{ policy = \"write\" }}"));
        assert_eq!(writes, may);
    }

    #[test]
    fn only_the_controller_may_read_secrets() {
        let keys = Keys::default();
        assert!(policy(Part::Deployer, &keys, None).contains("key_prefix \"helium/v1/secret/\" { policy = \"deny\" }"));
        for node in [None, Some("web1")] {
            let agent = policy(Part::Agent, &keys, node);
            let mut rules = agent.lines().filter(|line| !line.starts_with('#'));
            assert!(!rules.any(|rule| rule.contains("secret") || rule.contains("\"helium/v1/\"")), "{agent}");
        }
    }

    #[test]
    fn the_controller_may_write_every_sentinel() {
        let keys = Keys::default();
        let text = policy(Part::Controller, &keys, None);
        let writable: Vec<String> = text
            .lines()
            .filter(|line| line.starts_with("key") && line.contains("write\""))
            .filter_map(|line| line.split('"').nth(1).map(str::to_owned))
            .collect();
        for sentinel in keys.sentinels() {
            assert!(writable.iter().any(|prefix| sentinel.starts_with(prefix)), "{sentinel}");
        }
    }

    #[test]
    fn the_agent_of_one_node_may_touch_no_other_node() {
        let text = policy(Part::Agent, &Keys::default(), Some("web1"));
        // What all have in common: the layout, values of templates, and the locks of services.
        let common = ["layout\"", "config/\" { policy = \"read\"", "lock/service/\""];
        let own = |line: &str| line.contains("web1") || common.iter().any(|part| line.contains(part));
        assert!(text.lines().filter(|line| line.contains("helium/v1/")).all(own), "{text}");
    }
}
