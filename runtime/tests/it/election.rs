//! The elector on the embedded server under paused time: deaths, farewells, broken roads and lost rights.

use std::{collections::BTreeMap, time::Duration};

use consul_client::{Client, Put, Read, TxnOp};
use consul_embedded::{AclTable, Rules};
use helium_runtime::{
    leader::{Elector, ElectorConfig, Holder, Leadership, Lease},
    shutdown::{Shutdown, Trigger},
};
use tokio::sync::watch;

use crate::world::{Road, World, within};

const S: fn(u64) -> Duration = Duration::from_secs;
const LOCK: &str = "lock/controller";

struct Candidate {
    elector: Elector,
    leadership: watch::Receiver<Leadership>,
    trigger: Trigger,
}

fn config(id: &str) -> ElectorConfig {
    ElectorConfig::new("controller", id, LOCK)
}

fn start(world: &World, client: Client, config: ElectorConfig) -> Candidate {
    let (trigger, shutdown) = Shutdown::new();
    let elector = Elector::start(client, config, world.ports.clone(), shutdown);
    Candidate { leadership: elector.leadership(), elector, trigger }
}

impl Candidate {
    async fn leads_within(&mut self, limit: Duration) -> Lease {
        within(limit, &mut self.leadership, "it leads", Leadership::is_leading).await;
        self.lease().unwrap()
    }

    fn lease(&self) -> Option<Lease> {
        self.leadership.borrow().lease().cloned()
    }
}

#[tokio::test(start_paused = true)]
async fn one_leads_and_the_other_knows_who_and_since_when() {
    let world = World::new();
    let mut first = start(&world, world.client(), config("a"));
    let lease = first.leads_within(S(1)).await;
    let mut second = start(&world, world.client(), config("b"));
    let holder = Holder { id: "a".into(), address: String::new(), since: lease.since };
    within(
        S(1),
        &mut second.leadership,
        "it knows",
        |now| matches!(now, Leadership::Standby { leader: Some(leader) } if *leader == holder),
    )
    .await;
    tokio::time::sleep(S(3600)).await;
    assert_eq!(first.lease().unwrap().fence, lease.fence);
    assert!(lease.is_valid(&world.ports), "a clone kept for an hour is as good as a new one");
    assert!(lease.remaining(&world.ports) <= S(15));
}

