//! The people: they apply, scale, roll back, pause, delete and re-create, and now and then change by hand what is not theirs.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use consul_client::{Client, Put};
use futures::future::{BoxFuture, FutureExt as _};
use helium_crds::{
    AnyObject, Kind, ObjectKey,
    control::Verb,
    deployment::VersionCount,
    instance::service_id,
    keys::{Keys, SpecKey},
};
use helium_engine::people::{ObjectRef, People, PeopleError};
use serde_json::{Value, json};

use crate::{
    net::{Rival, lock},
    rng::Rng,
    run::BUILT,
    specs::{self, Wish},
    truth::Truth,
    values,
    wire::Actor,
    world::World,
};

/// What is no object.
const GARBAGE: &str = "{\"kind\": \"Nonsense\"";
/// The time between two deeds.
const PAUSE: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(18));

/// The people of a world.
pub struct Users {
    world: Arc<World>,
    people: People,
    client: Client,
    names: Vec<String>,
    rng: Mutex<Rng>,
    wishes: Mutex<BTreeMap<String, Wish>>,
    /// Specs that were overwritten with garbage, as they were.
    garbled: Mutex<BTreeMap<String, Vec<u8>>>,
    /// Who holds this keeps everybody's hands off the store.
    pub hands: tokio::sync::Mutex<()>,
}

impl Users {
    /// The people of a world, who care for these Deployments.
    pub fn new(world: &Arc<World>, names: &[&str]) -> Arc<Self> {
        Arc::new(Self {
            people: world.people(0),
            client: world.client(Actor::Operator),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            rng: Mutex::new(world.net.rng.child("users")),
            wishes: Mutex::default(),
            garbled: Mutex::default(),
            hands: tokio::sync::Mutex::new(()),
            world: Arc::clone(world),
        })
    }

    /// Applies what there is in the beginning: every Deployment, and a Canary for every second.
    ///
    /// # Errors
    /// The store refuses.
    pub async fn begin(&self) -> Result<(), PeopleError> {
        self.people.initialise().await?;
        for (place, name) in self.names.iter().enumerate() {
            let mut objects = Vec::new();
            let wish = self.first_wish(name);
            objects.extend(wish.object().ok());
            objects.extend(wish.job.as_ref().and_then(|job| specs::hydra_job(job).ok()));
            if place % 2 == 1 {
                objects.extend(self.steps(name));
            }
            lock(&self.wishes).insert(name.clone(), wish);
            self.insist(&objects).await?;
        }
        Ok(())
    }

