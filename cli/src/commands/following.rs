//! What `helium render` and `helium env` have in common: how Consul is followed, how a child is told, and which signals are heard.

use std::{collections::BTreeMap, net::UdpSocket, path::PathBuf, pin::Pin, time::Duration};

use clap::Args;
use consul_client::Client;
use helium_crds::Period;
use helium_lookups::{
    Ended, Follower, FollowerConfig, Local, Order,
    child::{self, ChildPlan, OnChange},
};
use helium_processes as processes;
use helium_runtime::shutdown::Trigger;
use helium_templates::{guard::Believed, quiet::Wait};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use super::serving::Signals;
use crate::{
    output::{Exit, Failure, Outcome},
    session::Session,
};

/// How many connections to Consul there are at most.
const CONNECTIONS: usize = 10;

/// How Consul is followed.
#[derive(Args, Debug)]
pub(super) struct FollowArgs {
    /// How long no change may have come before anything is done, and how long after the first it is done in any case, as a rule four
    /// times that [default: files are made at once, and a command is run anew after 100ms]
    #[arg(long, value_name = "MIN[:MAX]", value_parser = wait)]
    wait: Option<Wait>,
    /// The most that is waited beyond that, by lot, so that a fleet does not do it all at once
    #[arg(long, value_name = "PERIOD", default_value = "0s")]
    splay: Period,
    /// How long what became empty, or went back to an older state, has to stay so before it is believed
    #[arg(long, value_name = "PERIOD", default_value = "1m")]
    patience: Period,
    /// Believe at once that something became empty
    #[arg(long)]
    allow_empty: bool,
}

/// How a child is told and ended.
#[derive(Args, Debug)]
pub(super) struct ChildArgs {
    /// The signal that tells the command of a change, in place of a restart
    #[arg(long, value_name = "SIGNAL", value_parser = child::signal)]
    reload_signal: Option<rustix::process::Signal>,
    /// The signal that asks the command to end
    #[arg(long, value_name = "SIGNAL", default_value = "TERM", value_parser = child::signal)]
    stop_signal: rustix::process::Signal,
    /// How long the command may take to end before it is killed
    #[arg(long, value_name = "PERIOD", default_value = "30s")]
    grace: Period,
}

fn wait(text: &str) -> Result<Wait, String> {
    let period = |text: &str| text.parse::<Period>().map(Period::as_duration).map_err(|error| error.to_string());
    match text.split_once(':') {
        None => Ok(Wait::of(period(text)?)),
        Some((min, max)) => Ok(Wait::of(period(min)?).at_most(period(max)?)),
    }
}

impl FollowArgs {
    /// How long changes are waited for; `usual` unless it is said.
    pub(super) fn wait(&self, usual: Wait) -> Wait {
        self.wait.unwrap_or(usual).splayed(self.splay.as_duration())
    }

    /// A follower over connections of its own.
    pub(super) fn follower(
        &self,
        session: &Session,
        local: Local,
        believed: BTreeMap<String, Believed>,
        leader_key: Option<String>,
    ) -> Result<Follower, Failure> {
        let mut config = session.consul()?;
        config.max_connections = CONNECTIONS;
        let client = Client::new(config).map_err(|error| Failure::usage(error.to_string()))?;
        let usual = FollowerConfig::default();
        let leader_key = match leader_key {
            None => usual.leader_key,
            Some(pattern) => std::sync::Arc::new(move |service: &str| pattern.replace("{}", service)),
        };
        let (patience, allow_empty) = (self.patience.as_duration(), self.allow_empty);
        let config = FollowerConfig { patience, allow_empty, believed, leader_key, local, ..usual };
        Ok(Follower::new(client, session.ports.clone(), config))
    }
}

impl ChildArgs {
    /// A child with the environment of this process.
    pub(super) fn plan(&self, argv: Vec<String>) -> Result<ChildPlan, Failure> {
        let command = processes::Command { argv, env: environment(), cwd: folder()?, user: None };
        let on_change = self.reload_signal.map_or(OnChange::Restart, OnChange::Signal);
        Ok(ChildPlan { command, on_change, stop_signal: self.stop_signal, grace: self.grace.as_duration() })
    }
}

/// The environment of this process, as far as it is text.
pub(super) fn environment() -> BTreeMap<String, String> {
    let pairs =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    pairs.collect()
}

pub(super) fn folder() -> Result<PathBuf, Failure> {
    std::env::current_dir().map_err(|error| Failure::internal(format!("there is no working directory: {error}")))
}

/// The address that this machine has towards others. Nothing is sent.
pub(super) fn own_address() -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // An address for documentation (RFC 5737): all that counts is by which way the system would go there.
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip().to_string())
}

/// Signals that are orders and no end. What SIGHUP means is `hangup`'s to say.
pub(super) fn orders(
    has_child: bool,
    mut hangup: impl FnMut() -> Option<Order> + Send + 'static,
) -> Result<mpsc::Receiver<Order>, Failure> {
    let of = |kind| signal(kind).map_err(|error| Failure::internal(format!("cannot listen for signals: {error}")));
    let mut hang = of(SignalKind::hangup())?;
    let (sender, receiver) = mpsc::channel(8);
    let hangups = sender.clone();
    tokio::spawn(async move {
        while hang.recv().await.is_some() {
            if let Some(order) = hangup()
                && hangups.send(order).await.is_err()
            {
                return;
            }
        }
    });
    if has_child {
        for number in [SignalKind::user_defined1(), SignalKind::user_defined2()] {
            let (mut heard, sender) = (of(number)?, sender.clone());
            let passed = if number == SignalKind::user_defined1() { "USR1" } else { "USR2" };
            let passed = child::signal(passed).map_err(Failure::internal)?;
            tokio::spawn(async move {
                while heard.recv().await.is_some() && sender.send(Order::Forward(passed)).await.is_ok() {}
            });
        }
    }
    Ok(receiver)
}

/// Runs to its end: the first SIGINT or SIGTERM asks for it, a second one brings it.
pub(super) async fn to_end<E: Into<Failure>>(
    signals: &mut Signals,
    run: Pin<&mut impl Future<Output = Result<Ended, E>>>,
    trigger: &Trigger,
) -> Outcome {
    match signals.obeyed_by(run, trigger).await?.map_err(Into::into)? {
        Ended::Stopped(None) => Ok(Exit::Ok),
        Ended::Stopped(Some(exit)) | Ended::Child(exit) => Ok(code(exit)),
    }
}

fn code(exit: processes::Exit) -> Exit {
    u8::try_from(exit.code()).map_or(Exit::Internal, |code| if code == 0 { Exit::Ok } else { Exit::Child(code) })
}

/// A period of the command line.
pub(super) fn duration(period: Period) -> Duration {
    period.as_duration()
}
