//! An instance with jobs: told of Consul by its agent, which reports them, comes and goes, and stops them.

use std::{fs, time::Duration};

use consul_client::{CheckStatus, Put};
use helium_agent::StopMode;
use helium_crds::{
    instance::{Assignment, InstancePhase, check_id},
    job::{JOBS_CHECK, JobPhase},
};
use serde_json::json;

use crate::{
    processes,
    world::{World, is_ready, until},
};

/// An instance that waits for its migration, and has a job on keys that writes into a file of the instance's own folder.
fn wanted(world: &World) -> Assignment {
    let mut wanted = world.script("jobs", "exec sleep 600");
    let mut template = serde_json::to_value(&wanted.template).unwrap();
    template["exec"]["when"] = json!([{"job": "migrate", "is": "exitedSuccess"}]);
    template["jobs"] = json!({
        "migrate": {"command": ["sh", "-c", "until [ -e go ]; do sleep 0.02; done"]},
        "flags": {"command": ["sh", "-c", "echo changed >> flags"], "start": "each", "when": [{"keys": "flags/"}]},
        "tick": {"command": ["true"], "every": "100ms"},
    });
    wanted.template = serde_json::from_value(template).unwrap();
    wanted
}

#[tokio::test]
async fn an_instance_with_jobs_is_gated_told_reported_adopted_and_stopped() {
    let world = World::embedded();
    let wanted = wanted(&world);
    let work = world.data().join("instances").join(wanted.id.as_str()).join("work");
    let changes = || fs::read_to_string(work.join("flags")).unwrap_or_default().lines().count();
    let agent = world.agent(StopMode::LeaveRunning);
    world.assign(&wanted).await;
    let waits = world.reported(&wanted.id, "it waits", |report| report.jobs.contains_key("main")).await;
    assert_eq!(waits.jobs["main"].message.as_deref(), Some("waits for job migrate exitedSuccess"));
    assert_eq!(waits.checks, [JOBS_CHECK]);
    let check = check_id(&wanted.id, JOBS_CHECK);
    let status = || async {
        let health = world.health(&wanted.id).await?;
        health.checks.iter().find(|one| one.check_id == check).map(|check| check.status)
    };
    until("critical", || async { status().await.filter(|status| *status == CheckStatus::Critical) }).await;

    fs::write(work.join("go"), "").unwrap();
    world.healthy(&wanted.id).await;
    let runs = world.reported(&wanted.id, "it runs", |report| !report.jobs.contains_key("main")).await;
    assert_eq!(runs.jobs["migrate"].phase, JobPhase::Done);
    let client = &world.client;
    let key = |value: &'static str| async move { client.kv_put("flags/a", value, &Put::default()).await.unwrap() };
    key("1").await;
    until("told", || async { (changes() == 1).then_some(()) }).await;
    let runs = world
        .reported(&wanted.id, "it ran", |report| report.jobs["flags"].phase == JobPhase::Running && is_ready(report))
        .await;

    agent.stop().await;
    key("2").await;
    let before = world.all_but_the_heartbeat().await;
    let agent = world.agent(StopMode::LeaveRunning);
    until("told by the next agent", || async { (changes() == 2).then_some(()) }).await;
    // A task that runs ten times a second is no news.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.report(&wanted.id).await.unwrap(), runs, "adopted as it was");
    let written = world.all_but_the_heartbeat().await;
    let report = world.keys.report(&world.node, &wanted.id);
    assert_eq!(written.get(&report), before.get(&report), "the report was written again");

    let stop = Assignment { desired: helium_crds::instance::Desired::Stop, ..wanted.clone() };
    world.assign(&stop).await;
    let stopped = world.reported(&wanted.id, "stopped", |report| report.phase == InstancePhase::Stopped).await;
    assert!(stopped.jobs.is_empty() && processes::running(wanted.id.as_str()).is_empty());
    agent.stop().await;
}
