//! Sizes of memory and shares of processors as people write them: `256Mi`, `1.5G`; `0.5`, `500m`.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The pattern that the schema gives for a [`Bytes`].
const BYTES: &str = r"^[0-9]{1,15}(\.[0-9]{1,9})?(B|k|M|G|T|Ki|Mi|Gi|Ti)$";
/// The pattern that the schema gives for a [`Cores`] in thousandths.
const MILLIS: &str = r"^[0-9]{1,9}m$";

/// The units of a size: by 1024, then by 1000.
const UNITS: [(&str, u64); 9] = [
    ("Ti", 1 << 40),
    ("Gi", 1 << 30),
    ("Mi", 1 << 20),
    ("Ki", 1 << 10),
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("k", 1000),
    ("B", 1),
];

/// A size in bytes, at most 1024 TiB. It is written with its unit: `256Mi` is 256 times 1024 times 1024, `256M` is 256 million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(u64);

/// Why a text is not a [`Bytes`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a size; write a number and a unit, such as `256Mi` or `1.5G`")]
pub struct BytesError {
    text: String,
}

impl Bytes {
    /// The largest size that can be written: 1024 TiB.
    pub const MAX: Bytes = Bytes(1 << 50);

    /// So many bytes; none if they are more than [`Bytes::MAX`].
    pub const fn new(bytes: u64) -> Option<Self> {
        if bytes <= Self::MAX.0 { Some(Self(bytes)) } else { None }
    }

    /// How many bytes.
    pub const fn count(self) -> u64 {
        self.0
    }
}

impl FromStr for Bytes {
    type Err = BytesError;

    /// What is less than a byte is cut off: `0.0001Ki` is nothing.
    fn from_str(text: &str) -> Result<Self, BytesError> {
        let error = || BytesError { text: text.to_owned() };
        let at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(error)?;
        let (number, unit) = text.split_at(at);
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(error)?;
        scaled(number, *unit).and_then(Self::new).ok_or_else(error)
    }
}

/// A decimal number times a unit, without rounding on the way: `1.5` times 1024 is 1536. At most nine decimal places.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, places) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.len() <= 15 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(places) || places.len() > 9 {
        return None;
    }
    let scale = 10_u128.checked_pow(u32::try_from(places.len()).ok()?)?;
    let unit = u128::from(unit);
    let all = whole.parse::<u128>().ok()? * unit + places.parse::<u128>().ok()? * unit / scale;
    u64::try_from(all).ok()
}

impl fmt::Display for Bytes {
    /// In the largest unit that leaves a whole number: `256Mi`, `1500M`, `0B`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS.iter().filter(|(_, unit)| self.0 != 0 && self.0.is_multiple_of(*unit));
        let (name, unit) = whole.max_by_key(|(_, unit)| *unit).unwrap_or(&("B", 1));
        write!(f, "{}{name}", self.0 / unit)
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Bytes {
    fn schema_name() -> Cow<'static, str> {
        "Bytes".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "bytes",
            "pattern": BYTES,
            "description": "A size with its unit, such as `256Mi`.",
        })
    }
}

/// A share of processors, in thousandths of one: `0.5` and `500m` are half of one. From a hundredth to 4096 whole ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cores(u32);

/// Why something is not a [`Cores`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no share of processors; write a number such as `0.5`, or thousandths such as `500m`, from 0.01 to 4096"
)]
pub struct CoresError {
    text: String,
}

impl Cores {
    /// The least share: a hundredth, below which the system divides no time.
    pub const MIN: Cores = Cores(10);
    /// The most.
    pub const MAX: Cores = Cores(4_096_000);

    /// So many thousandths of a processor, if they are within the bounds.
    pub const fn from_millis(millis: u32) -> Option<Self> {
        if Self::MIN.0 <= millis && millis <= Self::MAX.0 { Some(Self(millis)) } else { None }
    }

    /// In thousandths of a processor.
    pub const fn millis(self) -> u32 {
        self.0
    }

    /// A number of processors, to the thousandth.
    fn from_number(number: f64) -> Option<Self> {
        let millis = (number * 1000.0).round();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the bounds of a u32")]
        let millis = (0.0..=f64::from(Self::MAX.0)).contains(&millis).then_some(millis as u32);
        millis.and_then(Self::from_millis)
    }
}

impl FromStr for Cores {
    type Err = CoresError;

    fn from_str(text: &str) -> Result<Self, CoresError> {
        let error = || CoresError { text: text.to_owned() };
        if let Some(millis) = text.strip_suffix('m') {
            return scaled(millis, 1)
                .and_then(|millis| Self::from_millis(u32::try_from(millis).ok()?))
                .ok_or_else(error);
        }
        scaled(text, 1000).and_then(|millis| Self::from_millis(u32::try_from(millis).ok()?)).ok_or_else(error)
    }
}

impl fmt::Display for Cores {
    /// As a number of processors: `0.5`, `2`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(self.0) / 1000.0)
    }
}

impl Serialize for Cores {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(1000) {
            return serializer.serialize_u32(self.0 / 1000);
        }
        serializer.serialize_f64(f64::from(self.0) / 1000.0)
    }
}

/// As it is written.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(f64),
    Text(String),
}

impl<'de> Deserialize<'de> for Cores {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::Number(number) => {
                Self::from_number(number).ok_or_else(|| de::Error::custom(CoresError { text: number.to_string() }))
            }
            Written::Text(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

impl JsonSchema for Cores {
    fn schema_name() -> Cow<'static, str> {
        "Cores".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A share of processors: `0.5`, or `500m` in thousandths.",
            "format": "cores",
            "oneOf": [
                { "type": "number", "minimum": 0.01, "maximum": 4096 },
                { "type": "string", "format": "millicores", "pattern": MILLIS },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_read_with_its_unit_and_shown_as_short_as_can_be() {
        for (text, bytes, shown) in [
            ("256Mi", 268_435_456, "256Mi"),
            ("1.5Gi", 1_610_612_736, "1536Mi"),
            ("256M", 256_000_000, "256M"),
            ("1500k", 1_500_000, "1500k"),
            ("1001B", 1001, "1001B"),
            ("0B", 0, "0B"),
            ("1024Ti", 1 << 50, "1024Ti"),
        ] {
            let size: Bytes = text.parse().unwrap();
            assert_eq!((size.count(), size.to_string().as_str()), (bytes, shown), "{text}");
            assert_eq!(size.to_string().parse(), Ok(size));
        }
        for text in ["", "256", "Mi", "256mi", "256MB", "-1Mi", "1025Ti", "1.2.3Mi", "1e3Mi", "999999999999999Ti"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_share_of_processors_is_read_as_a_number_or_in_thousandths() {
        let read = |text: &str| serde_json::from_str::<Cores>(text).map(Cores::millis).ok();
        for (text, millis) in
            [("0.5", 500), ("2", 2000), ("\"500m\"", 500), ("\"1.5\"", 1500), ("0.01", 10), ("0.1", 100)]
        {
            assert_eq!(read(text), Some(millis), "{text}");
        }
        for text in ["0", "-1", "0.001", "4097", "\"5m\"", "\"half\"", "true"] {
            assert_eq!(read(text), None, "{text}");
        }
        for (millis, json) in [(500, "0.5"), (2000, "2"), (1250, "1.25"), (10, "0.01")] {
            assert_eq!(serde_json::to_string(&Cores(millis)).unwrap(), json);
            assert_eq!(read(json), Some(millis));
        }
    }
}
