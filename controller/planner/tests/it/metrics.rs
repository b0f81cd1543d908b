//! Metrics: asked when due, judged once, and needed for promotion.
//!
//! The facts of other controllers that are named here come from their own tests; where ours differs, the test says how.

#![allow(clippy::needless_pass_by_value, reason = "a document reads best where it is used")]

use helium_crds::{
    control::Verb,
    measurement::{Ask, Probe, Query, Reading},
    status::{AbortCause, MetricState, Reason, Stage, Verdict, WaitingOn},
};
use serde_json::{Value, json};

use crate::model::{Model, canary_of, number, seconds};

/// A metric of Prometheus that is good up to 5.
fn errors(more: Value) -> Value {
    let mut metric = json!({
        "name": "errors",
        "prometheus": {"url": "http://p:9090", "query": "rate(errors{version=\"${VERSION}\",role=\"${ROLE}\"}[${WINDOW}])"},
        "criterion": {"max": 5},
        "interval": "10s",
    });
    metric.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    metric
}

/// Four instances of v1, and a canary of these steps that is judged by `errors`.
fn judged(steps: Value, more: Value) -> Model {
    let spec = canary_of(json!({"steps": steps, "analysis": {"metrics": [errors(more)]}}));
    Model::new(4, 1, 0).with_spec(spec).settled()
}

fn begun(steps: Value, more: Value) -> Model {
    let mut model = judged(steps, more);
    model.apply_version("v2");
    model
}

fn state(model: &Model) -> &MetricState {
    &model.status().rollout.as_ref().unwrap().analysis.metrics["errors"]
}

fn done(model: &Model) -> bool {
    model.status().rollout.is_none() && model.status().stable.as_ref().is_some_and(|stable| stable.version == "v2")
}

fn abort(model: &Model) -> (AbortCause, String) {
    let abort = model.status().rollout.as_ref().and_then(|rollout| rollout.abort.clone()).expect("an abort");
    (abort.cause, abort.message)
}

#[test]
fn a_canary_with_good_numbers_goes_to_its_end() {
    let mut model = begun(json!([{"setWeight": "25%", "soak": "15s"}, {"setWeight": "50%", "soak": "15s"}]), json!({}));
    model.reads("errors", 1.0);
    model.run_until(120, done);
    assert_eq!((model.live("v2"), model.live("v1")), (4, 0));
}

#[test]
fn nothing_is_promoted_without_a_single_good_sample() {
    for silent in [None, Some(Reading::NoData), Some(Reading::Error { why: "refused".to_owned() })] {
        let mut model = begun(json!([{"setWeight": "25%", "soak": "15s"}]), json!({}));
        if let Some(reading) = silent {
            model.readings.insert("errors".to_owned(), (reading, None));
        }
        model.run(300);
        assert_eq!((model.at_step(), model.live("v2"), model.reason()), (Some(0), 1, Reason::CanaryStep));
        assert!(
            matches!(model.status().waiting_on.as_slice(), [WaitingOn::Metric { good: 0, needed: 1, .. }]),
            "{:?}",
            model.status().waiting_on
        );
        model.reads("errors", 1.0);
        model.run_until(120, done);
    }
}

#[test]
fn the_first_question_is_of_the_time_since_the_weight_was_reached() {
    let mut model = begun(json!([{"setWeight": "25%", "soak": "60s"}]), json!({"window": "25s"}));
    model.reads("errors", 1.0);
    model.run(40);
    let ramped = model.status().rollout.as_ref().unwrap().ramped_at.unwrap();
    let asked: Vec<(i64, String)> = model
        .asked
        .iter()
        .map(|(at, _, question)| {
            let Ask::Metric { canary: Query::Prometheus(prometheus, _), stable: None, .. } = &question.ask else {
                panic!()
            };
            (at.duration_since(ramped).as_secs(), prometheus.query.clone())
        })
        .collect();
    let query = |window: &str| format!("rate(errors{{version=\"v2\",role=\"canary\"}}[{window}])");
    assert_eq!(asked, [(10, query("10s")), (20, query("20s")), (30, query("25s"))]);
    assert_eq!(state(&model).query, query("25s"), "the query is kept as it was asked");
}

