//! Sessions: what holds locks, and what ends them.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::Value;

use crate::{
    client::{Call, Client},
    duration,
    error::Error,
    lenient::null_default,
    path,
    read::{Read, Reply},
};

/// What happens to the locked keys when their session ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Behavior {
    /// They are unlocked.
    #[default]
    Release,
    /// They are deleted.
    Delete,
}

/// A session to create.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SessionRequest {
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The node it is tied to; empty means the asked agent's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// How long the session lives without renewal: 10 s to 24 h; Consul may take up to twice as long to end it.
    #[serde(rename = "TTL", with = "duration::option", skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Duration>,
    /// How long its keys cannot be locked by others after it was ended by force; none means 15 s.
    #[serde(
        serialize_with = "duration::option::serialize",
        deserialize_with = "delay",
        skip_serializing_if = "Option::is_none"
    )]
    pub lock_delay: Option<Duration>,
    /// What happens to its keys.
    pub behavior: Behavior,
    /// Checks on the node that end it when critical; none means `serfHealth`, and an empty list means no check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_checks: Option<Vec<String>>,
    /// Checks of services on the node that end it when critical.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub service_checks: Vec<ServiceCheckRef>,
}

/// The name of a service's check in a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceCheckRef {
    /// The check's id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Consul Enterprise only.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
}

/// A session as Consul shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Session {
    /// Its UUID.
    #[serde(rename = "ID")]
    pub id: String,
    /// For people.
    pub name: String,
    /// The node it is tied to.
    pub node: String,
    /// How long its keys cannot be locked by others after it was ended by force.
    #[serde(with = "duration::nanoseconds")]
    pub lock_delay: Duration,
    /// What happens to its keys.
    pub behavior: Behavior,
    /// How long it lives without renewal; none is for ever.
    #[serde(rename = "TTL", with = "duration::option")]
    pub ttl: Option<Duration>,
    /// Checks on the node that end it when critical.
    #[serde(deserialize_with = "null_default")]
    pub node_checks: Vec<String>,
    /// Checks of services that end it when critical.
    #[serde(deserialize_with = "null_default")]
    pub service_checks: Vec<ServiceCheckRef>,
    /// The index of the creation.
    pub create_index: u64,
    /// The index of the last change.
    pub modify_index: u64,
}

/// Zero and "not said" differ for the lock delay: the one is no delay, the other 15 s. Small bare numbers are seconds.
fn delay<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    match Value::deserialize(from)? {
        Value::String(text) if !text.is_empty() => {
            duration::parse(&text).map(Some).ok_or_else(|| D::Error::custom(format!("bad duration {text:?}")))
        }
        Value::Null | Value::String(_) => Ok(None),
        Value::Number(number) => Ok(number
            .as_u64()
            .map(|count| if count < 1000 { Duration::from_secs(count) } else { Duration::from_nanos(count) })),
        other => Err(D::Error::custom(format!("bad duration {other}"))),
    }
}

/// The answer to a creation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SessionCreatedWire {
    /// The session's UUID.
    #[serde(rename = "ID")]
    pub id: String,
}

impl Client {
    /// Creates a session and gives its id.
    ///
    /// # Errors
    /// [`Error::Invalid`] if one of its checks is missing or critical, or its TTL is out of range.
    pub async fn session_create(&self, request: &SessionRequest) -> Result<String, Error> {
        let call = Call::put("/v1/session/create").json(request)?;
        self.ask_value::<SessionCreatedWire>(call).await.map(|created| created.id)
    }

    /// Ends a session; its lock delay applies. One that is not there counts as ended.
    pub async fn session_destroy(&self, id: &str) -> Result<(), Error> {
        self.tell(Call::put(format!("/v1/session/destroy/{}", path::segment(id)?))).await
    }

    /// Renews a session with a TTL; `None` if there is no such session any more.
    pub async fn session_renew(&self, id: &str) -> Result<Option<Session>, Error> {
        let call = Call::put(format!("/v1/session/renew/{}", path::segment(id)?));
        match self.ask_value::<Option<Vec<Session>>>(call).await {
            Ok(sessions) => Ok(sessions.unwrap_or_default().into_iter().next()),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A session, if there is such a one.
    pub async fn session_info(&self, id: &str, read: &Read) -> Result<Reply<Option<Session>>, Error> {
        let call = Call::get(format!("/v1/session/info/{}", path::segment(id)?)).read(read);
        let reply = self.ask_absent_empty::<Vec<Session>>(call).await?;
        Ok(reply.map(|sessions| sessions.into_iter().next()))
    }

    /// All sessions.
    pub async fn session_list(&self, read: &Read) -> Result<Reply<Vec<Session>>, Error> {
        self.ask_absent_empty(Call::get("/v1/session/list").read(read)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delay_of(json: &str) -> Option<Duration> {
        serde_json::from_str::<SessionRequest>(json).unwrap().lock_delay
    }

    #[test]
    fn no_delay_and_no_word_about_it_are_two_things() {
        assert_eq!(delay_of("{}"), None);
        assert_eq!(delay_of(r#"{"LockDelay":""}"#), None);
        assert_eq!(delay_of(r#"{"LockDelay":"0s"}"#), Some(Duration::ZERO));
        assert_eq!(delay_of(r#"{"LockDelay":5}"#), Some(Duration::from_secs(5)));
        assert_eq!(delay_of(r#"{"LockDelay":5000000000}"#), Some(Duration::from_secs(5)));
        let request = SessionRequest { lock_delay: Some(Duration::ZERO), ..SessionRequest::default() };
        let json = serde_json::to_string(&request).unwrap();
        assert_eq!(json, r#"{"LockDelay":"0s","Behavior":"release"}"#);
        assert_eq!(serde_json::from_str::<SessionRequest>(&json).unwrap(), request);
    }
}
