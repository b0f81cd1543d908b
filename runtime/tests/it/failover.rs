//! Fail-over on a real Consul: who leads after a death, a farewell and a frozen store, and how fast.

use std::time::{Duration, Instant};

use consul_client::{Client, Error, Read, TxnOp};
use helium_runtime::{
    leader::{Elector, ElectorConfig, Leadership, Lease},
    ports::Ports,
    shutdown::{Shutdown, Trigger},
};

use crate::consul::{Consul, until};

const LOCK: &str = "test/lock/controller";

struct Controller {
    id: String,
    elector: Elector,
    trigger: Trigger,
}

fn start(consul: &Consul, id: &str) -> Controller {
    let (trigger, shutdown) = Shutdown::new();
    let config = ElectorConfig::new("test-controller", id, LOCK);
    let elector = Elector::start(consul.client(), config, Ports::real(), shutdown);
    Controller { id: id.to_owned(), elector, trigger }
}

impl Controller {
    fn lease(&self) -> Option<Lease> {
        self.elector.leadership().borrow().lease().cloned()
    }

    async fn leads(&self) -> Lease {
        let mut leadership = self.elector.leadership();
        let led = tokio::time::timeout(Duration::from_secs(10), leadership.wait_for(Leadership::is_leading)).await;
        led.unwrap_or_else(|_| panic!("{} does not lead within 10 s", self.id)).unwrap().lease().unwrap().clone()
    }

    /// Waits until it knows who else leads, so that it is a standby on its guard.
    async fn follows(&self, other: &str) {
        let mut leadership = self.elector.leadership();
        let knows =
            |now: &Leadership| matches!(now, Leadership::Standby { leader: Some(holder) } if holder.id == other);
        let _ = tokio::time::timeout(Duration::from_secs(10), leadership.wait_for(knows)).await.unwrap().unwrap();
    }
}

async fn write(client: &Client, lease: &Lease, key: &str) -> Result<(), Error> {
    client.txn(&[lease.fence.op(), TxnOp::set(key, "x")]).await.map(drop)
}

#[allow(clippy::disallowed_methods, reason = "the test measures real time")]
fn now() -> Instant {
    Instant::now()
}

#[tokio::test]
async fn a_leader_that_dies_is_followed_within_5_s_and_its_writes_are_refused() {
    let consul = Consul::start().await;
    let client = consul.client();
    let first = start(&consul, "first");
    let old = first.leads().await;
    let second = start(&consul, "second");
    second.follows("first").await;
    write(&client, &old, "test/a").await.unwrap();
    // Dropping an elector gives nothing back: to Consul it is a kill -9.
    drop(first);
    let died = now();
    let new = second.leads().await;
    let took = now().duration_since(died);
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(took > Duration::from_millis(1500), "{took:?}: a living leader must not be deposed by one late heartbeat");
    let refused = write(&client, &old, "test/b").await.unwrap_err();
    assert!(matches!(&refused, Error::TxnRefused { errors } if errors[0].op_index == 0), "{refused:?}");
    write(&client, &new, "test/c").await.unwrap();
}

#[tokio::test]
async fn a_leader_that_says_farewell_is_followed_at_once_and_leaves_nothing_behind() {
    let consul = Consul::start().await;
    let client = consul.client();
    let first = start(&consul, "first");
    first.leads().await;
    let second = start(&consul, "second");
    second.follows("first").await;
    let left = now();
    first.trigger.trigger();
    second.leads().await;
    let took = now().duration_since(left);
    assert!(took < Duration::from_secs(1), "{took:?}");
    first.elector.stopped().await;
    let services = client.agent_services().await.unwrap();
    assert_eq!(services.keys().collect::<Vec<_>>(), ["test-controller-second"]);
    let checks = client.agent_checks().await.unwrap();
    assert!(checks.values().all(|check| check.service_id == "test-controller-second"), "{checks:?}");
    assert_eq!(client.session_list(&Read::consistent()).await.unwrap().value.len(), 1);
}

#[tokio::test]
async fn a_store_that_was_frozen_for_20_s_has_the_same_leader_with_the_same_session() {
    let consul = Consul::start().await;
    let client = consul.client();
    let ports = Ports::real();
    let first = start(&consul, "first");
    let before = first.leads().await;
    let second = start(&consul, "second");
    second.follows("first").await;
    consul.freeze();
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(!before.is_valid(&ports), "nothing outside the store may be done any more");
    assert!(first.lease().is_some(), "but leadership is not given up");
    consul.thaw();
    until("the lease is valid again", async || before.is_valid(&ports)).await;
    // Longer than the standby needs to depose anybody.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(first.lease().unwrap().fence, before.fence);
    assert_eq!(first.lease().unwrap().since, before.since);
    assert!(second.lease().is_none());
    write(&client, &before, "test/after").await.unwrap();
}

#[tokio::test]
async fn a_controller_put_out_of_the_register_by_hand_returns_and_still_leads() {
    let consul = Consul::start().await;
    let client = consul.client();
    let only = start(&consul, "only");
    let before = only.leads().await;
    let registered = async || client.agent_services().await.unwrap().contains_key("test-controller-only");
    until("it is registered", registered).await;
    client.agent_deregister_service("test-controller-only").await.unwrap();
    until("it is registered again", registered).await;
    assert_eq!(only.lease().unwrap().fence, before.fence);
}

#[tokio::test]
async fn a_session_or_a_lock_destroyed_by_hand_makes_a_new_leadership() {
    let consul = Consul::start().await;
    let client = consul.client();
    let only = start(&consul, "only");
    let first = only.leads().await;
    client.session_destroy(&first.fence.session).await.unwrap();
    until("another session leads", async || {
        only.lease().is_some_and(|lease| lease.fence.session != first.fence.session)
    })
    .await;
    assert!(!first.is_valid(&Ports::real()), "the old lease has ended");
    write(&client, &first, "test/x").await.unwrap_err();
    let second = only.lease().unwrap();
    client.kv_delete(LOCK, None).await.unwrap();
    until("the lock is taken again", async || only.lease().is_some_and(|lease| lease.since > second.since)).await;
    write(&client, &only.lease().unwrap(), "test/y").await.unwrap();
}
