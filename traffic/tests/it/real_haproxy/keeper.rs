//! A keeper through what happens to Consul, to HAProxy and to itself.

use std::fs;

use helium_e2e::{Consul, HaProxy, Options};
use helium_traffic::{KeeperConfig, Trouble, haproxy::SlotState, sight::Doubt};

use super::{Running, client, config, deregister, live, maintain, once, register, reloading, slots, until, until_live};

/// A Consul in which these ports pass, and a HAProxy that was started from the first file.
async fn world(ports: &[u16]) -> (Consul, HaProxy) {
    let (consul, mut haproxy) = (Consul::start(), HaProxy::prepare("web"));
    register(&consul, ports);
    let file_only = KeeperConfig { socket: None, ..config(&haproxy) };
    assert!(once(file_only, client(&consul, None)).await.troubles.is_empty());
    haproxy.start();
    (consul, haproxy)
}

fn file(haproxy: &HaProxy) -> String {
    fs::read_to_string(haproxy.file()).unwrap()
}

#[tokio::test]
async fn haproxy_that_starts_from_the_file_is_right_at_once_and_needs_not_a_word() {
    let (consul, haproxy) = world(&[7001]).await;
    assert_eq!(live(&haproxy).await, [7001]);
    let before = fs::metadata(haproxy.file()).unwrap().modified().unwrap();
    let round = once(config(&haproxy), client(&consul, None)).await;
    assert!(round.troubles.is_empty() && round.servers["web"] == 1, "{round:?}");
    assert_eq!(fs::metadata(haproxy.file()).unwrap().modified().unwrap(), before, "the file was written again");
}

#[tokio::test]
async fn instances_come_and_go_without_a_reload() {
    let (consul, haproxy) = world(&[7001]).await;
    let workers = haproxy.workers();
    let keeper = Running::start(reloading(&haproxy), client(&consul, None));
    register(&consul, &[7002]);
    until_live(&haproxy, &[7001, 7002]).await;
    maintain(&consul, 7001);
    until_live(&haproxy, &[7002]).await;
    until("the slot of 7001 is free", async || slots(&haproxy).await[0].is_free()).await;
    register(&consul, &[7003]);
    until_live(&haproxy, &[7002, 7003]).await;
    deregister(&consul, &[7001]);
    keeper.stop().await;
    assert_eq!(haproxy.workers(), workers, "it was reloaded");
    assert!(haproxy.takes_its_files());
}

#[tokio::test]
async fn weights_of_consul_reach_haproxy() {
    let (consul, haproxy) = world(&[7001]).await;
    let heavy = r#"{"Name": "web", "ID": "heavy", "Address": "127.0.0.1", "Port": 7002, "Weights": {"Passing": 3, "Warning": 1}}"#;
    consul.http().put("/v1/agent/service/register", heavy);
    once(config(&haproxy), client(&consul, None)).await;
    let weights: Vec<u16> = slots(&haproxy).await.iter().map(|slot| slot.weight).collect();
    assert_eq!((live(&haproxy).await, weights), (vec![7001, 7002], vec![1, 3]));
}

#[tokio::test]
async fn more_instances_than_slots_are_had_by_a_reload() {
    let (consul, haproxy) = world(&[7001]).await;
    let workers = haproxy.workers();
    let keeper = Running::start(reloading(&haproxy), client(&consul, None));
    register(&consul, &[7002, 7003, 7004, 7005]);
    until_live(&haproxy, &[7001, 7002, 7003, 7004, 7005]).await;
    keeper.stop().await;
    assert_ne!(haproxy.workers(), workers);
}

#[tokio::test]
async fn a_single_round_waits_until_the_reload_shows() {
    let (consul, haproxy) = world(&[7001]).await;
    register(&consul, &[7002, 7003]);
    let round = once(reloading(&haproxy), client(&consul, None)).await;
    assert!(round.troubles.is_empty(), "{round:?}");
    assert_eq!(live(&haproxy).await, [7001, 7002, 7003]);
}

#[tokio::test]
async fn without_a_way_to_reload_the_first_slots_are_used_and_the_rest_is_told() {
    let (consul, mut haproxy) = world(&[7001]).await;
    register(&consul, &[7002, 7003]);
    let round = once(config(&haproxy), client(&consul, None)).await;
    assert_eq!(live(&haproxy).await, [7001, 7002]);
    let [trouble @ Trouble::TooFewSlots { slots: 2, lacking: 1, .. }] = round.troubles.as_slice() else {
        panic!("{round:?}");
    };
    assert!(trouble.to_string().contains("`--reload`"), "{trouble}");
    haproxy.start();
    assert_eq!(live(&haproxy).await, [7001, 7002, 7003], "the file has them all");
}

