//! Where random numbers come from: outside, so that a whole world can be replayed from one seed.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A source of random numbers.
pub type Entropy = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Numbers that differ from run to run: the keys that the operating system gives to every new hash map, stirred by a
/// counter. They are for ids, not for secrets.
#[allow(clippy::disallowed_methods, reason = "this is where the embedded server gets its randomness from")]
pub fn real_entropy() -> Entropy {
    let (keys, count) = (RandomState::new(), AtomicU64::new(0));
    Arc::new(move || {
        let mut hasher = keys.build_hasher();
        hasher.write_u64(count.fetch_add(1, Ordering::Relaxed));
        hasher.finish()
    })
}

/// The same numbers for the same seed (`SplitMix64`).
pub fn seeded_entropy(seed: u64) -> Entropy {
    let state = AtomicU64::new(seed);
    Arc::new(move || {
        let mut z = state.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed).wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    })
}

/// A random UUID in the usual notation.
pub(crate) fn uuid(entropy: &Entropy) -> String {
    let hex = format!("{:016x}{:016x}", entropy(), entropy());
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
