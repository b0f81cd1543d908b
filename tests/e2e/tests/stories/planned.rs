//! `helium plan`: what it foresees is what then happens to real processes on a real Consul.

use std::collections::BTreeMap;

use helium_e2e::{Availability, Consul, eventually};
use serde_json::Value;

use crate::{
    fleet::{Fleet, ROLLOUT, is_sentinel},
    specs::{canary, deployment},
    terminal::Terminal,
};

/// What `helium plan -o json` foresees of the only Deployment in YAML, with further flags.
#[track_caller]
fn planned(fleet: &Fleet, yaml: &str, flags: &[&str]) -> Value {
    let file = fleet.helium.write("planned.yaml", yaml);
    let arguments = [&["plan", "-f", &file, "-o", "json"], flags].concat();
    let (once, again) = (fleet.helium.run(&arguments).expect_code(1), fleet.helium.run(&arguments).expect_code(1));
    assert_eq!(once.stdout, again.stdout, "a plan says the same each time");
    let document: Value = serde_json::from_str(&once.stdout).unwrap();
    document["deployments"][0].clone()
}

/// `+2 -1`: which versions are made and removed, in the order foreseen.
fn foreseen_moves(plan: &Value) -> Vec<String> {
    let word = |moment: &Value| match moment["kind"].as_str() {
        Some("made") => Some(format!("+{}", moment["version"].as_str().unwrap())),
        Some("removed") => Some(format!("-{}", moment["version"].as_str().unwrap())),
        _ => None,
    };
    plan["moments"].as_array().unwrap().iter().filter_map(word).collect()
}

/// The weights foreseen: canaries and stable instances of each step that sets any.
fn foreseen_weights(plan: &Value) -> Vec<(u64, u64)> {
    let weight = |step: &Value| (step["canary"].as_u64().unwrap(), step["stable"].as_u64().unwrap());
    plan["steps"].as_array().unwrap().iter().map(weight).collect()
}

/// What is seen of the instances of a fleet's only Deployment, look by look.
#[derive(Default)]
struct Seen {
    known: BTreeMap<String, String>,
    moves: Vec<String>,
    weights: Vec<(u64, u64)>,
    most: usize,
}

impl Seen {
    /// Looks at the records: who is new, who was asked to stop, how many take room, and which weight the canary has.
    fn look(&mut self, fleet: &Fleet) {
        let records = |prefix: &str| -> Vec<Value> {
            let keys = fleet.consul.keys(prefix).into_iter().filter(|key| !is_sentinel(key));
            keys.map(|key| fleet.consul.value(&key)).filter(Value::is_object).collect()
        };
        let stopped: Vec<Value> =
            records("helium/v1/report/").into_iter().filter(|report| report["phase"] == "stopped").collect();
        let mut instances = records("helium/v1/inst/");
        instances.sort_by_key(|instance| instance["createdAt"].as_str().map(str::to_owned));
        for instance in &instances {
            let text = |field: &str| instance[field].as_str().unwrap_or_default().to_owned();
            match (self.known.insert(text("id"), text("desired")).as_deref(), text("desired").as_str()) {
                (None, "run") => self.moves.push(format!("+{}", text("version"))),
                (Some("run"), "stop") => self.moves.push(format!("-{}", text("version"))),
                _ => {}
            }
        }
        let room = instances.iter().filter(|one| !stopped.iter().any(|report| report["id"] == one["id"])).count();
        self.most = self.most.max(room);
        let rollout = &fleet.status("web")["rollout"];
        let weight = rollout["weight"]["canary"].as_u64().zip(rollout["weight"]["stable"].as_u64());
        let at_steps = rollout["stage"] == "steps" && rollout["abort"].is_null();
        self.weights.extend(weight.filter(|weight| at_steps && self.weights.last() != Some(weight)));
    }
}

