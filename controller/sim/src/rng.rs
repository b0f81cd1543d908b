//! A tree of seeded generators: every part of the world draws from a stream of its own, named by a label.
//!
//! A part that draws once more shifts nobody else's numbers, so a seed stays comparable when something is added.

use std::time::Duration;

/// 2^64 divided by the golden ratio, the increment of `SplitMix64`.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// One stream of numbers (`SplitMix64`).
#[derive(Clone, Debug)]
pub struct Rng {
    seed: u64,
    state: u64,
}

impl Rng {
    /// The root of a tree.
    pub fn new(seed: u64) -> Self {
        Self { seed, state: seed }
    }

    /// The branch of a label. It depends on the root's seed and the labels on the way, not on what was drawn.
    #[must_use]
    pub fn child(&self, label: &str) -> Self {
        let seed = label.bytes().fold(self.seed, |seed, byte| mix(seed.wrapping_add(GAMMA) ^ u64::from(byte)));
        Self::new(seed)
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GAMMA);
        mix(self.state)
    }

    /// A number in `0..bound`, and 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.draw()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// True in `permille` of 1000 cases.
    pub fn chance(&mut self, permille: u64) -> bool {
        self.below(1000) < permille
    }

    /// A time in `from..to`, to the millisecond.
    pub fn between(&mut self, from: Duration, to: Duration) -> Duration {
        let span = u64::try_from(to.saturating_sub(from).as_millis()).unwrap_or(u64::MAX);
        from + Duration::from_millis(self.below(span))
    }

    /// One of the items.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let place = usize::try_from(self.below(items.len() as u64)).unwrap_or(0);
        items.get(place)
    }
}

/// The output function of `SplitMix64`.
fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_depends_on_its_labels_and_not_on_what_was_drawn() {
        let mut root = Rng::new(7);
        let before = root.child("fleet").child("n1").draw();
        root.draw();
        assert_eq!(root.child("fleet").child("n1").draw(), before);
        assert_ne!(root.child("users").child("n1").draw(), before);
    }

    #[test]
    fn chances_come_true_as_often_as_they_say() {
        let mut rng = Rng::new(1);
        let struck = (0..10_000).filter(|_| rng.chance(250)).count();
        assert!((2300..2700).contains(&struck), "{struck}");
        assert!(!rng.chance(0) && rng.chance(1000));
    }
}
