//! The desk: a Consul with a thousand keys, a folder, and watches that are exact to a fraction of a millisecond.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use consul_client::{Client, Put, TxnOp};
use helium_e2e::{Consul, Helium, Options, wait::pause};
use helium_runtime::ports::Ports;
use tokio::runtime::Handle;

use super::Outcome;
use crate::{bare::MAX_OPS, world};

/// How many keys there are.
pub(super) const KEYS: usize = 1000;
/// The folder that they lie in.
pub(super) const FOLDER: &str = "bench/keys/";
/// The key that is written to, and the line that it makes.
pub(super) const WRITTEN: usize = 500;
/// How many connections Consul takes: more than a peer needs that opens one for each key. It takes 200 unless it is told.
const CONNECTIONS: u32 = 4000;
/// How often a file or a process is looked at: short against all that is measured.
const LOOK: Duration = Duration::from_micros(200);
/// The longest that anything may take.
pub(super) const LIMIT: Duration = Duration::from_secs(40);

/// A desk.
pub(super) struct Desk {
    pub(super) consul: Consul,
    pub(super) helium: Helium,
    pub(super) client: Client,
    pub(super) ports: Ports,
    runtime: Handle,
}

impl Desk {
    /// A server with the keys. Only within a runtime.
    pub(super) fn start() -> Outcome<Self> {
        Self::on(Consul::with(Options { durable: true, connections: Some(CONNECTIONS), ..Options::default() }))
    }

    /// This server with the keys. Only within a runtime.
    pub(super) fn on(consul: Consul) -> Outcome<Self> {
        let helium = Helium::on(&consul);
        let client = world::client(&consul).map_err(|error| error.to_string())?;
        let desk = Self { consul, helium, client, ports: Ports::real(), runtime: Handle::current() };
        let keys: Vec<TxnOp> = (0..KEYS).map(|number| TxnOp::set(key(number), format!("value {number}"))).collect();
        for part in keys.chunks(MAX_OPS) {
            desk.wait_for(desk.client.txn(part))?;
        }
        Ok(desk)
    }

    /// Runs something asynchronous to its end.
    pub(super) fn wait_for<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> tokio::task::JoinHandle<()> {
        self.runtime.spawn(work)
    }

    pub(super) fn now(&self) -> Duration {
        self.ports.monotonic()
    }

    /// The time since then.
    pub(super) fn since(&self, then: Duration) -> Duration {
        self.now().saturating_sub(then)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.helium.folder().join(name)
    }

    pub(super) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Writes the key.
    pub(super) fn write(&self, value: &str) -> Outcome<()> {
        self.wait_for(self.client.kv_put(&key(WRITTEN), value.to_owned(), &Put::default()))?;
        Ok(())
    }

    /// Waits for a condition; the error says what for.
    pub(super) fn until<T>(&self, what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Outcome<T> {
        let begun = self.now();
        loop {
            if let Some(found) = condition() {
                return Ok(found);
            }
            if self.since(begun) > limit {
                return Err(format!("not within {} s: {what}", limit.as_secs()).into());
            }
            pause(LOOK);
        }
    }

    /// Waits until a file holds the line of the key that was written last.
    pub(super) fn shows(&self, file: &Path, value: &str) -> Outcome<()> {
        self.until("the file shows what was written", LIMIT, || Self::has_line(file, value).then_some(()))
    }

    /// Whether a file holds it.
    pub(super) fn has_line(file: &Path, value: &str) -> bool {
        fs::read_to_string(file).is_ok_and(|text| text.lines().nth(WRITTEN) == Some(value))
    }
}

/// The name of a key; their order is that of the numbers.
pub(super) fn key(number: usize) -> String {
    format!("{FOLDER}{number:04}")
}
