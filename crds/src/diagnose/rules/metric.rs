//! Rules of a Canary's metrics.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Code, Findings, Path, items, read};
use crate::{
    diagnose::nearest::nearest,
    metric::{Bounds, Criterion},
    variables::{self, ExpandError},
};

/// The names of a Canary's metrics.
pub(super) struct Metrics {
    names: Vec<String>,
    deciding: bool,
    /// Whether all of them could be read, so that what is missing is missing.
    sound: bool,
}

impl Metrics {
    pub(super) fn of(object: &Value) -> Self {
        let list = object.pointer("/spec/analysis/metrics");
        let sound = list.is_none_or(Value::is_array) && items(list).all(|(_, metric)| metric["name"].is_string());
        let decides = |metric: &Value| metric["required"] != false && metric["background"] != false;
        Self {
            names: items(list).filter_map(|(_, metric)| metric["name"].as_str().map(str::to_owned)).collect(),
            deciding: items(list).any(|(_, metric)| decides(metric)),
            sound,
        }
    }

    /// Whether a metric is required and measured through all steps.
    pub(super) fn any_deciding(&self) -> bool {
        self.deciding || !self.sound
    }

    /// Notes a name that no metric bears.
    pub(super) fn expect(&self, name: &str, at: Path, at_key: bool, findings: &mut Findings) {
        let known: Vec<&str> = self.names.iter().map(String::as_str).collect();
        if !self.sound || known.contains(&name) {
            return;
        }
        let help = match nearest(name, known.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None if known.is_empty() => "there are none in `spec.analysis.metrics`".to_owned(),
            None => format!("there are: {}", known.join(", ")),
        };
        let message = format!("there is no metric `{name}`");
        if at_key {
            findings.key(at, Code::UnknownMetric, message, help);
        } else {
            findings.value(at, Code::UnknownMetric, message, help);
        }
    }
}

pub(super) fn check(object: &Value, findings: &mut Findings) {
    let at = Path::of(&["spec", "analysis", "metrics"]);
    let metrics = object.pointer("/spec/analysis/metrics");
    let named: Vec<(Path, &str)> = items(metrics)
        .filter_map(|(index, metric)| Some((at.index(index).field("name"), metric["name"].as_str()?)))
        .collect();
    findings.repeated("metrics", named);
    let in_steps = named_in_steps(object);
    for (index, metric) in items(metrics) {
        let at = at.index(index);
        for (source, fields) in
            [("prometheus", &["query"][..]), ("http", &["url", "body"][..]), ("consul", &["service"][..])]
        {
            for field in fields {
                let text = metric.get(source).and_then(|source| source.get(field)).and_then(Value::as_str);
                variables_are_known(text, &at.field(source).field(field), findings);
            }
        }
        criterion(metric.get("criterion"), &at.field("criterion"), findings);
        is_asked_for(metric, &at, &in_steps, findings);
    }
    for (index, step) in items(object.pointer("/spec/steps")) {
        let at = Path::of(&["spec", "steps"]).index(index).field("criteria");
        for (name, value) in super::entries(step.get("criteria")) {
            criterion(Some(value), &at.field(name), findings);
        }
    }
}

fn named_in_steps(object: &Value) -> BTreeSet<&str> {
    let steps = items(object.pointer("/spec/steps"));
    let switch = object.pointer("/spec/blueGreen/analysis/metrics");
    let of_steps = steps.flat_map(|(_, step)| items(step.pointer("/analysis/metrics")));
    of_steps.chain(items(switch)).filter_map(|(_, name)| name.as_str()).collect()
}

/// A metric that is measured neither through all steps nor in one of them is never measured.
fn is_asked_for(metric: &Value, at: &Path, in_steps: &BTreeSet<&str>, findings: &mut Findings) {
    let Some(name) = metric["name"].as_str() else { return };
    if metric["background"] == false && !in_steps.contains(name) {
        let message =
            format!("`{name}` is never measured: it is not in the background, and no `analysis` step names it");
        let help = "name it in an `analysis` step, or leave `background` out".to_owned();
        findings.value(at.field("background"), Code::NeverMeasured, message, help);
    }
}

fn variables_are_known(text: Option<&str>, at: &Path, findings: &mut Findings) {
    let Some(text) = text else { return };
    match variables::references(text) {
        Ok(names) => {
            for name in names.into_iter().filter(|name| !variables::IN_QUERIES.contains(name)) {
                let help = match nearest(name, variables::IN_QUERIES) {
                    Some(meant) => format!("did you mean `${{{meant}}}`?"),
                    None => format!("there are: {}", variables::IN_QUERIES.join(", ")),
                };
                findings.value(
                    at.clone(),
                    Code::UnknownVariable,
                    format!("`${{{name}}}` stands for nothing here"),
                    help,
                );
            }
        }
        Err(error @ ExpandError::Unclosed(_)) => {
            findings.value(at.clone(), Code::UnknownVariable, error.to_string(), "close it with `}`".to_owned());
        }
        Err(ExpandError::UnknownVariable(_)) => {}
    }
}

fn criterion(value: Option<&Value>, at: &Path, findings: &mut Findings) {
    let broken = value.and_then(Value::as_object).is_some_and(|fields| fields.values().any(Value::is_null));
    let Some(criterion) = read::<Criterion>(value).filter(|_| !broken) else { return };
    let Criterion { min, max, difference_to_stable, ratio_to_stable, marginal } = criterion;
    let own = Bounds { min, max };
    let compared = [("differenceToStable", difference_to_stable), ("ratioToStable", ratio_to_stable)];
    if own == Bounds::default() && compared.iter().all(|(_, bounds)| bounds.is_none()) {
        let help = "give it `min`, `max`, `differenceToStable` or `ratioToStable`".to_owned();
        findings.value(at.clone(), Code::BadCriterion, "this criterion asks for nothing", help);
    }
    in_order(own, at, findings);
    for (name, bounds) in compared.into_iter().chain([("marginal", marginal)]) {
        let Some(bounds) = bounds else { continue };
        if bounds == Bounds::default() {
            let help = "give it `min`, `max` or both".to_owned();
            findings.value(at.field(name), Code::BadCriterion, format!("`{name}` sets no bound"), help);
        }
        in_order(bounds, &at.field(name), findings);
    }
    if let Some(marginal) = marginal {
        encloses(marginal, own, &at.field("marginal"), findings);
    }
}

fn in_order(bounds: Bounds, at: &Path, findings: &mut Findings) {
    if let (Some(min), Some(max)) = (bounds.min, bounds.max)
        && min.value() > max.value()
    {
        let message = format!("`min` is {min}, and `max` is {max}: no number is good");
        findings.value(at.field("min"), Code::BadCriterion, message, None);
    }
}

/// What is marginal lies beyond what is good.
fn encloses(marginal: Bounds, good: Bounds, at: &Path, findings: &mut Findings) {
    let help = || "`marginal` reaches further than what is good, on the side where it is given".to_owned();
    let pairs = [("min", marginal.min, good.min, false), ("max", marginal.max, good.max, true)];
    for (name, outer, inner, upwards) in pairs {
        let Some(outer) = outer else { continue };
        let beyond = inner
            .is_some_and(|inner| if upwards { outer.value() > inner.value() } else { outer.value() < inner.value() });
        if !beyond {
            let message = match inner {
                Some(inner) => format!("the marginal `{name}` is {outer}, which is not beyond {inner}"),
                None => format!("the marginal `{name}` is {outer}, but the criterion has no `{name}`"),
            };
            findings.value(at.field(name), Code::BadCriterion, message, help());
        }
    }
}
