//! Durations as Go writes them in JSON: `"1m30s"`, or a number of nanoseconds.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer};

/// Reads Go's notation: numbers with units `ns`, `us`, `ms`, `s`, `m`, `h`, one after another. `None` if it is not that.
pub fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let seconds = match &rest[..end] {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = &rest[end..];
    }
    Some(total)
}

/// Writes a duration so that Go reads it: whole seconds as `90s`, else milliseconds, else nanoseconds.
pub fn format(duration: Duration) -> String {
    if duration.subsec_nanos() == 0 {
        format!("{}s", duration.as_secs())
    } else if duration.subsec_nanos().is_multiple_of(1_000_000) {
        format!("{}ms", duration.as_millis())
    } else {
        format!("{}ns", duration.as_nanos())
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Either {
    Nanoseconds(i64),
    Text(String),
}

impl Either {
    /// Empty text, zero and negative numbers are Go's ways to say "none".
    fn duration(self) -> Result<Option<Duration>, String> {
        match self {
            Self::Nanoseconds(count) => Ok(u64::try_from(count).ok().filter(|n| *n > 0).map(Duration::from_nanos)),
            Self::Text(text) if text.is_empty() => Ok(None),
            Self::Text(text) => parse(&text).map(Some).ok_or_else(|| format!("bad duration {text:?}")),
        }
    }
}

/// For serde's `with`: an optional duration, written as text; `""`, `null` and 0 read as none.
pub mod option {
    use super::{Deserialize, Deserializer, Duration, Either, Serializer, format};
    use serde::de::Error as _;

    /// Writes the duration as text.
    pub fn serialize<S: Serializer>(value: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(duration) => to.serialize_str(&format(*duration)),
            None => to.serialize_str(""),
        }
    }

    /// Reads text, a number of nanoseconds, or nothing.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        match Option::<Either>::deserialize(from)? {
            None => Ok(None),
            Some(either) => either.duration().map_err(D::Error::custom),
        }
    }
}

/// For serde's `with`: a duration written as a number of nanoseconds; text is read too.
pub mod nanoseconds {
    use super::{Deserialize, Deserializer, Duration, Either, Serializer};
    use serde::de::Error as _;

    /// Writes the number of nanoseconds.
    pub fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(value.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Reads a number of nanoseconds or text.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let value = Option::<Either>::deserialize(from)?;
        let value = value.map(Either::duration).transpose().map_err(D::Error::custom)?;
        Ok(value.flatten().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_go_writes_them() {
        let cases = [
            ("0", 0),
            ("0s", 0),
            ("10s", 10_000),
            ("1m30s", 90_000),
            ("24h0m0s", 86_400_000),
            ("1.5s", 1_500),
            ("250ms", 250),
        ];
        for (text, millis) in cases {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "10", "s", "abc", "1x", "-1s", "1s x"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for nanos in [0, 1, 999, 1_000_000, 1_500_000_000, 15_000_000_000] {
            let duration = Duration::from_nanos(nanos);
            assert_eq!(parse(&format(duration)), Some(duration));
        }
        assert_eq!(format(Duration::from_secs(90)), "90s");
        assert_eq!(format(Duration::from_millis(1_500)), "1500ms");
    }

    #[test]
    fn text_and_nanoseconds_are_both_read() {
        #[derive(Deserialize)]
        struct Both {
            #[serde(with = "option", default)]
            ttl: Option<Duration>,
            #[serde(with = "nanoseconds", default)]
            delay: Duration,
        }
        let both =
            |json: &str| serde_json::from_str::<Both>(json).map(|both| (both.ttl, both.delay.as_secs())).unwrap();
        assert_eq!(both(r#"{"ttl":"10s","delay":15000000000}"#), (Some(Duration::from_secs(10)), 15));
        assert_eq!(both(r#"{"ttl":10000000000,"delay":"15s"}"#), (Some(Duration::from_secs(10)), 15));
        assert_eq!(both(r#"{"ttl":"","delay":null}"#), (None, 0));
        assert_eq!(both("{}"), (None, 0));
    }
}
