//! A revision: one template as it was, under the hash of its content.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{ids::RevisionId, template::Template};

/// The hash scheme in front of every revision id. A new scheme gets a new number, and ids of the old one stay as they are,
/// so that an upgrade of Helium restarts no rollout.
const SCHEME: &str = "r1";

/// An immutable past template, kept to return to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Revision {
    /// The hash of the template.
    pub id: RevisionId,
    /// Counts the revisions of a Deployment: 1, 2, ...; a template that comes back gets a new number.
    pub number: u64,
    /// The numbers that it had before it came back, oldest first; the last [`Revision::FORMERLY`] of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub formerly: Vec<u64>,
    /// The template, resolved.
    pub template: Template,
    /// When this revision was last asked for.
    pub created_at: Timestamp,
}

impl Revision {
    /// So many former numbers are kept.
    pub const FORMERLY: usize = 16;
}

/// The id of a template: SHA-256 of its canonical JSON (keys sorted, defaults written out).
pub fn revision_id(template: &Template) -> RevisionId {
    let canonical = serde_json::to_value(template).map(|value| sorted(value).to_string()).unwrap_or_default();
    RevisionId::new(format!("{SCHEME}-{}", hex(&Sha256::digest(canonical.as_bytes()))))
}

/// The value with the keys of every object in order, however `serde_json` was built: its feature `preserve_order`, which any crate of the
/// program may turn on, would otherwise change every revision's id.
pub(crate) fn sorted(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields: BTreeMap<String, Value> = fields.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            Value::Object(fields.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

/// A hash of any text, as `digits` lower-case hex digits: for shard names and the ends of ids.
pub fn short_hash(text: &str, digits: usize) -> String {
    let hash = Sha256::digest(text.as_bytes());
    let mut hex = hex(&hash[..hash.len().min(digits.div_ceil(2))]);
    hex.truncate(digits);
    hex
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}
