//! The share of a service's instances that pass.

use consul_client::{Address, CheckDefinition, CheckStatus, Config as ClientConfig, ServiceDefinition};
use consul_embedded::Rules;
use helium_crds::metric::ConsulService;

use super::*;
use crate::server::{Server, answer};

fn query(tag: Option<&str>) -> Query {
    Query::Consul(ConsulService { service: "db".to_owned(), tag: tag.map(str::to_owned) })
}

/// Registers an instance with a check that says this.
async fn register(world: &World, id: &str, tag: &str, status: CheckStatus) {
    let check = CheckDefinition {
        id: format!("check-{id}"),
        ttl: Some(Duration::from_mins(1)),
        status: Some(status),
        ..CheckDefinition::default()
    };
    let service = ServiceDefinition {
        id: id.to_owned(),
        name: "db".to_owned(),
        tags: vec![tag.to_owned()],
        check: Some(check),
        ..ServiceDefinition::default()
    };
    world.consul.agent_register_service(&service, false).await.unwrap();
}

#[tokio::test]
async fn it_is_told_in_percent_of_those_with_the_tag() {
    let world = World::new();
    assert_eq!(world.look(query(None)).await, Reading::NoData);
    let passing =
        [("a", "primary"), ("b", "replica"), ("c", "replica")].map(|(id, tag)| (id, tag, CheckStatus::Passing));
    for (id, tag, status) in passing.into_iter().chain([("d", "replica", CheckStatus::Warning)]) {
        register(&world, id, tag, status).await;
    }
    assert_eq!(world.look(query(None)).await, value(75.0));
    assert_eq!(world.look(query(Some("primary"))).await, value(100.0));
    assert_eq!(world.look(query(Some("nothing"))).await, Reading::NoData);
}

#[tokio::test]
async fn a_consul_that_refuses_or_is_not_asked_properly_is_an_error() {
    let world = World::new();
    let bad = Query::Consul(ConsulService { service: "a/b".to_owned(), tag: None });
    assert!(world.why(bad).await.starts_with("Consul: "));
    world.server.set_acl(Some(std::iter::once((String::new(), Rules::default())).collect()));
    // What a token may not see is not there, and that is what Consul before 1.11 says, too.
    assert!(!matches!(world.look(query(None)).await, Reading::Value { .. }));
}

#[tokio::test]
async fn an_answer_that_may_be_old_or_is_cut_is_an_error() {
    for (header, value, reason) in [
        ("x-consul-knownleader", "false", "knows no leader"),
        ("x-consul-results-filtered-by-acls", "true", "only a part of db"),
    ] {
        let handler = move |_, _| {
            let mut answer = answer(200, "[]");
            answer.headers_mut().insert(header, value.parse().unwrap());
            std::future::ready(answer)
        };
        let consul = Server::start(None, handler).await;
        let address = Address::Http { host: "127.0.0.1".to_owned(), port: consul.port };
        let client = Client::new(ClientConfig::at(address)).unwrap();
        let world = World::over(World::new().server, client, None, RootCertStore::empty());
        let why = world.why(query(None)).await;
        assert!(why.contains(reason), "{why}");
        assert_eq!(consul.last().uri(), "/v1/health/service/db?consistent");
    }
}
