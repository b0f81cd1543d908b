//! Which samples are good.
//!
//! A bound is part of what is good: 5 is good by `max: 5`. A comparison is of two numbers of the same window; if the stable version has
//! none, nothing is known, which is never the canary's fault.

use helium_crds::{
    Number,
    measurement::Reading,
    metric::{Bounds, Criterion, Metric, Policy},
    status::Verdict,
};

/// What a sample counts as, and why: `(Failed, "12.5 (at most 5)")`.
pub(super) fn judge(
    metric: &Metric,
    criterion: &Criterion,
    canary: &Reading,
    stable: Option<&Reading>,
) -> (Verdict, String) {
    match canary {
        Reading::Value { value } => judge_value(criterion, *value, stable),
        Reading::NoData => (by_policy(metric.when_no_data), "no data".to_owned()),
        Reading::Error { why } => (by_policy(metric.when_error), why.clone()),
        Reading::Stale { of } => (by_policy(metric.when_stale), format!("stale: of {of}")),
    }
}

fn by_policy(policy: Policy) -> Verdict {
    match policy {
        Policy::Inconclusive => Verdict::Inconclusive,
        Policy::Fail => Verdict::Failed,
        Policy::Ignore => Verdict::Ignored,
    }
}

fn judge_value(criterion: &Criterion, value: Number, stable: Option<&Reading>) -> (Verdict, String) {
    let own = Bounds { min: criterion.min, max: criterion.max };
    let mut verdict = Verdict::Good;
    let mut said = if own == Bounds::default() { value.to_string() } else { format!("{value} ({})", in_words(own)) };
    if !holds(own, value.value()) {
        let marginal = criterion.marginal.is_some_and(|marginal| holds(beyond(own, marginal), value.value()));
        if !marginal {
            return (Verdict::Failed, said);
        }
        verdict = Verdict::Inconclusive;
        said.push_str(", marginal");
    }
    let compared = [
        (criterion.difference_to_stable, difference as fn(f64, f64) -> f64, "more than stable"),
        (criterion.ratio_to_stable, ratio, "times stable"),
    ];
    for (bounds, compare, unit) in compared {
        let Some(bounds) = bounds else { continue };
        let Some(Reading::Value { value: beside }) = stable else {
            verdict = Verdict::Inconclusive;
            said = format!("{said}, and stable {}", absence(stable));
            continue;
        };
        let by = compare(value.value(), beside.value());
        let shown = Number::new(by).map_or_else(|| "infinitely many".to_owned(), |number| number.to_string());
        said = format!("{said}, {shown} {unit} ({})", in_words(bounds));
        if !holds(bounds, by) {
            return (Verdict::Failed, said);
        }
    }
    (verdict, said)
}

fn absence(stable: Option<&Reading>) -> String {
    match stable {
        Some(Reading::Error { why }) => format!("could not be read: {why}"),
        Some(Reading::Stale { of }) => format!("is stale: of {of}"),
        Some(Reading::NoData | Reading::Value { .. }) | None => "has no data".to_owned(),
    }
}

fn difference(canary: f64, stable: f64) -> f64 {
    canary - stable
}

/// Nothing divided by nothing is 1: the two are alike. Anything else divided by nothing is infinite, and so beyond every `max`.
///
/// Example: 3 errors a second beside none are infinitely many times as many, and none beside none are as many.
fn ratio(canary: f64, stable: f64) -> f64 {
    if canary == 0.0 && stable == 0.0 {
        1.0
    } else if stable == 0.0 {
        f64::INFINITY.copysign(canary)
    } else {
        canary / stable
    }
}

fn holds(bounds: Bounds, value: f64) -> bool {
    bounds.min.is_none_or(|min| value >= min.value()) && bounds.max.is_none_or(|max| value <= max.value())
}

/// The bounds that what is marginal keeps: its own, and on a side where it has none those of what is good.
fn beyond(good: Bounds, marginal: Bounds) -> Bounds {
    Bounds { min: marginal.min.or(good.min), max: marginal.max.or(good.max) }
}

