//! Services: what Consul knows of them, whatever others do and however often it is away.

use std::{collections::BTreeMap, time::Duration};

use consul_client::{AgentService, CheckDefinition, CheckStatus, ServiceDefinition};
use helium_pilot::registration::{Beat, Initial, Registrar, Registration};
use tokio::{sync::watch, time::Instant};

use crate::scene::{Scene, eventually};

const MINUTE: Duration = Duration::from_mins(1);

fn service(job: &str) -> Registration {
    Registration {
        job: job.to_owned(),
        id: format!("{job}-host"),
        name: job.to_owned(),
        address: [10, 0, 0, 5].into(),
        port: 80,
        tags: vec!["blue".to_owned()],
        enable_tag_override: false,
        deregister_after: None,
        ttl: Duration::from_secs(5),
        initial: None,
        beat: Beat::WhileItRuns(Duration::from_secs(2)),
    }
}

impl Scene {
    fn registrar(&self) -> (Registrar, watch::Sender<bool>) {
        let maintenance = watch::Sender::new(false);
        let (client, handle, ports) = (self.client.clone(), self.handle.clone(), self.ports.clone());
        (Registrar::new(client, handle, ports, maintenance.subscribe()), maintenance)
    }

    async fn services(&self) -> BTreeMap<String, AgentService> {
        self.consul.agent_services().await.unwrap()
    }

    async fn status(&self, id: &str) -> Option<CheckStatus> {
        let checks = self.consul.agent_checks().await.unwrap();
        checks.get(&format!("service:{id}")).map(|check| check.status)
    }

    async fn passes(&self, id: &str, limit: Duration) {
        eventually(id, limit, async || self.status(id).await.filter(|status| *status == CheckStatus::Passing)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_is_there_as_long_as_its_job_runs_and_its_ttl_never_runs_out() {
    let scene = Scene::of(&["app"]);
    let (mut registrar, _maintenance) = scene.registrar();
    registrar.keep(vec![service("app")]);
    scene.passes("app-host", MINUTE).await;
    let found = scene.services().await["app-host"].clone();
    assert_eq!((found.address.as_str(), found.port, found.tags), ("10.0.0.5", 80, vec!["blue".to_owned()]));
    for _ in 0..600 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(scene.status("app-host").await, Some(CheckStatus::Passing));
    }
    scene.handle.shut_down().await.unwrap();
    eventually("it is gone", MINUTE, async || scene.services().await.is_empty().then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn what_others_change_of_a_service_is_put_right_within_half_a_minute() {
    let scene = Scene::of(&["app"]);
    let (mut registrar, _maintenance) = scene.registrar();
    registrar.keep(vec![service("app")]);
    scene.passes("app-host", MINUTE).await;
    let check = CheckDefinition {
        id: "service:app-host".to_owned(),
        ttl: Some(Duration::from_secs(5)),
        ..CheckDefinition::default()
    };
    let theirs = ServiceDefinition {
        id: "app-host".to_owned(),
        name: "app".to_owned(),
        port: 81,
        check: Some(check),
        ..ServiceDefinition::default()
    };
    scene.consul.agent_register_service(&theirs, true).await.unwrap();
    let right = async || scene.services().await.get("app-host").filter(|found| found.port == 80).cloned();
    let found = eventually("it is as it was", Duration::from_secs(30), right).await;
    assert_eq!(found.tags, ["blue"]);
    scene.passes("app-host", MINUTE).await;
}

#[tokio::test(start_paused = true)]
async fn tags_that_others_set_stay_where_the_file_allows_it() {
    let scene = Scene::of(&["app"]);
    let (mut registrar, _maintenance) = scene.registrar();
    let ours = Registration { enable_tag_override: true, ..service("app") };
    registrar.keep(vec![ours]);
    scene.passes("app-host", MINUTE).await;
    let theirs = ServiceDefinition {
        id: "app-host".to_owned(),
        name: "app".to_owned(),
        address: "10.0.0.5".to_owned(),
        port: 80,
        tags: vec!["green".to_owned()],
        enable_tag_override: true,
        ..ServiceDefinition::default()
    };
    scene.consul.agent_register_service(&theirs, false).await.unwrap();
    tokio::time::sleep(MINUTE).await;
    assert_eq!(scene.services().await["app-host"].tags, ["green"]);
    scene.passes("app-host", MINUTE).await;
}

#[tokio::test(start_paused = true)]
async fn a_reload_changes_a_service_in_place_and_takes_out_what_is_gone() {
    let scene = Scene::of(&["app", "other"]);
    let (mut registrar, _maintenance) = scene.registrar();
    registrar.keep(vec![service("app"), service("other")]);
    scene.passes("app-host", MINUTE).await;
    scene.passes("other-host", MINUTE).await;
    registrar.keep(vec![Registration { port: 90, ..service("app") }]);
    let mut flapped = false;
    eventually("the port is another", MINUTE, async || {
        let services = scene.services().await;
        flapped |= scene.status("app-host").await != Some(CheckStatus::Passing);
        services.get("app-host").filter(|found| found.port == 90 && !services.contains_key("other-host")).map(drop)
    })
    .await;
    assert!(!flapped, "it was passing all the time");
    registrar.end().await;
    assert!(scene.services().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_consul_that_is_away_is_told_when_it_is_back_and_not_pressed_meanwhile() {
    let scene = Scene::of(&["app"]);
    scene.line.cut(true);
    let (mut registrar, _maintenance) = scene.registrar();
    registrar.keep(vec![Registration { initial: Some(Initial::Critical), ..service("app") }]);
    tokio::time::sleep(10 * MINUTE).await;
    let asked = scene.line.asked();
    assert!((60..=1500).contains(&asked), "{asked} times in ten minutes");
    scene.line.cut(false);
    scene.passes("app-host", Duration::from_secs(10)).await;
    scene.line.cut(true);
    eventually("its TTL is over", MINUTE, async || {
        scene.status("app-host").await.filter(|status| *status == CheckStatus::Critical)
    })
    .await;
    scene.line.cut(false);
    scene.passes("app-host", Duration::from_secs(10)).await;
}

#[tokio::test(start_paused = true)]
async fn maintenance_takes_a_service_out_and_its_end_brings_it_back() {
    let scene = Scene::of(&["app"]);
    let (mut registrar, maintenance) = scene.registrar();
    let telemetry = Registration { beat: Beat::Always(Duration::from_secs(5)), job: String::new(), ..service("t") };
    registrar.keep(vec![service("app"), telemetry]);
    scene.passes("app-host", MINUTE).await;
    maintenance.send_replace(true);
    eventually("it is out", MINUTE, async || scene.status("app-host").await.is_none().then_some(())).await;
    tokio::time::sleep(MINUTE).await;
    assert_eq!(scene.status("app-host").await, None);
    maintenance.send_replace(false);
    scene.passes("app-host", Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn the_end_waits_only_a_moment_for_a_consul_that_does_not_answer() {
    let scene = Scene::of(&["app"]);
    let (mut registrar, _maintenance) = scene.registrar();
    registrar.keep(vec![service("app")]);
    scene.passes("app-host", MINUTE).await;
    scene.line.cut(true);
    let began = Instant::now();
    registrar.end().await;
    assert!(began.elapsed() <= Duration::from_secs(1));
}
