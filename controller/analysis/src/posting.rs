//! Tells somebody something: a document that is posted once, to an address that may be a secret itself.

use bytes::Bytes;
use helium_crds::{
    Period,
    secret::{Auth, SecretRef},
};
use tokio::time::timeout;

use crate::{
    web::{Accept, Call, Web, as_text},
    why::{Hidden, Why},
};

/// The shortest part of a secret address that is hidden by itself. Shorter ones are words such as `services`, and no secret.
const SHORTEST_PART: usize = 9;

/// What is posted.
#[derive(Clone, Debug)]
pub struct Post<'a> {
    /// Where.
    pub to: To<'a>,
    /// How the request says who asks.
    pub auth: Option<&'a Auth>,
    /// The document, as JSON.
    pub body: Bytes,
    /// How long the look for the address may take, and the request.
    pub timeout: Period,
}

/// An address.
#[derive(Clone, Copy, Debug)]
pub enum To<'a> {
    /// One that everybody may know.
    Url(&'a str),
    /// One that is a secret.
    Secret(&'a SecretRef),
}

/// Why a document was not taken. No secret is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Refusal {
    /// Why, in one line.
    pub why: String,
    /// Whether the same document may be taken in a moment.
    pub may_heal: bool,
}

/// Posts a document. Any 2xx status means that it was taken.
pub(crate) async fn post(web: &Web, post: &Post<'_>) -> Result<(), Refusal> {
    let found;
    let (url, hidden) = match post.to {
        To::Url(url) => (url, Hidden::default()),
        To::Secret(place) => {
            found = secret_address(web, place, post.timeout).await?;
            (found.as_str(), Hidden::of(parts(&found)))
        }
    };
    let (auth, timeout) = (post.auth, post.timeout);
    let document = Some(("application/json", post.body.clone()));
    let call = Call { url, post: document, auth, timeout, retries: 0, accept: Accept::Success(as_text) };
    let outcome = web.ask_once(&call, &hidden).await;
    outcome.map(drop).map_err(|(why, may_heal)| Refusal { why: why.into(), may_heal })
}

async fn secret_address(web: &Web, place: &SecretRef, limit: Period) -> Result<String, Refusal> {
    let refusal = |why: Why, may_heal| Refusal { why: why.into(), may_heal };
    match timeout(limit.as_duration(), web.secret(place)).await {
        Ok(found) => found.map_err(|error| refusal(Why::of(&error), error.may_heal())),
        Err(_) => Err(refusal(Why::of(&format!("the address was not found within {limit}")), true)),
    }
}

/// What of a secret address must not be told: all of it, what comes after its host, and each long part of that.
fn parts(url: &str) -> impl Iterator<Item = &str> {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = after_scheme.find(['/', '?', '#']).map_or("", |at| &after_scheme[at..]);
    let shown = path.split(['?', '#']).next().unwrap_or_default();
    let long = path.split(['/', '?', '#', '&', '=']).filter(|part| part.len() >= SHORTEST_PART);
    [url, path, shown].into_iter().filter(|part| part.len() > 1).chain(long)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_secret_address_only_the_host_is_told() {
        let url = "https://hooks.example.com/services/T0000000/B0000000/XXXXXXXXXXXX?key=abcdefghijkl";
        let hidden = Hidden::of(parts(url));
        let why: String = hidden.tell(&"https://hooks.example.com/services/T0000000/B0000000/XXXXXXXXXXXX: 404").into();
        assert_eq!(why, "https://hooks.example.com(hidden): 404");
        let why: String = hidden.tell(&"no such token: XXXXXXXXXXXX, abcdefghijkl").into();
        assert_eq!(why, "no such token: (hidden), (hidden)");
        let host: String = Hidden::of(parts("http://localhost/")).tell(&"http://localhost/: a/b").into();
        assert_eq!(host, "(hidden): a/b", "without a path the whole address is what is known");
    }
}
