//! `helium doctor`: what it tells of a store in each state, and what `--repair` mends.

use helium_e2e::Consul;

use crate::{fleet::Fleet, specs::deployment, terminal::Terminal};

/// Without what differs from store to store.
fn without_ids(said: &str) -> String {
    let is_id = |word: &&str| word.len() == 32 && word.chars().all(|digit| digit.is_ascii_hexdigit());
    let ids: Vec<&str> = said.split_whitespace().filter(is_id).collect();
    let said = ids.iter().fold(said.to_owned(), |said, id| said.replace(id, "STORE"));
    let leader = |word: &&str| word.starts_with("127.0.0.1:");
    let leaders: Vec<String> = said.split_whitespace().filter(leader).map(str::to_owned).collect();
    leaders.iter().fold(said, |said, leader| said.replace(leader, "LEADER"))
}

#[test]
fn doctor_tells_a_store_that_lost_something_from_one_that_was_never_used() {
    let consul = Consul::start();
    let mut person = Terminal::on(&consul);
    person.write("hello.yaml", &deployment("hello", "1", 1, ""));
    person.types("doctor", 0);
    person.types("apply -f hello.yaml", 0);
    person.types("doctor", 0);
    consul.http().delete("/v1/kv/helium/v1/node/.keep");
    person.types("doctor", 7);
    person.types("doctor --repair", 0);
    person.types("doctor --repair", 0);
    consul.http().delete("/v1/kv/helium/v1/layout");
    person.types("doctor", 7);
    person.types("apply -f hello.yaml", 7);
    person.types("doctor --repair", 0);
    person.types("apply -f hello.yaml", 0);
    insta::assert_snapshot!("doctor", without_ids(&person.said()));
}

#[test]
fn doctor_names_the_leader_and_counts_who_is_alive_and_what_is_wrong() {
    let fleet = Fleet::of(1);
    fleet.apply(&deployment("web", "1", 1, "")).ok();
    let output = fleet.helium.run(&["doctor"]).ok();
    // The instant of its start ends a controller's name.
    assert!(output.says("ok    controller  controller-1-") && output.says(" leads\n"), "{output}");
    for line in ["ok    nodes       1 of 1 alive", "1, of which 0 degraded"] {
        assert!(output.says(line), "{line:?} is missing\n{output}");
    }
}
