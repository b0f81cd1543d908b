//! Notifications: who is told of a canary that is given up, in which form, and when.

use std::{fs, time::Duration};

use helium_e2e::{Consul, Helium, Inbox, eventually, inbox::Letter, ports};
use serde_json::Value;

use crate::{
    fleet::{Fleet, ROLLOUT},
    specs::{canary, deployment, with_flags},
};

/// How long an event may take to a receiver that had to be asked again for as long as a rollout takes.
const TOLD: Duration = Duration::from_mins(1);
/// What is in no log: the end of an address, and a token.
const SECRET_PATH: &str = "/services/T0S3CRET/B0S3CRET/XXS3CRETXX";
const TOKEN: &str = "t0k3n-S3CRET";

/// What is in the store of what has happened to `web`.
fn stored(fleet: &Fleet) -> Vec<Value> {
    let keys = fleet.consul.keys("helium/v1/events/");
    let key = keys.iter().find(|key| key.ends_with("/default/deployment/web")).unwrap();
    fleet.consul.value(key)["events"].as_array().unwrap().clone()
}

/// Waits until an inbox holds as many letters as there are events that are wanted, and gives both.
#[track_caller]
fn both(fleet: &Fleet, inbox: &Inbox, wanted: impl Fn(&Value) -> bool) -> (Vec<Letter>, Vec<Value>) {
    eventually("everything was told", TOLD, || {
        let events: Vec<Value> = stored(fleet).into_iter().filter(&wanted).collect();
        let letters = inbox.letters();
        (!events.is_empty() && letters.len() >= events.len()).then_some((letters, events))
    })
}

#[test]
fn a_canary_that_is_given_up_is_told_to_whoever_wants_it_and_to_nobody_else() {
    let [team, chat, late] = [(); 3].map(|()| ports::free());
    let mut fleet = Fleet::empty(Consul::start());
    let secrets = fleet.helium.folder().join("secrets");
    fs::create_dir(&secrets).unwrap();
    fs::write(secrets.join("slack"), format!("http://127.0.0.1:{chat}{SECRET_PATH}\n")).unwrap();
    fs::write(secrets.join("token"), format!("{TOKEN}\n")).unwrap();
    let settings = fleet.helium.write(
        "notify.yaml",
        &format!(
            "notifications:\n\
             - {{name: team, webhook: {{url: \"http://127.0.0.1:{team}/hook\", auth: {{bearer: {{file: token}}}}}}, events: [RolloutAborted, RollbackComplete]}}\n\
             - {{name: chat, webhook: {{urlFrom: {{file: slack}}, format: slack}}, severity: warning}}\n\
             - {{name: late, webhook: {{url: \"http://127.0.0.1:{late}/\"}}}}\n\
             - {{name: others, webhook: {{url: \"http://127.0.0.1:{team}/others\"}}, deployments: [api]}}\n"
        ),
    );
    fleet
        .helium
        .set_variable("HELIUM_LOG", "info,helium_notify=trace,helium_analysis=trace,hyper=trace,hyper_util=trace");
    let (team, chat) = (Inbox::on(team), Inbox::on(chat));
    fleet.start_controller_with(&["--notifications", &settings, "--secrets-dir", secrets.to_str().unwrap()]);
    fleet.start_agent(1);
    fleet.await_ready();

    let steps = canary("web", "[{setWeight: 50%}, {soak: 5m}]");
    fleet.apply(&(deployment("web", "1", 2, "") + &steps)).ok();
    fleet.apply_only(&(with_flags("web", "2", 2, "--fail-health-after 12s", "") + &steps));
    fleet.await_phase("web", "Degraded");
    eventually("the way back is over", ROLLOUT, || {
        stored(&fleet).iter().any(|event| event["reason"] == "RollbackComplete").then_some(())
    });

    let (letters, events) = both(&fleet, &team, |event| {
        ["RolloutAborted", "RollbackComplete"].contains(&event["reason"].as_str().unwrap())
    });
    assert_eq!(letters.len(), 2, "{letters:#?}");
    for (letter, event) in letters.iter().zip(&events) {
        assert_eq!(letter.path, "/hook");
        assert!(letter.head.contains(&format!("Bearer {TOKEN}")), "{letter:?}");
        for field in ["at", "severity", "reason", "message"] {
            assert_eq!(letter.body[field], event[field], "{letter:#?}");
        }
        let body = &letter.body;
        let named = [&body["namespace"], &body["name"], &body["version"], &body["stable"]];
        assert_eq!(named, ["default", "web", "2", "1"], "{letter:#?}");
    }
    assert_eq!((&letters[0].body["step"], &letters[0].body["steps"]), (&2.into(), &2.into()), "{letters:#?}");

    let (letters, events) = both(&fleet, &chat, |event| event["severity"] == "warning");
    assert_eq!((letters.len(), events.len()), (1, 1), "{letters:#?}");
    assert_eq!(letters[0].path, SECRET_PATH);
    assert_eq!(letters[0].body["text"], ":warning: *RolloutAborted* default/web");
    let blocks = &letters[0].body["attachments"][0]["blocks"];
    let message = events[0]["message"].as_str().unwrap().replace('>', "&gt;");
    assert_eq!(blocks[0]["text"]["text"], message.as_str(), "{blocks:#}");
    assert!(blocks[1]["elements"][0]["text"].as_str().unwrap().contains("2, stable 1 | step 2/2"), "{blocks:#}");

    // Nobody has listened there yet, and nothing has waited for it.
    let late = Inbox::on(late);
    let (letters, events) = both(&fleet, &late, |_| true);
    let messages = |list: &[Value]| list.iter().map(|event| event["message"].to_string()).collect::<Vec<_>>();
    let told: Vec<Value> = letters.into_iter().map(|letter| letter.body).collect();
    assert_eq!(messages(&told), messages(&events), "in the order in which it happened");

    let controller = &mut fleet.controllers[0];
    // A letter is counted when its receipt has come back, a moment after it was taken.
    let sent = [("team", 2), ("chat", 1), ("late", events.len()), ("others", 0)];
    let page = eventually("every letter is counted", TOLD, || {
        let page = controller.http.get("/metrics").ok()?.text();
        let line = |(name, sent)| format!("helium_notifications_total{{name=\"{name}\",outcome=\"sent\"}} {sent}");
        sent.into_iter().all(|one| page.contains(&line(one))).then_some(page)
    });
    assert!(!page.contains("outcome=\"failed\"} 1") && !page.contains("outcome=\"dropped\"} 1"), "{page}");
    assert_eq!(controller.daemon.terminate(Duration::from_secs(20)), 0);
    let said = controller.daemon.said();
    assert!(said.contains("a notification was not taken and is posted again") && said.contains("late"), "{said}");
    assert!(!said.contains("S3CRET"), "a secret was told");
}

#[test]
fn settings_that_are_wrong_end_the_start_with_their_line_and_what_was_meant() {
    let helium = Helium::nowhere();
    let wrong = "notifications:\n  - name: a\n    webhook: {url: \"http://localhost/\"}\n    events: [RolloutAbort]\n";
    let file = helium.write("notify.yaml", wrong);
    for command in ["controller", "dev"] {
        let output = helium.run(&[command, "--notifications", &file]).expect_code(2);
        for words in ["notify.yaml:4", "notifications[0].events[0]", "did you mean `RolloutAborted`?"] {
            assert!(output.says(words), "{words:?} is missing\n{output}");
        }
        helium.run(&[command, "--notifications", "none.yaml"]).expect_code(2).expect("cannot read `none.yaml`");
    }
}