fn in_words(bounds: Bounds) -> String {
    match (bounds.min, bounds.max) {
        (Some(min), Some(max)) => format!("{min} to {max}"),
        (Some(min), None) => format!("at least {min}"),
        (None, Some(max)) => format!("at most {max}"),
        (None, None) => "any".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use helium_crds::Period;
    use jiff::Timestamp;

    use super::*;

    fn metric(json: &serde_json::Value) -> Metric {
        let mut whole = serde_json::json!({"name": "m", "consul": {"service": "a"}, "criterion": {}});
        whole.as_object_mut().unwrap().extend(json.as_object().unwrap().clone());
        serde_json::from_value(whole).unwrap()
    }

    fn value(value: f64) -> Reading {
        Reading::Value { value: Number::new(value).unwrap() }
    }

    fn judged(criterion: &str, canary: f64, stable: Option<f64>) -> (Verdict, String) {
        let criterion: serde_json::Value = serde_json::from_str(criterion).unwrap();
        let metric = metric(&serde_json::json!({ "criterion": criterion }));
        judge(&metric, &metric.criterion, &value(canary), stable.map(value).as_ref())
    }

    #[test]
    fn bounds_are_part_of_what_is_good() {
        for (criterion, number, verdict, why) in [
            (r#"{"max": 5}"#, 5.0, Verdict::Good, "5 (at most 5)"),
            (r#"{"max": 5}"#, 5.1, Verdict::Failed, "5.1 (at most 5)"),
            (r#"{"min": 0.99}"#, 0.99, Verdict::Good, "0.99 (at least 0.99)"),
            (r#"{"min": 0.99}"#, 0.98, Verdict::Failed, "0.98 (at least 0.99)"),
            (r#"{"min": 1, "max": 2}"#, 1.5, Verdict::Good, "1.5 (1 to 2)"),
            (r#"{"min": 1, "max": 2}"#, 0.0, Verdict::Failed, "0 (1 to 2)"),
            (r#"{"max": 1, "marginal": {"max": 2}}"#, 2.0, Verdict::Inconclusive, "2 (at most 1), marginal"),
            (r#"{"max": 1, "marginal": {"max": 2}}"#, 2.1, Verdict::Failed, "2.1 (at most 1)"),
            (r#"{"min": 0, "max": 1, "marginal": {"max": 2}}"#, -1.0, Verdict::Failed, "-1 (0 to 1)"),
        ] {
            let found = judged(criterion, number, None);
            assert_eq!(found, (verdict, why.to_owned()), "{criterion} {number}");
        }
    }

    #[test]
    fn a_comparison_needs_both_numbers() {
        for (criterion, canary, stable, verdict, why) in [
            (
                r#"{"ratioToStable": {"max": 1.2}}"#,
                12.0,
                Some(10.0),
                Verdict::Good,
                "12, 1.2 times stable (at most 1.2)",
            ),
            (
                r#"{"ratioToStable": {"max": 1.2}}"#,
                13.0,
                Some(10.0),
                Verdict::Failed,
                "13, 1.3 times stable (at most 1.2)",
            ),
            (r#"{"ratioToStable": {"max": 1.2}}"#, 0.0, Some(0.0), Verdict::Good, "0, 1 times stable (at most 1.2)"),
            (
                r#"{"ratioToStable": {"max": 9}}"#,
                1.0,
                Some(0.0),
                Verdict::Failed,
                "1, infinitely many times stable (at most 9)",
            ),
            (r#"{"ratioToStable": {"max": 9}}"#, 1.0, None, Verdict::Inconclusive, "1, and stable has no data"),
            (
                r#"{"differenceToStable": {"max": 2}}"#,
                12.0,
                Some(10.0),
                Verdict::Good,
                "12, 2 more than stable (at most 2)",
            ),
            (r#"{"max": 11, "differenceToStable": {"max": 2}}"#, 12.0, None, Verdict::Failed, "12 (at most 11)"),
        ] {
            let found = judged(criterion, canary, stable);
            assert_eq!(found, (verdict, why.to_owned()), "{criterion} {canary} {stable:?}");
        }
    }

    #[test]
    fn a_sample_that_is_no_number_counts_by_its_policy_and_never_as_good() {
        let stale = Reading::Stale { of: Timestamp::UNIX_EPOCH };
        for (reading, field) in [
            (Reading::NoData, "whenNoData"),
            (Reading::Error { why: "refused".to_owned() }, "whenError"),
            (stale, "whenStale"),
        ] {
            for (policy, verdict) in
                [("inconclusive", Verdict::Inconclusive), ("fail", Verdict::Failed), ("ignore", Verdict::Ignored)]
            {
                let metric = metric(&serde_json::json!({ field: policy, "criterion": {"max": 1} }));
                assert_eq!(judge(&metric, &metric.criterion, &reading, None).0, verdict, "{field} {policy}");
            }
        }
        assert_eq!(metric(&serde_json::json!({})).max_age, Period::from_secs(300));
    }
}