#[tokio::test]
async fn a_haproxy_that_was_killed_or_changed_by_hand_is_put_right() {
    let (consul, mut haproxy) = world(&[7001, 7002]).await;
    let keeper = Running::start(config(&haproxy), client(&consul, None));
    haproxy.ask("set server web/slot-1 state maint");
    until_live(&haproxy, &[7001, 7002]).await;
    haproxy.kill();
    deregister(&consul, &[7001]);
    until("the file is right meanwhile", async || !file(&haproxy).contains("7001")).await;
    haproxy.start();
    assert_eq!(live(&haproxy).await, [7002]);
    register(&consul, &[7003]);
    until_live(&haproxy, &[7002, 7003]).await;
    keeper.stop().await;
}

#[tokio::test]
async fn while_consul_is_away_nothing_is_taken_out() {
    let (mut consul, haproxy) = world(&[7001, 7002]).await;
    let keeper = Running::start(config(&haproxy), client(&consul, None));
    until_live(&haproxy, &[7001, 7002]).await;
    consul.kill();
    haproxy.ask("set server web/slot-1 state maint");
    until_live(&haproxy, &[7001, 7002]).await;
    keeper.stop().await;
    // One that starts now knows from the file and from HAProxy, and has not seen anything.
    let keeper = Running::start(config(&haproxy), client(&consul, None));
    haproxy.ask("set server web/slot-2 state drain");
    until_live(&haproxy, &[7001, 7002]).await;
    // A Consul without a memory knows of no service; that is no reason either.
    consul.start_again();
    register(&consul, &[7003]);
    until("the new one is in", async || live(&haproxy).await.contains(&7003)).await;
    keeper.stop().await;
}

#[tokio::test]
async fn an_empty_catalog_is_believed_only_after_a_while() {
    let (consul, haproxy) = world(&[7001]).await;
    deregister(&consul, &[7001]);
    let (round, wanted) = {
        let mut keeper =
            helium_traffic::Keeper::new(config(&haproxy), client(&consul, None), helium_runtime::ports::Ports::real());
        keeper.once().await.unwrap()
    };
    assert!(round.troubles.is_empty());
    assert_eq!(wanted["web"].doubt, Some(Doubt::Nothing { proven: true }));
    assert_eq!(live(&haproxy).await, [7001]);
    let impatient = KeeperConfig { patience: std::time::Duration::from_secs(1), ..config(&haproxy) };
    let keeper = Running::start(impatient, client(&consul, None));
    until_live(&haproxy, &[]).await;
    assert!(!file(&haproxy).contains("7001"));
    keeper.stop().await;
}

#[tokio::test]
async fn a_token_that_has_lost_its_rights_empties_nothing() {
    let (consul, mut haproxy) =
        (Consul::with(Options { default_deny: true, ..Options::default() }), HaProxy::prepare("web"));
    register(&consul, &[7001]);
    let rights = "service_prefix \"\" { policy = \"read\" } node_prefix \"\" { policy = \"read\" }";
    consul.set_policy("traffic", rights);
    let token = consul.token("traffic");
    let read = || client(&consul, Some(&token));
    let file_only = KeeperConfig { socket: None, ..config(&haproxy) };
    until("the token reads", async || once(file_only.clone(), read()).await.servers["web"] == 1).await;
    haproxy.start();
    let impatient = KeeperConfig { patience: std::time::Duration::ZERO, ..config(&haproxy) };
    let keeper = Running::start(impatient.clone(), read());
    consul.set_policy("traffic", "");
    until("the token reads no more", async || {
        let mut keeper = helium_traffic::Keeper::new(impatient.clone(), read(), helium_runtime::ports::Ports::real());
        let wanted = keeper.once().await.unwrap().1;
        assert_eq!(live(&haproxy).await, [7001]);
        wanted["web"].doubt == Some(Doubt::Nothing { proven: false })
    })
    .await;
    keeper.stop().await;
    assert_eq!(slots(&haproxy).await[0].state, SlotState::Ready);
}

#[tokio::test]
async fn a_file_that_the_check_refuses_is_told_and_haproxy_is_kept_in_step_all_the_same() {
    let (consul, haproxy) = world(&[7001]).await;
    let old = file(&haproxy);
    register(&consul, &[7002]);
    let refusing = KeeperConfig { check: Some("grep -q nonsense {}".to_owned()), ..config(&haproxy) };
    let round = once(refusing, client(&consul, None)).await;
    assert!(matches!(round.troubles.as_slice(), [Trouble::File(_)]), "{round:?}");
    assert_eq!((file(&haproxy), live(&haproxy).await), (old, vec![7001, 7002]));
    let binary = HaProxy::binary().unwrap();
    let check = format!("{} -c -f {} -f {{}}", binary.display(), haproxy.own_file());
    let round = once(KeeperConfig { check: Some(check), ..config(&haproxy) }, client(&consul, None)).await;
    assert!(round.troubles.is_empty() && file(&haproxy).contains("7002"), "{round:?}");
}
