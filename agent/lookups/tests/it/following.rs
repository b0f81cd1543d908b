//! The follower: what is read, how often, over how many connections, and what is known meanwhile.

use std::{collections::BTreeSet, time::Duration};

use consul_client::{CatalogRegistration, Service};
use consul_embedded::{Access, AclTable, Rules};
use helium_lookups::{Answers, Follower, FollowerConfig};
use helium_templates::lookup::{Answer, Lookup as _, Question};

use crate::world::{World, until};

fn key(key: impl Into<String>) -> Question {
    Question::Key(key.into())
}

fn questions(list: impl IntoIterator<Item = Question>) -> BTreeSet<Question> {
    list.into_iter().collect()
}

fn follower(world: &World, list: impl IntoIterator<Item = Question>) -> Follower {
    let mut follower = Follower::new(world.client(), world.ports.clone(), FollowerConfig::default());
    follower.follow(&questions(list));
    follower
}

/// Waits until the follower knows something, at every change of it.
async fn knows(follower: &mut Follower, what: impl Fn(&Answers) -> bool) {
    let waiting = async {
        while !what(&follower.answers()) {
            follower.changed().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(3), waiting).await.expect("it never came to know this");
}

fn is(answers: &Answers, key: &str, value: &str) -> bool {
    answers.key(key) == Answer::Known(Some(value.to_owned()))
}

#[tokio::test(start_paused = true)]
async fn a_thousand_keys_need_at_most_ten_connections_and_a_change_of_one_is_one_request_more() {
    let world = World::new();
    let names: Vec<String> = (0..1000).map(|at| format!("config/app{}/{at}", at % 20)).collect();
    for name in &names {
        world.put(name, "1").await;
    }
    let mut follower = follower(&world, names.iter().map(key));
    knows(&mut follower, |answers| names.iter().all(|name| is(answers, name, "1"))).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(world.under_way() <= 10, "{}", world.under_way());
    let plan = follower.plan();
    assert_eq!((plan.follow.len(), plan.sweep.len()), (8, 12), "twenty folders below one of a single segment");
    world.take_requests();
    world.put("config/app0/0", "2").await;
    knows(&mut follower, |answers| is(answers, "config/app0/0", "2")).await;
    assert_eq!(world.take_requests().len(), 1, "the next poll of its folder");
    world.put(&names[19], "2").await;
    knows(&mut follower, |answers| is(answers, &names[19], "2")).await;
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_nobody_wants_runs_to_its_end_and_is_the_same_one_if_it_is_wanted_again() {
    let world = World::new();
    world.put("a/b/c", "1").await;
    let mut follower = follower(&world, [key("a/b/c")]);
    knows(&mut follower, |answers| is(answers, "a/b/c", "1")).await;
    until("it waits", || world.server.blocked_reads() == 1).await;
    world.take_requests();
    follower.follow(&BTreeSet::new());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!((world.server.blocked_reads(), world.take_requests().len()), (1, 0));
    follower.follow(&questions([key("a/b/c")]));
    world.put("a/b/c", "2").await;
    knows(&mut follower, |answers| is(answers, "a/b/c", "2")).await;
    follower.follow(&BTreeSet::new());
    until("nobody asks", || world.server.blocked_reads() == 0).await;
    assert_eq!(follower.answers().key("a/b/c"), Answer::NotYet, "what nobody follows is not known");
}

#[tokio::test(start_paused = true)]
async fn while_consul_is_away_for_ten_minutes_all_stays_known_and_later_changes_are_seen() {
    let world = World::new();
    world.put("a/b/c", "1").await;
    let mut follower = follower(&world, [key("a/b/c")]);
    knows(&mut follower, |answers| is(answers, "a/b/c", "1")).await;
    world.take_requests();
    world.open_road(false);
    tokio::time::sleep(Duration::from_mins(10)).await;
    let answers = follower.answers();
    assert!(is(&answers, "a/b/c", "1"));
    let troubles = answers.troubles();
    let (_, since, trouble) = &troubles[0];
    assert!(trouble.to_string().contains("the road is broken"), "{trouble}");
    assert!(*since < "2026-01-01T00:01:00Z".parse().unwrap(), "{since}");
    let tries = world.take_requests().len();
    assert!((60..1200).contains(&tries), "{tries} tries in ten minutes");
    world.put("a/b/c", "2").await;
    world.open_road(true);
    knows(&mut follower, |answers| is(answers, "a/b/c", "2")).await;
    assert!(follower.answers().troubles().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_prefix_that_is_wiped_is_believed_only_after_a_while() {
    let world = World::new();
    world.put("app/a", "1").await;
    let mut follower = follower(&world, [Question::Keys("app".to_owned())]);
    let empty = |answers: &Answers| matches!(answers.keys("app/"), Answer::Known(found) if found.is_empty());
    knows(&mut follower, |answers| is(answers, "app/a", "1")).await;
    let begun = world.ports.monotonic();
    world.delete("app/a").await;
    tokio::time::sleep(Duration::from_secs(50)).await;
    assert!(is(&follower.answers(), "app/a", "1"));
    assert!(follower.answers().troubles()[0].2.to_string().contains("is empty now"));
    knows(&mut follower, empty).await;
    let after = world.ports.monotonic().saturating_sub(begun);
    assert!((Duration::from_mins(1)..Duration::from_secs(62)).contains(&after), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_comes_back_older_is_not_believed_until_it_stays_so() {
    let world = World::new();
    world.put("app/a", "old").await;
    let old = world.server.state();
    for value in 0..20 {
        world.put("app/a", &value.to_string()).await;
    }
    let mut follower = follower(&world, [key("app/a")]);
    knows(&mut follower, |answers| is(answers, "app/a", "19")).await;
    world.server.restore(old);
    tokio::time::sleep(Duration::from_secs(55)).await;
    assert!(is(&follower.answers(), "app/a", "19"));
    knows(&mut follower, |answers| is(answers, "app/a", "old")).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_keeps_a_restart_from_believing_an_empty_prefix() {
    let world = World::new();
    world.put("app/a", "1").await;
    let mut first = follower(&world, [Question::Keys("app/".to_owned())]);
    knows(&mut first, |answers| is(answers, "app/a", "1")).await;
    let believed = first.believed();
    drop(first);
    world.delete("app/a").await;
    let config = FollowerConfig { believed, ..FollowerConfig::default() };
    let mut second = Follower::new(world.client(), world.ports.clone(), config);
    second.follow(&questions([Question::Keys("app/".to_owned())]));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(second.answers().keys("app/"), Answer::NotYet);
    let why = second.answers().why_lacking(&Question::Keys("app".to_owned())).unwrap();
    assert!(why.contains("it held something and is empty now"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_the_token_may_not_read_is_gone_around_key_by_key() {
    let world = World::new();
    for name in ["a/b/one", "a/b/two", "a/b/three"] {
        world.put(name, "1").await;
    }
    let keys = ["a/b/one", "a/b/two"].map(|key| (key.to_owned(), Access::Read)).into();
    let rules = Rules { keys, ..Rules::default() };
    world.server.set_acl(Some(AclTable::from([("mine".to_owned(), rules)])));
    let mut follower = Follower::new(world.client_as(Some("mine")), world.ports.clone(), FollowerConfig::default());
    follower.follow(&questions([key("a/b/one"), key("a/b/two")]));
    knows(&mut follower, |answers| is(answers, "a/b/one", "1") && is(answers, "a/b/two", "1")).await;
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_holds_far_more_than_is_asked_for_is_not_read_again() {
    let world = World::new();
    for at in 0..1100 {
        world.put(&format!("a/b/{at}"), "1").await;
    }
    let mut follower = follower(&world, [key("a/b/1"), key("a/b/2")]);
    knows(&mut follower, |answers| is(answers, "a/b/1", "1")).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    follower.changed().await;
    assert_eq!(follower.plan().follow.len(), 2);
    world.put("a/b/2", "2").await;
    knows(&mut follower, |answers| is(answers, "a/b/2", "2") && is(answers, "a/b/1", "1")).await;
}

#[tokio::test(start_paused = true)]
async fn a_service_is_its_passing_instances_by_tag_and_at_their_own_address() {
    let world = World::new();
    let service = Service {
        id: "db-1".into(),
        service: "db".into(),
        tags: vec!["primary".into()],
        port: 5432,
        ..Service::default()
    };
    let registration = CatalogRegistration {
        node: "n1".into(),
        address: "10.0.0.7".into(),
        service: Some(service),
        ..CatalogRegistration::default()
    };
    world.user().catalog_register(&registration).await.unwrap();
    let mut follower = follower(&world, [Question::Services { name: "db".into(), tag: None }]);
    knows(&mut follower, |answers| matches!(answers.services("db", None), Answer::Known(found) if found.len() == 1))
        .await;
    let Answer::Known(found) = follower.answers().services("db", Some("primary")) else { panic!() };
    assert_eq!((found[0].address.as_str(), found[0].port, found[0].node.as_str()), ("10.0.0.7", 5432, "n1"));
    assert_eq!(follower.answers().services("db", Some("replica")), Answer::Known(vec![]));
}