#[test]
fn each_weight_needs_its_own_evidence() {
    let mut model = begun(
        json!([{"setWeight": "25%", "soak": "5s", "minSamples": 3}, {"setWeight": "50%", "soak": "5s"}]),
        json!({}),
    );
    model.reads("errors", 1.0);
    model.run_until(60, |model| model.at_step() == Some(1));
    assert_eq!((state(&model).good, state(&model).samples.len()), (3, 3));
    model.run_until(30, |model| model.status().rollout.as_ref().unwrap().ramped_at.is_some());
    assert_eq!(state(&model).good, 0, "what was good at 25% says nothing of 50%");
    model.run_until(30, done);
}

#[test]
fn failures_in_a_row_give_the_canary_up_at_the_sample_that_reaches_the_limit() {
    let mut model = begun(json!([{"setWeight": "25%", "soak": "10m"}]), json!({}));
    model.reads("errors", 12.5);
    model.run_until(60, |model| model.stage() == Some(Stage::RollingBack));
    assert_eq!(abort(&model), (AbortCause::MetricFailed, "errors failed twice in a row: 12.5 (at most 5)".to_owned()));
    let second = model.asked[1].0;
    assert!(model.world.now <= second + seconds(1), "at once");
    model.run_until(60, |model| model.reason() == Reason::RolloutAborted);
    assert_eq!((model.live("v1"), model.live("v2")), (4, 0));
}

#[test]
fn a_good_sample_ends_the_row_and_an_inconclusive_one_does_not() {
    let mut model = begun(json!([{"setWeight": "25%", "soak": "10m"}]), json!({}));
    for (value, in_a_row) in [(Some(9.0), 1), (Some(1.0), 0), (Some(9.0), 1), (None, 1), (Some(1.0), 0)] {
        let reading = value.map_or(Reading::NoData, number);
        model.readings.insert("errors".to_owned(), (reading, None));
        let before = model.status().rollout.as_ref().and_then(|rollout| rollout.analysis.metrics.get("errors"));
        let before = before.map_or(0, |state| state.taken);
        model.run_until(30, |model| {
            let rollout = model.status().rollout.as_ref();
            rollout.and_then(|rollout| rollout.analysis.metrics.get("errors")).is_some_and(|state| state.taken > before)
        });
        assert_eq!(state(&model).failed_in_a_row, in_a_row, "{value:?}");
    }
}

/// Argo Rollouts' table of failureLimit 4 with consecutiveSuccessLimit 4. Its limit is passed by one failure more, which is our
/// `failures: 5`; its measurements are ours one by one.
#[test]
fn a_total_of_failures_and_a_streak_of_good_ones_decide_as_in_argo() {
    for (samples, outcome) in [
        ("fgfgfgfg", Reason::CanaryStep),
        ("fgfgfgfgf", Reason::RollingBack),
        ("fgfgfgfggg", Reason::CanaryStep),
        ("fgfgffgggg", Reason::Promoting),
        ("fgfgfggg", Reason::CanaryStep),
    ] {
        let limits = json!({"limits": {"failuresInARow": 100, "failures": 5, "passingStreak": 4}});
        let mut model = begun(json!([{"setWeight": "25%", "soak": "1s"}]), limits);
        model.run_until(30, |model| model.status().rollout.as_ref().is_some_and(|rollout| rollout.ramped_at.is_some()));
        for sample in samples.chars() {
            model.reads("errors", if sample == 'f' { 9.0 } else { 1.0 });
            model.run(10);
        }
        model.readings.clear();
        model.run(1); // the last answer is judged by the next plan
        assert_eq!(model.reason(), outcome, "{samples}");
    }
}

