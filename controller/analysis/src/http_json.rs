//! A number in a JSON document that somebody serves over HTTP.

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use helium_crds::{
    Number,
    measurement::Reading,
    metric::{Aggregate, HttpJson},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::{
    aggregate::one_of,
    json_path,
    sources::{Moment, Source, Tools},
    web::{Accept, Call, as_text},
    why::Why,
};

/// Numbers from here on are milliseconds since 1970: of the year 1973 as these, of the year 5138 as seconds.
const MILLISECONDS_FROM: f64 = 1e11;

/// One document to be fetched.
pub(crate) struct Look<'q>(pub(crate) &'q HttpJson);

impl Source for Look<'_> {
    fn look<'a>(&'a self, tools: &'a Tools, at: Moment) -> BoxFuture<'a, Result<Reading, Why>> {
        async move {
            let HttpJson { url, body, auth, timeout, retries, .. } = self.0;
            let post = body.as_ref().map(|body| ("application/json", Bytes::copy_from_slice(body.as_bytes())));
            let (timeout, retries) = (*timeout, *retries);
            let accept = Accept::Success(as_text);
            let answer = tools.web.ask(&Call { url, post, auth: auth.as_ref(), timeout, retries, accept }).await?;
            // A megabyte and a bad path keep a core busy for a tenth of a second.
            let (wanted, body) = (self.0.clone(), answer.body.clone());
            let reading = tokio::task::spawn_blocking(move || read(&wanted, &body, at)).await;
            let reading = reading.unwrap_or_else(|ended| Err(Error::Ended { reason: ended.to_string() }));
            reading.map_err(|error| answer.tell(&error))
        }
        .boxed()
    }
}

/// One reading of a document.
fn read(wanted: &HttpJson, body: &[u8], at: Moment) -> Result<Reading, Error> {
    let document: Value = serde_json::from_slice(body)
        .map_err(|error| Error::NotJson { reason: error.to_string(), body: as_text(body) })?;
    let found = json_path::find(&wanted.value, &document)?;
    if found.len() > 1 && wanted.aggregate.is_none() {
        return Err(Error::Several { path: wanted.value.clone(), count: found.len() });
    }
    let mut numbers = Vec::new();
    for value in found {
        numbers.extend(number(&wanted.value, value)?);
    }
    let Some(number) = one_of(wanted.aggregate.unwrap_or(Aggregate::Last), &numbers) else {
        return Ok(Reading::NoData);
    };
    let value = Number::new(number).ok_or(Error::Overflow)?;
    let reading = Reading::Value { value };
    Ok(match &wanted.timestamp {
        Some(path) => at.judge(newest(path, &document)?, reading),
        None => reading,
    })
}

/// The number in one value; none in `null` and in what is not a number as people who divide 0 by 0 write it.
fn number(path: &str, value: &Value) -> Result<Option<f64>, Error> {
    let wrong = || Error::NoNumber { path: path.to_owned(), found: value.to_string() };
    let number: f64 = match value {
        Value::Null => return Ok(None),
        Value::Number(number) => number.as_f64().ok_or_else(wrong)?,
        Value::String(text) => text.trim().parse().map_err(|_| wrong())?,
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => return Err(wrong()),
    };
    if number.is_infinite() {
        return Err(Error::Infinite { path: path.to_owned(), found: value.to_string() });
    }
    Ok((!number.is_nan()).then_some(number))
}

/// The newest of the instants that the path finds. A document that is to have one and has none may be as old as it likes: no number of it
/// is believed.
fn newest(path: &str, document: &Value) -> Result<Timestamp, Error> {
    let mut newest = None;
    for value in json_path::find(path, document)? {
        newest = newest.max(Some(instant(path, value)?));
    }
    newest.ok_or_else(|| Error::NoTime { path: path.to_owned() })
}

fn instant(path: &str, value: &Value) -> Result<Timestamp, Error> {
    let read = match value {
        Value::Number(number) => number.as_f64().and_then(since_1970),
        Value::String(text) => text.parse().ok().or_else(|| since_1970(text.parse().ok()?)),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    read.ok_or_else(|| Error::NotATime { path: path.to_owned(), found: value.to_string() })
}

/// Seconds since 1970, or milliseconds where it could not be seconds.
fn since_1970(number: f64) -> Option<Timestamp> {
    let seconds = if number.abs() < MILLISECONDS_FROM { number } else { number / 1000.0 };
    Timestamp::from_duration(SignedDuration::try_from_secs_f64(seconds).ok()?).ok()
}

/// What is wrong with a document, or with where to look in it.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("this is no JSON ({reason}): {body}")]
    NotJson { reason: String, body: String },
    #[error("the document could not be looked through: {reason}")]
    Ended { reason: String },
    #[error(transparent)]
    Path(#[from] json_path::Error),
    #[error("{count} values at `{path}`, where one number is wanted: name what makes one of them by `aggregate`")]
    Several { path: String, count: usize },
    #[error("at `{path}` is no number: {found}")]
    NoNumber { path: String, found: String },
    #[error("at `{path}` is an infinite number: {found}")]
    Infinite { path: String, found: String },
    #[error("the numbers together are too large to be one")]
    Overflow,
    #[error("there is nothing at `{path}`, where the number's time should be")]
    NoTime { path: String },
    #[error("at `{path}` is no time, which is a text such as 2026-01-31T12:00:00Z or seconds since 1970: {found}")]
    NotATime { path: String, found: String },
}
