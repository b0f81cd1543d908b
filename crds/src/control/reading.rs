//! Reading a `control` key one request at a time, so that one that was typed by hand and cannot be read hides no other.

use serde::Deserialize;
use serde_json::Value;

use super::{ControlAnswer, ControlRequest};
use crate::revision::{short_hash, sorted};

/// What stands under a `control` key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// The requests that can be read, oldest first.
    pub requests: Vec<ControlRequest>,
    /// The others, in the order of the key.
    pub unreadable: Vec<Unreadable>,
}

/// A request that cannot be read, or a whole value that is no list of requests. It is refused once and stands in nobody's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// What [`request_id`] gives.
    pub id: String,
    /// Who asks; empty if it does not say so.
    pub by: String,
    /// Where it is and what is wrong with it: ``.../control: requests[1].verb: unknown variant `promoet`, expected one of `promote`, ...``.
    pub problem: String,
}

/// Reads the value of a `control` key. `key` is for messages.
pub fn hear(key: &str, bytes: &[u8]) -> Heard {
    let listed = match listed(key, bytes) {
        Ok(listed) => listed,
        Err(whole) => return Heard { requests: Vec::new(), unreadable: vec![whole] },
    };
    let mut heard = Heard::default();
    for (place, request) in listed.iter().enumerate() {
        match serde_path_to_error::deserialize(request) {
            Ok(request) => heard.requests.push(request),
            Err(error) => heard.unreadable.push(unreadable(request, &format!("{key}: requests[{place}]"), &error)),
        }
    }
    heard
}

/// The requests of a `control` key that have no answer yet, each as it stands there. One that could not be read has one only as long as
/// it is not mended.
///
/// # Errors
/// The whole value is no list of requests, and no controller has said so yet.
pub fn unanswered(key: &str, bytes: &[u8], answers: &[ControlAnswer]) -> Result<Vec<Value>, Unreadable> {
    let is_answered =
        |id: &str, readable: bool| answers.iter().any(|answer| answer.id == id && (answer.verb.is_some() || !readable));
    match listed(key, bytes) {
        Ok(mut listed) => {
            listed.retain(|request| !is_answered(&request_id(request), ControlRequest::deserialize(request).is_ok()));
            Ok(listed)
        }
        Err(whole) if is_answered(&whole.id, false) => Ok(Vec::new()),
        Err(whole) => Err(whole),
    }
}