#[test]
fn a_streak_forgives_the_failures_before_it() {
    let limits = json!({"limits": {"failuresInARow": 100, "failures": 3, "passingStreak": 2}});
    let mut model = begun(json!([{"setWeight": "25%", "soak": "10m"}]), limits);
    model.run_until(30, |model| model.status().rollout.as_ref().is_some_and(|rollout| rollout.ramped_at.is_some()));
    for sample in "ffggffgg".chars() {
        model.reads("errors", if sample == 'f' { 9.0 } else { 1.0 });
        model.run(10);
    }
    model.run(1);
    assert_eq!((model.reason(), state(&model).failed), (Reason::CanaryStep, 0));
}

/// Argo: consecutiveErrorLimit 4, so five errors in a row end the run and four do not.
#[test]
fn errors_in_a_row_fail_the_rollout_where_that_is_asked_for() {
    let mut model = begun(json!([{"setWeight": "25%", "soak": "10m"}]), json!({"limits": {"errorsInARow": 5}}));
    model.readings.insert("errors".to_owned(), (Reading::Error { why: "refused".to_owned() }, None));
    model.run_until(60, |model| model.status().rollout.as_ref().is_some_and(|rollout| rollout.ramped_at.is_some()));
    model.run(41);
    assert_eq!((state(&model).errors_in_a_row, model.reason()), (4, Reason::CanaryStep));
    model.run_until(12, |model| model.stage() == Some(Stage::RollingBack));
    assert_eq!(
        abort(&model),
        (AbortCause::MetricUnreadable, "errors could not be read 5 times in a row: refused".to_owned())
    );
}

#[test]
fn inconclusive_samples_have_a_person_decide_where_that_is_asked_for() {
    let mut model = begun(json!([{"setWeight": "25%", "soak": "10m"}]), json!({"limits": {"inconclusive": 3}}));
    model.readings.insert("errors".to_owned(), (Reading::NoData, None));
    model.run_until(90, |model| model.reason() == Reason::Inconclusive);
    assert_eq!(model.message(), "v2 held: errors was inconclusive 3 times: no data");
    assert_eq!((model.live("v1"), model.live("v2")), (3, 1), "everything stays as it is");
    model.reads("errors", 1.0);
    model.ask(helium_crds::control::Verb::Resume);
    model.run_until(700, done);
}

#[test]
fn policies_make_a_failure_of_no_data_or_let_it_pass_by() {
    let mut model = begun(json!([{"setWeight": "25%", "soak": "10m"}]), json!({"whenNoData": "fail"}));
    model.readings.insert("errors".to_owned(), (Reading::NoData, None));
    model.run_until(60, |model| model.stage() == Some(Stage::RollingBack));
    assert_eq!(abort(&model).1, "errors failed twice in a row: no data");

    let mut model = begun(json!([{"setWeight": "25%", "soak": "10m"}]), json!({"whenNoData": "ignore"}));
    model.readings.insert("errors".to_owned(), (Reading::NoData, None));
    model.run(120);
    let seen = state(&model);
    assert_eq!((seen.taken, seen.good, seen.last().unwrap().verdict), (0, 0, Verdict::Ignored));
    assert_eq!(model.reason(), Reason::CanaryStep, "what is ignored is no evidence either");
}

#[test]
fn a_metric_that_is_not_required_is_measured_and_decides_nothing() {
    let mut model = begun(json!([{"setWeight": "25%", "soak": "45s"}]), json!({"required": false}));
    model.reads("errors", 99.0);
    model.run_until(40, |model| {
        model.status().rollout.as_ref().is_some_and(|rollout| rollout.analysis.metrics.contains_key("errors"))
    });
    assert_eq!(state(&model).last().unwrap().why, "99 (at most 5)");
    model.run_until(120, done);
}

#[test]
fn a_step_may_be_stricter_than_the_metric() {
    let steps = json!([{"setWeight": "25%", "soak": "15s"}, {"setWeight": "50%", "soak": "15s", "criteria": {"errors": {"max": 2}}}]);
    let mut model = begun(steps, json!({}));
    model.reads("errors", 3.0);
    model.run_until(60, |model| model.at_step() == Some(1));
    model.run_until(60, |model| model.stage() == Some(Stage::RollingBack));
    assert_eq!(abort(&model).1, "errors failed twice in a row: 3 (at most 2)");
}

