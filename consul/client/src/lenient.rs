//! Reading JSON that Go wrote: `null` stands for an empty list or map.

use serde::{Deserialize, Deserializer};

/// For serde's `deserialize_with` together with `default`: `null` reads as the default.
pub(crate) fn null_default<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// For serde's `skip_serializing_if`.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
pub(crate) fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// For serde's `skip_serializing_if`.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
pub(crate) fn is_false(value: &bool) -> bool {
    !*value
}
