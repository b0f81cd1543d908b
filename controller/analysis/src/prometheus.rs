//! Prometheus, and whatever answers its HTTP API: a number at an instant, or a series over the window.
//!
//! A series that is not a number (0/0 while nobody asks) has no data, and a point that is none is left out. An infinite number (1/0) is an
//! error: it can be compared, but what it would say of a canary is that somebody divides by nothing.

use std::{collections::BTreeMap, fmt, fmt::Write as _};

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use helium_crds::{
    Number, Period,
    measurement::Reading,
    metric::{self, Aggregate},
};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::{
    aggregate::one_of,
    sources::{Moment, Source, Tools},
    web::{Accept, Call, as_text},
    why::Why,
};

/// How much of a series' labels is told, in characters.
const MAX_LABELS: usize = 120;

/// One query and its window.
pub(crate) struct Look<'q> {
    pub(crate) prometheus: &'q metric::Prometheus,
    pub(crate) window: Period,
}

impl Source for Look<'_> {
    fn look<'a>(&'a self, tools: &'a Tools, at: Moment) -> BoxFuture<'a, Result<Reading, Why>> {
        async move {
            let metric::Prometheus { url, auth, timeout, retries, .. } = self.prometheus;
            let (path, form) = self.form(at.now);
            let url = format!("{}/api/v1/{path}", url.trim_end_matches('/'));
            let post = Some(("application/x-www-form-urlencoded", form));
            let (timeout, retries, accept) = (*timeout, *retries, Accept::Success(words));
            let call = Call { url: &url, post, auth: auth.as_ref(), timeout, retries, accept };
            let answer = tools.web.ask(&call).await?;
            let over_time = self.prometheus.range.is_some();
            let read = series(&answer.body, over_time).and_then(|series| self.judge(&series, at));
            read.map_err(|error| answer.tell(&error))
        }
        .boxed()
    }
}

impl Look<'_> {
    /// The path of the question and its form. Prometheus gives up by itself in the time that we wait.
    fn form(&self, now: Timestamp) -> (&'static str, Bytes) {
        let metric::Prometheus { query, range, timeout, .. } = self.prometheus;
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("query", query).append_pair("timeout", &milliseconds(*timeout));
        let path = match range {
            None => {
                form.append_pair("time", &seconds(now));
                "query"
            }
            Some(range) => {
                let start = now.checked_sub(self.window.as_signed()).unwrap_or(Timestamp::MIN);
                form.append_pair("start", &seconds(start)).append_pair("end", &seconds(now));
                form.append_pair("step", &milliseconds(range.step));
                "query_range"
            }
        };
        (path, form.finish().into())
    }

    /// One reading of all series.
    fn judge(&self, series: &[Series], at: Moment) -> Result<Reading, Error> {
        let metric::Prometheus { range, aggregate, .. } = self.prometheus;
        if let ([first, second, ..], None) = (series, aggregate) {
            let (first, second) = (first.labels.to_string(), second.labels.to_string());
            return Err(Error::Several { count: series.len(), first, second });
        }
        let over_time = range.map_or(Aggregate::Last, |range| range.over_time);
        let (mut numbers, mut newest) = (Vec::new(), None);
        for one in series {
            if let Some(Point { value, .. }) = one.points.iter().find(|point| point.value.is_infinite()) {
                return Err(Error::Infinite { value: *value, labels: one.labels.to_string() });
            }
            let points = one.points.iter().filter(|point| !point.value.is_nan());
            let values: Vec<f64> = points.clone().map(|point| point.value).collect();
            numbers.extend(one_of(over_time, &values));
            newest = newest.max(points.map(|point| point.of).max());
        }
        let number = one_of(aggregate.unwrap_or(Aggregate::Last), &numbers);
        let (Some(number), Some(of)) = (number, newest) else { return Ok(Reading::NoData) };
        let value = Number::new(number).ok_or(Error::Overflow)?;
        Ok(at.judge(of, Reading::Value { value }))
    }
}

/// One series with its points in order of time.
#[derive(Debug, PartialEq)]
struct Series {
    labels: Labels,
    points: Vec<Point>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    of: Timestamp,
    value: f64,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
struct Labels(BTreeMap<String, String>);

impl fmt::Display for Labels {
    /// As PromQL writes them: `http_requests_total{code="200", version="1.0.0"}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.0.get("__name__").cloned().unwrap_or_default();
        let pairs: Vec<String> =
            self.0.iter().filter(|(n, _)| *n != "__name__").map(|(n, v)| format!("{n}={v:?}")).collect();
        write!(text, "{{{}}}", pairs.join(", "))?;
        match text.char_indices().nth(MAX_LABELS) {
            Some((end, _)) => write!(f, "{}...", &text[..end]),
            None => f.write_str(&text),
        }
    }
}