#[test]
fn a_comparison_asks_for_the_stable_version_over_the_same_window() {
    let mut model =
        begun(json!([{"setWeight": "25%", "soak": "15s"}]), json!({"criterion": {"ratioToStable": {"max": 1.2}}}));
    model.readings.insert("errors".to_owned(), (number(1.0), Some(number(1.0))));
    model.run_until(60, |model| !model.asked.is_empty());
    let Ask::Metric { stable: Some(Query::Prometheus(stable, window)), .. } = &model.asked[0].2.ask else { panic!() };
    assert_eq!(
        (stable.query.as_str(), window.to_string()),
        ("rate(errors{version=\"v1\",role=\"stable\"}[10s])", "10s".to_owned())
    );
    model.run_until(120, done);
}

#[test]
fn metrics_are_watched_while_the_rollout_is_held_and_while_it_is_promoted() {
    let mut model = begun(json!([{"setWeight": "25%", "soak": "15s"}]), json!({"interval": "2s"}));
    model.reads("errors", 1.0);
    model.run_until(60, |model| !model.asked.is_empty());
    model.ask(helium_crds::control::Verb::Pause);
    model.run(10);
    model.reads("errors", 9.0);
    model.run_until(30, |model| model.stage() == Some(Stage::RollingBack));

    let mut model = begun(json!([{"setWeight": "25%", "soak": "5s"}]), json!({"interval": "2s"}));
    model.start_time = seconds(8); // so that the promotion takes its time
    model.reads("errors", 1.0);
    model.run_until(60, |model| model.stage() == Some(Stage::Promoting));
    model.reads("errors", 9.0);
    model.run_until(30, |model| model.stage() == Some(Stage::RollingBack));
    model.run_until(120, |model| model.reason() == Reason::RolloutAborted);
    assert_eq!((model.live("v1"), model.live("v2")), (4, 0));
}

#[test]
fn an_analysis_before_the_first_instance_looks_at_what_is_there() {
    let mut model =
        begun(json!([{"analysis": {"metrics": ["errors"]}}, {"setWeight": "25%"}]), json!({"background": false}));
    model.run(30);
    assert_eq!((model.live("v2"), model.at_step()), (0, Some(0)));
    assert_eq!(model.asked.len(), 1, "it is asked at once, and not again before it has answered");
    model.reads("errors", 9.0);
    model.run_until(30, |model| model.reason() == Reason::RolloutAborted);
    assert_eq!(model.live("v2"), 0, "no instance was ever made");
    model.reads("errors", 1.0);
    model.ask(helium_crds::control::Verb::Retry);
    model.run_until(60, done);
}

#[test]
fn an_analysis_of_too_many_samples_waits_for_a_person() {
    let more = json!({"limits": {"failuresInARow": 100}, "minSamples": 3});
    let mut model = begun(json!([{"setWeight": "25%"}, {"analysis": {"maxSamples": 4}}]), more);
    model.reads("errors", 9.0);
    model.run_until(120, |model| model.reason() == Reason::Inconclusive);
    assert_eq!(model.message(), "v2 held: step 2/2 (analysis): errors has 0 of 3 good samples after 4");
}

/// Argo: an initial deploy runs no analysis.
#[test]
fn the_first_rollout_asks_nothing() {
    let spec =
        canary_of(json!({"steps": [{"setWeight": "50%", "soak": "1s"}], "analysis": {"metrics": [errors(json!({}))]}}));
    let model = Model::new(2, 1, 0).with_spec(spec).settled();
    assert!(model.asked.is_empty() && model.reason() == Reason::AllHealthy);
}

#[test]
fn an_answer_to_an_older_question_is_not_judged() {
    let mut model = begun(json!([{"setWeight": "25%", "soak": "1m"}]), json!({}));
    model.reads("errors", 9.0);
    model.run_until(60, |model| !model.world.answers.is_empty());
    let old = model.world.answers.clone();
    model.readings.clear();
    model.run_until(60, |model| model.asked.len() == 2);
    for _ in 0..20 {
        model.world.answers.clone_from(&old);
        model.run(1);
    }
    assert_eq!(state(&model).failed, 1);
}