    /// Applies, and again if somebody was faster or an answer was lost.
    async fn insist(&self, objects: &[AnyObject]) -> Result<(), PeopleError> {
        let mut tries = 0;
        loop {
            match self.people.apply(objects).await {
                Ok(_) => return Ok(()),
                Err(error) if tries == 5 => return Err(error),
                Err(_) => tries += 1,
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Does something every few seconds, for ever; ended from outside.
    pub async fn live(self: Arc<Self>) {
        loop {
            tokio::time::sleep(self.drawn(|rng| rng.between(PAUSE.0, PAUSE.1))).await;
            let _hands = self.hands.lock().await;
            let Some(name) = self.drawn(|rng| rng.pick(&self.names).cloned()) else { return };
            let deed = self.drawn(|rng| rng.below(100));
            let outcome = self.deed(&name, deed).await;
            let words = outcome.unwrap_or_else(|error| format!("refused: {error}"));
            self.world.net.tell(&format!("user: {name}: {words}"));
        }
    }

    fn drawn<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        draw(&mut lock(&self.rng))
    }

    fn first_wish(&self, name: &str) -> Wish {
        self.drawn(|rng| {
            let replicas = 2 + u32::try_from(rng.below(3)).unwrap_or(0);
            let strategies = [
                json!({"rolling": {"maxSurge": 1, "maxUnavailable": 0}}),
                json!({"rolling": {"maxSurge": 1, "maxUnavailable": 0}}),
                json!({"rolling": {"maxSurge": "50%", "maxUnavailable": 1}}),
                json!({"rolling": {"maxSurge": 0, "maxUnavailable": 1}}),
                json!({"recreate": {}}),
            ];
            let strategy = rng.pick(&strategies).cloned().unwrap_or(Value::Null);
            let values = values::takes_values(&self.world.net, name);
            let job = (name == BUILT).then(|| name.to_owned());
            Wish { strategy, pause_on_failure: rng.chance(300), values, job, ..Wish::new(name, "1", replicas) }
        })
    }

    fn steps(&self, name: &str) -> Option<AnyObject> {
        let choices = [
            json!([{"setWeight": "25%"}, {"soak": "10s"}, {"setWeight": "50%"}, {"soak": "10s"}]),
            json!([{"setWeight": "34%"}, {"pause": {"duration": "8s"}}]),
            json!([{"setReplicas": 1}, {"soak": "5s"}, {"pause": {"promoteAfter": "10s"}}]),
            json!([{"soak": "6s"}, {"setWeight": "60%"}, {"pause": {}}]),
            json!([{"analysis": {}}, {"setWeight": "25%", "soak": "5s", "minSamples": 2}, {"setWeight": "50%", "soak": "5s"}]),
            json!([{"setReplicas": 1}, {"gate": {"kv": {"key": gate_of(name)}, "interval": "3s", "timeout": "40s", "onTimeout": "continue"}}]),
            json!([{"setWeight": "34%"}, {"gate": {"webhook": {"url": "http://gate/"}, "timeout": "25s"}}, {"analysis": {}}]),
            json!({"blueGreen": {}, "scaleDownDelay": "15s"}),
            json!({"blueGreen": {"preview": 1, "soak": "4s"}}),
            json!({"blueGreen": {"preview": 1, "analysis": {}, "promoteAfter": "8s"}, "scaleDownDelay": "0s"}),
            json!({"steps": [{"setWeight": "50%", "soak": "5s"}], "scaleDownDelay": "20s"}),
            json!({"steps": [{"setWeight": "5%", "soak": "4s"}, {"setWeight": "30%"}, {"setWeight": "60%", "soak": "4s"}], "trafficRouting": "consulWeights"}),
            json!([{"preview": "100%"}, {"setWeight": "34%", "soak": "5s"}, {"pause": {"promoteAfter": "5s"}}]),
        ];
        let (way, promote) = self.drawn(|rng| (rng.pick(&choices).cloned(), rng.chance(700)));
        let judged = self.drawn(|rng| rng.chance(600)) || way.as_ref().is_some_and(has_analysis);
        let way = way?;
        // `promoteAfter` and `autoPromote: false` would say two things about one switch.
        let promote = promote || way.pointer("/blueGreen/promoteAfter").is_some();
        specs::canary(name, &way, promote, judged).ok()
    }

    async fn deed(&self, name: &str, deed: u64) -> Result<String, PeopleError> {
        let key = ObjectKey::new("default", name);
        match deed {
            0..22 | 96.. => self.new_version(name).await,
            22..28 => self.in_haste(name).await,
            28..38 => {
                let replicas = self.drawn(|rng| u32::try_from(rng.below(6)).unwrap_or(0));
                self.people.scale(&[(key, replicas)]).await?;
                Ok(format!("scaled to {replicas}"))
            }
            38..42 => self.counts_by_hand(&key).await,
            42..66 => self.ask(&key).await,
            66..70 => self.people.undo(&key, None).await.map(|_| "undone".to_owned()),
            70..75 => {
                let kind = if self.drawn(|rng| rng.chance(600)) { Kind::Deployment } else { Kind::Canary };
                self.people.delete(&[ObjectRef::new(kind, key)]).await?;
                Ok(format!("{kind} to be deleted"))
            }
            75..80 => self.steps_edited(name).await,
            94..96 => self.gate_turned(name).await,
            80..88 => self.record_deleted(&key).await,
            88..92 => self.deregistered(&key).await,
            _ => self.garbage(&key).await,
        }
    }

    /// A new version, or the first one again where there is none any more.
    async fn new_version(&self, name: &str) -> Result<String, PeopleError> {
        let wish = self.next_wish(name);
        let Ok(object) = wish.object() else { return Ok("nothing".to_owned()) };
        let said = format!("applies {} x{}", wish.version, wish.replicas);
        self.people.apply(&[object]).await?;
        lock(&self.wishes).insert(name.to_owned(), wish);
        Ok(said)
    }

    /// Somebody does not wait for what they applied, and applies the next, and the next.
    async fn in_haste(&self, name: &str) -> Result<String, PeopleError> {
        let mut said = Vec::new();
        for _ in 0..4 {
            said.push(self.new_version(name).await?);
            let pause = self.drawn(|rng| rng.between(Duration::from_secs(1), Duration::from_secs(4)));
            tokio::time::sleep(pause).await;
        }
        Ok(format!("in haste: {}", said.join(", ")))
    }

    fn next_wish(&self, name: &str) -> Wish {
        let before = lock(&self.wishes).get(name).cloned().unwrap_or_else(|| self.first_wish(name));
        let number: u64 = before.version.split('-').next().and_then(|number| number.parse().ok()).unwrap_or(0);
        self.drawn(|rng| {
            let ends = ["", "", "", "", "", "-bad", "-bad", "-flap", "-slow", "-crash", "-err", "-err"];
            let end = rng.pick(&ends).copied().unwrap_or_default();
            Wish { version: format!("{}{end}", number + 1), ..before }
        })
    }

    async fn counts_by_hand(&self, key: &ObjectKey) -> Result<String, PeopleError> {
        let history = self.people.revisions(key).await?;
        let pick = |rng: &mut Rng| {
            let chosen = rng.pick(&history).map(|revision| {
                let version = format!("{}@{}", revision.template.version, revision.id.short());
                VersionCount { version, replicas: 1 + u32::try_from(rng.below(2)).unwrap_or(0) }
            });
            chosen.into_iter().collect::<Vec<_>>()
        };
        let counts = self.drawn(pick);
        if counts.is_empty() {
            return Ok("no history".to_owned());
        }
        self.people.scale_versions(key, &counts).await?;
        Ok(format!("counts by hand {counts:?}"))
    }

    async fn ask(&self, key: &ObjectKey) -> Result<String, PeopleError> {
        let verbs = [
            Verb::Promote,
            Verb::PromoteFull,
            Verb::Abort,
            Verb::Retry,
            Verb::Pause,
            Verb::Pause,
            Verb::Resume,
            Verb::Restart,
        ];
        let Some(verb) = self.drawn(|rng| rng.pick(&verbs).copied()) else { return Ok(String::new()) };
        self.people.request(key, verb, None).await?;
        Ok(format!("asks for {}", verb.as_str()))
    }

    async fn steps_edited(&self, name: &str) -> Result<String, PeopleError> {
        let Some(canary) = self.steps(name) else { return Ok("no steps".to_owned()) };
        self.people.apply(&[canary]).await?;
        Ok("edits the steps".to_owned())
    }

    /// The gate of a Deployment is opened, or shut again.
    async fn gate_turned(&self, name: &str) -> Result<String, PeopleError> {
        let value = if self.drawn(|rng| rng.chance(700)) { "open" } else { "shut" };
        self.client.kv_put(&gate_of(name), value, &Put::default()).await?;
        Ok(format!("the gate is {value}"))
    }

    /// Somebody deletes an instance's record, or its assignment, but never both.
    async fn record_deleted(&self, key: &ObjectKey) -> Result<String, PeopleError> {
        let keys = Keys::default();
        let truth = Truth::of(&self.world.net.server.state(), key);
        let running: Vec<_> = truth.running().cloned().collect();
        let Some(victim) = self.drawn(|rng| rng.pick(&running).cloned()) else { return Ok("nothing runs".to_owned()) };
        let record = self.drawn(|rng| rng.chance(500));
        let path = if record { keys.instance(key, &victim.id) } else { keys.assignment(&victim.node, &victim.id) };
        let both = self.world.net.server.with_state(|state| {
            state.kv().get(&keys.instance(key, &victim.id)).is_some()
                && state.kv().get(&keys.assignment(&victim.node, &victim.id)).is_some()
        });
        if both == Some(true) {
            self.client.kv_delete(&path, None).await?;
        }
        Ok(format!("deletes {path} by hand"))
    }

    async fn deregistered(&self, key: &ObjectKey) -> Result<String, PeopleError> {
        let truth = Truth::of(&self.world.net.server.state(), key);
        let running: Vec<_> = truth.running().cloned().collect();
        let Some(victim) = self.drawn(|rng| rng.pick(&running).cloned()) else { return Ok("nothing runs".to_owned()) };
        let wire = crate::wire::Wire::new(
            &self.world.net,
            Actor::Operator,
            victim.node.as_str(),
            crate::wire::Life::until(None),
        );
        Client::over(wire, Some("user".to_owned())).agent_deregister_service(&service_id(&victim.id)).await?;
        Ok(format!("deregisters {} by hand", victim.id))
    }

    async fn garbage(&self, key: &ObjectKey) -> Result<String, PeopleError> {
        let path = Keys::default().spec(Kind::Deployment, key);
        let state = self.world.net.server.state();
        let Some(entry) = state.kv().get(&path) else { return Ok("no spec".to_owned()) };
        let rest = self.drawn(|rng| rng.between(Duration::from_secs(5), Duration::from_secs(40)));
        lock(&self.garbled).insert(path.clone(), entry.value.to_vec());
        self.client.kv_put(&path, GARBAGE, &Put::default()).await?;
        tokio::time::sleep(rest).await;
        self.ungarble().await;
        Ok("writes garbage over the spec, and puts it right".to_owned())
    }

    /// Puts right what was overwritten with garbage.
    pub async fn ungarble(&self) {
        let garbled = lock(&self.garbled).clone();
        for (key, value) in garbled {
            // It may be right already, though the answer that said so was lost, and edited since.
            let there = self.world.net.server.with_state(|state| state.kv().get(&key).map(|entry| entry.value.clone()));
            let is_garbage = there.flatten().is_some_and(|value| value.as_ref() == GARBAGE.as_bytes());
            if !is_garbage || self.client.kv_put(&key, value, &Put::default()).await.is_ok() {
                lock(&self.garbled).remove(&key);
            }
        }
        self.world.net.forget_past();
    }

    /// Two people apply at the same instant. Gives whether they did.
    pub async fn two_apply(&self) -> bool {
        let _hands = self.hands.lock().await;
        let Some(name) = self.drawn(|rng| rng.pick(&self.names).cloned()) else { return false };
        let (one, other) = (self.next_wish(&name), self.next_wish(&name));
        let other = Wish { version: format!("{}0", other.version.split('-').next().unwrap_or_default()), ..other };
        let (Ok(first), Ok(second)) = (one.object(), other.object()) else { return false };
        let rival = self.world.people(1);
        let (first, second) = ([first], [second]);
        let (first, second) = tokio::join!(self.people.apply(&first), rival.apply(&second));
        lock(&self.wishes).insert(name.clone(), if second.is_ok() { other } else { one });
        self.world.net.tell(&format!("user: {name}: two apply at once: {} {}", first.is_ok(), second.is_ok()));
        true
    }
}

/// The key that opens the gate of a Deployment.
pub fn gate_of(name: &str) -> String {
    format!("gates/{name}")
}

fn has_analysis(way: &Value) -> bool {
    let switch = way.pointer("/blueGreen/analysis").is_some();
    switch || way.as_array().is_some_and(|steps| steps.iter().any(|step| step.get("analysis").is_some()))
}

impl Rival for Users {
    fn race(&self, key: String) -> BoxFuture<'_, bool> {
        async move {
            let Some(SpecKey::Object(Kind::Deployment, object)) = Keys::default().parse_spec(&key) else {
                return false;
            };
            let replicas = self.drawn(|rng| 1 + u32::try_from(rng.below(4)).unwrap_or(0));
            // A race that the person loses is one too.
            let _lost = self.world.people(2).scale(&[(object, replicas)]).await;
            true
        }
        .boxed()
    }
}
