//! What commands print, word for word, on good and on bad input. No controller is needed for any of it.

use helium_e2e::{Consul, Helium, Line};
use serde_json::json;

use crate::{
    specs::{canary, deployment},
    terminal::Terminal,
};

/// A Deployment that is short to read.
fn short(name: &str, version: &str, more: &str) -> String {
    format!(
        "apiVersion: helium.dev/v1\nkind: Deployment\nmetadata: {{name: {name}}}\nspec:\n  replicas: 3\n  \
         template: {{version: \"{version}\", exec: {{command: [run]}}}}\n{more}"
    )
}

#[test]
fn apply_says_what_it_did_and_why_it_did_not() {
    let consul = Consul::start();
    let mut person = Terminal::on(&consul);
    person.write("hello.yaml", &(short("hello", "1.0.0", "") + &canary("hello", "[{setWeight: 25%}]")));
    person.types("apply -f hello.yaml --dry-run", 0);
    person.types("apply -f hello.yaml", 0);
    person.types("apply -f hello.yaml", 0);
    person.write("hello.yaml", &(short("hello", "2.0.0", "") + &canary("hello", "[{setWeight: 10%}]")));
    person.types("apply -f hello.yaml -o json", 0);
    person.types("apply -f hello.yaml -o name", 0);
    person.write("typo.yaml", &canary("helo", "[{setWeight: 50%}]"));
    person.types("apply -f typo.yaml", 0);
    person.write("other.yaml", &short("other", "1.0.0", "  service: hello\n"));
    person.types("apply -f other.yaml", 3);
    person.write("exact.yaml", &(canary("hello", "[{setWeight: 10%}]") + "  exact: true\n"));
    person.types("apply -f exact.yaml", 2);
    person.write(
        "counts.yaml",
        &short("hello", "2.0.0", "").replace("replicas: 3", "versions: [{version: v9, replicas: 1}]"),
    );
    person.types("apply -f counts.yaml", 0);
    person.write("wrong.yaml", &short("hello", "2.0.0", "").replace("replicas", "replcas"));
    person.types("apply -f wrong.yaml", 2);
    person.types("apply -f wrong.yaml -o json", 2);
    person.write("nothing.yaml", "# nothing\n");
    person.types("apply -f nothing.yaml", 2);
    person.types("apply -f missing.yaml", 2);
    insta::assert_snapshot!("apply", person.said());
}

#[test]
fn an_object_stays_in_the_namespace_of_the_command_line_only_if_that_is_one() {
    let consul = Consul::start();
    let mut person = Terminal::on(&consul);
    person.write("hello.yaml", &short("hello", "1.0.0", ""));
    person.types("apply -f hello.yaml -n a/b", 2);
    person.types_with("apply -f hello.yaml", &[("HELIUM_NAMESPACE", "Foo_Bar")], 2);
    person.types("get deployments -n Team", 2);
    person.types_with("apply -f hello.yaml", &[("HELIUM_NAMESPACE", "")], 0);
    person.types("apply -f hello.yaml -n team", 0);
    let both =
        short("both", "1.0.0", "") + "---\n" + &short("both", "1.0.0", "").replace("both}", "both, namespace: team}");
    person.write("both.yaml", &both);
    person.types("validate -f both.yaml", 0);
    person.types("validate -f both.yaml -n team", 2);
    person.types("get deployments -A -o name", 0);
    insta::assert_snapshot!("namespaces", person.said());
}

#[test]
fn validate_says_what_is_wrong_to_people_and_to_machines() {
    let mut person = Terminal::at("127.0.0.1:1");
    person.write("good.yaml", &(short("hello", "1.0.0", "") + &canary("hello", "[{setWeight: 25%}]")));
    person.types("validate -f good.yaml", 0);
    person.types("validate -f good.yaml -o json", 0);
    person.write("bad.yaml", &short("hello", "1.0.0", "  minHealthyTime: 10 minutes ago\n").replace('3', "\"3\""));
    person.types("validate -f bad.yaml", 2);
    person.types("validate -f bad.yaml -o json", 2);
    person.write("nothing.yaml", "# nothing\n");
    person.types("validate -f nothing.yaml", 2);
    insta::assert_snapshot!("validate", person.said());
}

#[test]
fn diff_shows_what_apply_would_change() {
    let consul = Consul::start();
    let mut person = Terminal::on(&consul);
    person.write("hello.yaml", &short("hello", "1.0.0", ""));
    person.types("diff -f hello.yaml", 1);
    person.types("apply -f hello.yaml", 0);
    person.types("diff -f hello.yaml", 0);
    person.types("diff -f hello.yaml -o json", 0);
    person.write("hello.yaml", &(short("hello", "2.0.0", "") + &canary("hello", "[{setWeight: 10%}]")));
    person.types("diff -f hello.yaml", 1);
    person.types("diff -f hello.yaml -o json", 1);
    person.write("wrong.yaml", "kind: Deploymnt\n");
    person.types("diff -f wrong.yaml", 2);
    person.types("diff -f wrong.yaml -o json", 2);
    insta::assert_snapshot!("diff", person.said());
}

