//! Rights by token: not Consul's ACL system, only its effects on what a token sees and may write.
//!
//! Off by default: every token may do all. With a table, an unknown token is refused, and a known one without rights meets
//! what it would meet in Consul: lists are silently cut, a single key is refused, a transaction fails whole.

use std::collections::BTreeMap;

/// What may be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Nothing.
    #[default]
    Deny,
    /// Read.
    Read,
    /// Read and write.
    Write,
}

/// The rights of one token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Key prefixes; the longest that fits decides.
    pub keys: BTreeMap<String, Access>,
    /// Nodes, services, checks and the agent.
    pub catalog: Access,
    /// Sessions.
    pub sessions: Access,
}

impl Rules {
    /// Everything.
    pub fn all() -> Self {
        let keys = BTreeMap::from([(String::new(), Access::Write)]);
        Self { keys, catalog: Access::Write, sessions: Access::Write }
    }

    fn key(&self, key: &str) -> Access {
        let fitting = self.keys.iter().filter(|(prefix, _)| key.starts_with(prefix.as_str()));
        fitting.max_by_key(|(prefix, _)| prefix.len()).map_or(Access::Deny, |(_, access)| *access)
    }
}

/// Tokens and their rights. The empty token is the anonymous one; without an entry it has no rights.
pub type AclTable = BTreeMap<String, Rules>;

/// The rights of one request.
#[derive(Clone, Debug)]
pub(crate) enum Rights {
    /// There is no table.
    All,
    /// The token is in the table.
    Some(Rules),
    /// There is a table, and the token is not in it.
    Unknown,
}

impl Rights {
    pub(crate) fn of(table: Option<&AclTable>, token: &str) -> Self {
        match table {
            None => Self::All,
            Some(table) => match table.get(token) {
                Some(rules) => Self::Some(rules.clone()),
                None if token.is_empty() => Self::Some(Rules::default()),
                None => Self::Unknown,
            },
        }
    }

    pub(crate) fn key(&self, key: &str) -> Access {
        match self {
            Self::All => Access::Write,
            Self::Some(rules) => rules.key(key),
            Self::Unknown => Access::Deny,
        }
    }

    pub(crate) fn reads_key(&self, key: &str) -> bool {
        self.key(key) >= Access::Read
    }

    pub(crate) fn writes_key(&self, key: &str) -> bool {
        self.key(key) == Access::Write
    }

    /// Whether every key under `prefix` may be written.
    pub(crate) fn writes_tree(&self, prefix: &str) -> bool {
        let inside = match self {
            Self::Some(rules) => {
                rules.keys.iter().any(|(own, access)| own.starts_with(prefix) && *access != Access::Write)
            }
            _ => false,
        };
        self.writes_key(prefix) && !inside
    }

    pub(crate) fn catalog(&self) -> Access {
        match self {
            Self::All => Access::Write,
            Self::Some(rules) => rules.catalog,
            Self::Unknown => Access::Deny,
        }
    }

    pub(crate) fn sessions(&self) -> Access {
        match self {
            Self::All => Access::Write,
            Self::Some(rules) => rules.sessions,
            Self::Unknown => Access::Deny,
        }
    }
}
