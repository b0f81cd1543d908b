//! Names in URLs: percent-encoding, and the keys that Consul's router cannot carry.

use crate::error::Error;

/// A key as a part of a path. Slashes stay; whatever the server's router would rewrite is refused.
pub(crate) fn key(key: &str) -> Result<String, Error> {
    if key.is_empty() || key.ends_with('/') && key.trim_end_matches('/').is_empty() {
        return Err(invalid(key, "the key is empty"));
    }
    prefix(key)
}

/// A prefix of keys as a part of a path; it may be empty.
pub(crate) fn prefix(prefix: &str) -> Result<String, Error> {
    // The server cleans paths before it looks at keys: `a//b` and `a/../b` are answered with a redirect to another key.
    if prefix.starts_with('/') || prefix.contains("//") {
        return Err(invalid(prefix, "empty parts between slashes"));
    }
    if prefix.split('/').any(|part| part == "." || part == "..") {
        return Err(invalid(prefix, "a part of it is `.` or `..`"));
    }
    Ok(encode(prefix, true))
}

/// A name as one part of a path.
pub(crate) fn segment(name: &str) -> Result<String, Error> {
    if name.is_empty() || name == "." || name == ".." || name.contains('/') {
        return Err(invalid(name, "not usable as one part of a path"));
    }
    Ok(encode(name, false))
}

/// A value in a query string.
pub(crate) fn query(value: &str) -> String {
    encode(value, false)
}

fn encode(text: &str, keep_slash: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keep_slash && byte == b'/';
        if plain {
            encoded.push(char::from(byte));
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            encoded.push('%');
            encoded.push(char::from(HEX[usize::from(byte >> 4)]));
            encoded.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    encoded
}

fn invalid(name: &str, why: &str) -> Error {
    Error::Invalid { call: "before sending".to_owned(), message: format!("{name:?}: {why}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_stay_and_all_that_is_special_is_encoded() {
        assert_eq!(key("a/b c?d#e%f+g").unwrap(), "a/b%20c%3Fd%23e%25f%2Bg");
        assert_eq!(key("ü").unwrap(), "%C3%BC");
        assert_eq!(query("Service.Meta.v == \"1/2\""), "Service.Meta.v%20%3D%3D%20%221%2F2%22");
        assert_eq!(segment("a b").unwrap(), "a%20b");
    }

    #[test]
    fn keys_that_the_server_would_rewrite_are_refused() {
        for bad in ["", "/", "/a", "a//b", "a/../b", "./a", "a/."] {
            assert!(matches!(key(bad), Err(Error::Invalid { .. })), "{bad}");
        }
        assert_eq!(prefix("").unwrap(), "");
        assert_eq!(prefix("a/").unwrap(), "a/");
        assert_eq!(key("a/.keep").unwrap(), "a/.keep");
        assert!(segment("a/b").is_err());
    }
}
