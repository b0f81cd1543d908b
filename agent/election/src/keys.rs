//! Where a service's locks and its bad versions are kept: Helium's keys, and those that Helios had.

use std::fmt::Write as _;

/// How the value of the leader's key is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// JSON: [`Holder`](crate::leader::Holder).
    Json,
    /// The name of the node and nothing else, as Helios' readers expect it. The fencing token is not in it then.
    PlainName,
}

/// The keys of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// The key that the leader holds as a lock.
    pub leader: String,
    /// How its value is written.
    pub form: Form,
    /// Where the id of the leader's session is written for others to read, if anywhere.
    pub session: Option<String>,
    /// The key with who upgrades and who waits: [`Queue`](crate::upgrade::Queue).
    pub upgrade: String,
    /// What the key of a bad version begins with; ends in `/`.
    pub bad: String,
}

impl Keys {
    /// Helium's: `helium/v1/lock/service/<namespace>/<name>`, `helium/v1/lock/upgrade/<namespace>/<name>` and
    /// `helium/v1/bad/<namespace>/<name>/<version>`.
    pub fn helium(namespace: &str, name: &str) -> Self {
        Self {
            leader: format!("helium/v1/lock/service/{namespace}/{name}"),
            form: Form::Json,
            session: None,
            upgrade: format!("helium/v1/lock/upgrade/{namespace}/{name}"),
            bad: format!("helium/v1/bad/{namespace}/{name}/"),
        }
    }

    /// Helios': `service/<service>/leader`, `sessions/<node>/<service>` and `service/<service>/upgrade`. Helios knew no bad versions; they
    /// are at `service/<service>/bad/<version>`.
    ///
    /// The names are Helios'; the value at `service/<service>/upgrade` is ours. A node that still runs Helios takes that key as a lock of its
    /// session and does not read the value, so a service is upgraded by one of the two, not by both.
    pub fn helios(service: &str, node: &str) -> Self {
        Self {
            leader: format!("service/{service}/leader"),
            form: Form::PlainName,
            session: Some(format!("sessions/{node}/{service}")),
            upgrade: format!("service/{service}/upgrade"),
            bad: format!("service/{service}/bad/"),
        }
    }

    /// The key under which a version is noted as bad.
    ///
    /// Letters, digits, `-` and a `.` that is not the first stay as they are; each other byte, `_` among them, becomes `_` and its two
    /// hexadecimal digits, so that two versions never share a key and every Consul takes it: `1.2+b_1` becomes `1.2_2bb_5f1`.
    pub fn bad_version(&self, version: &str) -> String {
        let mut key = self.bad.clone();
        for (at, byte) in version.bytes().enumerate() {
            if byte.is_ascii_alphanumeric() || byte == b'-' || (byte == b'.' && at > 0) {
                key.push(char::from(byte));
            } else {
                // Writing to a String cannot fail.
                let _ = write!(key, "_{byte:02x}");
            }
        }
        key
    }

    /// The version that a key marks as bad, if it is such a key. What nobody here would have written, as a person may, is taken as it is.
    pub fn version_of_bad(&self, key: &str) -> Option<String> {
        let name = key.strip_prefix(&self.bad).filter(|name| !name.is_empty())?;
        Some(decoded(name).filter(|version| self.bad_version(version) == key).unwrap_or_else(|| name.to_owned()))
    }
}

/// A name with each `_` and its two hexadecimal digits as the byte that they stand for; none if there is another `_` in it.
fn decoded(name: &str) -> Option<String> {
    let mut parts = name.split('_');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn helium_and_helios_each_have_their_keys() {
        let keys = Keys::helium("default", "shop");
        assert_eq!(keys.leader, "helium/v1/lock/service/default/shop");
        assert_eq!(keys.upgrade, "helium/v1/lock/upgrade/default/shop");
        assert_eq!(keys.bad_version("1.4.2-rc1"), "helium/v1/bad/default/shop/1.4.2-rc1");
        let keys = Keys::helios("shop", "zone3");
        assert_eq!(keys.leader, "service/shop/leader");
        assert_eq!(keys.session.as_deref(), Some("sessions/zone3/shop"));
        assert_eq!(keys.upgrade, "service/shop/upgrade");
    }

    #[test]
    fn no_two_versions_share_a_key_and_none_leaves_its_folder() {
        let keys = Keys { bad: String::new(), ..Keys::helium("d", "s") };
        let table = [
            ("1.2+b_1", "1.2_2bb_5f1"),
            ("1.2_2bb", "1.2_5f2bb"),
            ("..", "_2e."),
            ("a/b", "a_2fb"),
            ("ö", "_c3_b6"),
            ("A", "A"),
        ];
        for (version, key) in table {
            assert_eq!(keys.bad_version(version), key, "{version}");
            assert_eq!(keys.version_of_bad(key).as_deref(), Some(version));
        }
        for by_hand in ["1_2", "a_", "_zz", "_2E", "x/y", "_ff"] {
            assert_eq!(keys.version_of_bad(by_hand).as_deref(), Some(by_hand));
        }
        assert_eq!(Keys::helium("d", "s").version_of_bad("helium/v1/bad/d/s/"), None);
        assert_eq!(Keys::helium("d", "s").version_of_bad("helium/v1/bad/d/other/1"), None);
    }
}
