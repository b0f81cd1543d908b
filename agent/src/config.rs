//! What an agent needs to be told.

use std::{collections::BTreeMap, ops::RangeInclusive, path::PathBuf, time::Duration};

use helium_crds::{ids::NodeName, keys::Keys};

/// What an agent needs to be told.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// The name of this Helium node; no two agents of one cluster may bear the same.
    pub node: NodeName,
    /// The folder of local records and logs. One agent owns it, by a lock on a file in it.
    pub data_dir: PathBuf,
    /// Where everything lives in Consul KV.
    pub keys: Keys,
    /// The `helium` program, which instances find in `HELIUM_BIN`.
    pub helium_bin: PathBuf,
    /// The address that instances are registered under and checked at, which they find in `HELIUM_ADDRESS`.
    pub address: String,
    /// Names and values to place by.
    pub labels: BTreeMap<String, String>,
    /// How long the heartbeat may be silent before Consul drops it, 10 s to 24 h. Consul takes up to twice as long.
    pub session_ttl: Duration,
    /// Where packages are unpacked to: `<root>/<service>/<version>`.
    pub package_root: PathBuf,
    /// The netrc file that knows who asks which server for packages; none for no logins.
    pub netrc: Option<PathBuf>,
    /// Where dynamic ports are chosen from. The default lies below the range that systems give to outgoing connections.
    pub port_range: RangeInclusive<u16>,
    /// The control group of v2 in which those of instances are made; none for the agent's own, or the one around it.
    pub cgroup: Option<PathBuf>,
}

impl AgentConfig {
    /// A configuration with the usual values: packages within the data folder, address `127.0.0.1`, heartbeat 15 s, dynamic ports 20000 to 31999.
    pub fn new(node: NodeName, data_dir: impl Into<PathBuf>, helium_bin: impl Into<PathBuf>) -> Self {
        let data_dir = data_dir.into();
        Self {
            node,
            package_root: data_dir.join("packages"),
            netrc: None,
            data_dir,
            keys: Keys::default(),
            helium_bin: helium_bin.into(),
            address: "127.0.0.1".to_owned(),
            labels: BTreeMap::new(),
            session_ttl: Duration::from_secs(15),
            port_range: 20_000..=31_999,
            cgroup: None,
        }
    }
}

/// What becomes of the instances when their agent stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMode {
    /// They run on, and the next agent over the same data folder adopts them.
    LeaveRunning,
    /// They are taken out of Consul and stopped, each within its grace period. The next agent starts them again.
    StopInstances,
}
