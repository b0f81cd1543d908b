//! The catalog and health, written straight to the servers.

use std::collections::BTreeMap;

use consul_client::{
    CatalogDeregistration, CatalogRegistration, CheckStatus, Client, HealthCheck, Read, Service, Weights,
};

use crate::consul::shared;

fn registration(node: &str, status: CheckStatus) -> CatalogRegistration {
    let service = Service {
        id: format!("{node}-1"),
        service: "web".to_owned(),
        tags: vec!["v2".to_owned()],
        meta: BTreeMap::from([("version".to_owned(), "2".to_owned())]),
        port: 80,
        weights: Weights { passing: 5, warning: 1 },
        ..Service::default()
    };
    let check = HealthCheck {
        node: node.to_owned(),
        check_id: format!("{node}-up"),
        name: "up".to_owned(),
        status,
        service_id: format!("{node}-1"),
        ..HealthCheck::default()
    };
    CatalogRegistration {
        node: node.to_owned(),
        address: "10.0.0.1".to_owned(),
        node_meta: BTreeMap::from([("external-node".to_owned(), "true".to_owned())]),
        service: Some(service),
        checks: vec![check],
        ..CatalogRegistration::default()
    }
}

async fn instances(client: &Client, read: Read) -> Vec<String> {
    let health = client.health_service("web", &read).await.unwrap().value;
    health.into_iter().map(|instance| instance.service.id).collect()
}

#[tokio::test]
async fn what_is_registered_shows_in_the_catalog_and_in_health() {
    let client = shared().await;
    client.catalog_register(&registration("c1", CheckStatus::Passing)).await.unwrap();
    client.catalog_register(&registration("c2", CheckStatus::Warning)).await.unwrap();
    let read = Read::default();
    assert_eq!(instances(&client, read.clone()).await, ["c1-1", "c2-1"]);
    assert_eq!(instances(&client, Read { passing: true, ..Read::default() }).await, ["c1-1"]);
    assert!(instances(&client, Read { tag: Some("v3".to_owned()), ..Read::default() }).await.is_empty());
    let filter = Some("Node.Node == \"c2\"".to_owned());
    assert_eq!(instances(&client, Read { filter, ..Read::default() }).await, ["c2-1"]);

    let rows = client.catalog_service("web", &read).await.unwrap().value;
    assert_eq!((rows.len(), rows[0].node.as_str(), rows[0].service_port), (2, "c1", 80));
    assert_eq!((rows[0].service_meta["version"].as_str(), rows[0].service_weights.passing), ("2", 5));
    let node = client.catalog_node("c1", &read).await.unwrap().value.unwrap();
    assert_eq!((node.node.meta["external-node"].as_str(), node.services["c1-1"].port), ("true", 80));
    assert!(client.catalog_nodes(&read).await.unwrap().value.iter().any(|node| node.node == "c2"));
    assert_eq!(client.catalog_services(&read).await.unwrap().value["web"], ["v2"]);
    let checks = client.health_checks("web", &read).await.unwrap().value;
    assert_eq!(checks.iter().map(|check| check.status).max(), Some(CheckStatus::Warning));
    let warnings = client.health_state(Some(CheckStatus::Warning), &read).await.unwrap().value;
    assert!(warnings.iter().any(|check| check.check_id == "c2-up" && check.service_name == "web"));
    assert!(client.health_state(None, &read).await.unwrap().value.len() > warnings.len());

    let one = CatalogDeregistration {
        node: "c1".to_owned(),
        service_id: "c1-1".to_owned(),
        ..CatalogDeregistration::default()
    };
    client.catalog_deregister(&one).await.unwrap();
    assert_eq!(instances(&client, read.clone()).await, ["c2-1"]);
    for node in ["c1", "c2", "never-was"] {
        let whole = CatalogDeregistration { node: node.to_owned(), ..CatalogDeregistration::default() };
        client.catalog_deregister(&whole).await.unwrap();
    }
    assert!(client.catalog_node("c2", &read).await.unwrap().value.is_none());
    assert!(client.health_node("c2", &read).await.unwrap().value.is_empty());
}
