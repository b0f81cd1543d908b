//! Consul, and what the token may do there. A right to write is seen by a compare-and-set on an index that no key ever has: it is refused for
//! its index by whoever may write, and for its token by whoever may not; nothing is written either way.

use std::time::Duration;

use bytes::Bytes;
use consul_client::{Client, Error, Put, Read};
use helium_crds::InstanceId;

use super::{Finding, State};
use crate::config::AgentConfig;

/// How long one call may take.
const LIMIT: Duration = Duration::from_secs(5);
/// An index that no key has.
const NEVER: u64 = u64::MAX >> 1;

/// Whether Consul answers and has a leader, and each right that an agent needs.
pub(super) async fn look(config: &AgentConfig, client: &Client) -> Vec<Finding> {
    let place = "the local Consul agent";
    let of_self = within(client.agent_self()).await;
    let mut found = vec![match &of_self {
        Ok(own) => Finding::new(State::Ok, "consul", place, format!("answers: node {}", own.node_name)),
        Err(words) => {
            Finding::new(State::Failed, "consul", place, format!("{words}; `agent_prefix \"\" read` is needed"))
        }
    }];
    match within(client.status_leader()).await {
        Ok(leader) if leader.is_empty() => {
            found.push(Finding::new(State::Failed, "consul", "servers", "there is no leader: nothing can be written"));
        }
        Ok(leader) => found.push(Finding::new(State::Ok, "consul", "servers", format!("{leader} leads"))),
        Err(words) => {
            // Every right would look as if it were missing.
            found.push(Finding::new(State::Failed, "consul", "servers", words));
            return found;
        }
    }
    found.extend(rights(config, client).await);
    found
}

async fn rights(config: &AgentConfig, client: &Client) -> Vec<Finding> {
    let (keys, node) = (&config.keys, &config.node);
    let read_only = [keys.layout(), keys.assignments(node)];
    let written =
        [keys.report(node, &InstanceId::from("verify")), keys.node(node), keys.heartbeat(node), keys.maintenance(node)];
    let mut found = Vec::new();
    for key in read_only.iter().chain(&written) {
        let read = within(client.kv_get(key, &Read::default())).await.map(drop);
        found.push(right("read", key, read));
    }
    for key in &written {
        let put = Put::cas(NEVER);
        let refused = within(client.kv_put(key, Bytes::new(), &put)).await.map(drop);
        found.push(right("write", key, refused));
    }
    found
}

fn right(what: &str, key: &str, outcome: Result<(), String>) -> Finding {
    match outcome {
        Ok(()) => Finding::new(
            State::Ok,
            "rights",
            key,
            format!("may be {}", if what == "read" { "read" } else { "written" }),
        ),
        Err(words) => Finding::new(
            State::Failed,
            "rights",
            key,
            format!("{words}; `helium acl policy agent` prints the policy that is needed"),
        ),
    }
}

async fn within<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, String> {
    match tokio::time::timeout(LIMIT, call).await {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {LIMIT:?}")),
    }
}
