//! The controller: watches, queue, runner and leadership tied together for one kind of key.
//!
//! ```no_run
//! use consul_client::{Client, Config, Put, TxnOp};
//! use helium_runtime::{
//!     controller::Controller, leader::{Elector, ElectorConfig}, ports::Ports, queue::Priority,
//!     runner::{Action, Reconciler, Run}, shutdown::Shutdown, snapshot::View,
//!     watcher::{WatchConfig, watch_prefix},
//! };
//! use tokio::sync::watch::Receiver;
//!
//! /// Copies every greeting to the place where it is read.
//! struct Copier { client: Client, greetings: Receiver<View<Vec<u8>>> }
//!
//! impl Reconciler for Copier {
//!     type Key = String;
//!     type Error = consul_client::Error;
//!
//!     async fn reconcile(&self, key: String, run: Run) -> Result<Action, Self::Error> {
//!         let view = self.greetings.borrow().clone();
//!         let (Some(lease), Some(rows)) = (run.leadership.lease(), view.trusted()) else { return Ok(Action::AwaitChange) };
//!         let Some(greeting) = rows.row(&key).and_then(|row| row.get()) else { return Ok(Action::Forget) };
//!         let copy = TxnOp::set(format!("copy/{key}"), greeting.clone());
//!         self.client.txn(&[lease.fence.op(), copy]).await?;
//!         Ok(Action::AwaitChange)
//!     }
//! }
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let (ports, (trigger, shutdown)) = (Ports::real(), Shutdown::new());
//! let client = Client::new(Config::from_env()?)?;
//! let greetings = watch_prefix(client.clone(), WatchConfig::new("greetings"), ports.clone(), shutdown.clone());
//! let me = ElectorConfig::new("copier", &ports.random_hex(8), "copier/lock");
//! let elector = Elector::start(client.clone(), me, ports.clone(), shutdown.clone());
//! tokio::spawn(async move { tokio::signal::ctrl_c().await.map(|()| trigger.trigger()) });
//! Controller::new(elector.leadership(), ports)
//!     .watch(greetings.clone(), Priority::USER, |key, _row| Some(key.to_owned()))
//!     .run(Copier { client, greetings }, shutdown)
//!     .await;
//! elector.stopped().await;
//! # Ok(())
//! # }
//! ```

use std::sync::Arc;

use futures::{
    FutureExt,
    future::{self, BoxFuture},
};
use tokio::sync::watch;
use tracing::debug;

use crate::{
    leader::Leadership,
    ports::Ports,
    queue::Priority,
    runner::{Handle, Key, Reconciler, Runner, RunnerConfig},
    shutdown::Shutdown,
    snapshot::{Change, Row, Snapshot, View},
};

/// A controller that is being put together.
///
/// - No key is run before every watch has shown its first whole list.
/// - Every change of a watched row queues the key it maps to.
/// - A watch that is trusted again queues the keys of all its rows, and a change of leadership queues every known key: what
///   was refused for want of trust or of the lock is tried again at once.
/// - Every key is looked at again on the resync.
#[must_use = "a controller does nothing until it is run"]
pub struct Controller<K: Key> {
    config: RunnerConfig,
    handle: Handle<K>,
    leadership: watch::Receiver<Leadership>,
    feeds: Vec<BoxFuture<'static, ()>>,
    gates: Vec<BoxFuture<'static, ()>>,
}

impl<K: Key> Controller<K> {
    /// A controller without watches, with the default numbers.
    pub fn new(leadership: watch::Receiver<Leadership>, ports: Ports) -> Self {
        Self::with_config(RunnerConfig::default(), leadership, ports)
    }

    /// A controller without watches.
    pub fn with_config(config: RunnerConfig, leadership: watch::Receiver<Leadership>, ports: Ports) -> Self {
        let handle = Handle::new(config.limits.clone(), ports);
        Self { config, handle, leadership, feeds: Vec::new(), gates: Vec::new() }
    }

    /// Queues the key that `map` gives for every row that changes, with this priority. For a row that has vanished, `map` is
    /// shown what it last was. Changes of [`Priority::USER`] also end the key's backoff.
    pub fn watch<T: Send + Sync + 'static>(
        mut self,
        views: watch::Receiver<View<T>>,
        priority: Priority,
        map: impl Fn(&str, &Row<T>) -> Option<K> + Send + 'static,
    ) -> Self {
        let mut first = views.clone();
        let gate = async move {
            if first.wait_for(|view| view.snapshot.index > 0).await.is_err() {
                // The watch ended with the process; there is nothing to run for.
                future::pending::<()>().await;
            }
        };
        self.gates.push(gate.boxed());
        self.feeds.push(feed(views, priority, map, self.handle.clone()).boxed());
        self
    }

    /// Runs `gate` to its end before any key is run, besides the first lists of the watches.
    pub fn wait_for(mut self, gate: impl Future<Output = ()> + Send + 'static) -> Self {
        self.gates.push(gate.boxed());
        self
    }

    /// The queue and the table, to add keys by hand and to show what is going on.
    pub fn handle(&self) -> Handle<K> {
        self.handle.clone()
    }

    /// Runs until the shutdown, and then until what runs has ended, at most for the grace.
    pub async fn run<R: Reconciler<Key = K>>(self, reconciler: R, shutdown: Shutdown) {
        let Self { config, handle, leadership, mut feeds, gates } = self;
        feeds.push(follow_leadership(leadership.clone(), handle.clone()).boxed());
        let runner = Runner::new(Arc::new(reconciler), config, handle, leadership);
        let run = async {
            if shutdown.unless_cancelled(future::join_all(gates)).await.is_some() {
                debug!("every watch has shown its first list");
                runner.run(shutdown.clone()).await;
            }
        };
        let feeds = async {
            future::join_all(feeds).await;
            future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = run => {}
            () = feeds => {}
        }
    }
}

/// Queues the keys of changed rows for as long as the watch goes on.
async fn feed<T, K: Key>(
    mut views: watch::Receiver<View<T>>,
    priority: Priority,
    map: impl Fn(&str, &Row<T>) -> Option<K>,
    handle: Handle<K>,
) {
    let add = move |key: &str, row: Option<&Row<T>>, priority: Priority, reason: &'static str| {
        if let Some(key) = row.and_then(|row| map(key, row)) {
            if priority >= Priority::USER {
                handle.forgive(&key);
            }
            handle.add(&key, priority, reason);
        }
    };
    let mut before: Arc<Snapshot<T>> = Arc::default();
    let mut trusted = true;
    loop {
        let View { snapshot, trust, .. } = views.borrow_and_update().clone();
        for (key, change) in snapshot.changes_since(&before) {
            let shown = if change == Change::Vanished { before.row(key) } else { snapshot.row(key) };
            add(key, shown, priority, change.as_str());
        }
        if trust.is_trusted() && !trusted {
            for (key, row) in &snapshot.rows {
                add(key, Some(row), Priority::REQUEUE, "Trusted");
            }
        }
        (before, trusted) = (snapshot, trust.is_trusted());
        if views.changed().await.is_err() {
            return;
        }
    }
}

/// Queues every known key when leadership is won or lost.
async fn follow_leadership<K: Key>(mut leadership: watch::Receiver<Leadership>, handle: Handle<K>) {
    let mut led = leadership.borrow_and_update().is_leading();
    while leadership.changed().await.is_ok() {
        let leads = leadership.borrow_and_update().is_leading();
        if leads || led != leads {
            handle.add_all(Priority::CHANGE, "Leadership");
        }
        led = leads;
    }
}
