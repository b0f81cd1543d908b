//! This test binary as another process: a workload, or an agent that can be killed.
//!
//! The two tests here do nothing by themselves. Other tests run this binary with the one of them that they need.

use std::{path::PathBuf, time::Duration};

use helium_agent::{Agent, AgentConfig, StopMode};
use helium_crds::NodeName;
use helium_runtime::{ports::Ports, shutdown::Shutdown};
use helium_sample::SampleConfig;
use tokio::signal::unix::{SignalKind, signal};

/// The command that runs one of these roles.
pub(crate) fn command(role: &str) -> Vec<String> {
    let binary = std::env::current_exe().unwrap();
    let name = format!("roles::{role}");
    vec![binary.display().to_string(), "--exact".to_owned(), name, "--ignored".to_owned(), "--nocapture".to_owned()]
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: this test is a part of others"))
}

#[tokio::test]
#[ignore = "the workload of other tests"]
async fn sample() {
    let config = SampleConfig {
        port: variable("PORT").parse().unwrap(),
        version: variable("VERSION"),
        fail_health: std::env::var("FAIL_HEALTH").is_ok(),
        start_delay: Duration::ZERO,
        ..SampleConfig::default()
    };
    helium_sample::serve(config).await.unwrap();
}

#[tokio::test]
#[ignore = "the agent of other tests"]
async fn agent() {
    let node = NodeName::new(variable("TEST_NODE"));
    let client = crate::consul::client(&variable("TEST_CONSUL"));
    let config = AgentConfig::new(node, PathBuf::from(variable("TEST_DATA")), "/opt/helium");
    let (trigger, shutdown) = Shutdown::new();
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    let agent = Agent::new(config, client, Ports::real()).unwrap();
    tokio::spawn(async move {
        terminate.recv().await;
        trigger.trigger();
    });
    agent.run(shutdown, StopMode::LeaveRunning).await;
}
