//! What can be asked of a running agent: its status and its counts, with real processes.

use std::time::Duration;

use helium_agent::{AgentHandle, StopMode};
use helium_crds::{
    InstanceId,
    condition::{ConditionKind, ConditionStatus},
    instance::{InstancePhase, Report},
};
use serde_json::Value;

use crate::{
    processes::kill,
    world::{World, until},
};

/// The status and the reason of a condition of an instance.
fn condition(handle: &AgentHandle, id: &InstanceId, kind: &str) -> Option<(String, String)> {
    let status = handle.status();
    let instance = status["instances"].as_array()?.iter().find(|one| one["id"] == id.as_str())?;
    of(&instance["conditions"], kind)
}

fn of(conditions: &Value, kind: &str) -> Option<(String, String)> {
    let one = conditions.as_array()?.iter().find(|one| one["type"] == kind)?;
    Some((one["status"].as_str()?.to_owned(), one["reason"].as_str()?.to_owned()))
}

/// The value of a line of `/metrics`.
fn number(handle: &AgentHandle, series: &str) -> Option<f64> {
    let page = handle.metrics();
    page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

async fn until_condition(handle: &AgentHandle, id: &InstanceId, kind: &str, wanted: (&str, &str)) {
    until(&format!("{kind} is {wanted:?}"), || async {
        condition(handle, id, kind).filter(|(status, reason)| (status.as_str(), reason.as_str()) == wanted)
    })
    .await;
}

#[tokio::test]
async fn the_status_says_what_is_so_with_the_node_and_with_each_instance() {
    let world = World::new().await;
    let (agent, handle) = world.agent_and_handle(StopMode::StopInstances);
    tokio::time::timeout(Duration::from_secs(10), handle.ready()).await.expect("it is never ready");
    let wanted = world.assignment("hello-0");
    world.assign(&wanted).await;
    until_condition(&handle, &wanted.id, "Ready", ("True", "Running")).await;
    assert_eq!(condition(&handle, &wanted.id, "Registered"), Some(("True".to_owned(), "Registered".to_owned())));
    let node = handle.status();
    for (kind, reason) in [("Ready", "Joined"), ("ConsulReachable", "Answers"), ("AssignmentsKnown", "Followed")] {
        assert_eq!(of(&node["conditions"], kind), Some(("True".to_owned(), reason.to_owned())), "{node}");
    }
    assert!(handle.words().ends_with("1 instance: 1 Running; Consul answers"), "{}", handle.words());
    assert_eq!(number(&handle, "helium_agent_instances{phase=\"Running\"}"), Some(1.0));
    assert_eq!(number(&handle, "helium_agent_checks{status=\"passing\"}"), Some(1.0));
    assert!(number(&handle, "helium_agent_consul_last_contact_timestamp_seconds").unwrap() > 1_700_000_000.0);

    kill(world.running(&wanted.id).await.pid.unwrap());
    until("the restart is counted", || async { number(&handle, "helium_agent_restarts_total").filter(|n| *n > 0.0) })
        .await;
    agent.stop().await;
}

#[tokio::test]
async fn one_that_ends_again_and_again_is_said_to_be_in_a_crash_loop() {
    let world = World::embedded();
    let (agent, handle) = world.agent_and_handle(StopMode::StopInstances);
    let wanted = world.script("dying", "exit 3");
    world.assign(&wanted).await;
    world.reported(&wanted.id, "failed", |report| report.phase == InstancePhase::Failed).await;
    until_condition(&handle, &wanted.id, "CrashLoop", ("True", "FailedInARow")).await;
    until_condition(&handle, &wanted.id, "Ready", ("False", "Failed")).await;
    agent.stop().await;
}

#[tokio::test]
async fn without_consul_an_agent_is_ready_once_it_has_taken_up_what_is_on_its_disk() {
    let mut world = World::new().await;
    let agent = world.agent(StopMode::LeaveRunning);
    let wanted = world.assignment("hello-0");
    world.assign(&wanted).await;
    let before = world.running(&wanted.id).await;
    agent.stop().await;
    world.consul().pause();
    let (agent, handle) = world.agent_and_handle(StopMode::LeaveRunning);
    tokio::time::timeout(Duration::from_secs(15), handle.ready()).await.expect("it is never ready");
    assert_eq!(world.copies(&wanted.id, 1).await, [before.pid.unwrap()]);
    until("it says that Consul is away", || async {
        let state = of(&handle.status()["conditions"], "ConsulReachable")?;
        (state.0 == "False" && handle.words().contains("everything runs on")).then_some(())
    })
    .await;
    assert!(number(&handle, "helium_agent_consul_errors_total{part=\"heartbeat\"}").unwrap() > 0.0);
    world.consul().resume();
    until("it says that Consul is back", || async {
        of(&handle.status()["conditions"], "ConsulReachable").filter(|state| state.0 == "True")
    })
    .await;
    agent.stop().await;
}

#[tokio::test]
async fn who_leads_has_done_so_since_before_its_agent_was_restarted() {
    let world = World::new().await;
    let mut wanted = world.script("leader-0", "sleep 600 & wait");
    wanted.template.election = Some(serde_json::from_str(r#"{"sessionTtl": "14s", "stopWithin": "5s"}"#).unwrap());
    let leads = |report: &Report| {
        let one = report.conditions.iter().find(|one| one.kind == ConditionKind::Leader)?;
        (one.status == ConditionStatus::True).then_some(one.since)
    };
    let first = world.agent(StopMode::LeaveRunning);
    world.assign(&wanted).await;
    let before = world.reported(&wanted.id, "it leads", |report| leads(report).is_some()).await;
    first.stop().await;
    let (second, handle) = world.agent_and_handle(StopMode::LeaveRunning);
    until_condition(&handle, &wanted.id, "Leader", ("True", "Leads")).await;
    // Whatever differs by now is written at the end.
    second.stop().await;
    let after = world.report(&wanted.id).await.unwrap();
    assert_eq!(leads(&after), leads(&before), "{after:?}");
    let third = world.agent(StopMode::StopInstances);
    third.stop().await;
}