#[test]
fn scale_says_what_it_did_and_refuses_what_cannot_be() {
    let consul = Consul::start();
    let mut person = Terminal::on(&consul);
    let exact = canary("exact", "[{setWeight: 25%}]") + "  exact: true\n";
    let all = [short("hello", "v1", ""), canary("hello", "[{setWeight: 25%}]"), short("exact", "v1", ""), exact];
    person.write("all.yaml", &all.join("---\n").replace("---\n---", "---"));
    person.types("apply -f all.yaml", 0);
    person.types("scale hello=10", 0);
    person.types("scale hello=10 exact=3", 0);
    person.types("scale hello=1", 0);
    person.types("scale hello=7 exact=1", 2);
    person.types("scale hello=1 hello=2", 2);
    person.types("scale hello", 2);
    person.types("scale hello=10001", 2);
    person.types("scale hello=3 none=3", 4);
    person.types("scale hello --versions v1=1,v1=2", 2);
    person.types("scale hello --versions v2=1", 4);
    person.types("scale hello --versions v1=2", 0);
    person.types("rollout undo hello", 7);
    person.types("scale hello=4", 0);
    insta::assert_snapshot!("scale", person.said());
}

#[test]
fn delete_says_what_goes() {
    let consul = Consul::start();
    let mut person = Terminal::on(&consul);
    person.write("hello.yaml", &(short("hello", "v1", "") + &canary("hello", "[{setWeight: 25%}]")));
    person.types("apply -f hello.yaml", 0);
    person.types("delete deployment/none", 4);
    person.types("delete deployment/none --ignore-not-found", 0);
    person.types("delete deployment/hello deploy/hello", 0);
    person.types("delete -f hello.yaml", 0);
    person.types("apply -f hello.yaml", 3);
    person.types("scale hello=1", 3);
    person.types("delete jobs/hello", 2);
    person.types("delete deployment", 2);
    insta::assert_snapshot!("delete", person.said());
}

#[test]
fn more_objects_than_one_transaction_takes_are_applied_scaled_and_deleted() {
    let consul = Consul::start();
    let helium = Helium::on(&consul);
    let names: Vec<String> = (0..70).map(|number| format!("web-{number:02}")).collect();
    let all: Vec<String> = names.iter().map(|name| short(name, "v1", "")).collect();
    let file = helium.write("all.yaml", &all.join("---\n"));
    helium.run(&["apply", "-f", &file]).ok();
    let counts: Vec<String> = names.iter().map(|name| format!("{name}=5")).collect();
    let scale: Vec<&str> = std::iter::once("scale").chain(counts.iter().map(String::as_str)).collect();
    let scaled = helium.run(&scale).ok();
    assert_eq!(scaled.stdout.lines().filter(|line| line.ends_with("scaled (3 -> 5)")).count(), 70, "{scaled}");
    let deleted = helium.run(&["delete", "-f", &file]).ok();
    assert_eq!(deleted.stdout.lines().filter(|line| line.ends_with("is being deleted")).count(), 70, "{deleted}");
}

#[test]
fn of_two_people_who_edit_at_once_one_is_told_and_nothing_is_lost() {
    let consul = Consul::start();
    let mut first = Terminal::on(&consul);
    first.write("hello.yaml", &short("hello", "1.0.0", ""));
    first.types("apply -f hello.yaml", 0);
    let second = Helium::on(&consul);
    let line = Line::to(&consul.address(), "/v1/txn", move || drop(second.run(&["scale", "hello=7"]).ok()));
    let mut person = Terminal::at(line.address());
    person.write("hello.yaml", &short("hello", "2.0.0", ""));
    person.types("apply -f hello.yaml", 3);
    person.types("diff -f hello.yaml", 1);
    person.types("apply -f hello.yaml", 0);
    insta::assert_snapshot!("conflict", person.said());
}

#[test]
fn an_edit_is_made_again_on_top_of_a_faster_one() {
    let consul = Consul::start();
    let first = Helium::on(&consul);
    let file = first.write("hello.yaml", &short("hello", "1.0.0", ""));
    first.run(&["apply", "-f", &file]).ok();
    let newer = first.write("newer.yaml", &short("hello", "2.0.0", ""));
    let line = Line::to(&consul.address(), "/v1/txn", move || drop(first.run(&["apply", "-f", &newer]).ok()));
    let slower = Helium::at(line.address());
    slower.run(&["scale", "hello=7"]).ok();
    let stored = slower.get("deployment/hello");
    assert_eq!((&stored["spec"]["replicas"], &stored["spec"]["template"]["version"]), (&json!(7), &json!("2.0.0")));
}

/// A Deployment and a Canary may bear any name, also that of the key that holds people's requests.
#[test]
fn an_object_that_is_called_control_is_run_like_any_other() {
    let fleet = crate::fleet::Fleet::of(1);
    let steps = canary("control", "[{setWeight: 50%}]");
    fleet.apply(&(deployment("control", "1", 1, "") + &steps)).ok();
    fleet.helium.run(&["rollout", "restart", "control"]).ok();
    fleet.apply(&(deployment("control", "2", 1, "") + &steps)).ok().expect("promoted 2: 1/1 healthy");
}

#[test]
fn waiting_for_what_cannot_be_followed_tells_the_problem() {
    let fleet = crate::fleet::Fleet::of(1);
    let steps = canary("web", "[{setWeight: 50%}]");
    fleet.apply(&(deployment("web", "1", 1, "") + &steps)).ok();
    let keys = fleet.consul.keys("helium/v1/spec/");
    let key = keys.iter().find(|key| key.ends_with("/canary/web")).unwrap();
    let mut stored = fleet.consul.value(key);
    stored["spec"]["steps"] = json!([{"soak": "1s"}, {"setWeight": "50%"}]);
    fleet.consul.http().put(&format!("/v1/kv/{key}"), stored.to_string());
    let output = fleet.apply(&deployment("web", "2", 1, "")).expect_code(6);
    output.expect("`soak` looks at canary instances");
}
