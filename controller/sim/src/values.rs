//! The people who keep the values in Consul: they write, change and delete keys below `config/`, wipe them and put them back, now and then
//! write what is no text, and lose the sentinel of it all.
//!
//! Their chance is their own: a world without values is the same one to the last draw, whether there is anybody who could write some or not.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use consul_client::{Client, Error, Put};
use helium_crds::{
    ObjectKey,
    keys::{Keys, SENTINEL},
};

use crate::{
    net::{Net, lock},
    rng::Rng,
    truth,
    users::Users,
    wire::Actor,
    world::World,
};

/// The names of values.
const NAMES: [&str; 3] = ["db/host", "db/port", "limit"];
/// What is no text.
const NO_TEXT: &[u8] = &[0xff, 0xfe, 0x00];
/// The time between two deeds.
const PAUSE: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(25));
/// The time between two keys that somebody changes one after the other, without and with a rest between them.
const HASTE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(1500));
const LEISURE: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(8));

/// Of so many worlds in a thousand some Deployments take values, and so many of the Deployments then.
const WORLDS: u64 = 400;
const DEPLOYMENTS: u64 = 700;

/// Whether a Deployment of this world takes values in Consul.
pub fn takes_values(net: &Net, name: &str) -> bool {
    let rng = net.rng.child("values");
    rng.child("world").chance(WORLDS) && rng.child(name).chance(DEPLOYMENTS)
}

/// Whoever keeps the values of a world.
pub struct ValueKeepers {
    net: Arc<Net>,
    users: Arc<Users>,
    client: Client,
    /// The Deployments that take values.
    names: Vec<String>,
    rng: Mutex<Rng>,
    written: Mutex<u64>,
}

impl ValueKeepers {
    /// Those of a world, who mind the hands of its users.
    pub fn new(world: &World, users: &Arc<Users>, names: &[&str]) -> Self {
        let net = &world.net;
        Self {
            users: Arc::clone(users),
            client: world.client(Actor::Operator),
            names: names.iter().filter(|name| takes_values(net, name)).map(|name| (*name).to_owned()).collect(),
            rng: Mutex::new(net.rng.child("value keepers")),
            written: Mutex::new(0),
            net: Arc::clone(net),
        }
    }

    /// Writes what there is in the beginning: every second Deployment finds values when it is applied.
    pub async fn begin(&self) {
        for name in &self.names {
            if self.drawn(|rng| rng.chance(500)) {
                // Whose write fails has no values in the beginning.
                let _written = self.write(name, NAMES[0]).await;
                let _written = self.write(name, NAMES[1]).await;
            }
        }
    }

