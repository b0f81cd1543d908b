//! A node's place in the upgrade lock of a service: lined up for, held, and given back.
//!
//! That a place may be taken or waited for is noted on the disk with what it is for, so that an agent that starts again goes on with it or gives it
//! back. The queue in Consul knows the node by its name: the next life takes over what the one before had.

use std::{io, path::PathBuf, time::Duration};

use helium_election::upgrade::{Gate, Permit, Standing, UpgradeError};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

/// How long giving back may take. What is not given back by then ends with its session.
const RELEASE_LIMIT: Duration = Duration::from_secs(3);
/// The wait after Consul has refused for good, which a person may mend.
const REFUSED_AGAIN: Duration = Duration::from_secs(10);

/// How a place is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Lined up for.
    Asked,
    /// Held.
    Held,
    /// Not to be had: what it was asked for is marked bad.
    Bad,
    /// Lost: it was held for too long, or the node was silent for too long, and another has passed.
    Passed,
}

/// Whoever upgrades or waits for it. Dropped, it stays in the queue until its session is over, or the next agent goes on with it.
pub(super) struct Upgrade {
    /// What it is for: the name under which that is marked if it fails.
    what: String,
    gate: Gate,
    note: PathBuf,
    place: watch::Receiver<Place>,
    permit: mpsc::Receiver<Permit>,
    task: JoinHandle<()>,
}

impl Upgrade {
    /// Lines up for `what`. `note` is where that is noted.
    pub(super) fn ask(gate: Gate, what: String, note: PathBuf) -> Self {
        // Nothing is lost but time if it cannot be written: the session ends by itself.
        if let Err(error) = std::fs::write(&note, &what) {
            tracing::warn!(%error, "what is upgraded to cannot be noted; a restart of the agent leaves its place to time");
        }
        let (told, place) = watch::channel(Place::Asked);
        let (give, permit) = mpsc::channel(1);
        let keeping = keep(gate.clone(), what.clone(), told, give);
        Self { what, gate, note, place, permit, task: tokio::spawn(keeping) }
    }

    /// What an earlier life of the agent has lined up for and not given back.
    pub(super) fn noted(note: &PathBuf) -> Option<String> {
        std::fs::read_to_string(note).ok().filter(|what| !what.is_empty())
    }

    /// What it is for.
    pub(super) fn what(&self) -> &str {
        &self.what
    }

    /// How it is.
    pub(super) fn place(&self) -> Place {
        *self.place.borrow()
    }

    /// Waits for a change of that.
    pub(super) async fn changed(&mut self) {
        if self.place.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Gives it back, or leaves the line, as well as can be.
    pub(super) async fn release(mut self) {
        self.task.abort();
        let leaving = async {
            if let Some(permit) = self.permit.recv().await {
                return permit.healthy().await.map_err(|error| error.to_string());
            }
            self.gate.leave().await;
            Ok(())
        };
        let words = match tokio::time::timeout(RELEASE_LIMIT, leaving).await {
            Ok(Ok(())) => return self.forget(),
            Ok(Err(words)) => words,
            Err(_) => format!("no answer within {RELEASE_LIMIT:?}"),
        };
        tracing::warn!(words, "a place to upgrade in could not be given back; it ends with its session");
    }

    /// Takes the note away: there is no place any more.
    pub(super) fn forget(&self) {
        match std::fs::remove_file(&self.note) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "the note of an upgrade cannot be removed");
            }
            _ => {}
        }
    }
}

impl Drop for Upgrade {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Lines up until there is a place, and tells how it stands. The permit is in the channel before anybody is told of it.
async fn keep(gate: Gate, what: String, told: watch::Sender<Place>, give: mpsc::Sender<Permit>) {
    let permit = loop {
        match gate.enter(&what).await {
            Ok(permit) => break permit,
            Err(UpgradeError::Bad(bad)) => {
                tracing::warn!(%bad.why, bad.by, what, "it is marked bad and not upgraded to");
                told.send_replace(Place::Bad);
                return;
            }
            Err(error) => {
                tracing::error!(%error, what, "nobody can line up for the upgrade");
                tokio::time::sleep(REFUSED_AGAIN).await;
            }
        }
    };
    let mut standing = permit.standing();
    if give.send(permit).await.is_err() {
        return;
    }
    told.send_replace(Place::Held);
    // Over its time it is still ours, until somebody passes.
    if standing.wait_for(|standing| *standing == Standing::Passed).await.is_ok() {
        told.send_replace(Place::Passed);
    }
}
