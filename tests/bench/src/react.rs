//! `cargo xtask bench react [ROUNDS]`: how soon a canary that fails is given up, on a real Consul with simulated agents.
//!
//! Rounds of two kinds take turns in one run, on one server:
//!
//! - *bare*: a check turns critical; a long poll of its service wakes, and whoever waited for it sends one transaction of a session check, a CAS
//!   and a write: the least that anybody could do who writes nothing without a fence;
//! - *helium*: the check of a canary's instance turns critical; `helium controller` gives the canary up, and a long poll of its status sees that.
//!
//! Both times begin with the call that turns the check. What is printed is the ratio at the 99th percentile.

use std::{error::Error, time::Duration};

use consul_client::{CheckStatus, Client, HealthCheck, Put, Read, Service, SessionRequest, TxnOp, txn::CatalogVerb};
use helium_crds::{
    AnyObject, DeploymentStatus, Kind, NodeName, ObjectKey, Source,
    instance::{Instance, Role, check_id, service_id},
    keys::Keys,
    parse,
    status::Stage,
};
use helium_engine::people::{ObjectRef, People};
use helium_runtime::ports::Ports;

use crate::{controller::Controller, fleet, production_server, world, world::Size};

/// The goal.
const GOAL: f64 = 2.0;
/// How long canaries soak before the first of them fails: the last of a batch has only just come so far.
const SETTLE: Duration = Duration::from_secs(1);
/// How many canaries are under way together: fewer than a controller may watch by long polls of their own.
const BATCH: usize = 10;
/// How long a long poll gets to lie in Consul before what it waits for happens. Nobody can see from outside whether it does.
const PARK: Duration = Duration::from_millis(100);
/// The longest wait of a long poll, and of anything else.
const WAIT: Duration = Duration::from_secs(30);
/// How long to wait before looking again at what is not measured.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Runs the rounds and prints what came of them.
pub(crate) async fn run(rounds: usize) -> Result<(), Box<dyn Error>> {
    let ports = Ports::real();
    let consul = production_server();
    let controller = Controller::start(&consul);
    let client = world::client(&consul)?;
    let people = world::people(client.clone(), &ports);
    people.initialise().await?;
    let nodes = Size { deployments: 0, replicas: 2, nodes: 4 };
    let _fleet = fleet::start(&world::client(&consul)?, nodes, &ports).await?;
    let scene = Scene { controller, client, people, ports };
    let took = scene.rounds(rounds).await.map_err(|error| error as Box<dyn Error>)?;
    report(took);
    Ok(())
}

/// Prints both distributions and their ratio.
#[allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
fn report(mut took: Took) {
    took.bare.sort_unstable();
    took.helium.sort_unstable();
    took.decided.sort_unstable();
    println!("{} rounds: a check turns critical, a canary is given up", took.helium.len());
    for (name, times) in [("bare", &took.bare), ("helium", &took.helium), ("decided", &took.decided)] {
        let [half, most, worst] = [50, 99, 100].map(|percent| percentile(times, percent).as_secs_f64() * 1000.0);
        println!("{name:<8} p50 {half:>7.2} ms   p99 {most:>7.2} ms   max {worst:>7.2} ms");
    }
    let ratio =
        |percent| percentile(&took.helium, percent).as_secs_f64() / percentile(&took.bare, percent).as_secs_f64();
    println!("ratio    p50 {:>7.2}      p99 {:>7.2}      goal at most {GOAL} at p99", ratio(50), ratio(99));
}

/// The time that so many percent of the times do not exceed; they are in order.
pub(crate) fn percentile(times: &[Duration], percent: usize) -> Duration {
    let rank = (times.len() * percent).div_ceil(100).max(1);
    times.get(rank - 1).copied().unwrap_or_default()
}

/// How long each round took.
#[derive(Default)]
struct Took {
    bare: Vec<Duration>,
    helium: Vec<Duration>,
    /// What of that is between the look at the world that saw the failure and the end of the commit.
    decided: Vec<Duration>,
}

/// The store, and who works on it.
struct Scene {
    controller: Controller,
    client: Client,
    people: People,
    ports: Ports,
}

