//! What the nemesis takes out of the store, or out of sight, and gives back.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use consul_client::Put;
use helium_crds::{
    instance::{Assignment, Instance},
    keys::{self, Keys, SENTINEL},
};

use super::{Nemesis, seconds};
use crate::{
    agent::node_name,
    checkers::{Lost, Sense},
    truth,
    world::rights,
};

/// What can be wiped under the root, and what is seen no more without it. The last one is the root itself.
const WIPED: [(&str, Sense); 8] = [
    ("report/", Sense::Reports),
    ("alive/", Sense::Nodes),
    ("node/", Sense::Nodes),
    ("inst/", Sense::Specs),
    ("status/", Sense::Specs),
    ("assign/", Sense::Specs),
    ("spec/", Sense::Specs),
    ("", Sense::Specs),
];

impl Nemesis {
    /// The controllers' token loses the right to see something, and later has it back.
    pub(super) async fn deny(&mut self) -> bool {
        let root = Keys::default().root().to_owned();
        let choices = [
            ("catalog".to_owned(), Sense::Catalog),
            (format!("{root}report/"), Sense::Reports),
            (format!("{root}alive/"), Sense::Nodes),
            (format!("{root}spec/"), Sense::Specs),
            (root, Sense::Specs),
        ];
        let Some((what, sense)) = self.rng.pick(&choices).cloned() else { return false };
        let net = Arc::clone(&self.world.net);
        net.tell(&format!("the controllers may not see {what}"));
        net.server.set_acl(Some(rights(Some(&what))));
        self.blind_for(Some(Lost::all(sense)), seconds(20), seconds(110)).await;
        net.server.set_acl(Some(rights(None)));
        net.tell("the controllers may see everything again");
        true
    }

    /// Something is lost for a while to the controllers' sight, if it is anything that they look at all the time.
    async fn blind_for(&mut self, lost: Option<Lost>, from: Duration, to: Duration) {
        let net = Arc::clone(&self.world.net);
        if let Some(lost) = &lost {
            net.check(|checkers, net| checkers.lose(lost.clone(), net.now()));
        }
        tokio::time::sleep(self.rng.between(from, to)).await;
        if let Some(lost) = &lost {
            net.check(|checkers, net| checkers.regain(lost, net.now()));
        }
    }

    /// A whole prefix goes, sentinels and all, and is put back as it was.
    pub(super) async fn wipe(&mut self) -> bool {
        let Some((room, sense)) = self.rng.pick(&WIPED).copied() else { return false };
        let users = Arc::clone(&self.users);
        let _hands = users.hands.lock().await;
        let prefix = format!("{}{room}", Keys::default().root());
        self.world.net.tell(&format!("{prefix} is wiped"));
        let lost = self.keys_under(&prefix);
        let _wiped = self.client.kv_delete_tree(&prefix).await;
        self.blind_for(Some(Lost::all(sense)), seconds(20), seconds(90)).await;
        self.unmake_new_layout(&lost).await;
        let back: Vec<_> = lost.into_iter().filter(|(key, value)| self.has_a_use(room, key, value)).collect();
        // The specs come last: nothing is planned for them before what was known of them is there again.
        let (specs, others): (Vec<_>, Vec<_>) = back.into_iter().partition(|(key, _)| key.contains("/spec/"));
        self.put_back(others).await;
        self.put_back(specs).await;
        true
    }

    /// A controller that was started over an empty root has made it ready as if it were new, and believes in that. Whoever puts the
    /// old one back has it start anew.
    async fn unmake_new_layout(&self, lost: &[(String, Bytes)]) {
        let layout = Keys::default().layout();
        let Some((_, old)) = lost.iter().find(|(key, _)| *key == layout) else { return };
        let there = self.world.net.server.with_state(|state| state.kv().get(&layout).map(|entry| entry.value.clone()));
        if there.flatten().is_some_and(|new| new != *old) {
            let _gone = self.client.kv_delete(&layout, None).await;
            (0..self.world.controllers.number()).for_each(|number| self.world.controllers.crash(number));
        }
    }

