//! Which versions stay: a decision about names and instants.

use std::num::NonZeroUsize;

use jiff::Timestamp;

use super::Name;

/// A version that may go or stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub version: Name,
    /// When it came.
    pub installed: Timestamp,
}

/// The versions that go so that `keep` stay; the oldest go first, and none of `held` ever does.
///
/// By example: of 1, 2, 3, 4, 5 (in this order) with `keep` 3 and 5 and 1 held, 5, 1 and 4 stay. With `keep` 1, 5 and 1 still stay.
pub fn to_remove(candidates: &[Candidate], held: &[&Name], keep: NonZeroUsize) -> Vec<Name> {
    let mut free: Vec<&Candidate> = candidates.iter().filter(|one| !held.contains(&&one.version)).collect();
    let staying = candidates.len() - free.len();
    free.sort_by(|a, b| b.installed.cmp(&a.installed).then_with(|| b.version.cmp(&a.version)));
    free.into_iter().skip(keep.get().saturating_sub(staying)).map(|one| one.version.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone(keep: usize, held: &[&str]) -> Vec<String> {
        let name = |text: &str| text.parse::<Name>().unwrap();
        let candidates: Vec<Candidate> = (1..=5)
            .map(|at| Candidate { version: name(&at.to_string()), installed: Timestamp::from_second(at).unwrap() })
            .collect();
        let held: Vec<Name> = held.iter().map(|text| name(text)).collect();
        let held: Vec<&Name> = held.iter().collect();
        to_remove(&candidates, &held, NonZeroUsize::new(keep).unwrap()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_newest_stay_and_what_is_held_always_does() {
        assert_eq!(gone(3, &["5", "1"]), ["3", "2"]);
        assert_eq!(gone(1, &["5", "1"]), ["4", "3", "2"]);
        assert_eq!(gone(9, &[]), Vec::<String>::new());
        assert_eq!(gone(3, &[]), ["2", "1"]);
        assert_eq!(gone(2, &["1", "2", "3"]), ["5", "4"]);
    }
}
