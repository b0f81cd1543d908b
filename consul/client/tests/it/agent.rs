//! The agent's own services and checks.

use std::{collections::BTreeMap, time::Duration};

use consul_client::{CheckDefinition, CheckStatus, Client, Error, ServiceDefinition};

use crate::consul::shared;

fn definition(id: &str) -> ServiceDefinition {
    let up = CheckDefinition {
        id: format!("{id}-up"),
        name: "up".to_owned(),
        http: "http://127.0.0.1:1/health".to_owned(),
        method: "GET".to_owned(),
        header: BTreeMap::from([("X-Test".to_owned(), vec!["1".to_owned()])]),
        tls_skip_verify: true,
        interval: Some(Duration::from_mins(1)),
        timeout: Some(Duration::from_millis(1500)),
        success_before_passing: 2,
        failures_before_critical: 1,
        deregister_critical_service_after: Some(Duration::from_hours(1)),
        ..CheckDefinition::default()
    };
    let beat = CheckDefinition {
        id: format!("{id}-beat"),
        name: "beat".to_owned(),
        ttl: Some(Duration::from_mins(1)),
        status: Some(CheckStatus::Warning),
        ..CheckDefinition::default()
    };
    ServiceDefinition {
        id: id.to_owned(),
        name: id.to_owned(),
        port: 80,
        tags: vec!["stable".to_owned()],
        meta: BTreeMap::from([("helium-node".to_owned(), "n1".to_owned())]),
        checks: Some(vec![up, beat]),
        ..ServiceDefinition::default()
    }
}

async fn status(client: &Client, check: &str) -> Option<CheckStatus> {
    client.agent_checks().await.unwrap().get(check).map(|check| check.status)
}

#[tokio::test]
async fn the_agent_says_who_it_is() {
    let client = shared().await;
    let agent = client.agent_self().await.unwrap();
    assert_eq!((agent.node_name.as_str(), agent.datacenter.as_str()), ("test", "dc1"));
    assert_eq!((agent.member_address.as_str(), agent.server), ("127.0.0.1", true));
    assert!(agent.version.starts_with(|c: char| c.is_ascii_digit()), "{}", agent.version);
    assert_eq!(client.status_peers().await.unwrap(), [client.status_leader().await.unwrap()]);
}

#[tokio::test]
async fn a_service_without_checks_in_its_definition_keeps_them_and_their_state() {
    let client = shared().await;
    client.agent_register_service(&definition("a1"), true).await.unwrap();
    assert_eq!(status(&client, "a1-up").await, Some(CheckStatus::Critical));
    assert_eq!(status(&client, "a1-beat").await, Some(CheckStatus::Warning));
    client.agent_update_ttl("a1-beat", CheckStatus::Passing, "well").await.unwrap();
    let changed = ServiceDefinition { tags: vec!["canary".to_owned()], checks: None, ..definition("a1") };
    client.agent_register_service(&changed, false).await.unwrap();
    assert_eq!(status(&client, "a1-beat").await, Some(CheckStatus::Passing));
    let service = client.agent_services().await.unwrap().remove("a1").unwrap();
    assert_eq!((service.tags, service.meta["helium-node"].as_str()), (vec!["canary".to_owned()], "n1"));
    client.agent_deregister_service("a1").await.unwrap();
    assert_eq!(status(&client, "a1-beat").await, None);
    client.agent_deregister_service("a1").await.unwrap();
}

#[tokio::test]
async fn checks_are_added_renewed_and_removed_alone() {
    let client = shared().await;
    client.agent_register_service(&ServiceDefinition { checks: None, ..definition("a2") }, false).await.unwrap();
    let check = CheckDefinition {
        id: "a2-extra".to_owned(),
        name: "extra".to_owned(),
        service_id: "a2".to_owned(),
        ttl: Some(Duration::from_mins(1)),
        ..CheckDefinition::default()
    };
    client.agent_register_check(&check).await.unwrap();
    client.agent_update_ttl("a2-extra", CheckStatus::Passing, "well").await.unwrap();
    let shown = client.agent_checks().await.unwrap().remove("a2-extra").unwrap();
    assert_eq!((shown.service_name.as_str(), shown.kind.as_str(), shown.output.as_str()), ("a2", "ttl", "well"));
    client.agent_deregister_check("a2-extra").await.unwrap();
    client.agent_deregister_check("a2-extra").await.unwrap();
    let gone = client.agent_update_ttl("a2-extra", CheckStatus::Passing, "").await.unwrap_err();
    assert!(matches!(gone, Error::NotFound { .. }), "{gone}");
    let orphan = CheckDefinition { service_id: "nobody".to_owned(), ..check };
    assert!(client.agent_register_check(&orphan).await.is_err());
    client.agent_deregister_service("a2").await.unwrap();
}

#[tokio::test]
async fn maintenance_is_a_critical_check_of_its_own() {
    let client = shared().await;
    client.agent_register_service(&ServiceDefinition { checks: None, ..definition("a3") }, false).await.unwrap();
    client.agent_service_maintenance("a3", true, "new disk & more").await.unwrap();
    let check = client.agent_checks().await.unwrap().remove("_service_maintenance:a3").unwrap();
    assert_eq!((check.status, check.notes.as_str()), (CheckStatus::Critical, "new disk & more"));
    client.agent_service_maintenance("a3", false, "").await.unwrap();
    assert_eq!(status(&client, "_service_maintenance:a3").await, None);
    let unknown = client.agent_service_maintenance("nobody", true, "").await.unwrap_err();
    assert!(matches!(unknown, Error::NotFound { .. }), "{unknown}");
    client.agent_deregister_service("a3").await.unwrap();
}