    /// Does something every few seconds, for ever; ended from outside.
    pub async fn live(&self) {
        if self.names.is_empty() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(self.drawn(|rng| rng.between(PAUSE.0, PAUSE.1))).await;
            let Some(name) = self.drawn(|rng| rng.pick(&self.names).cloned()) else { return };
            let deed = self.drawn(|rng| rng.below(100));
            let words = self.deed(&name, deed).await.unwrap_or_else(|error| format!("refused: {error}"));
            self.net.tell(&format!("values: {name}: {words}"));
        }
    }

    /// Puts back what nobody means to do without: the sentinel, also where a snapshot from the time without it was restored.
    pub async fn mend(&self) {
        let there = self.net.server.with_state(|state| state.kv().get(&sentinel()).is_some());
        if there != Some(true) {
            // Whose answer is lost has put it there all the same, or tries it again in the end.
            let _put = self.client.kv_put(&sentinel(), Vec::new(), &Put::default()).await;
        }
        self.net.forget_past();
    }

    async fn deed(&self, name: &str, deed: u64) -> Result<String, Error> {
        match deed {
            0..35 => self.write_some(name, HASTE).await,
            35..50 => self.write_some(name, LEISURE).await,
            50..62 => self.delete(name).await,
            62..78 => self.wipe_and_put_back(name).await,
            78..86 => {
                let gone = self.wipe(name).await?.len();
                Ok(format!("wipes {gone} for good"))
            }
            86..93 => self.no_text(name).await,
            _ => self.lose_sentinel().await,
        }
    }

    fn drawn<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        draw(&mut lock(&self.rng))
    }

    /// Writes one value. One in five is written as it is already.
    async fn write(&self, name: &str, value: &str) -> Result<(), Error> {
        let key = key(name, value);
        let there =
            self.net.server.with_state(|state| state.kv().get(&key).map(|entry| entry.value.to_vec())).flatten();
        let text = if let Some(same) = there.filter(|_| self.drawn(|rng| rng.chance(200))) {
            same
        } else {
            let mut written = lock(&self.written);
            *written += 1;
            format!("v{written}").into_bytes()
        };
        let _hands = self.users.hands.lock().await;
        self.client.kv_put(&key, text, &Put::default()).await.map(drop)
    }

    /// Writes up to three, with a pause between each.
    async fn write_some(&self, name: &str, pause: (Duration, Duration)) -> Result<String, Error> {
        let number = 1 + self.drawn(|rng| rng.below(3));
        for _ in 0..number {
            let value = self.drawn(|rng| rng.pick(&NAMES).copied()).unwrap_or(NAMES[0]);
            self.write(name, value).await?;
            tokio::time::sleep(self.drawn(|rng| rng.between(pause.0, pause.1))).await;
        }
        Ok(format!("writes {number}"))
    }

    async fn delete(&self, name: &str) -> Result<String, Error> {
        let all: Vec<String> = self.all(name).into_keys().collect();
        let Some(victim) = self.drawn(|rng| rng.pick(&all).cloned()) else { return Ok("nothing to delete".to_owned()) };
        let _hands = self.users.hands.lock().await;
        self.client.kv_delete(&victim, None).await?;
        Ok(format!("deletes {victim}"))
    }

    /// Everything goes by mistake, and is put back: mostly before that is believed.
    async fn wipe_and_put_back(&self, name: &str) -> Result<String, Error> {
        let before = self.wipe(name).await?;
        let rest = self.drawn(|rng| rng.between(Duration::from_secs(1), Duration::from_secs(36)));
        tokio::time::sleep(rest).await;
        let _hands = self.users.hands.lock().await;
        for (key, value) in &before {
            self.client.kv_put(key, value.clone(), &Put::default()).await?;
        }
        Ok(format!("wipes {} for {rest:?}", before.len()))
    }

    async fn wipe(&self, name: &str) -> Result<BTreeMap<String, Vec<u8>>, Error> {
        let _hands = self.users.hands.lock().await;
        let before = self.all(name);
        self.client.kv_delete_tree(&Keys::default().overrides(&ObjectKey::new("default", name))).await?;
        Ok(before)
    }

    /// Somebody writes bytes, and mostly puts it right.
    async fn no_text(&self, name: &str) -> Result<String, Error> {
        let hands = self.users.hands.lock().await;
        self.client.kv_put(&key(name, NAMES[2]), NO_TEXT, &Put::default()).await?;
        drop(hands);
        let rest = self.drawn(|rng| rng.between(Duration::from_secs(1), Duration::from_secs(30)));
        tokio::time::sleep(rest).await;
        if self.drawn(|rng| rng.chance(200)) {
            return Ok("writes what is no text".to_owned());
        }
        self.write(name, NAMES[2]).await?;
        Ok(format!("writes what is no text, for {rest:?}"))
    }

    /// The sentinel of all values goes, and comes back: meanwhile none of them can be seen.
    async fn lose_sentinel(&self) -> Result<String, Error> {
        self.client.kv_delete(&sentinel(), None).await?;
        let rest = self.drawn(|rng| rng.between(Duration::from_secs(5), Duration::from_mins(1)));
        tokio::time::sleep(rest).await;
        self.mend().await;
        Ok(format!("loses the sentinel for {rest:?}"))
    }

    fn all(&self, name: &str) -> BTreeMap<String, Vec<u8>> {
        let state = self.net.server.state();
        let prefix = Keys::default().overrides(&ObjectKey::new("default", name));
        truth::keys_under(&state, &prefix).map(|entry| (entry.key.clone(), entry.value.to_vec())).collect()
    }
}

/// The key of a value of a Deployment.
pub fn key(name: &str, value: &str) -> String {
    format!("{}{value}", Keys::default().overrides(&ObjectKey::new("default", name)))
}

fn sentinel() -> String {
    format!("{}{SENTINEL}", Keys::default().overrides_root())
}
