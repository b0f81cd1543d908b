//! What receivers are told, and when they are told it again.

use std::time::Duration;

use helium_crds::event::{EventReason, Severity};
use serde_json::json;

use crate::{World, one, receiver::Receiver, until};

#[tokio::test]
async fn each_receiver_is_told_what_it_wants_in_its_form() {
    let (all, chat, other) = (Receiver::start().await, Receiver::start().await, Receiver::start().await);
    let world = World::new(
        &format!(
            "notifications:\n  - {{name: all, webhook: {{url: \"{}\"}}}}\n  - {{name: chat, severity: warning, webhook: {{url: \"{}\", \
             format: slack}}}}\n  - {{name: other, deployments: [api], webhook: {{url: \"{}\"}}}}\n",
            all.url("/events?from=helium"),
            chat.url("/"),
            other.url("/"),
        ),
        None,
    );
    world.announce(Severity::Normal, EventReason::CanaryStepDone, "step 1/4 is done");
    world.announce(Severity::Warning, EventReason::RolloutAborted, "2.0.0 was given up");
    world.until_counted("all", "sent", 2).await;
    world.until_counted("chat", "sent", 1).await;

    let told = all.told();
    let mut body = told[1].body.clone();
    assert!(body["at"].take().as_str().unwrap().ends_with('Z'));
    let expected = json!({
        "at": null, "severity": "warning", "reason": "RolloutAborted", "message": "2.0.0 was given up", "kind": "Deployment", "namespace": "default",
        "name": "web", "version": "2.0.0", "stable": "1.0.0", "phase": "RollingBack", "step": 2, "steps": 4, "rollout": "5b1f0c2e",
    });
    assert_eq!(body, expected);
    assert_eq!((told[0].path.as_str(), &told[0].body["reason"]), ("/events?from=helium", &json!("CanaryStepDone")));
    assert_eq!(told[0].headers["content-type"], "application/json");
    assert_eq!(chat.told()[0].body["text"], ":warning: *RolloutAborted* default/web");
    assert!(other.told().is_empty());
    assert_eq!(world.counted("other", "sent"), 0);
}

#[tokio::test]
async fn what_may_heal_is_posted_again_and_the_order_stays() {
    let receiver = Receiver::answering(&[503, 429, 500]).await;
    let world = World::new(&one("a", &format!("url: \"{}\"", receiver.url("/"))), None);
    world.announce_many(0..3);
    world.until_counted("a", "sent", 3).await;
    assert_eq!(receiver.messages(), ["0", "0", "0", "0", "1", "2"]);
}

#[tokio::test]
async fn a_receiver_that_comes_up_late_is_told_what_happened_before() {
    let address = Receiver::start().await.address;
    let world = World::new(&one("a", &format!("url: \"http://{address}/\", timeout: 1s")), None);
    world.announce_many(0..2);
    // The port is free again as soon as the server's task is gone.
    let late = loop {
        if tokio::net::TcpListener::bind(address).await.is_ok() {
            break Receiver::on(address, &[], 1 << 20).await;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    world.until_counted("a", "sent", 2).await;
    assert_eq!(late.messages(), ["0", "1"]);
}

#[tokio::test]
async fn what_cannot_heal_and_what_has_waited_for_too_long_is_given_up() {
    let receiver = Receiver::answering(&[404, 503, 503, 302]).await;
    let world = World::new(&one("a", &format!("url: \"{}\", giveUpAfter: 0s", receiver.url("/"))), None);
    world.announce_many(0..5);
    world.until_counted("a", "sent", 1).await;
    assert_eq!((world.counted("a", "failed"), receiver.messages().join(" ").as_str()), (4, "0 1 2 3 4"));
}

#[tokio::test]
async fn a_receiver_that_does_not_answer_keeps_nobody_waiting_and_the_oldest_go() {
    let (stuck, quick) = (Receiver::stuck().await, Receiver::start().await);
    let settings = format!(
        "notifications:\n  - {{name: stuck, webhook: {{url: \"{}\", timeout: 2m}}}}\n  - {{name: quick, webhook: {{url: \"{}\"}}}}\n",
        stuck.url("/"),
        quick.url("/"),
    );
    let world = World::new(&settings, None);
    world.announce_many(0..1);
    stuck.until_told(1).await;
    world.until_counted("quick", "sent", 1).await;
    for number in 1..1001 {
        world.announce_many(number..number + 1);
        // The quick one is given its time, so that nothing of it is dropped here.
        until("the quick one keeps up", || world.counted("quick", "sent") + 100 > number as u64).await;
    }
    world.until_counted("quick", "sent", 1001).await;
    stuck.let_go();
    world.until_counted("stuck", "sent", 257).await;
    assert_eq!(world.counted("stuck", "dropped"), 1001 - 257);
    let messages = stuck.messages();
    assert_eq!((messages[0].as_str(), messages[1].as_str(), messages[256].as_str()), ("0", "745", "1000"));
}

#[tokio::test]
async fn at_the_end_what_is_queued_is_told_and_a_dead_receiver_gets_a_few_seconds_only() {
    let (good, stuck) = (Receiver::start().await, Receiver::stuck().await);
    let settings = format!(
        "notifications:\n  - {{name: good, webhook: {{url: \"{}\"}}}}\n  - {{name: stuck, webhook: {{url: \"{}\"}}}}\n",
        good.url("/"),
        stuck.url("/"),
    );
    let world = World::new(&settings, None);
    world.announce_many(0..20);
    let (took, world) = world.end().await;
    assert_eq!(good.messages().len(), 20);
    assert!(took < Duration::from_secs(9), "{took:?}");
    assert_eq!((world.counted("good", "sent"), world.counted("stuck", "dropped")), (20, 20));
    world.announce_many(0..1);
    assert_eq!(world.counted("good", "dropped"), 1, "nobody is left to tell it");
}

#[tokio::test]
async fn an_event_of_a_hydra_job_is_told_with_its_newest_build() {
    let all = Receiver::start().await;
    let world = World::new(&format!("notifications: [{{name: all, webhook: {{url: \"{}\"}}}}]", all.url("/")), None);
    let status = json!({
        "uid": "u", "observedGeneration": 1,
        "newest": { "build": 7, "path": "/nix/store/x-web", "version": "x-web", "job": "https://h/job/a/b/c", "foundAt": "2026-03-01T12:00:00Z" },
        "error": { "reason": "Unreachable", "message": "refused", "unreachable": true, "since": "2026-03-01T13:00:00Z" },
    });
    world.announce_job(&serde_json::from_value(status).unwrap(), EventReason::JobNotFollowed, "Unreachable: refused");
    world.until_counted("all", "sent", 1).await;
    let mut body = all.told()[0].body.clone();
    body["at"].take();
    let expected = json!({
        "at": null, "severity": "warning", "reason": "JobNotFollowed", "message": "Unreachable: refused", "kind": "HydraJob",
        "namespace": "default", "name": "main", "version": "x-web", "phase": "Degraded",
    });
    assert_eq!(body, expected);
}
