//! The harness itself: what the stories rely on when they say that Consul was restarted, frozen, restored or left.

use std::time::Duration;

use helium_e2e::{Consul, Options, eventually};

#[test]
fn a_durable_server_keeps_its_keys_over_a_crash() {
    let mut consul = Consul::with(Options { durable: true, ..Options::default() });
    consul.http().put("/v1/kv/a/b", "{\"n\": 1}");
    consul.kill();
    consul.start_again();
    assert_eq!(consul.value("a/b")["n"], 1);
    assert_eq!(consul.keys("a/"), ["a/b"]);
}

#[test]
fn a_restored_snapshot_takes_the_keys_back() {
    let consul = Consul::start();
    consul.http().put("/v1/kv/a", "1");
    let before = consul.snapshot();
    consul.http().put("/v1/kv/a", "2");
    consul.restore(&before);
    eventually("the key is as it was", Duration::from_secs(10), || (consul.value("a") == 1).then_some(()));
}

#[test]
fn a_frozen_server_answers_nothing_until_it_is_thawed() {
    let consul = Consul::start();
    consul.freeze();
    let (sender, answer) = std::sync::mpsc::sync_channel(1);
    let http = consul.http();
    let asking = std::thread::spawn(move || sender.send(http.json("/v1/status/leader")).unwrap());
    assert!(answer.recv_timeout(Duration::from_millis(500)).is_err());
    consul.thaw();
    assert!(answer.recv_timeout(Duration::from_secs(10)).unwrap().is_string());
    asking.join().unwrap();
}

#[test]
fn a_client_that_leaves_takes_its_node_out_of_the_catalog_until_it_returns() {
    let server = Consul::start();
    let mut client = server.client("n1");
    let known = || server.http().json("/v1/catalog/node/n1")["Node"]["Node"] == "n1";
    assert!(known());
    client.terminate();
    // A sync of the client that falls between its farewell and its end puts it back, until the leader's look of each minute.
    eventually("n1 is gone", Duration::from_secs(100), || (!known()).then_some(()));
    client.start_again();
    eventually("n1 is back", Duration::from_secs(30), || known().then_some(()));
}

#[test]
fn a_token_sees_nothing_after_its_policy_lost_the_right() {
    let consul = Consul::with(Options { default_deny: true, ..Options::default() });
    consul.http().put("/v1/kv/a/b", "1");
    consul.set_policy("reader", "key_prefix \"a/\" { policy = \"read\" }");
    let reader = consul.http().with_token(&consul.token("reader"));
    eventually("the token reads", Duration::from_secs(10), || (reader.json("/v1/kv/a/b?raw") == 1).then_some(()));
    consul.set_policy("reader", "");
    eventually("the token reads no more", Duration::from_mins(1), || {
        reader.json("/v1/kv/a/b?raw").is_null().then_some(())
    });
}
