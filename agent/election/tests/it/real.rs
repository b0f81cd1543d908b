//! The same against a real Consul, where its word counts: sessions bound to checks, lock delays, conditions of transactions.

use std::{path::Path, time::Duration};

use consul_client::{CheckDefinition, CheckStatus, Read, ServiceDefinition};
use helium_election::{
    Keys,
    leader::{Candidate, Elector, Event, Handle, Settings, Why},
    upgrade::{Gate, Limits, UpgradeError},
};
use helium_runtime::ports::Ports;
use tokio::time::timeout;

use crate::{
    consul::{Consul, until},
    world::S,
};

fn stand(consul: &Consul, folder: &Path, who: &str, service_checks: &[&str]) -> Handle {
    let settings = Settings {
        lock_delay: S(5),
        stop_within: S(1),
        request: S(1),
        retry: Duration::from_millis(200),
        service_checks: service_checks.iter().map(|id| (*id).to_owned()).collect(),
        ..Settings::default()
    };
    let keys = Keys::helium("default", "shop");
    let (who, note) = (who.to_owned(), folder.join(who));
    let candidate = Candidate { who, address: String::new(), keys, settings, note };
    Elector::start(consul.client(), candidate, Ports::real()).unwrap()
}

async fn event(handle: &mut Handle) -> Event {
    timeout(S(60), handle.event()).await.unwrap().unwrap()
}

async fn gained(handle: &mut Handle, expect_kept: bool) -> u64 {
    match event(handle).await {
        Event::Gained { token, kept } if kept == expect_kept => token.number,
        other => panic!("{other:?}"),
    }
}

async fn register(consul: &Consul) {
    let check = CheckDefinition {
        id: "up".to_owned(),
        name: "up".to_owned(),
        ttl: Some(S(600)),
        status: Some(CheckStatus::Passing),
        ..CheckDefinition::default()
    };
    let service = ServiceDefinition {
        id: "shop-1".to_owned(),
        name: "shop".to_owned(),
        checks: Some(vec![check]),
        ..ServiceDefinition::default()
    };
    consul.client().agent_register_service(&service, true).await.unwrap();
    let client = consul.client();
    until("the catalog shows the check as passing", async || {
        let checks = client.health_checks("shop", &Read::default()).await.unwrap().value;
        checks.iter().any(|check| check.status == CheckStatus::Passing)
    })
    .await;
}

#[tokio::test]
async fn a_real_consul_keeps_a_leader_over_a_restart_and_gives_its_lock_on_when_its_check_fails() {
    let consul = Consul::start().await;
    let folder = tempfile::tempdir().unwrap();
    register(&consul).await;
    let mut one = stand(&consul, folder.path(), "n1", &["up"]);
    let first = gained(&mut one, false).await;
    drop(one);
    let mut one = stand(&consul, folder.path(), "n1", &["up"]);
    assert_eq!(gained(&mut one, true).await, first);

    let ports = Ports::real();
    let mut two = stand(&consul, folder.path(), "n2", &[]);
    two.status().wait_for(|status| status.leader.is_some()).await.unwrap();
    consul.client().agent_update_ttl("up", CheckStatus::Critical, "").await.unwrap();
    let Event::Lost { why: Why::LockLost } = event(&mut one).await else { panic!() };
    let lost_at = ports.monotonic();
    one.stopped().await;
    let second = gained(&mut two, false).await;
    let took = ports.monotonic().saturating_sub(lost_at);
    assert!(second > first);
    assert!(took > S(4) && took < S(10), "the lock delay of 5 s lies between: {took:?}");
    // A candidate whose check is critical gets no session and says so.
    one.status().wait_for(|status| status.trouble.is_some()).await.unwrap();

    consul.client().agent_update_ttl("up", CheckStatus::Passing, "").await.unwrap();
    one.status().wait_for(|status| status.leader.is_some()).await.unwrap();
    two.leave().await;
    let Event::Lost { why: Why::Released } = event(&mut two).await else { panic!() };
    let stopped = ports.monotonic();
    two.stopped().await;
    assert!(gained(&mut one, false).await > second);
    assert!(ports.monotonic().saturating_sub(stopped) < S(3), "no lock delay");
    assert_eq!(two.event().await, None);
}

#[tokio::test]
async fn a_real_consul_lets_one_upgrade_after_another_and_stops_all_at_a_bad_version() {
    let consul = Consul::start().await;
    let limits = Limits { retry: Duration::from_millis(100), ..Limits::default() };
    let gate =
        |who: &str| Gate::new(consul.client(), Ports::real(), Keys::helium("default", "shop"), limits.clone(), who);
    let first = gate("n0").enter("1").await.unwrap();
    let (one, other) = (gate("n1"), gate("n2"));
    let enter = |gate: Gate| tokio::spawn(async move { gate.enter("2").await });
    let waits = enter(one.clone());
    let client = consul.client();
    let waiting = async |count: usize| {
        until("they are in line", async || {
            let pair = client.kv_get("helium/v1/lock/upgrade/default/shop", &Read::default()).await.unwrap().value;
            let queue: serde_json::Value = serde_json::from_slice(&pair.unwrap().value).unwrap();
            queue["waiting"].as_array().is_some_and(|waiting| waiting.len() == count)
        })
        .await;
    };
    waiting(1).await;
    let behind = enter(other);
    waiting(2).await;
    first.healthy().await.unwrap();
    let second = timeout(S(20), waits).await.unwrap().unwrap().unwrap();
    assert!(!behind.is_finished());
    second.failed("its check stayed critical").await.unwrap();
    let error = timeout(S(20), behind).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, UpgradeError::Bad(bad) if bad.by == "n1"));
    let sessions = consul.client().session_list(&Read::default()).await.unwrap().value;
    assert!(sessions.is_empty(), "{sessions:?}");
    assert!(one.clear("2").await.unwrap());
    one.enter("2").await.unwrap().abandon().await.unwrap();
}