#[tokio::test(start_paused = true)]
async fn a_death_is_noticed_within_4_s_and_a_farewell_at_once() {
    let world = World::new();
    let mut first = start(&world, world.client(), config("a"));
    first.leads_within(S(1)).await;
    let mut second = start(&world, world.client(), config("b"));
    tokio::time::sleep(S(10)).await;
    drop(first);
    let lease = second.leads_within(S(4)).await;
    assert_eq!(lease.since, world.ports.now());
    let mut third = start(&world, world.client(), config("c"));
    tokio::time::sleep(S(10)).await;
    second.trigger.trigger();
    third.leads_within(Duration::from_millis(1)).await;
    second.elector.stopped().await;
    assert!(second.leadership.borrow().lease().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_dead_leader_without_any_standby_is_followed_by_the_next_that_starts() {
    let world = World::new();
    let mut first = start(&world, world.client(), config("a"));
    first.leads_within(S(1)).await;
    drop(first);
    tokio::time::sleep(S(20)).await;
    let mut second = start(&world, world.client(), config("b"));
    second.leads_within(S(2)).await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_cut_off_stops_acting_and_goes_on_with_the_same_session_when_it_may() {
    let world = World::new();
    let mut only = start(&world, world.client(), config("a"));
    let lease = only.leads_within(S(1)).await;
    for road in [Road::Frozen, Road::Broken] {
        world.set_road(road);
        tokio::time::sleep(S(9)).await;
        assert!(lease.is_valid(&world.ports), "{road:?}: it was renewed a moment ago");
        tokio::time::sleep(S(7)).await;
        assert!(!lease.is_valid(&world.ports), "{road:?}: half a TTL is over");
        tokio::time::sleep(S(4)).await;
        world.set_road(Road::Open);
        tokio::time::sleep(S(4)).await;
        assert!(lease.is_valid(&world.ports), "{road:?}: the same lease");
        assert_eq!(only.lease().unwrap().fence, lease.fence);
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_cut_off_for_good_is_followed_and_steps_down_when_it_hears_of_it() {
    let world = World::new();
    let mut first = start(&world, world.client(), config("a"));
    let old = first.leads_within(S(1)).await;
    let user = Client::over(world.server.transport(), None);
    let mut second = start(&world, user, config("b"));
    tokio::time::sleep(S(10)).await;
    world.set_road(Road::Broken);
    let new = second.leads_within(S(5)).await;
    assert_ne!(new.fence.session, old.fence.session);
    tokio::time::sleep(S(20)).await;
    assert!(!old.is_valid(&world.ports));
    world.set_road(Road::Open);
    within(
        S(5),
        &mut first.leadership,
        "it follows",
        |now| matches!(now, Leadership::Standby { leader: Some(leader) } if leader.id == "b"),
    )
    .await;
    let refused = world.user().txn(&[old.fence.op(), TxnOp::set("x", "y")]).await;
    assert!(refused.is_err());
}

#[tokio::test(start_paused = true)]
async fn the_dead_are_put_out_of_the_register_and_those_who_were_cut_off_come_back() {
    let world = World::new();
    let mut first = start(&world, world.client(), config("a"));
    first.leads_within(S(1)).await;
    drop(first);
    let user = world.user();
    let registered = async |id: &str| user.agent_services().await.unwrap().contains_key(id);
    tokio::time::sleep(S(590)).await;
    assert!(registered("controller-a").await, "until its session is long gone its check is how its death is known");
    tokio::time::sleep(S(50)).await;
    assert!(!registered("controller-a").await);
    assert!(user.agent_checks().await.unwrap().is_empty());

    let mut second = start(&world, world.client(), config("b"));
    second.leads_within(S(5)).await;
    world.set_road(Road::Broken);
    tokio::time::sleep(S(660)).await;
    assert!(!registered("controller-b").await);
    world.set_road(Road::Open);
    second.leads_within(S(5)).await;
    tokio::time::sleep(S(5)).await;
    assert!(registered("controller-b").await);
}

#[tokio::test(start_paused = true)]
async fn the_back_stop_frees_the_lock_of_a_leader_whose_check_is_gone() {
    let world = World::new();
    let mut first = start(&world, world.client(), config("a"));
    first.leads_within(S(1)).await;
    let mut second = start(&world, world.client(), config("b"));
    tokio::time::sleep(S(10)).await;
    drop(first);
    world.user().agent_deregister_service("controller-a").await.unwrap();
    tokio::time::sleep(S(20)).await;
    assert!(second.lease().is_none(), "an absent check proves nothing");
    second.leads_within(S(41)).await;
}

#[tokio::test(start_paused = true)]
async fn a_token_without_rights_does_not_end_a_leadership_that_the_store_still_knows() {
    let world = World::new();
    let table = |rules| Some(AclTable::from([("t".to_owned(), rules)]));
    world.server.set_acl(table(Rules::all()));
    let mut only = start(&world, world.client_as(Some("t")), config("a"));
    let lease = only.leads_within(S(1)).await;
    world.server.set_acl(table(Rules { keys: BTreeMap::new(), ..Rules::default() }));
    tokio::time::sleep(S(20)).await;
    assert!(!lease.is_valid(&world.ports));
    world.server.set_acl(table(Rules::all()));
    tokio::time::sleep(S(5)).await;
    assert!(lease.is_valid(&world.ports));
    assert_eq!(only.lease().unwrap().fence, lease.fence);
}

#[tokio::test(start_paused = true)]
async fn a_plain_write_to_the_lock_by_anybody_changes_nothing() {
    let world = World::new();
    let mut only = start(&world, world.client(), config("a"));
    let lease = only.leads_within(S(1)).await;
    world.user().kv_put(LOCK, "garbage", &Put::default()).await.unwrap();
    tokio::time::sleep(S(60)).await;
    let now = only.lease().unwrap();
    assert_eq!((now.fence, now.since), (lease.fence, lease.since));
}

#[tokio::test(start_paused = true)]
async fn a_life_that_resumes_its_session_leads_on_since_the_same_instant() {
    let world = World::new();
    let mut first = start(&world, world.client(), config("a"));
    let lease = first.leads_within(S(1)).await;
    drop(first);
    tokio::time::sleep(S(2)).await;
    let resume = Some(lease.fence.session.clone());
    let mut again = start(&world, world.client(), ElectorConfig { resume, ..config("a") });
    let resumed = again.leads_within(S(1)).await;
    assert_eq!((resumed.fence, resumed.since), (lease.fence, lease.since));
    assert_eq!(world.user().session_list(&Read::default()).await.unwrap().value.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn at_rest_a_leader_and_a_standby_write_nothing() {
    let world = World::new();
    let mut first = start(&world, world.client(), config("a"));
    first.leads_within(S(1)).await;
    let second = start(&world, world.client(), config("b"));
    tokio::time::sleep(S(60)).await;
    let index = world.server.index();
    tokio::time::sleep(S(3600)).await;
    assert_eq!(world.server.index(), index);
    drop(second);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_its_peers_cannot_reach_for_a_moment_does_not_cost_the_leadership() {
    let world = World::new();
    let mut only = start(&world, world.client(), config("a"));
    let lease = only.leads_within(S(1)).await;
    world.server.set_reachable("localhost", false);
    tokio::time::sleep(S(10)).await;
    world.server.set_reachable("localhost", true);
    tokio::time::sleep(S(10)).await;
    assert_eq!(only.lease().unwrap().fence, lease.fence);
    assert!(lease.is_valid(&world.ports));
}
