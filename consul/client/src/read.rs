//! How a read is asked for, and what Consul says about the answer.

use std::time::Duration;

use http::HeaderMap;

/// Which server may answer, and how sure the answer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// The leader answers by its lease. A paused ex-leader may answer with old data for a moment.
    #[default]
    Default,
    /// Any server answers at once, even without a leader; see [`Meta::last_contact`].
    Stale,
    /// The leader asks a quorum first. Needed before anything destructive.
    Consistent,
}

/// A long poll: wait until the index has passed `index`, at most `wait`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocking {
    /// The [`Meta::index`] of the answer before; sent as at least 1, because 0 would return at once forever.
    pub index: u64,
    /// The longest time to wait; Consul adds up to a sixteenth and takes at most 10 minutes.
    pub wait: Duration,
}

/// How to read. `Read::default()` is a plain read at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// Which server may answer.
    pub consistency: Consistency,
    /// Wait for a change.
    pub blocking: Option<Blocking>,
    /// The datacenter to ask in place of the client's.
    pub datacenter: Option<String>,
    /// A Consul filter expression (catalog, health and agent lists); it does not make wake-ups rarer.
    pub filter: Option<String>,
    /// Only instances with this tag (catalog and health of a service).
    pub tag: Option<String>,
    /// Only instances of which all checks pass (health of a service).
    pub passing: bool,
}

impl Read {
    /// A read that a quorum confirms.
    pub fn consistent() -> Self {
        Self { consistency: Consistency::Consistent, ..Self::default() }
    }

    /// A read that any server may answer.
    pub fn stale() -> Self {
        Self { consistency: Consistency::Stale, ..Self::default() }
    }

    /// A long poll past `index` for at most `wait`.
    pub fn blocking(index: u64, wait: Duration) -> Self {
        Self { blocking: Some(Blocking { index, wait }), ..Self::default() }
    }
}

/// A value and what Consul says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply<T> {
    /// The value.
    pub value: T,
    /// The headers.
    pub meta: Meta,
}

impl<T> Reply<T> {
    /// The same meta with another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Reply<U> {
        Reply { value: change(self.value), meta: self.meta }
    }
}

/// What the headers of an answer say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// `X-Consul-Index`, at least 1; 0 if the header is absent or not a number.
    pub index: u64,
    /// `X-Consul-KnownLeader`; true if the header is absent (an agent's own answers).
    pub known_leader: bool,
    /// `X-Consul-LastContact`: how long ago the answering server last heard of a leader; 0 if absent.
    pub last_contact: Duration,
    /// `X-Consul-Results-Filtered-By-ACLs`: parts were left out for want of rights. Consul says so only since 1.11.
    pub filtered_by_acls: bool,
}

impl Meta {
    /// Reads the headers.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let number = |name: &str| text(name).and_then(|value| value.parse::<u64>().ok());
        Self {
            index: number(INDEX).map_or(0, |index| index.max(1)),
            known_leader: text(KNOWN_LEADER).is_none_or(|value| value.eq_ignore_ascii_case("true")),
            last_contact: Duration::from_millis(number(LAST_CONTACT).unwrap_or(0)),
            filtered_by_acls: text(FILTERED).is_some_and(|value| value.eq_ignore_ascii_case("true")),
        }
    }
}

/// The index of an answer.
pub const INDEX: &str = "x-consul-index";
/// Whether the answering server knows a leader.
pub const KNOWN_LEADER: &str = "x-consul-knownleader";
/// Milliseconds since the answering server heard of the leader.
pub const LAST_CONTACT: &str = "x-consul-lastcontact";
/// Whether ACLs removed parts of the answer.
pub const FILTERED: &str = "x-consul-results-filtered-by-acls";

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn meta(headers: &[(&'static str, &'static str)]) -> Meta {
        let pairs = headers.iter().map(|(name, value)| ((*name).parse().unwrap(), HeaderValue::from_static(value)));
        Meta::from_headers(&pairs.collect())
    }

    #[test]
    fn an_index_is_at_least_one_and_zero_means_that_none_was_sent() {
        assert_eq!(meta(&[("X-Consul-Index", "18446744073709551615")]).index, u64::MAX);
        assert_eq!(meta(&[("X-Consul-Index", "0")]).index, 1);
        assert_eq!(meta(&[("X-Consul-Index", "-3")]).index, 0);
        assert_eq!(meta(&[]).index, 0);
    }

    #[test]
    fn a_lost_leader_and_acl_filters_are_seen() {
        let all = [
            ("X-Consul-Knownleader", "false"),
            ("X-Consul-Lastcontact", "19056"),
            ("X-Consul-Results-Filtered-By-ACLs", "true"),
        ];
        let meta = meta(&all);
        assert!(!meta.known_leader && meta.filtered_by_acls);
        assert_eq!(meta.last_contact, Duration::from_millis(19_056));
    }

    #[test]
    fn answers_without_headers_are_an_agents_own() {
        let meta = meta(&[]);
        assert!(meta.known_leader && !meta.filtered_by_acls);
        assert_eq!(meta.last_contact, Duration::ZERO);
    }
}
