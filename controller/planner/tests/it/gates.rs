//! Gates: somebody or something lets the rollout through.

#![allow(clippy::needless_pass_by_value, reason = "a document reads best where it is used")]

use helium_crds::{
    control::Verb,
    measurement::{Ask, GateReading},
    status::{AbortCause, Reason, Stage, WaitingOn},
};
use serde_json::{Value, json};

use crate::model::{Model, canary_of};

fn at_gate(gate: Value) -> Model {
    let spec = canary_of(json!({"steps": [{"setWeight": "25%"}, {"gate": gate}]}));
    let mut model = Model::new(4, 1, 0).with_spec(spec).settled();
    model.apply_version("v2");
    model.run_until(60, |model| model.reason() == Reason::AtGate);
    model
}

fn shut(why: &str) -> GateReading {
    GateReading::Shut { why: why.to_owned() }
}

fn kv() -> Value {
    json!({"kv": {"key": "release/web"}})
}

fn with(gate: Value, more: Value) -> Value {
    let mut gate = gate;
    gate.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    gate
}

fn over(model: &Model) -> bool {
    model.status().rollout.is_none() && model.live("v2") == 4
}

#[test]
fn a_gate_that_is_opened_lets_the_rollout_through() {
    let mut model = at_gate(kv());
    model.gate = Some(shut("release/web is not there"));
    model.run(60);
    assert_eq!((model.reason(), model.live("v2")), (Reason::AtGate, 1));
    assert_eq!(
        model.status().waiting_on,
        [WaitingOn::Gate {
            what: "release/web = open".to_owned(),
            seen: Some("release/web is not there".to_owned()),
            until: None
        }]
    );
    model.gate = Some(GateReading::Open);
    model.run_until(60, over);
}

#[test]
fn a_gate_that_never_answers_holds_only_what_is_behind_it() {
    let mut model = at_gate(kv());
    model.run(300);
    assert_eq!((model.reason(), model.live("v2"), model.live("v1")), (Reason::AtGate, 1, 3));
    model.ask(Verb::Abort);
    model.run_until(30, |model| model.reason() == Reason::RolloutAborted);
}

#[test]
fn a_canary_that_fails_at_a_gate_is_given_up() {
    let mut model = at_gate(kv());
    model.gate = Some(shut("no"));
    model.bad.insert("v2".to_owned());
    model.run_until(30, |model| model.stage() == Some(Stage::RollingBack));
}

#[test]
fn a_gate_is_asked_at_once_and_then_once_an_interval() {
    let mut model = at_gate(with(kv(), json!({"interval": "5s"})));
    model.gate = Some(shut("no"));
    model.run(21);
    let started = model.status().rollout.as_ref().unwrap().step_started_at;
    let at: Vec<i64> = model.asked.iter().map(|(at, _, _)| at.duration_since(started).as_secs()).collect();
    assert_eq!(at, [0, 5, 10, 15, 20]);
}

#[test]
fn a_gate_that_stays_shut_changes_no_status() {
    let mut model = at_gate(kv());
    model.gate = Some(shut("no"));
    model.run(5);
    let before = model.status().clone();
    model.run(300);
    assert_eq!(*model.status(), before);
    assert!(model.asked.len() >= 30, "it was looked at all the time");
}

#[test]
fn a_gate_that_is_shut_for_too_long_does_what_it_says() {
    let limited = |does: &str| with(kv(), json!({"timeout": "30s", "onTimeout": does}));
    let mut model = at_gate(limited("abort"));
    model.gate = Some(shut("not yet"));
    model.run_until(40, |model| model.stage() == Some(Stage::RollingBack));
    let abort = model.status().rollout.as_ref().unwrap().abort.clone().unwrap();
    assert_eq!(abort.cause, AbortCause::GateShut);
    assert_eq!(abort.message, "the gate (release/web = open) was shut for 30s: not yet");

    let mut model = at_gate(limited("hold"));
    model.run(40);
    assert_eq!((model.reason(), model.live("v2")), (Reason::AtGate, 1));
    assert_eq!(model.message(), "v2 held: the gate (release/web = open) was shut for 30s");
    model.ask(Verb::Promote);
    model.run_until(60, over);

    let mut model = at_gate(limited("continue"));
    model.run_until(90, over);
    assert!(model.events.contains(&"GatePassed".to_owned()));
}

#[test]
fn a_person_opens_any_gate_by_promoting() {
    for gate in [json!({"person": {}}), kv(), json!({"webhook": {"url": "http://gate/"}})] {
        let mut model = at_gate(gate.clone());
        model.run(10);
        model.ask(Verb::Promote);
        model.run_until(60, over);
        assert_eq!(model.last_refusal(), None, "{gate}");
    }
    let model = at_gate(json!({"person": {}}));
    assert!(model.asked.is_empty(), "nobody is asked for a person");
}

#[test]
fn a_webhook_is_told_which_rollout_is_at_which_step() {
    let model = at_gate(json!({"webhook": {"url": "http://gate/?token=hidden"}}));
    let Ask::Webhook(_, body) = &model.asked[0].2.ask else { panic!() };
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&body["name"], &body["version"], &body["stable"]), (&json!("web"), &json!("v2"), &json!("v1")));
    assert_eq!((&body["step"], &body["steps"]), (&json!(2), &json!(2)));
    let [WaitingOn::Gate { what, .. }] = model.status().waiting_on.as_slice() else { panic!() };
    assert_eq!(what, "POST http://gate/", "a query may hold what is nobody's business");
}

#[test]
fn a_gate_may_stand_before_the_first_instance() {
    let spec = canary_of(json!({"steps": [{"gate": kv()}, {"setWeight": "25%"}]}));
    let mut model = Model::new(4, 1, 0).with_spec(spec).settled();
    model.apply_version("v2");
    model.run(30);
    assert_eq!((model.reason(), model.live("v2")), (Reason::AtGate, 0));
    model.gate = Some(GateReading::Open);
    model.run_until(60, over);
}
