//! What is to be asked of metric sources, and when.
//!
//! A metric is asked for the first time when the present weight has been there for one `interval`, and then once an `interval`. Its
//! window never reaches back behind the moment at which that weight was reached: what was before says nothing about it.
//!
//! Example: `interval: 30s, window: 2m`, weight reached at 10:00:00. Asked at 10:00:30 about 30 s, at 10:01:00 about 60 s, from 10:02:00
//! on about 120 s each time.

use std::borrow::Cow;

use helium_crds::{
    Period, RevisionId,
    deployment::service_name,
    measurement::{Ask, Probe, Query, Question},
    metric::{Criterion, HttpJson, Metric, Prometheus},
    status::{HoldKind, Rollout, RolloutKind, Stage},
    step::{InlineAnalysis, StepKind},
    variables,
};
use jiff::{SignedDuration, Timestamp};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::evidence;
use crate::{draft::Draft, records, steps};

/// Notes the questions that are due, and wakes for those that will be.
pub(crate) fn ask(draft: &mut Draft<'_>) {
    let metrics: Vec<Metric> = active(draft).into_iter().cloned().collect();
    for metric in metrics {
        let Some(rollout) = draft.status.rollout.as_ref() else { return };
        let Some(due) = due(draft, rollout, &metric) else { continue };
        if due > draft.now() {
            draft.wake_at(due);
            continue;
        }
        let question = Question { rollout: rollout.id.clone(), due, ask: resolved(draft, rollout, &metric) };
        draft.questions.insert(Probe::Metric(metric.name), question);
    }
}

/// The metrics that are measured now: while canary instances serve all those in the background, and in a step of analysis those that it
/// waits for. Holds change nothing about it, but when the rollout has failed and waits for a person there is nothing left to find out.
pub(super) fn active<'d>(draft: &Draft<'d>) -> Vec<&'d Metric> {
    let (Some(canary), Some(rollout)) = (draft.canary(), draft.status.rollout.as_ref()) else { return Vec::new() };
    let failed = rollout.hold.as_ref().is_some_and(|hold| hold.kind == HoldKind::Failure);
    let watched = rollout.kind == RolloutKind::Canary && rollout.stage.is_under_way();
    if failed || !watched {
        return Vec::new();
    }
    let step = rollout.steps.get(rollout.step as usize);
    let inline = step.filter(|step| matches!(step.kind, StepKind::Analysis(_)));
    let waited_for = inline.map(|step| evidence::of_step(draft, Some(step))).unwrap_or_default();
    let all = canary.analysis.metrics.iter();
    all.filter(|metric| {
        (rollout.ramped_at.is_some() && in_background(draft, metric))
            || waited_for.iter().any(|waited_for| waited_for.name == metric.name)
    })
    .collect()
}

/// Whether a metric is measured beside the steps: not while the canary serves nobody, and not against a stable version that does not.
pub(super) fn in_background(draft: &Draft<'_>, metric: &Metric) -> bool {
    let Some(rollout) = draft.status.rollout.as_ref().filter(|_| metric.background) else { return false };
    match rollout.stage {
        Stage::Baking => !criterion(rollout, metric).compares(),
        Stage::Steps => steps::weight(draft, rollout).canary > 0 || steps::runs_none(rollout),
        _ => true,
    }
}

/// When the next sample of a metric is due; none while there is nothing to measure.
pub(super) fn due(draft: &Draft<'_>, rollout: &Rollout, metric: &Metric) -> Option<Timestamp> {
    let state = rollout.analysis.metrics.get(&metric.name);
    let last = state.and_then(|state| state.last()).map(|sample| sample.at);
    let interval = metric.interval.as_signed();
    match begin(draft, rollout, metric)? {
        Begin::Present(from) => Some(last.map_or(from, |last| last.max(from)) + interval),
        // What is there already has been so for long enough.
        Begin::Before(from) => Some(last.map_or(from, |last| (last + interval).max(from))),
    }
}

/// From when on samples of a metric are taken.
enum Begin {
    /// From when the present weight was reached, or the step of analysis behind it began.
    Present(Timestamp),
    /// Before the first canary instance: from when the step of analysis began.
    Before(Timestamp),
}

fn begin(draft: &Draft<'_>, rollout: &Rollout, metric: &Metric) -> Option<Begin> {
    let step = rollout.steps.get(rollout.step as usize);
    let inline = step.is_some_and(|step| match &step.kind {
        StepKind::Analysis(InlineAnalysis { metrics, .. }) => metrics.is_empty() || metrics.contains(&metric.name),
        _ => false,
    });
    let started = rollout.step_started_at.min(draft.now());
    match rollout.ramped_at {
        Some(ramped) if inline => Some(Begin::Present(ramped.max(started))),
        Some(ramped) => Some(Begin::Present(ramped)),
        None if inline && steps::runs_none(rollout) => Some(Begin::Before(started)),
        None => None,
    }
}