impl Scene {
    async fn rounds(&self, rounds: usize) -> Outcome<Took> {
        let bare = Bare::start(self).await?;
        let mut took = Took::default();
        for first in (0..rounds).step_by(BATCH) {
            let batch: Vec<ObjectKey> = (first..rounds.min(first + BATCH)).map(key).collect();
            self.try_out(&batch).await?;
            for key in &batch {
                took.bare.push(bare.round().await?);
                let before = self.decisions();
                took.helium.push(self.round(key).await?);
                took.decided.push(self.decisions().saturating_sub(before));
                // Nothing of the way back is left to disturb the next round.
                self.until(key, |status| stage(status) == Some(Stage::Aborted)).await?;
            }
            let names: Vec<_> = batch.iter().map(|key| ObjectRef::new(Kind::Deployment, key.clone())).collect();
            self.people.delete(&names).await?;
        }
        Ok(took)
    }

    /// Brings canaries to their soak.
    async fn try_out(&self, batch: &[ObjectKey]) -> Outcome<()> {
        self.apply(batch, "1").await?;
        for key in batch {
            self.until(key, |status| status.rollout.is_none() && status.stable.is_some() && status.healthy == 2)
                .await?;
        }
        self.apply(batch, "2").await?;
        for key in batch {
            self.until(key, |status| status.rollout.as_ref().is_some_and(|rollout| rollout.step == 1)).await?;
        }
        tokio::time::sleep(SETTLE).await;
        Ok(())
    }

    /// How long all decisions of the controller took together.
    fn decisions(&self) -> Duration {
        let seconds = self.controller.metric("helium_decision_seconds_sum").unwrap_or_default();
        Duration::try_from_secs_f64(seconds).unwrap_or_default()
    }

    async fn apply(&self, batch: &[ObjectKey], version: &str) -> Outcome<()> {
        let texts: Vec<String> = batch.iter().map(|key| documents(&key.name, version)).collect();
        let parsed = parse(&Source::new("bench", texts.join("---\n")))?;
        let objects: Vec<AnyObject> = parsed.into_iter().map(|parsed| parsed.object).collect();
        self.people.apply(&objects).await?;
        Ok(())
    }

