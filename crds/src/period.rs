//! A length of time as people write it: `500ms`, `10s`, `5m30s`, `2h`, `1d`.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use jiff::SignedDuration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The pattern that the schema gives for a [`Period`].
const PATTERN: &str = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$";

/// A length of time, zero or more, at most 365 days, to the millisecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period(Duration);

/// Why a text is not a [`Period`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a length of time; write a number and a unit, such as `500ms`, `10s`, `5m30s`, `2h` or `1d`")]
pub struct PeriodError {
    text: String,
}

impl Period {
    /// The longest period that can be written.
    pub const MAX: Period = Period(Duration::from_hours(365 * 24));

    /// A period of whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// A period of milliseconds.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(Duration::from_millis(milliseconds))
    }

    /// As the standard library's duration.
    pub const fn as_duration(self) -> Duration {
        self.0
    }

    /// As jiff's duration, for adding to a timestamp.
    pub fn as_signed(self) -> SignedDuration {
        SignedDuration::try_from(self.0).unwrap_or(SignedDuration::MAX)
    }

    /// True for `0s`.
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

/// Whether a period that may as well be left out is `0s`.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
pub(crate) fn is_none(period: &Period) -> bool {
    period.is_zero()
}

impl From<Duration> for Period {
    /// Cuts to the millisecond, which is what the text form holds.
    fn from(duration: Duration) -> Self {
        let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(Duration::from_millis(milliseconds))
    }
}

impl FromStr for Period {
    type Err = PeriodError;

    fn from_str(text: &str) -> Result<Self, PeriodError> {
        let error = || PeriodError { text: text.to_owned() };
        let starts_with_digit = text.starts_with(|first: char| first.is_ascii_digit());
        let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '.');
        if !starts_with_digit || !plain || text.contains("us") || text.contains("ns") {
            return Err(error());
        }
        let total = Self::from_millis(parse_parts(text).ok_or_else(error)?);
        (total <= Self::MAX).then_some(total).ok_or_else(error)
    }
}

/// Sums the parts of `1h30m`, numbers with their units, to milliseconds. What is less than a millisecond is cut off.
fn parse_parts(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total = 0_u64;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| c.is_ascii_alphabetic())?;
        let (number, after) = rest.split_at(unit_at);
        let unit_len = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_len);
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        total = total.checked_add(times(number, milliseconds)?)?;
        rest = next;
    }
    Some(total)
}

/// A decimal number times a unit, without rounding on the way: `1.5` times 3,600,000 is 5,400,000. At most nine decimal places.
fn times(number: &str, unit: u64) -> Option<u64> {
    let (whole, places) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then_some(());
    digits(whole).and(digits(places))?;
    let scale = 10_u64.checked_pow(u32::try_from(places.len()).ok().filter(|places| *places <= 9)?)?;
    whole.parse::<u64>().ok()?.checked_mul(unit)?.checked_add(places.parse::<u64>().ok()? * unit / scale)
}

impl fmt::Display for Period {
    /// The shortest text that parses back: `1h30m`, `10s`, `1500ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut milliseconds = self.0.as_millis();
        if milliseconds == 0 {
            return f.write_str("0s");
        }
        if !milliseconds.is_multiple_of(1000) {
            return write!(f, "{milliseconds}ms");
        }
        for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
            if milliseconds >= size {
                write!(f, "{}{unit}", milliseconds / size)?;
                milliseconds %= size;
            }
        }
        Ok(())
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Period {
    fn schema_name() -> Cow<'static, str> {
        "Period".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "period",
            "pattern": PATTERN,
            "description": "A length of time: a number and a unit (`ms`, `s`, `m`, `h`, `d`), or several: `1h30m`.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_reads_what_people_write() {
        for (text, milliseconds) in
            [("0s", 0), ("500ms", 500), ("10s", 10_000), ("5m30s", 330_000), ("1.5h", 5_400_000), ("1d", 86_400_000)]
        {
            assert_eq!(text.parse(), Ok(Period::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn a_period_refuses_what_could_mean_two_things() {
        for text in ["", "10", "s", "-5s", "10 s", "10sec", "1w", "5us", "366d", "1e3s", "10s5", "1.s", ".5s", "1..5s"]
        {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_period_prints_the_shortest_text_that_parses_back() {
        for text in ["0s", "1500ms", "10s", "1m", "5m30s", "1h30m", "1d", "365d", "13273636415ms"] {
            assert_eq!(text.parse::<Period>().map(|period| period.to_string()), Ok(text.to_owned()));
        }
    }
}
