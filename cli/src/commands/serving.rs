//! What every server of Helium has: signals that stop it.

use std::pin::Pin;

use helium_runtime::shutdown::Trigger;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::output::{Exit, Failure};

/// The signals that ask a server to stop: Ctrl-C and SIGTERM. Listened for from one place on, so that none is missed in between.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// Heard by daemons, so that it does not end them.
    hangup: Option<Signal>,
}

impl Signals {
    /// Listens from now on.
    pub(super) fn listen() -> Result<Self, Failure> {
        Ok(Self { interrupt: of(SignalKind::interrupt())?, terminate: of(SignalKind::terminate())?, hangup: None })
    }

    /// The same for what goes on when its terminal is gone, or when somebody who is used to other daemons asks it by SIGHUP to read a file again:
    /// it has none, so nothing follows.
    pub(super) fn of_daemon() -> Result<Self, Failure> {
        Ok(Self { hangup: Some(of(SignalKind::hangup())?), ..Self::listen()? })
    }

    /// Waits for the next one and says which it was.
    pub(super) async fn next(&mut self) -> &'static str {
        loop {
            tokio::select! {
                biased;
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.terminate.recv() => return "SIGTERM",
                () = heard(&mut self.hangup) => tracing::info!("SIGHUP changes nothing here; SIGTERM ends it"),
            }
        }
    }

    /// Runs a server to its end. The first signal asks it to stop, the second ends the wait for that at once.
    pub(super) async fn obeyed_by<T>(
        &mut self,
        mut run: Pin<&mut impl Future<Output = T>>,
        trigger: &Trigger,
    ) -> Result<T, Failure> {
        tokio::select! {
            biased;
            signal = self.next() => tracing::info!(signal, "stopping; a second signal ends it at once"),
            ended = &mut run => return Ok(ended),
        }
        trigger.trigger();
        tokio::select! {
            biased;
            _ = self.next() => Err(Failure::new(Exit::Interrupted, "ended at once: what was under way was left as it is")),
            ended = run => Ok(ended),
        }
    }
}

fn of(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::internal(format!("cannot listen for signals: {error}")))
}

async fn heard(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// The signal that asks a server to look at everything again: SIGHUP. From here on it ends nothing.
pub(super) fn hangups() -> Result<Signal, Failure> {
    of(SignalKind::hangup())
}
