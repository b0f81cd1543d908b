//! How long changes are waited for, under paused time.

use std::collections::BTreeMap;

use consul_client::Client;
use helium_crds::package::Templates;
use helium_lookups::{Follower, FollowerConfig};

use super::*;
use crate::{
    instance::work::{Prepared, Trouble},
    testing,
};

/// An instance whose answers change when the test says so.
struct World {
    ports: Ports,
    answers: watch::Sender<Arc<Answers>>,
    freshness: Freshness,
}

impl World {
    /// With the templates of this JSON. Its files were made, in vain, so that any change may mend that.
    fn new(seed: u64, templates: &str) -> Self {
        let ports = Ports::seeded(seed, testing::instant(0));
        let server = consul_embedded::Server::in_memory(&consul_embedded::Config::default());
        let client = Client::over(server.transport(), None);
        let (answers, latest) =
            watch::channel(Follower::new(client, ports.clone(), FollowerConfig::default()).answers());
        let mut template = testing::assignment("hello-0").template;
        template.templates = Some(serde_json::from_str::<Templates>(templates).unwrap());
        let freshness = Freshness::new(&template, latest, &ports, ports.now());
        let mut world = Self { ports, answers, freshness };
        world.make();
        world
    }

    /// Something changes.
    fn change(&self) {
        self.answers.send_modify(|_| {});
    }

    /// The files are made, in vain and for good.
    fn make(&mut self) {
        self.freshness.begun();
        self.freshness.ended(Work::Refresh, &Err(Trouble::lasting("a name is missing")), None, self.ports.now());
    }

    /// What the instance's task does at any moment; true if it made the files.
    fn turn(&mut self) -> bool {
        if self.freshness.has_news() {
            let answers = Arc::clone(&self.answers.borrow());
            let known = InstanceLookup { answers, namespace: "default".to_owned(), env: Arc::new(BTreeMap::new()) };
            self.freshness.look(&known, self.ports.now());
        }
        let makes = self.freshness.is_stale(self.ports.now());
        if makes {
            self.make();
        }
        makes
    }

    /// When the files were made, in milliseconds, while something changed every `every` until `until`, and a minute more.
    async fn makings(&mut self, every: u64, until: u64) -> Vec<u128> {
        let (mut made, began) = (Vec::new(), self.ports.monotonic());
        let (mut change_at, end) = (0, until + 60_000);
        loop {
            let now = u64::try_from(self.ports.monotonic().saturating_sub(began).as_millis()).unwrap();
            if now >= end {
                return made;
            }
            if now >= change_at && now < until {
                self.change();
                change_at = now + every;
            }
            if self.turn() {
                made.push(self.ports.monotonic().saturating_sub(began).as_millis());
            }
            let next = Duration::from_millis(if now < until { change_at - now } else { end - now });
            let due = self.freshness.due().map(|due| due.duration_since(self.ports.now()));
            let due = due.and_then(|due| Duration::try_from(due).ok()).unwrap_or(Duration::MAX);
            tokio::select! {
                biased;
                () = self.freshness.changed() => {}
                () = tokio::time::sleep(next.min(due)) => {}
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn changes_are_waited_for_until_they_rest_and_not_for_ever() {
    assert_eq!(World::new(1, "{}").makings(100, 150).await, [300], "the second change came after 100 ms");
    assert_eq!(World::new(1, "{}").makings(100, 5000).await, [2000, 4100, 5100]);
}

#[tokio::test(start_paused = true)]
async fn a_template_says_how_long_changes_rest() {
    let quiet = r#"{"quiet": {"min": "1s", "max": "3s"}}"#;
    assert_eq!(World::new(1, quiet).makings(500, 800).await, [1500]);
    assert_eq!(World::new(1, quiet).makings(500, 10_000).await, [3000, 6500, 10_000]);
    assert_eq!(World::new(1, r#"{"quiet": {"min": "1s"}}"#).makings(500, 25_000).await, [10_000, 20_500, 25_500]);
}

#[tokio::test(start_paused = true)]
async fn files_are_made_at_most_once_in_each_rest() {
    for every in [10, 90, 199, 200, 350, 999] {
        let made = World::new(1, r#"{"quiet": {"min": "300ms", "max": "300ms"}}"#).makings(every, 20_000).await;
        assert!(made.len() > 10, "{every}: {made:?}");
        assert!(made.windows(2).all(|pair| pair[1] - pair[0] >= 300), "{every}: {made:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_instance_takes_up_new_files_at_a_time_of_its_own_within_the_splay() {
    let splay = r#"{"splay": "1m"}"#;
    let mut all = Vec::new();
    for seed in 0..40 {
        let made = World::new(seed, splay).makings(1000, 65_000).await;
        // One burst that never ends is looked at every two seconds, and waits for its lot all the same.
        assert!(!made.is_empty() && made[0] >= 200 && made[0] <= 62_001, "{made:?}");
        all.push(made[0]);
    }
    let early = all.iter().filter(|at| **at < 31_000).count();
    assert!((8..=32).contains(&early), "{all:?}");
    all.sort_unstable();
    all.dedup();
    assert!(all.len() > 30, "{all:?}");
}

#[tokio::test(start_paused = true)]
async fn what_failed_and_may_heal_is_not_tried_again_within_a_rest() {
    let mut world = World::new(1, r#"{"quiet": {"min": "5m"}}"#);
    let now = world.ports.now();
    world.freshness.ended(Work::Refresh, &Err(Trouble::may_heal("Consul is away")), None, now);
    assert_eq!(world.freshness.due(), Some(now + SignedDuration::from_mins(5)));
    let mut usual = World::new(1, "{}");
    usual.freshness.ended(Work::Refresh, &Err(Trouble::may_heal("Consul is away")), None, now);
    assert_eq!(usual.freshness.due(), Some(now + AGAIN));
}

#[tokio::test(start_paused = true)]
async fn a_start_is_not_kept_waiting_and_neither_is_it_followed_by_another_making() {
    let mut world = World::new(1, r#"{"splay": "1h"}"#);
    world.freshness.begun();
    let seen = Some(Seen::default());
    world.freshness.ended(Work::Prepare, &Ok(Prepared::default()), seen, world.ports.now());
    assert_eq!((world.freshness.due(), world.freshness.is_stale(world.ports.now())), (None, false));
}