    /// Whether a record that is put back still belongs to something: meanwhile its object may have been deleted. Heartbeats and the
    /// lock come back by themselves, with their sessions.
    fn has_a_use(&self, room: &str, key: &str, value: &Bytes) -> bool {
        let keys = Keys::default();
        let there = |key: &str| self.world.net.server.with_state(|state| state.kv().get(key).is_some()) == Some(true);
        if key.ends_with(SENTINEL) {
            return true;
        }
        if key == keys.controller_lock() || key.starts_with(&keys.heartbeats()) {
            return false;
        }
        match room {
            "inst/" => serde_json::from_slice::<Instance>(value)
                .is_ok_and(|instance| there(&keys.assignment(&instance.node, &instance.id))),
            "assign/" => serde_json::from_slice::<Assignment>(value)
                .is_ok_and(|assignment| there(&keys.instance(&assignment.deployment, &assignment.id))),
            "status/" => there(&key.replacen("/status/", "/spec/", 1)),
            _ => true,
        }
    }

    fn keys_under(&self, prefix: &str) -> Vec<(String, Bytes)> {
        let found = self.world.net.server.with_state(|state| {
            state.kv().under(prefix).map(|entry| (entry.key.clone(), entry.value.clone())).collect()
        });
        found.unwrap_or_default()
    }

    async fn put_back(&self, lost: Vec<(String, Bytes)>) {
        for (key, value) in lost {
            let there = self.world.net.server.with_state(|state| state.kv().get(&key).is_some());
            if there != Some(true) {
                let _put = self.client.kv_put(&key, value, &Put::default()).await;
            }
        }
        self.world.net.forget_past();
    }

    /// One sentinel goes. Most of them guard shards that nothing is in, so mostly one is taken that somebody relies on.
    pub(super) async fn lose_sentinel(&mut self) -> bool {
        let sentinels = if self.rng.chance(750) { self.sentinels_in_use() } else { Keys::default().sentinels() };
        let Some(key) = self.rng.pick(&sentinels).cloned() else { return false };
        if self.keys_under(&key).is_empty() {
            return false;
        }
        self.world.net.tell(&format!("{key} is gone"));
        let _gone = self.client.kv_delete(&key, None).await;
        self.blind_for(watched(&key), seconds(10), seconds(100)).await;
        self.put_back(vec![(key, Bytes::new())]).await;
        true
    }

    /// The sentinels of what is watched: nodes, heartbeats, and the shards of the objects and of the nodes that there are.
    fn sentinels_in_use(&self) -> Vec<String> {
        let keys = Keys::default();
        let objects = truth::objects(&self.world.net.server.state());
        let specs = objects.iter().map(|object| keys.spec_shard(keys::shard(object)));
        let nodes = (0..self.world.nodes()).map(node_name);
        let reports = nodes.map(|node| keys.report_shard(keys::node_shard(&node)));
        let rooms = specs.chain(reports).chain([keys.nodes(), keys.heartbeats()]);
        rooms.map(|prefix| format!("{prefix}{SENTINEL}")).collect()
    }

    /// A third of the specs vanish, as if somebody had deleted their keys, and are put back.
    pub(super) async fn lose_specs(&mut self) -> bool {
        let users = Arc::clone(&self.users);
        let _hands = users.hands.lock().await;
        let prefix = format!("{}spec/", Keys::default().root());
        let specs: Vec<(String, Bytes)> =
            self.keys_under(&prefix).into_iter().filter(|(key, _)| !key.ends_with(SENTINEL)).collect();
        let mut lost: Vec<(String, Bytes)> = specs.iter().filter(|_| self.rng.chance(333)).cloned().collect();
        if lost.is_empty() {
            lost.extend(self.rng.pick(&specs).cloned());
        }
        for (key, _) in &lost {
            self.world.net.tell(&format!("{key} vanishes"));
            let _gone = self.client.kv_delete(key, None).await;
        }
        if lost.is_empty() {
            return false;
        }
        tokio::time::sleep(self.rng.between(seconds(10), seconds(80))).await;
        self.put_back(lost).await;
        true
    }
}

/// What is seen no more without a sentinel: none for the rooms that only the controller writes to, which it reads now and then.
fn watched(sentinel: &str) -> Option<Lost> {
    let rest = sentinel.strip_prefix(Keys::default().root())?;
    match rest.split('/').collect::<Vec<_>>().as_slice() {
        ["spec", shard, _] => Some(Lost { sense: Sense::Specs, shard: Some((*shard).to_owned()) }),
        ["report", shard, _] => Some(Lost { sense: Sense::Reports, shard: Some((*shard).to_owned()) }),
        ["node" | "alive", _] => Some(Lost::all(Sense::Nodes)),
        _ => None,
    }
}
