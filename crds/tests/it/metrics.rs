//! What people see when metrics, gates and the finer points of steps are wrong.

use helium_crds::{AnyObject, Canary, Report, Source, parse, step::StepKind};

const SOUND: &str = r#"apiVersion: helium.dev/v1
kind: Canary
metadata: {name: shop}
spec:
  steps:
    - {setWeight: 25%, soak: 10s, minSamples: 3, criteria: {errors: {max: 2}}, deadline: 1h}
    - analysis: {metrics: [latency]}
    - gate: {kv: {key: release/shop}, timeout: 1h, onTimeout: hold}
  analysis:
    metrics:
      - name: errors
        prometheus: {url: http://prometheus:9090, query: 'rate(errors{version="${VERSION}"}[${WINDOW}])'}
        criterion: {max: 1.5}
      - name: latency
        http: {url: "http://apm/${SERVICE}", value: $.p99}
        criterion: {ratioToStable: {max: 1.2}}
        background: false
"#;

fn canary(text: &str) -> Canary {
    match parse(&Source::new("shop.yaml", text)).unwrap().remove(0).object {
        AnyObject::Canary(canary) => canary,
        other => panic!("{other:?}"),
    }
}

/// What is wrong with the sound text in which `part` was replaced by `by`.
fn with(part: &str, by: &str) -> Report {
    assert_eq!(SOUND.matches(part).count(), 1, "{part}");
    parse(&Source::new("shop.yaml", SOUND.replace(part, by))).expect_err(by)
}

fn says(part: &str, by: &str, code: &str, message: &str, help: &str) {
    let report = with(part, by);
    let [problem] = report.problems.as_slice() else { panic!("{by}: {report:#?}") };
    let said = (problem.code.as_str(), problem.message.as_str(), problem.help.as_deref().unwrap_or_default());
    assert_eq!(said, (code, message, help), "{by}");
}

#[test]
fn a_step_may_have_a_soak_and_evidence_of_its_own() {
    let canary = canary(SOUND);
    let [weight, analysis, gate] = canary.spec.steps.as_slice() else { panic!() };
    assert!(matches!(weight.kind, StepKind::SetWeight(_)));
    assert_eq!((weight.soak().unwrap().to_string(), weight.min_samples), ("10s".to_owned(), Some(3)));
    assert!(weight.criteria.contains_key("errors"));
    assert!(matches!(analysis.kind, StepKind::Analysis(_)));
    assert!(matches!(gate.kind, StepKind::Gate(_)));
    let again: Canary = serde_json::from_value(serde_json::to_value(&canary).unwrap()).unwrap();
    assert_eq!(again, canary);
}

#[test]
fn a_step_does_one_thing_and_a_soak_may_stand_beside_it() {
    let report = with("setWeight: 25%, soak: 10s", "setWeight: 25%, setReplicas: 3, soak: 10s");
    insta::assert_snapshot!("step-of-two-kinds", report.render(false));
    let report = with("setWeight: 25%, soak: 10s, minSamples: 3", "minSamples: 3");
    insta::assert_snapshot!("step-of-no-kind", report.render(false));
}

#[test]
fn metrics_that_are_named_are_there() {
    let unknown = "unknown-metric";
    says("criteria: {errors:", "criteria: {erors:", unknown, "there is no metric `erors`", "did you mean `errors`?");
    insta::assert_snapshot!("unknown-metric", with("[latency]", "[latenci]").render(false));
}

#[test]
fn a_metric_that_nothing_asks_for_is_told() {
    says(
        "analysis: {metrics: [latency]}",
        "pause: {}",
        "never-measured",
        "`latency` is never measured: it is not in the background, and no `analysis` step names it",
        "name it in an `analysis` step, or leave `background` out",
    );
}

#[test]
fn an_analysis_has_something_to_wait_for() {
    let report = parse(&Source::new(
        "c",
        "apiVersion: helium.dev/v1\nkind: Canary\nmetadata: {name: a}\nspec: {steps: [{setWeight: 50%}, {analysis: {}}]}",
    ));
    assert_eq!(report.unwrap_err().problems[0].message, "`analysis` has no metric to wait for");
}

#[test]
fn variables_in_queries_are_those_that_there_are() {
    says(
        "${VERSION}",
        "${VERSOIN}",
        "unknown-variable",
        "`${VERSOIN}` stands for nothing here",
        "did you mean `${VERSION}`?",
    );
}

#[test]
fn a_criterion_asks_for_what_can_be() {
    insta::assert_snapshot!("bad-criterion", with("{max: 1.5}", "{min: 1, max: 0.5}").render(false));
    let bad = "bad-criterion";
    says("{max: 1.5}", "{min: 2, max: 1.5}", bad, "`min` is 2, and `max` is 1.5: no number is good", "");
    says(
        "{max: 1.5}",
        "{}",
        bad,
        "this criterion asks for nothing",
        "give it `min`, `max`, `differenceToStable` or `ratioToStable`",
    );
    says(
        "{max: 1.5}",
        "{max: 1.5, marginal: {max: 1}}",
        bad,
        "the marginal `max` is 1, which is not beyond 1.5",
        "`marginal` reaches further than what is good, on the side where it is given",
    );
    says(
        "{ratioToStable: {max: 1.2}}",
        "{ratioToStable: {}}",
        bad,
        "`ratioToStable` sets no bound",
        "give it `min`, `max` or both",
    );
}

#[test]
fn numbers_are_numbers() {
    says(
        "{max: 1.5}",
        "{max: 5%}",
        "wrong-type",
        "`max` must be a number, but is `5%`",
        "write 0.05 or 5, whichever the metric counts in",
    );
    says(
        "{max: 1.5}",
        "{max: \"1.5\"}",
        "wrong-type",
        "`max` must be a number, but is text: \"1.5\"",
        "leave the quotes out: 1.5",
    );
    says("{max: 1.5}", "{max: .inf}", "wrong-type", "`max` must be a number, but is `.inf`", "");
}

#[test]
fn a_secret_is_only_ever_named() {
    let auth =
        |by: &str| with("http://prometheus:9090,", &format!("http://prometheus:9090, auth: {by},")).render(false);
    insta::assert_snapshot!("secret-of-a-foreign-file", auth("{bearer: {file: /etc/shadow}}"));
    insta::assert_snapshot!("secret-of-a-foreign-variable", auth("{bearer: {env: AWS_SECRET_ACCESS_KEY}}"));
    insta::assert_snapshot!("secret-in-the-open", auth("{bearer: s3cr3t}"));
}