/// How far back the question that is due now looks. It hangs on when that was due, not on when it is asked, so that the query that is
/// kept with the sample is the one that was asked.
fn window(draft: &Draft<'_>, rollout: &Rollout, metric: &Metric) -> Period {
    let longest = metric.longest_window();
    let Some(Begin::Present(from)) = begin(draft, rollout, metric) else { return longest };
    let since = due(draft, rollout, metric).map_or(SignedDuration::ZERO, |due| due.duration_since(from));
    longest.min(Period::from_secs(u64::try_from(since.as_secs()).unwrap_or_default().max(1)))
}

fn resolved(draft: &Draft<'_>, rollout: &Rollout, metric: &Metric) -> Ask {
    let window = window(draft, rollout, metric);
    let stable = draft.stable().filter(|_| criterion(rollout, metric).compares());
    Ask::Metric {
        canary: query(draft, &rollout.revision, metric, window),
        stable: stable.map(|stable| query(draft, stable, metric, window)),
        max_age: metric.max_age,
        criterion: *criterion(rollout, metric),
    }
}

/// The criterion that holds now: the present step's, or the metric's own.
pub(super) fn criterion<'m>(rollout: &'m Rollout, metric: &'m Metric) -> &'m Criterion {
    let step = rollout.steps.get(rollout.step as usize);
    step.and_then(|step| step.criteria.get(&metric.name)).unwrap_or(&metric.criterion)
}

/// The question of the canary as it is asked now, for people.
pub(super) fn in_words(draft: &Draft<'_>, metric: &Metric) -> String {
    let Some(rollout) = draft.status.rollout.as_ref() else { return String::new() };
    match query(draft, &rollout.revision, metric, window(draft, rollout, metric)) {
        Query::Prometheus(Prometheus { query, .. }, _) => query,
        Query::Http(HttpJson { url, value, .. }) => format!("{url} {value}"),
        Query::Consul(consul) => {
            let tag = consul.tag.map(|tag| format!(" tagged {tag}")).unwrap_or_default();
            format!("passing share of {}{tag}", consul.service)
        }
    }
}

fn query(draft: &Draft<'_>, revision: &RevisionId, metric: &Metric, window: Period) -> Query {
    let fill = |text: &str| replaced(draft, revision, window, text, |value| value);
    if let Some(prometheus) = &metric.prometheus {
        return Query::Prometheus(Prometheus { query: fill(&prometheus.query), ..prometheus.clone() }, window);
    }
    if let Some(http) = &metric.http {
        let body = http.body.as_deref().map(fill);
        let url = replaced(draft, revision, window, &http.url, in_url);
        return Query::Http(HttpJson { url, body, ..http.clone() });
    }
    let mut consul = metric.consul.clone().unwrap_or_else(|| helium_crds::metric::ConsulService {
        service: service_name(&draft.world.deployment),
        tag: None,
    });
    consul.service = fill(&consul.service);
    Query::Consul(consul)
}

/// A text with its variables replaced. Validation has seen to it that there are no others; if one is left, the source says so.
fn replaced(
    draft: &Draft<'_>,
    revision: &RevisionId,
    window: Period,
    text: &str,
    write: fn(String) -> String,
) -> String {
    let metadata = &draft.world.deployment.metadata;
    let lookup = |name: &str| {
        Some(Cow::Owned(write(match name {
            "SERVICE" => service_name(&draft.world.deployment),
            "DEPLOYMENT" => metadata.name.clone(),
            "NAMESPACE" => metadata.namespace.clone(),
            "VERSION" => draft.label(revision),
            "REVISION" => revision.as_str().to_owned(),
            "ROLE" => records::role_of(draft, revision, !serves(draft, revision)).tag().to_owned(),
            "INSTANCES" => {
                let ids: Vec<&str> = draft.census().of(revision).map(|member| member.id().as_str()).collect();
                ids.join("|")
            }
            "WINDOW" => format!("{}s", window.as_duration().as_secs().max(1)),
            _ => return None,
        })))
    };
    variables::expand(text, lookup).unwrap_or_else(|_| text.to_owned())
}

/// Whether anything of a revision serves; what is not there yet would.
fn serves(draft: &Draft<'_>, revision: &RevisionId) -> bool {
    let mut members = draft.census().of(revision).peekable();
    members.peek().is_none() || members.any(|member| !member.is_standby())
}

/// A value as part of a URL, where `+` and `|` would mean something else: `1.0+a` is `1.0%2Ba`.
#[allow(clippy::needless_pass_by_value, reason = "it stands where a value may also be left as it is")]
fn in_url(value: String) -> String {
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    utf8_percent_encode(&value, KEPT).to_string()
}
