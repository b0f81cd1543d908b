//! Timers and blocked reads under paused time: hours pass in no time, and to the millisecond.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use consul_client::{CheckDefinition, CheckStatus, Put, Read, ServiceDefinition};
use consul_embedded::checks::{Probe, Prober};
use consul_embedded::state;
use futures::future::{BoxFuture, FutureExt as _};
use tokio::time::{Instant, sleep};

use crate::{client, server, service, session};

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_after_exactly_twice_its_ttl_and_wakes_the_reader_of_its_key() {
    let server = server();
    let client = client(&server);
    let id = client.session_create(&session()).await.unwrap();
    assert!(client.kv_put("lock", "me", &Put::acquire(&id)).await.unwrap());
    let index = client.kv_get("lock", &Read::default()).await.unwrap().meta.index;
    let started = Instant::now();
    let reply = client.kv_get("lock", &Read::blocking(index, seconds(300))).await.unwrap();
    assert_eq!(started.elapsed(), seconds(20));
    assert_eq!(reply.value.unwrap().session, None);
}

#[tokio::test(start_paused = true)]
async fn a_renewed_session_lives_on() {
    let server = server();
    let client = client(&server);
    let id = client.session_create(&session()).await.unwrap();
    for _ in 0..1000 {
        sleep(seconds(19)).await;
        assert!(client.session_renew(&id).await.unwrap().is_some());
    }
    sleep(seconds(21)).await;
    assert!(client.session_renew(&id).await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_blocked_read_ends_after_exactly_its_wait() {
    let server = server();
    let client = client(&server);
    client.kv_put("a", "1", &Put::default()).await.unwrap();
    let index = client.kv_get("a", &Read::default()).await.unwrap().meta.index;
    let started = Instant::now();
    let reply = client.kv_get("a", &Read::blocking(index, seconds(25))).await.unwrap();
    assert_eq!((started.elapsed(), reply.meta.index), (seconds(25), index));
    assert_eq!(server.blocked_reads(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_goes_away_leaves_nothing_behind() {
    let server = server();
    let client = client(&server);
    client.kv_put("a", "1", &Put::default()).await.unwrap();
    let read = Read::blocking(u64::MAX, seconds(25));
    assert!(tokio::time::timeout(seconds(1), client.kv_get("a", &read)).await.is_err());
    assert_eq!(server.blocked_reads(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_readers_wake_from_one_write() {
    let server = server();
    let client = client(&server);
    client.kv_put("p/a", "1", &Put::default()).await.unwrap();
    let index = client.kv_list("p/", &Read::default()).await.unwrap().meta.index;
    let readers: Vec<_> = (0..1000)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.kv_list("p/", &Read::blocking(index, seconds(60))).await })
        })
        .collect();
    sleep(seconds(1)).await;
    assert_eq!(server.blocked_reads(), 1000);
    let started = Instant::now();
    client.kv_put("p/b", "1", &Put::default()).await.unwrap();
    for reader in readers {
        assert_eq!(reader.await.unwrap().unwrap().value.len(), 2);
    }
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_new_output_reaches_the_catalog_after_five_minutes() {
    let server = server();
    let client = client(&server);
    client.agent_register_service(&service("web"), false).await.unwrap();
    client.agent_update_ttl("check-web", CheckStatus::Passing, "one").await.unwrap();
    let index = client.health_service("web", &Read::default()).await.unwrap().meta.index;
    let started = Instant::now();
    let told = async {
        // Many outputs, one change of the catalog.
        for count in 0..100 {
            client.agent_update_ttl("check-web", CheckStatus::Passing, &format!("two {count}")).await.unwrap();
            sleep(seconds(5)).await;
        }
    };
    let read = async {
        let reply = client.health_service("web", &Read::blocking(index, seconds(500))).await.unwrap();
        (started.elapsed(), reply.value[0].checks[1].output.clone())
    };
    let ((), (took, output)) = tokio::join!(told, read);
    assert_eq!((took, output.as_str()), (seconds(300), "two 59"));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_critical_for_too_long_is_deregistered() {
    let server = server();
    let client = client(&server);
    let mut definition = service("web");
    definition.check.as_mut().unwrap().deregister_critical_service_after = Some(seconds(5));
    client.agent_register_service(&definition, false).await.unwrap();
    // Critical from the start: a minute is the least that it stays.
    sleep(seconds(59)).await;
    assert!(client.agent_services().await.unwrap().contains_key("web"));
    sleep(seconds(2)).await;
    assert!(client.agent_services().await.unwrap().is_empty());
    assert!(client.health_service("web", &Read::default()).await.unwrap().value.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_agent_puts_right_what_others_wrote_to_its_node() {
    let server = server();
    let client = client(&server);
    client.agent_register_service(&service("web"), false).await.unwrap();
    let gone = consul_client::CatalogDeregistration {
        node: "one".into(),
        service_id: "web".into(),
        ..consul_client::CatalogDeregistration::default()
    };
    client.catalog_deregister(&gone).await.unwrap();
    let ghost = consul_client::CatalogRegistration {
        node: "one".into(),
        address: "127.0.0.1".into(),
        skip_node_update: true,
        service: Some(consul_client::Service {
            id: "ghost".into(),
            service: "ghost".into(),
            ..consul_client::Service::default()
        }),
        ..consul_client::CatalogRegistration::default()
    };
    client.catalog_register(&ghost).await.unwrap();
    let names =
        || async { client.catalog_services(&Read::default()).await.unwrap().value.into_keys().collect::<Vec<_>>() };
    assert_eq!(names().await, ["consul", "ghost"]);
    sleep(seconds(61)).await;
    assert_eq!(names().await, ["consul", "web"]);
}

/// Passes from the second probe on, and counts.
#[derive(Default)]
struct Counting {
    asked: AtomicU64,
}

impl Prober for Counting {
    fn probe<'a>(&'a self, node: &'a str, _: &'a state::CheckDefinition) -> BoxFuture<'a, Probe> {
        let first = self.asked.fetch_add(1, Ordering::Relaxed) == 0;
        let status = if first { CheckStatus::Critical } else { CheckStatus::Passing };
        async move { Probe { status, output: format!("asked on {node}") } }.boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn checks_are_run_by_the_prober_that_is_given_for_as_long_as_they_are_registered() {
    let server = server();
    let client = client(&server);
    let prober = Arc::new(Counting::default());
    let (runner, given) = (server.clone(), Arc::clone(&prober));
    let runner = tokio::spawn(async move { runner.run_checks(given).await });
    let check = CheckDefinition {
        id: "up".into(),
        tcp: "127.0.0.1:1".into(),
        interval: Some(seconds(10)),
        ..CheckDefinition::default()
    };
    let definition = ServiceDefinition { name: "web".into(), check: Some(check), ..ServiceDefinition::default() };
    client.agent_register_service(&definition, false).await.unwrap();
    sleep(seconds(1)).await;
    assert_eq!(client.agent_checks().await.unwrap()["up"].status, CheckStatus::Critical);
    sleep(seconds(10)).await;
    let up = client.agent_checks().await.unwrap()["up"].clone();
    assert_eq!((up.status, up.output.as_str()), (CheckStatus::Passing, "asked on one"));
    let asked = prober.asked.load(Ordering::Relaxed);
    assert_eq!(asked, 2);
    client.agent_deregister_service("web").await.unwrap();
    sleep(seconds(100)).await;
    assert_eq!(prober.asked.load(Ordering::Relaxed), asked);
    runner.abort();
}

#[tokio::test(start_paused = true)]
async fn a_quiet_server_stays_quiet() {
    let server = server();
    let client = client(&server);
    client.kv_put("a", "1", &Put::default()).await.unwrap();
    client.agent_register_service(&service("web"), false).await.unwrap();
    // The check expires, and its words reach the catalog.
    sleep(seconds(400)).await;
    let index = server.index();
    sleep(seconds(86_400)).await;
    assert_eq!(server.index(), index);
}
