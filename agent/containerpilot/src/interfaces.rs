//! Which address of the machine a service is registered with.

use std::{fmt, net::IpAddr};

/// One way to find an address. The first that matches is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spec {
    /// `inet` or `inet6`: any interface's address of that family, loopback apart.
    Any {
        /// Whether an address of IPv6 is wanted.
        v6: bool,
    },
    /// `eth0`, `eth0:inet` or `eth0:inet6`: this interface's first address of that family.
    Interface {
        /// The interface.
        name: String,
        /// Whether an address of IPv6 is wanted.
        v6: bool,
    },
    /// `eth0[1]`: this interface's address of that index, of whatever family.
    Index {
        /// The interface.
        name: String,
        /// From 0, in the order of the addresses' bytes.
        index: usize,
    },
    /// `10.0.0.0/8`: any interface's address in this network.
    Network {
        /// An address of the network; what is behind the prefix does not count.
        address: IpAddr,
        /// The bits that count, 0 to 32 or 128.
        prefix: u8,
    },
    /// `static:192.168.1.100`: this address, whether the machine has it or not.
    Static(IpAddr),
}

/// What is tried where a file says nothing: `eth0:inet`, then `inet`.
pub fn default_specs() -> Vec<Spec> {
    vec![Spec::Interface { name: "eth0".to_owned(), v6: false }, Spec::Any { v6: false }]
}

impl Spec {
    /// The spec of a text; none if it is of no known form. Names of interfaces have letters, digits and underscores only.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "inet" => return Some(Spec::Any { v6: false }),
            "inet6" => return Some(Spec::Any { v6: true }),
            _ => {}
        }
        if let Some(address) = text.strip_prefix("static:") {
            return address.parse().ok().map(Spec::Static);
        }
        if let Some((address, prefix)) = text.split_once('/') {
            return network(address, prefix);
        }
        let name_end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
        let (name, rest) = text.split_at(name_end);
        let name = (!name.is_empty()).then(|| name.to_owned())?;
        match rest {
            "" | ":inet" => Some(Spec::Interface { name, v6: false }),
            ":inet6" => Some(Spec::Interface { name, v6: true }),
            _ => {
                let digits = rest.strip_prefix('[')?.strip_suffix(']')?;
                let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
                let index = is_number.then(|| digits.parse().ok()).flatten()?;
                Some(Spec::Index { name, index })
            }
        }
    }

    fn matches(&self, interface: &str, index: usize, address: IpAddr) -> bool {
        match self {
            Spec::Any { v6 } => !address.is_loopback() && address.is_ipv6() == *v6,
            Spec::Interface { name, v6 } => name == interface && address.is_ipv6() == *v6,
            Spec::Index { name, index: wanted } => name == interface && index == *wanted,
            Spec::Network { address: network, prefix } => contains(*network, *prefix, address),
            Spec::Static(_) => false,
        }
    }
}

fn network(address: &str, prefix: &str) -> Option<Spec> {
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let is_number = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
    let prefix = is_number.then(|| prefix.parse::<u8>().ok()).flatten().filter(|prefix| *prefix <= most)?;
    Some(Spec::Network { address, prefix })
}

fn contains(network: IpAddr, prefix: u8, address: IpAddr) -> bool {
    let shift = |bits: u32| bits - u32::from(prefix);
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let differ = network.to_bits() ^ address.to_bits();
            differ.checked_shr(shift(32)).unwrap_or(0) == 0
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let differ = network.to_bits() ^ address.to_bits();
            differ.checked_shr(shift(128)).unwrap_or(0) == 0
        }
        _ => false,
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = |v6: &bool| if *v6 { "inet6" } else { "inet" };
        match self {
            Spec::Any { v6 } => f.write_str(family(v6)),
            Spec::Interface { name, v6 } => write!(f, "{name}:{}", family(v6)),
            Spec::Index { name, index } => write!(f, "{name}[{index}]"),
            Spec::Network { address, prefix } => write!(f, "{address}/{prefix}"),
            Spec::Static(address) => write!(f, "static:{address}"),
        }
    }
}

/// No spec matches an address of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoAddress {
    /// What was tried.
    pub specs: Vec<Spec>,
    /// What there is, in the order in which it was looked at.
    pub addresses: Vec<(String, IpAddr)>,
}

impl fmt::Display for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let specs: Vec<String> = self.specs.iter().map(ToString::to_string).collect();
        write!(f, "no address of this machine matches {}", specs.join(", "))?;
        if self.addresses.is_empty() {
            return f.write_str("; it has none");
        }
        let addresses: Vec<String> = self.addresses.iter().map(|(name, address)| format!("{name} {address}")).collect();
        write!(f, "; there are {}", addresses.join(", "))
    }
}

