//! Counts and percentages: `25%`, and "1 or 25%".

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
    fn a_percentage_needs_its_sign_and_ends_at_a_hundred() {
        assert_eq!("25%".parse(), Ok(Percent(25)));
        for text in ["25", "101%", "-1%", "2.5%", "%", "+5%"] {
            assert!(text.parse::<Percent>().is_err(), "{text}");
        }
    }
}