/// Applies YAML, looks on until the phase is as foreseen and nothing is stopping any more, and compares what was seen with the plan.
#[track_caller]
fn happens_as_foreseen(fleet: &Fleet, yaml: &str, plan: &Value) {
    let mut seen = Seen::default();
    seen.look(fleet);
    (seen.moves, seen.most) = (Vec::new(), 0);
    let watch = Availability::of(fleet.consul.http(), "web");
    let generation = fleet.status("web")["observedGeneration"].as_u64().unwrap();
    fleet.apply_only(yaml);
    let expected =
        plan["moments"].as_array().unwrap().iter().filter(|one| one["kind"] == "made" || one["kind"] == "removed");
    let expected = expected.count();
    eventually("it has come to the end that was foreseen", ROLLOUT, || {
        seen.look(fleet);
        let status = fleet.status("web");
        let answered = status["observedGeneration"].as_u64() > Some(generation);
        (answered && status["phase"] == plan["end"]["phase"] && seen.moves.len() >= expected).then_some(())
    });
    assert_eq!(seen.moves, foreseen_moves(plan), "{plan:#}");
    assert_eq!(seen.weights, foreseen_weights(plan), "{plan:#}");
    let fewest = watch.seen().fewest_passing as u64;
    assert!(fewest >= plan["leastHealthy"].as_u64().unwrap(), "{fewest} were healthy; {plan:#}");
    assert!(seen.most as u64 <= plan["greatestTotal"].as_u64().unwrap(), "there were {}; {plan:#}", seen.most);
}

#[test]
fn a_canary_and_a_roll_happen_as_they_were_foreseen() {
    let fleet = Fleet::of(2);
    fleet.apply(&deployment("web", "1", 3, "")).ok();
    fleet.await_phase("web", "Healthy");
    let steps = canary("web", "[{setWeight: 25%}, {soak: 2s}, {setWeight: 50%}, {soak: 2s}]");
    let second = deployment("web", "2", 3, "") + &steps;

    let written = fleet.consul.fingerprint("helium/");
    let plan = planned(&fleet, &second, &[]);
    assert_eq!(fleet.consul.fingerprint("helium/"), written, "a plan writes nothing");
    happens_as_foreseen(&fleet, &second, &plan);

    fleet.helium.run(&["delete", "canary/web"]).ok();
    let third = deployment("web", "3", 3, "");
    let plan = planned(&fleet, &third, &[]);
    happens_as_foreseen(&fleet, &third, &plan);
}

#[test]
fn a_canary_that_fails_goes_the_way_back_that_was_foreseen() {
    let fleet = Fleet::of(2);
    let steps = canary("web", "[{setWeight: 25%}, {soak: 2s}]");
    fleet.apply(&(deployment("web", "1", 3, "") + &steps)).ok();
    fleet.await_phase("web", "Healthy");
    let broken = crate::specs::with_flags("web", "2", 3, "--fail-health", "") + &steps;
    let plan = planned(&fleet, &broken, &["--canary-fails-at", "1"]);
    assert_eq!(plan["end"]["reason"], "RolloutAborted");
    happens_as_foreseen(&fleet, &broken, &plan);
}

#[test]
fn plan_says_what_would_happen_and_what_is_wrong() {
    let consul = Consul::start();
    let mut person = Terminal::on(&consul);
    person.write("web.yaml", &deployment("web", "1.0.0", 2, ""));
    person.types("plan -f web.yaml", 1);
    person.types("plan -f web.yaml --canary-fails-at 1", 2);
    assert_eq!(consul.keys("helium/"), Vec::<String>::new(), "not even an unused store is made ready");
    person.types("apply -f web.yaml", 0);
    person.types("plan -f web.yaml", 0);
    person.types("plan -f web.yaml -o json", 0);
    person.write("canary.yaml", &canary("wbe", "[{setWeight: 25%}]"));
    person.types("plan -f canary.yaml", 1);
    person.write("wrong.yaml", "kind: Deploymnt\n");
    person.types("plan -f wrong.yaml", 2);
    person.types("plan -f wrong.yaml -o json", 2);
    insta::assert_snapshot!("plan", person.said());
}