impl std::error::Error for NoAddress {}

/// The address that the first matching spec finds among those of the machine, given as interface and address in any order. They are looked
/// at by the name of the interface, and then by the bytes of the address in its form of 16 bytes. No spec at all means [`default_specs`].
pub fn resolve(specs: &[Spec], addresses: &[(String, IpAddr)]) -> Result<IpAddr, NoAddress> {
    let defaults = default_specs();
    let specs = if specs.is_empty() { &defaults } else { specs };
    let mut sorted: Vec<(String, IpAddr)> =
        addresses.iter().map(|(name, address)| (name.clone(), address.to_canonical())).collect();
    sorted.sort_by_key(|(name, address)| (name.clone(), sixteen(*address)));
    for spec in specs {
        if let Spec::Static(address) = spec {
            return Ok(address.to_canonical());
        }
        let mut before = "";
        let mut index = 0;
        for (name, address) in &sorted {
            index = if name == before { index + 1 } else { 0 };
            before = name;
            if spec.matches(name, index, *address) {
                return Ok(*address);
            }
        }
    }
    Err(NoAddress { specs: specs.to_vec(), addresses: sorted })
}

fn sixteen(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Vec<(String, IpAddr)> {
        let pairs = [
            ("lo", "127.0.0.1"),
            ("lo", "::1"),
            ("eth2", "2001:db8::7"),
            ("eth2", "10.1.0.20"),
            ("eth1", "10.0.0.200"),
            ("eth1", "10.0.0.9"),
            ("eth0", "192.168.1.5"),
            ("eth0", "10.2.0.1"),
        ];
        pairs.map(|(name, address)| (name.to_owned(), address.parse().unwrap())).to_vec()
    }

    #[track_caller]
    fn finds(specs: &[&str], expected: &str) {
        let specs: Vec<Spec> = specs.iter().map(|spec| Spec::parse(spec).unwrap()).collect();
        let found = resolve(&specs, &machine()).map(|address| address.to_string());
        assert_eq!(found.as_deref(), Ok(expected));
    }

    #[test]
    fn the_first_matching_spec_decides_by_interface_and_then_by_address() {
        finds(&["lo"], "127.0.0.1");
        finds(&["lo:inet6"], "::1");
        finds(&["static:192.168.7.7", "lo"], "192.168.7.7");
        finds(&["eth0"], "10.2.0.1");
        finds(&["eth0[1]"], "192.168.1.5");
        finds(&["eth1"], "10.0.0.9");
        finds(&["10.1.0.0/16"], "10.1.0.20");
        finds(&["10.0.0.0/8"], "10.2.0.1");
        finds(&["2001:db8::/32"], "2001:db8::7");
        finds(&["inet"], "10.2.0.1");
        finds(&["inet6"], "2001:db8::7");
        finds(&["eth9", "eth0:inet6", "eth2"], "10.1.0.20");
        finds(&[], "10.2.0.1");
        finds(&["0.0.0.0/0"], "10.2.0.1");
    }

    #[test]
    fn where_nothing_matches_the_error_lists_what_there_is() {
        let specs = [Spec::parse("eth9").unwrap(), Spec::parse("eth0[2]").unwrap()];
        insta::assert_snapshot!(resolve(&specs, &machine()).unwrap_err(), @"no address of this machine matches eth9:inet, eth0[2]; there are eth0 10.2.0.1, eth0 192.168.1.5, eth1 10.0.0.9, eth1 10.0.0.200, eth2 10.1.0.20, eth2 2001:db8::7, lo ::1, lo 127.0.0.1");
        let loopback = [("lo".to_owned(), "127.0.0.1".parse().unwrap())];
        assert!(resolve(&[], &loopback).is_err(), "`inet` never takes loopback");
        assert!(resolve(&[Spec::Any { v6: true }], &[]).unwrap_err().to_string().ends_with("it has none"));
    }

    #[test]
    fn what_has_no_known_form_is_no_spec() {
        let wrong = [
            "",
            "!",
            "127.0.0.1",
            "eth0:inet5",
            "eth0[-1]",
            "eth0[]",
            "static:abc",
            "br-lan",
            "eth0.100",
            "10.0.0.0/33",
            "10.0.0.0/+8",
        ];
        assert_eq!(wrong.map(Spec::parse), [const { None }; 11]);
    }
}
