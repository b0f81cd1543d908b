use std::time::Duration;

use helium_crds::ObjectKey;
use helium_sim::{show, specs::Wish, world::{Setup, World}};

#[tokio::test(start_paused = true)]
async fn a_first_deployment_becomes_healthy() {
    let world = World::make(&Setup::calm(1, 3, 1)).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let people = world.people(0);
    people.initialise().await.unwrap();
    people.apply(&[Wish::new("web", "1", 3).object().unwrap()]).await.unwrap();
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let state = world.net.server.state();
        for line in show::object(&state, &ObjectKey::new("default", "web")) {
            println!("{line}");
        }
    }
    for line in world.net.trace().last(60) {
        println!("{line}");
    }
    println!("{:?}", world.net.trace().digest());
    assert_eq!(world.net.checkers().violation(), None);
}