/// The answer as Prometheus' documentation has it. Its warnings are for people who write queries, and are left alone.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reply {
    status: String,
    data: Option<Data>,
    #[serde(default)]
    error_type: String,
    #[serde(default)]
    error: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", tag = "resultType", content = "result")]
enum Data {
    Scalar(RawPoint),
    Vector(Vec<RawSample>),
    Matrix(Vec<RawSeries>),
    String(serde::de::IgnoredAny),
}

/// Seconds since 1970, and the number as text.
#[derive(Deserialize)]
struct RawPoint(f64, String);

#[derive(Deserialize)]
struct RawSample {
    metric: Labels,
    value: Option<RawPoint>,
}

#[derive(Deserialize)]
struct RawSeries {
    metric: Labels,
    #[serde(default)]
    values: Vec<RawPoint>,
    #[serde(default)]
    histograms: Vec<serde::de::IgnoredAny>,
}

impl RawPoint {
    fn read(self) -> Result<Point, Error> {
        let RawPoint(seconds, text) = self;
        let of = SignedDuration::try_from_secs_f64(seconds).ok().and_then(|since| Timestamp::from_duration(since).ok());
        let of = of.ok_or(Error::Time { seconds })?;
        let value = text.parse().map_err(|_| Error::Number { text })?;
        Ok(Point { of, value })
    }
}

/// Reads an answer. Points over time are one only to a question over time: whoever writes `x[5m]` has left out what makes one number of them.
fn series(body: &[u8], over_time: bool) -> Result<Vec<Series>, Error> {
    let reply: Reply = serde_json::from_slice(body)
        .map_err(|error| Error::NotPrometheus { reason: error.to_string(), body: as_text(body) })?;
    let Some(data) = reply.data.filter(|_| reply.status == "success") else {
        return Err(Error::Refused { kind: reply.error_type, error: reply.error });
    };
    match data {
        Data::Scalar(point) => Ok(vec![Series { labels: Labels::default(), points: vec![point.read()?] }]),
        Data::Vector(samples) => samples.into_iter().map(sample).collect(),
        Data::Matrix(_) if !over_time => Err(Error::Points),
        Data::Matrix(series) => series.into_iter().map(points).collect(),
        Data::String(_) => Err(Error::Text),
    }
}

fn sample(raw: RawSample) -> Result<Series, Error> {
    let RawSample { metric: labels, value } = raw;
    match value {
        Some(point) => Ok(Series { labels, points: vec![point.read()?] }),
        None => Err(Error::Histogram { labels: labels.to_string() }),
    }
}

fn points(raw: RawSeries) -> Result<Series, Error> {
    let RawSeries { metric: labels, values, histograms } = raw;
    if !histograms.is_empty() {
        return Err(Error::Histogram { labels: labels.to_string() });
    }
    let points = values.into_iter().map(RawPoint::read).collect::<Result<_, _>>()?;
    Ok(Series { labels, points })
}

/// What Prometheus says in the body of a refusal; the body itself where it is not Prometheus that refuses.
fn words(body: &[u8]) -> String {
    match serde_json::from_slice::<Reply>(body) {
        Ok(reply) if !reply.error.is_empty() => format!("{}: {}", reply.error_type, reply.error),
        _ => as_text(body),
    }
}

/// An instant as Prometheus takes it: seconds since 1970, to the millisecond.
fn seconds(at: Timestamp) -> String {
    let milliseconds = at.as_millisecond();
    format!("{}.{:03}", milliseconds.div_euclid(1000), milliseconds.rem_euclid(1000))
}

fn milliseconds(period: Period) -> String {
    format!("{}ms", period.as_duration().as_millis())
}

/// What is wrong with an answer.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{kind}: {error}")]
    Refused { kind: String, error: String },
    #[error("this is no answer of Prometheus ({reason}): {body}")]
    NotPrometheus { reason: String, body: String },
    #[error(
        "{count} series, where one number is wanted: name what makes one of them by `aggregate`, or sum() them; such as {first} and {second}"
    )]
    Several { count: usize, first: String, second: String },
    #[error("the number is infinite ({value}) for {labels}: something is divided by nothing")]
    Infinite { value: f64, labels: String },
    #[error("the numbers together are too large to be one")]
    Overflow,
    #[error("{text:?} is not a number")]
    Number { text: String },
    #[error("{seconds} is not an instant")]
    Time { seconds: f64 },
    #[error("the query gives a text, where a number is wanted")]
    Text,
    #[error(
        "the query gives points over time, where a number is wanted: rate() or max_over_time() make one of them, or `range` with its `overTime`"
    )]
    Points,
    #[error("the query gives a histogram for {labels}, where a number is wanted: histogram_quantile() gives one")]
    Histogram { labels: String },
}
