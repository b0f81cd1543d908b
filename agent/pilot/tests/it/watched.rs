//! Watches: the events that come of what happens in Consul.

use std::{collections::BTreeMap, time::Duration};

use consul_client::{CheckDefinition, CheckStatus, Put, ServiceDefinition};
use helium_containerpilot::config::{Watch, Watched};
use helium_pilot::watches::{Counts, Watches};
use helium_supervisor::{Code, Event};
use tokio::{
    sync::broadcast::{Receiver, error::TryRecvError},
    time::timeout,
};

use crate::scene::{Scene, eventually};

const LIMIT: Duration = Duration::from_secs(5);

fn watch(name: &str, what: Watched) -> Watch {
    Watch { name: name.to_owned(), what, interval: Some(Duration::from_hours(1)), datacenter: None }
}

fn of_service(name: &str) -> Watch {
    watch(name, Watched::Service { tag: None })
}

impl Scene {
    fn watches(&self) -> (Watches, Counts) {
        let counts = Counts::new(BTreeMap::new());
        (Watches::new(self.client.clone(), self.handle.clone(), self.ports.clone(), counts.clone()), counts)
    }

    async fn register(&self, id: &str) {
        let check = CheckDefinition {
            id: format!("service:{id}"),
            ttl: Some(Duration::from_secs(100_000)),
            status: Some(CheckStatus::Passing),
            ..CheckDefinition::default()
        };
        let service = ServiceDefinition {
            id: id.to_owned(),
            name: "db".to_owned(),
            port: 1,
            check: Some(check),
            ..ServiceDefinition::default()
        };
        self.consul.agent_register_service(&service, false).await.unwrap();
    }
}

/// The next events of watches, within a moment of each other.
async fn told(events: &mut Receiver<Event>, wanted: &[(Code, &str)]) {
    for (code, name) in wanted {
        let event = timeout(LIMIT, async {
            loop {
                let event = events.recv().await.unwrap();
                if matches!(event.source, helium_supervisor::Source::Watch(_)) {
                    return event;
                }
            }
        });
        assert_eq!(event.await.unwrap(), Event::of_watch(*code, *name));
    }
}

async fn nothing(events: &mut Receiver<Event>) {
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert_eq!(events.try_recv(), Err(TryRecvError::Empty));
}

#[tokio::test(start_paused = true)]
async fn a_service_is_followed_from_none_to_some_and_back_and_a_critical_instance_is_none() {
    let scene = Scene::of(&["app"]);
    let (mut watches, counts) = scene.watches();
    watches.keep(&[of_service("db")]);
    eventually("it was looked at", LIMIT, async || counts.borrow().get("db").copied()).await;
    let mut events = scene.handle.events().unwrap();
    nothing(&mut events).await;
    scene.register("one").await;
    told(&mut events, &[(Code::Changed, "db"), (Code::Healthy, "db")]).await;
    scene.register("two").await;
    told(&mut events, &[(Code::Changed, "db"), (Code::Healthy, "db")]).await;
    assert_eq!(counts.borrow()["db"], 2);
    scene.consul.agent_update_ttl("service:one", CheckStatus::Critical, "").await.unwrap();
    told(&mut events, &[(Code::Changed, "db"), (Code::Healthy, "db")]).await;
    scene.consul.agent_deregister_service("two").await.unwrap();
    told(&mut events, &[(Code::Changed, "db"), (Code::Unhealthy, "db")]).await;
    nothing(&mut events).await;
}

#[tokio::test(start_paused = true)]
async fn while_consul_is_away_the_last_state_stays_and_what_changed_meanwhile_is_told_once() {
    let scene = Scene::of(&["app"]);
    let (mut watches, counts) = scene.watches();
    let mut events = scene.handle.events().unwrap();
    scene.register("one").await;
    watches.keep(&[of_service("db")]);
    told(&mut events, &[(Code::Changed, "db"), (Code::Healthy, "db")]).await;
    scene.line.cut(true);
    // A query that was under way is answered; whatever follows it is cut.
    nothing(&mut events).await;
    scene.register("two").await;
    scene.consul.agent_deregister_service("one").await.unwrap();
    scene.consul.agent_deregister_service("two").await.unwrap();
    nothing(&mut events).await;
    assert_eq!(counts.borrow()["db"], 1);
    scene.line.cut(false);
    let unhealthy = [(Code::Changed, "db"), (Code::Unhealthy, "db")];
    tokio::time::sleep(Duration::from_secs(10)).await;
    told(&mut events, &unhealthy).await;
    nothing(&mut events).await;
}

#[tokio::test(start_paused = true)]
async fn keys_are_followed_and_a_watch_that_stays_in_a_reload_forgets_nothing() {
    let scene = Scene::of(&["app"]);
    let (mut watches, _counts) = scene.watches();
    let mut events = scene.handle.events().unwrap();
    let (key, prefix) =
        (watch("key", Watched::Key("a/key".to_owned())), watch("all", Watched::Prefix("b/".to_owned())));
    scene.consul.kv_put("a/key", "1", &Put::default()).await.unwrap();
    watches.keep(std::slice::from_ref(&key));
    told(&mut events, &[(Code::Changed, "key"), (Code::Healthy, "key")]).await;
    watches.keep(&[key, prefix]);
    nothing(&mut events).await;
    scene.consul.kv_put("b/one", "1", &Put::default()).await.unwrap();
    told(&mut events, &[(Code::Changed, "all"), (Code::Healthy, "all")]).await;
    scene.consul.kv_put("b/two", "1", &Put::default()).await.unwrap();
    told(&mut events, &[(Code::Changed, "all")]).await;
    scene.consul.kv_put("a/key", "2", &Put::default()).await.unwrap();
    told(&mut events, &[(Code::Changed, "key")]).await;
    scene.consul.kv_delete("a/key", None).await.unwrap();
    told(&mut events, &[(Code::Changed, "key"), (Code::Unhealthy, "key")]).await;
    watches.keep(&[]);
    scene.consul.kv_put("a/key", "3", &Put::default()).await.unwrap();
    nothing(&mut events).await;
}