fn listed(key: &str, bytes: &[u8]) -> Result<Vec<Value>, Unreadable> {
    let whole = |problem: &str| {
        let id = id_of_text(&String::from_utf8_lossy(bytes));
        Unreadable { id, by: String::new(), problem: format!("{key}: {problem}") }
    };
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(mut fields)) => match fields.remove("requests") {
            Some(Value::Array(listed)) => Ok(listed),
            _ => Err(whole(r#"there is no list `requests` in it: {"requests": [{"id": ..., "verb": ...}]}"#)),
        },
        Ok(_) => Err(whole(r#"it is no object: {"requests": [{"id": ..., "verb": ...}]}"#)),
        Err(error) => Err(whole(&error.to_string())),
    }
}

fn unreadable(request: &Value, place: &str, error: &serde_path_to_error::Error<serde_json::Error>) -> Unreadable {
    let (path, why) = (error.path().to_string(), error.inner());
    // A field that is missing is at no path of its own.
    let problem = if path == "." { format!("{place}: {why}") } else { format!("{place}.{path}: {why}") };
    let by = request.get("by").and_then(Value::as_str).unwrap_or_default().to_owned();
    Unreadable { id: request_id(request), by, problem }
}

/// The id of a request, by which it is answered once and only once. One that bears none gets one that follows from its text.
pub fn request_id(request: &Value) -> String {
    match request.get("id") {
        Some(Value::String(id)) => id.clone(),
        _ => id_of_text(&sorted(request.clone()).to_string()),
    }
}

fn id_of_text(text: &str) -> String {
    format!("unreadable-{}", short_hash(text, 16))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Verb;

    const KEY: &str = "helium/v1/spec/0/default/deployment/hello/control";

    fn heard(value: &str) -> Heard {
        hear(KEY, value.as_bytes())
    }

    fn only(heard: &Heard) -> &Unreadable {
        assert_eq!(heard.unreadable.len(), 1, "{heard:?}");
        &heard.unreadable[0]
    }

    #[test]
    fn a_request_that_cannot_be_read_hides_no_other_and_says_where_it_is_and_what_would_be_right() {
        let heard = heard(
            r#"{"requests": [
                {"id": "a", "by": "alice", "at": "2026-01-01T00:00:00Z", "verb": "pause"},
                {"id": "b", "by": "bob", "at": "2026-01-01T00:00:00Z", "verb": "promoet"},
                {"id": "c", "by": "carol", "at": "2026-01-01T00:00:00Z", "verb": "lock"}]}"#,
        );
        let read: Vec<_> = heard.requests.iter().map(|request| (request.id.as_str(), request.verb)).collect();
        assert_eq!(read, [("a", Verb::Pause), ("c", Verb::Lock)]);
        let unreadable = only(&heard);
        assert_eq!((unreadable.id.as_str(), unreadable.by.as_str()), ("b", "bob"));
        let place = "helium/v1/spec/0/default/deployment/hello/control: requests[1].verb: unknown variant `promoet`";
        assert!(unreadable.problem.starts_with(place), "{}", unreadable.problem);
        assert!(unreadable.problem.contains("expected one of `promote`, `promoteFull`, `abort`"), "{unreadable:?}");
    }

    #[test]
    fn a_field_that_is_missing_or_no_instant_is_named() {
        let missing = heard(r#"{"requests": [{"id": "a", "verb": "pause", "at": "2026-01-01T00:00:00Z"}]}"#);
        assert!(only(&missing).problem.ends_with("requests[0]: missing field `by`"), "{missing:?}");
        let soon = heard(r#"{"requests": [{"id": "a", "by": "bob", "verb": "pause", "at": "soon"}]}"#);
        assert!(only(&soon).problem.contains("requests[0].at: "), "{soon:?}");
        assert!(only(&heard(r#"{"requests": [7]}"#)).problem.contains("requests[0]: invalid type"));
    }

    #[test]
    fn what_bears_no_id_is_known_again_by_its_text() {
        let first = heard(r#"{"requests": [{"verb": "promoet"}, {"verb": "promoet", "by": "bob"}]}"#);
        let ids: Vec<&str> = first.unreadable.iter().map(|one| one.id.as_str()).collect();
        assert!(ids[0].starts_with("unreadable-") && ids[0] != ids[1], "{ids:?}");
        let second = heard(r#"{"requests": [{"by": "bob", "verb": "promoet"}]}"#);
        assert_eq!(only(&second).id, ids[1], "the order of its fields makes no difference");
    }

    #[test]
    fn a_value_that_is_no_list_of_requests_is_one_that_cannot_be_read() {
        for (value, what) in [("promote", "expected value"), ("{}", "no list `requests`"), ("[]", "no object")] {
            let heard = heard(value);
            assert!(heard.requests.is_empty());
            assert!(only(&heard).problem.contains(what), "{value}: {heard:?}");
            assert_eq!(only(&heard), only(&hear(KEY, value.as_bytes())));
        }
    }

    #[test]
    fn a_request_that_could_not_be_read_and_was_mended_waits_for_its_answer_again() {
        let answer = |id: &str, verb| ControlAnswer {
            id: id.to_owned(),
            verb,
            by: "bob".to_owned(),
            reason: None,
            at: jiff::Timestamp::UNIX_EPOCH,
            refused: None,
        };
        let request = |verb: &str| {
            let at = "2026-01-01T00:00:00Z";
            serde_json::json!({"requests": [{"id": "a", "by": "bob", "at": at, "verb": verb}]}).to_string()
        };
        let left =
            |verb: &str, answered| unanswered(KEY, request(verb).as_bytes(), &[answer("a", answered)]).unwrap().len();
        assert_eq!((left("promoet", None), left("promote", None)), (0, 1));
        assert_eq!((left("promote", Some(Verb::Promote)), left("promoet", Some(Verb::Promote))), (0, 0));
        assert!(unanswered(KEY, b"promote", &[]).is_err(), "nobody has refused it yet");
        let whole = only(&heard("promote")).id.clone();
        assert_eq!(unanswered(KEY, b"promote", &[answer(&whole, None)]), Ok(Vec::new()));
    }
}