#[test]
fn only_the_last_samples_are_kept() {
    let mut model = begun(json!([{"setWeight": "25%", "soak": "10m"}]), json!({"interval": "1s"}));
    model.reads("errors", 1.0);
    model.run(60);
    assert_eq!(state(&model).samples.len(), MetricState::SAMPLES);
    assert!(state(&model).taken > 20);
}

#[test]
fn a_missing_metric_source_is_no_lack_of_progress_and_a_step_may_set_a_limit_to_it() {
    let mut model = begun(json!([{"setWeight": "25%", "soak": "15s", "deadline": "5m"}]), json!({}));
    model.run(290);
    assert_eq!(model.reason(), Reason::CanaryStep, "progressDeadline is a minute");
    model.run_until(60, |model| model.stage() == Some(Stage::RollingBack));
    let (cause, message) = abort(&model);
    assert_eq!(cause, AbortCause::StepDeadlineExceeded);
    assert_eq!(
        message,
        "step 1/1 (setWeight 25%, soak 15s) was not over within 5m: errors has 0 of 1 good samples, none was taken"
    );
}

#[test]
fn edited_criteria_hold_from_the_next_sample_on_and_move_no_step() {
    let mut model = begun(json!([{"setWeight": "25%", "soak": "10m"}]), json!({}));
    model.reads("errors", 4.0);
    model.run_until(60, |model| model.asked.len() == 2);
    let started = model.status().rollout.as_ref().unwrap().step_started_at;
    let spec = canary_of(json!({
        "steps": [{"setWeight": "25%", "soak": "10m", "criteria": {"errors": {"max": 3}}}],
        "analysis": {"metrics": [errors(json!({}))]},
    }));
    model.world.canary.as_mut().unwrap().spec = spec;
    model.run(1);
    assert_eq!(model.status().rollout.as_ref().unwrap().step_started_at, started);
    model.run_until(30, |model| model.stage() == Some(Stage::RollingBack));
    assert_eq!(abort(&model).1, "errors failed twice in a row: 4 (at most 3)");
}

#[test]
fn a_value_that_goes_into_a_url_is_written_as_one() {
    let more = json!({"name": "errors", "http": {"url": "http://apm/${VERSION}?i=${INSTANCES}", "value": "$.a"}, "criterion": {"max": 5}, "interval": "10s"});
    let spec = canary_of(json!({"steps": [{"setReplicas": 2}, {"soak": "1m"}], "analysis": {"metrics": [more]}}));
    let mut model = Model::new(4, 2, 0).with_spec(spec).settled();
    model.apply_version("2.0+a");
    model.run(30);
    let Ask::Metric { canary: Query::Http(http), .. } = &model.asked[0].2.ask else { panic!() };
    assert!(http.url.starts_with("http://apm/2.0%2Ba?i=web-") && http.url.contains("%7Cweb-"), "{}", http.url);
}

#[test]
fn every_probe_of_a_metric_bears_its_name() {
    let mut model = begun(json!([{"setWeight": "25%", "soak": "1m"}]), json!({}));
    model.run(30);
    assert!(model.asked.iter().all(|(_, probe, _)| *probe == Probe::Metric("errors".to_owned())));
}

#[test]
fn a_weight_that_a_person_did_not_wait_for_is_measured_once_it_is_reached_and_nothing_is_written_until_then() {
    for first in [json!({"setWeight": "25%"}), json!({"preview": 1})] {
        let mut model = judged(json!([first, {"analysis": {"metrics": ["errors"]}}, {"pause": {}}]), json!({}));
        model.reads("errors", 1.0);
        model.start_time = seconds(30);
        model.apply_version("v2");
        model.run(1);
        model.ask(Verb::Skip);
        model.run(1);
        assert_eq!(model.at_step(), Some(1));
        let status = model.status().clone();
        model.run(20);
        assert_eq!(model.status(), &status, "{first}");
        model.run_until(60, |model| model.at_step() == Some(2));
    }
}
