use helium_crds::{AnyObject, Source, parse_all_in};
use helium_sim::preview::rehearsal::Rehearsal;

use super::*;

/// A Deployment of `web`, with more of its template and of its spec.
fn deployment(version: &str, replicas: u32, template: &str, spec: &str) -> String {
    format!(
        r#"apiVersion: helium.dev/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: {replicas}
  template:
    version: "{version}"
    exec: {{command: [serve]}}
    checks: [{{name: up, http: {{path: /health}}, interval: 1s, timeout: 1s}}]
    {template}
  minHealthyTime: 5s
  progressDeadline: 60s
  {spec}
"#
    )
}

fn web(version: &str, replicas: u32) -> String {
    deployment(version, replicas, "ports: [{name: http}]", "strategy: {rolling: {maxSurge: 1, maxUnavailable: 0}}")
}

fn canary(steps: &str) -> String {
    format!("---\napiVersion: helium.dev/v1\nkind: Canary\nmetadata: {{name: web}}\nspec: {{steps: {steps}}}\n")
}

fn objects(yaml: &str) -> Vec<AnyObject> {
    let parsed = parse_all_in("default", &[Source::from_bytes("web.yaml".to_owned(), yaml.as_bytes()).unwrap()]);
    parsed.unwrap().into_iter().map(|parsed| parsed.object).collect()
}

/// A store with so many nodes, to which this was applied so long ago.
fn store(nodes: usize, yaml: &str, ago: Duration) -> Rehearsal {
    let rehearsal = Rehearsal::of(nodes).unwrap();
    if !yaml.is_empty() {
        rehearsal.apply(&objects(yaml)).unwrap();
    }
    rehearsal.run(ago);
    rehearsal
}

const LONG_AGO: Duration = Duration::from_secs(25);
/// So long ago that a rollout which does not come forward has failed.
const VERY_LONG_AGO: Duration = Duration::from_secs(90);
const JUST_NOW: Duration = Duration::from_secs(2);

fn planned(store: &Rehearsal, yaml: &str, canary_fails_at: Option<u32>) -> String {
    let assumptions = Assumptions { canary_fails_at, ..Assumptions::default() };
    let outlooks = store.plan(&objects(yaml), assumptions).unwrap();
    let console = Console::plain();
    outlooks.iter().flat_map(|outlook| text(outlook, &console)).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_first_deploy() {
    insta::assert_snapshot!(planned(&store(2, "", JUST_NOW), &web("1.0.0", 3), None));
}

#[test]
fn a_plain_roll() {
    insta::assert_snapshot!(planned(&store(3, &web("1.0.0", 3), LONG_AGO), &web("2.0.0", 3), None));
}

const STEPS: &str = "[{setWeight: 25%}, {soak: 10s}, {setWeight: 50%}, {soak: 1h}]";

#[test]
fn a_canary() {
    let yaml = web("2.0.0", 3) + &canary(STEPS);
    insta::assert_snapshot!(planned(&store(3, &web("1.0.0", 3), LONG_AGO), &yaml, None));
}

#[test]
fn a_canary_that_fails_at_its_second_step_and_the_way_back() {
    let yaml = web("2.0.0", 3) + &canary(STEPS);
    insta::assert_snapshot!(planned(&store(3, &web("1.0.0", 3), LONG_AGO), &yaml, Some(2)));
}

#[test]
fn a_canary_that_waits_for_people_and_asks_for_what_cannot_be_had() {
    let yaml = web("2.0.0", 3) + &canary("[{setWeight: 10%}, {pause: {}}, {setWeight: 40%}, {pause: {duration: 2h}}]");
    insta::assert_snapshot!(planned(&store(2, &web("1.0.0", 3), LONG_AGO), &yaml, None));
}

#[test]
fn a_scale_alone() {
    let store = store(2, &web("1.0.0", 3), LONG_AGO);
    insta::assert_snapshot!("scale_up", planned(&store, &web("1.0.0", 5), None));
    insta::assert_snapshot!("scale_down", planned(&store, &web("1.0.0", 1), None));
}

#[test]
fn a_recreate() {
    let of = |version| deployment(version, 2, "ports: [{name: http}]", "strategy: {recreate: {}}");
    insta::assert_snapshot!(planned(&store(2, &of("1.0.0"), LONG_AGO), &of("2.0.0"), None));
}

#[test]
fn a_rollout_that_is_under_way_is_superseded() {
    let store = store(3, &web("1.0.0", 3), LONG_AGO);
    store.apply(&objects(&web("2.0.0", 3))).unwrap();
    store.run(Duration::from_secs(8));
    insta::assert_snapshot!(planned(&store, &web("3.0.0", 3), None));
}

#[test]
fn no_node_at_all() {
    insta::assert_snapshot!(planned(&store(0, "", JUST_NOW), &web("1.0.0", 2), None));
}

#[test]
fn a_fixed_port_leaves_no_place_for_one_more() {
    let of = |count| deployment("1.0.0", count, "ports: [{name: http, port: 8080}]", "");
    insta::assert_snapshot!(planned(&store(2, &of(2), LONG_AGO), &of(3), None));
}

#[test]
fn what_others_run_takes_its_places_and_several_are_foreseen_together() {
    let of = |name: &str, port: u16| {
        let yaml = deployment("1.0.0", 1, &format!("ports: [{{name: http, port: {port}}}]"), "");
        yaml.replace("{name: web}", &format!("{{name: {name}}}"))
    };
    let store = store(1, &of("api", 8080), LONG_AGO);
    let two = of("web", 8080) + "---\n" + &of("job", 8081);
    insta::assert_snapshot!(planned(&store, &two, None));
}

#[test]
fn a_label_alone_moves_no_instance() {
    let labelled = web("1.0.0", 2).replace("{name: web}", "{name: web, labels: {team: shop}}");
    insta::assert_snapshot!(planned(&store(2, &web("1.0.0", 2), LONG_AGO), &labelled, None));
}

#[test]
fn what_fails_already_goes_on_failing() {
    let fix = web("1.0.1", 2);
    insta::assert_snapshot!(planned(&store(2, &web("1.0.0-bad", 2), VERY_LONG_AGO), &fix, None));
}

#[test]
fn the_document_says_the_same() {
    let store = store(2, &web("1.0.0", 2), LONG_AGO);
    let yaml = web("2.0.0", 2) + &canary("[{setWeight: 50%}, {soak: 10s}]");
    let outlooks = store.plan(&objects(&yaml), Assumptions::default()).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&document(&outlooks[0])).unwrap());
}