    async fn until(&self, key: &ObjectKey, wanted: impl Fn(&DeploymentStatus) -> bool) -> Outcome<()> {
        let deadline = self.ports.monotonic() + WAIT;
        while !self.people.status(key).await?.as_ref().is_some_and(&wanted) {
            if self.ports.monotonic() > deadline {
                return Err(format!("{key} is not where it should be after {WAIT:?}").into());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    /// Turns the check of a canary's instance, and waits until a watcher of the status sees that it was given up.
    async fn round(&self, key: &ObjectKey) -> Outcome<Duration> {
        let instances = self.people.instances(key).await?;
        let canary = instances.into_iter().map(|view| view.instance).find(|instance| instance.role == Role::Canary);
        let canary = canary.ok_or_else(|| format!("{key} has no canary"))?;
        let place = Keys::default().status(Kind::Deployment, key);
        let index = self.client.kv_get(&place, &Read::default()).await?.meta.index;
        let watched = tokio::spawn(given_up(self.client.clone(), self.ports.clone(), place, index));
        tokio::time::sleep(PARK).await;
        let began = self.ports.monotonic();
        turn(&self.client, check_of(&canary), CheckStatus::Critical).await?;
        Ok(watched.await??.saturating_sub(began))
    }
}

/// When a watcher of a status saw that its rollout was given up.
async fn given_up(client: Client, ports: Ports, key: String, mut index: u64) -> Outcome<Duration> {
    loop {
        let reply = client.kv_get(&key, &Read::blocking(index, WAIT)).await?;
        index = reply.meta.index;
        let Some(pair) = reply.value else { return Err(format!("{key} is gone").into()) };
        let status: DeploymentStatus = serde_json::from_slice(&pair.value)?;
        if status.rollout.is_some_and(|rollout| rollout.abort.is_some()) {
            return Ok(ports.monotonic());
        }
    }
}

fn stage(status: &DeploymentStatus) -> Option<Stage> {
    status.rollout.as_ref().map(|rollout| rollout.stage)
}

/// The name of a round's Deployment.
fn key(number: usize) -> ObjectKey {
    ObjectKey::new("default", format!("react-{number}"))
}

/// A Deployment of two, and a Canary that is given up by the first failure.
fn documents(name: &str, version: &str) -> String {
    format!(
        r#"apiVersion: helium.dev/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: 2
  minHealthyTime: 0s
  template:
    version: "{version}"
    exec: {{command: ["/usr/bin/serve", "--port", "${{PORT_http}}"]}}
    ports: [{{name: http}}]
    checks: [{{name: up, http: {{port: http, path: /health}}, interval: 10s}}]
---
apiVersion: helium.dev/v1
kind: Canary
metadata: {{name: {name}}}
spec:
  steps: [{{setWeight: 50%}}, {{soak: 1h}}]
  analysis: {{health: {{failuresInARow: 1}}}}
"#
    )
}

/// The check that a simulated agent has registered for an instance.
fn check_of(instance: &Instance) -> HealthCheck {
    HealthCheck {
        node: instance.node.to_string(),
        check_id: check_id(&instance.id, "up"),
        name: "up".to_owned(),
        service_id: service_id(&instance.id),
        service_name: instance.deployment.name.clone(),
        ..HealthCheck::default()
    }
}

async fn turn(client: &Client, check: HealthCheck, status: CheckStatus) -> Outcome<()> {
    let check = HealthCheck { status, output: format!("it is {status:?}"), ..check };
    client.txn(&[TxnOp::Check { verb: CatalogVerb::Set, check }]).await?;
    Ok(())
}

/// Whoever does the least: a service to watch, and a lock to write under.
struct Bare<'a> {
    scene: &'a Scene,
    session: String,
}

impl<'a> Bare<'a> {
    const NODE: &'static str = "bench-bare";
    const SERVICE: &'static str = "bare";
    const LOCK: &'static str = "bench/lock";
    const STATE: &'static str = "bench/state";
    const RECORD: &'static str = "bench/record";

    async fn start(scene: &'a Scene) -> Outcome<Self> {
        let client = &scene.client;
        fleet::join(client, &[NodeName::from(Self::NODE)]).await?;
        let (id, service) = (Self::SERVICE.to_owned(), Self::SERVICE.to_owned());
        let service = Service { id, service, address: "127.0.0.1".to_owned(), port: 1, ..Service::default() };
        client.txn(&[TxnOp::Service { verb: CatalogVerb::Set, node: Self::NODE.to_owned(), service }]).await?;
        let request =
            SessionRequest { name: "bare".to_owned(), node_checks: Some(Vec::new()), ..SessionRequest::default() };
        let session = client.session_create(&request).await?;
        client.kv_put(Self::LOCK, "bare", &Put::acquire(session.clone())).await?;
        client.kv_put(Self::STATE, "", &Put::default()).await?;
        Ok(Self { scene, session })
    }

    fn check() -> HealthCheck {
        HealthCheck {
            node: Self::NODE.to_owned(),
            check_id: "bare:up".to_owned(),
            name: "up".to_owned(),
            service_id: Self::SERVICE.to_owned(),
            service_name: Self::SERVICE.to_owned(),
            ..HealthCheck::default()
        }
    }

    /// Turns the check, and waits until whoever watches it has written what follows.
    async fn round(&self) -> Outcome<Duration> {
        let Scene { client, ports, .. } = self.scene;
        turn(client, Self::check(), CheckStatus::Passing).await?;
        let index = client.health_service(Self::SERVICE, &Read::default()).await?.meta.index;
        let state = client.kv_get(Self::STATE, &Read::default()).await?.value;
        let ops = self.write(state.map_or(0, |pair| pair.modify_index), ports);
        let (other, clock) = (client.clone(), ports.clone());
        let watched = tokio::spawn(async move {
            other.health_service(Self::SERVICE, &Read::blocking(index, WAIT)).await?;
            other.txn(&ops).await?;
            Outcome::Ok(clock.monotonic())
        });
        tokio::time::sleep(PARK).await;
        let began = ports.monotonic();
        turn(client, Self::check(), CheckStatus::Critical).await?;
        Ok(watched.await??.saturating_sub(began))
    }

    fn write(&self, index: u64, ports: &Ports) -> [TxnOp; 3] {
        let lock = TxnOp::CheckSession { key: Self::LOCK.to_owned(), session: self.session.clone() };
        let now = ports.now().to_string();
        [lock, TxnOp::cas(Self::STATE, now.clone(), index), TxnOp::set(Self::RECORD, now)]
    }
}
