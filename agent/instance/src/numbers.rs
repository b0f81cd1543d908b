//! The port numbers of an instance: fixed ones as given, dynamic ones chosen once and kept.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use helium_crds::template::Port;

/// How many dynamic ports are tried at random before they are tried in a row.
const RANDOM_TRIES: usize = 64;

/// Why ports could not be given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// A fixed port is taken by somebody else.
    #[error("port `{name}` wants {number}, which is in use on this node")]
    Taken {
        /// The port's name.
        name: String,
        /// Its number.
        number: u16,
    },
    /// No dynamic port is free.
    #[error("no free port between {first} and {last} for port `{name}`")]
    Exhausted {
        /// The port's name.
        name: String,
        /// The first number of the range.
        first: u16,
        /// The last one.
        last: u16,
    },
}

/// Gives every port its number. A dynamic port that has one (`kept`) keeps it while it is free; `taken` are those of the other
/// instances of this agent, which may not listen yet. `is_free` asks the system, `random` draws.
pub fn give(
    ports: &[Port],
    kept: &BTreeMap<String, u16>,
    taken: &BTreeSet<u16>,
    range: &RangeInclusive<u16>,
    is_free: impl Fn(u16) -> bool,
    mut random: impl FnMut() -> u64,
) -> Result<BTreeMap<String, u16>, PortError> {
    let mut given: BTreeMap<String, u16> = BTreeMap::new();
    for port in ports {
        let usable =
            |number: u16| !taken.contains(&number) && !given.values().any(|other| *other == number) && is_free(number);
        let number = match (port.port, kept.get(&port.name)) {
            (Some(fixed), _) if usable(fixed) => fixed,
            (Some(number), _) => return Err(PortError::Taken { name: port.name.clone(), number }),
            (None, Some(kept)) if range.contains(kept) && usable(*kept) => *kept,
            (None, _) => choose(range, usable, &mut random).ok_or_else(|| PortError::Exhausted {
                name: port.name.clone(),
                first: *range.start(),
                last: *range.end(),
            })?,
        };
        given.insert(port.name.clone(), number);
    }
    Ok(given)
}

fn choose(range: &RangeInclusive<u16>, usable: impl Fn(u16) -> bool, random: &mut impl FnMut() -> u64) -> Option<u16> {
    let width = u64::from(range.end().saturating_sub(*range.start())) + 1;
    let drawn = std::iter::repeat_with(|| {
        u16::try_from(random() % width).ok().and_then(|offset| range.start().checked_add(offset))
    });
    let mut candidates = drawn.take(RANDOM_TRIES).flatten().chain(range.clone());
    candidates.find(|number| usable(*number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(list: &[(&str, Option<u16>)]) -> Vec<Port> {
        list.iter().map(|(name, port)| Port { name: (*name).to_owned(), port: *port }).collect()
    }

    fn map(list: &[(&str, u16)]) -> BTreeMap<String, u16> {
        list.iter().map(|(name, port)| ((*name).to_owned(), *port)).collect()
    }

    #[test]
    fn fixed_ports_are_as_given_and_dynamic_ones_differ() {
        let wanted = ports(&[("http", Some(80)), ("admin", None), ("debug", None)]);
        let given = give(&wanted, &map(&[]), &BTreeSet::new(), &(100..=109), |_| true, || 3).unwrap();
        assert_eq!(given, map(&[("http", 80), ("admin", 103), ("debug", 100)]));
    }

    #[test]
    fn a_dynamic_port_is_kept_unless_somebody_took_it() {
        let wanted = ports(&[("http", None)]);
        let kept = map(&[("http", 107)]);
        let free = |_| true;
        assert_eq!(give(&wanted, &kept, &BTreeSet::new(), &(100..=109), free, || 0).unwrap(), kept);
        let chosen = map(&[("http", 100)]);
        assert_eq!(give(&wanted, &kept, &BTreeSet::from([107]), &(100..=109), free, || 0).unwrap(), chosen);
        assert_eq!(give(&wanted, &kept, &BTreeSet::new(), &(100..=109), |port| port != 107, || 0).unwrap(), chosen);
    }

    #[test]
    fn the_last_free_port_is_found() {
        let wanted = ports(&[("http", None)]);
        let given = give(&wanted, &map(&[]), &BTreeSet::new(), &(100..=109), |port| port == 108, || 0).unwrap();
        assert_eq!(given, map(&[("http", 108)]));
    }

    #[test]
    fn what_cannot_be_given_is_said() {
        let none = |_| false;
        let error = give(&ports(&[("http", Some(80))]), &map(&[]), &BTreeSet::new(), &(1..=9), none, || 0).unwrap_err();
        assert_eq!(error.to_string(), "port `http` wants 80, which is in use on this node");
        let taken = BTreeSet::from([80]);
        let error = give(&ports(&[("http", Some(80))]), &map(&[]), &taken, &(1..=9), |_| true, || 0).unwrap_err();
        assert_eq!(error, PortError::Taken { name: "http".to_owned(), number: 80 });
        let error = give(&ports(&[("http", None)]), &map(&[]), &BTreeSet::new(), &(1..=9), none, || 0).unwrap_err();
        assert_eq!(error.to_string(), "no free port between 1 and 9 for port `http`");
    }
}
