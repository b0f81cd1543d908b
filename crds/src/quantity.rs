//! Counts, percentages and measured numbers: `25%`, "1 or 25%", `0.995`.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A whole percentage from `0%` to `100%`, written with its sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u8);

/// Why a text is not a [`Percent`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a percentage; write a whole number from `0%` to `100%`, with the sign")]
pub struct PercentError {
    text: String,
}

impl Percent {
    /// `0%`.
    pub const ZERO: Percent = Percent(0);
    /// `100%`.
    pub const FULL: Percent = Percent(100);

    /// A percentage, if `value` is at most 100.
    pub const fn new(value: u8) -> Option<Self> {
        if value <= 100 { Some(Self(value)) } else { None }
    }

    /// The number before the sign, 0 to 100.
    pub const fn value(self) -> u32 {
        self.0 as u32
    }

    /// This share of `count`, rounded up: 25% of 3 is 1.
    #[allow(clippy::cast_possible_truncation, reason = "at most 100% of a u32")]
    pub const fn of_rounded_up(self, count: u32) -> u32 {
        ((self.0 as u64 * count as u64).div_ceil(100)) as u32
    }

    /// This share of `count`, rounded down: 25% of 3 is 0.
    #[allow(clippy::cast_possible_truncation, reason = "at most 100% of a u32")]
    pub const fn of_rounded_down(self, count: u32) -> u32 {
        (self.0 as u64 * count as u64 / 100) as u32
    }
}

impl FromStr for Percent {
    type Err = PercentError;

    fn from_str(text: &str) -> Result<Self, PercentError> {
        text.strip_suffix('%')
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|digits| digits.parse::<u8>().ok())
            .and_then(Self::new)
            .ok_or_else(|| PercentError { text: text.to_owned() })
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Percent {
    fn schema_name() -> Cow<'static, str> {
        "Percent".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "percent",
            "pattern": "^(100|[0-9]{1,2})%$",
            "description": "A whole percentage from `0%` to `100%`.",
        })
    }
}

/// A number of instances, or a share of the wanted count: `1` or `25%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Amount {
    /// So many instances.
    Count(u32),
    /// This share of the wanted count.
    Share(Percent),
}

impl Amount {
    /// How many instances this is when `count` are wanted; a share is rounded up, as `maxSurge` is.
    pub const fn rounded_up(self, count: u32) -> u32 {
        match self {
            Amount::Count(number) => number,
            Amount::Share(share) => share.of_rounded_up(count),
        }
    }

    /// How many instances this is when `count` are wanted; a share is rounded down, as `maxUnavailable` is.
    pub const fn rounded_down(self, count: u32) -> u32 {
        match self {
            Amount::Count(number) => number,
            Amount::Share(share) => share.of_rounded_down(count),
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Amount::Count(number) => write!(f, "{number}"),
            Amount::Share(share) => write!(f, "{share}"),
        }
    }
}

impl JsonSchema for Amount {
    fn schema_name() -> Cow<'static, str> {
        "Amount".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number of instances, or a share of the wanted count: `1` or `25%`.",
            "oneOf": [
                { "type": "integer", "minimum": 0, "maximum": u32::MAX },
                { "type": "string", "format": "percent", "pattern": "^(100|[0-9]{1,2})%$" },
            ],
        })
    }
}

/// A measured or compared number: finite, so that it can be compared and ordered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number(f64);

impl Number {
    /// A number, if `value` is finite.
    pub fn new(value: f64) -> Option<Self> {
        value.is_finite().then_some(Self(value))
    }

    /// Its value.
    pub const fn value(self) -> f64 {
        self.0
    }
}

/// No number is the special one that differs from itself.
impl Eq for Number {}

impl fmt::Display for Number {
    /// With at most four digits behind the point, and in powers of ten where it is small: `0.25`, `12.3457`, `1.23e-5`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0;
        if value != 0.0 && value.abs() < 0.001 {
            return write!(f, "{value:.2e}");
        }
        let text = format!("{value:.4}");
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[allow(clippy::cast_possible_truncation, reason = "whole, and far below the bounds of an i64")]
        if self.0.fract() == 0.0 && self.0.abs() < 1e15 {
            return serializer.serialize_i64(self.0 as i64);
        }
        serializer.serialize_f64(self.0)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(f64::deserialize(deserializer)?).ok_or_else(|| de::Error::custom("a number must be finite"))
    }
}

impl JsonSchema for Number {
    fn schema_name() -> Cow<'static, str> {
        "Number".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "description": "A number." })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_surge_rounds_up_and_an_unavailable_share_rounds_down() {
        let quarter = Amount::Share(Percent(25));
        assert_eq!((quarter.rounded_up(3), quarter.rounded_down(3)), (1, 0));
        assert_eq!((quarter.rounded_up(8), quarter.rounded_down(8)), (2, 2));
    }

    #[test]
    fn a_number_is_shown_as_people_write_it_and_is_never_infinite() {
        for (value, shown) in [(1.0, "1"), (0.25, "0.25"), (12.345_67, "12.3457"), (0.000_012_3, "1.23e-5"), (0.0, "0")]
        {
            assert_eq!(Number(value).to_string(), shown);
        }
        assert_eq!(Number::new(f64::NAN), None);
        assert_eq!(Number::new(f64::INFINITY), None);
        assert_eq!(serde_json::to_string(&Number(2.0)).unwrap(), "2");
    }

    #[test]
    fn a_percentage_needs_its_sign_and_ends_at_a_hundred() {
        assert_eq!("25%".parse(), Ok(Percent(25)));
        for text in ["25", "101%", "-1%", "2.5%", "%", "+5%"] {
            assert!(text.parse::<Percent>().is_err(), "{text}");
        }
    }
}
