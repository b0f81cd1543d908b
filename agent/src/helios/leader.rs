//! The leader's lock of a service in the layout of Helios: stood for while the service serves, and ended with its session.
//!
//! Nothing of the agent works for the leader alone, so there is nothing that has to stop before the lock is given back.

use std::{path::PathBuf, time::Duration};

use consul_client::{Behavior, Client, SessionRequest};
use helium_election::{
    Keys,
    leader::{Candidate, Elector, Event, Settings, note::NoteFile},
};
use helium_runtime::ports::Ports;
use tokio::task::JoinHandle;

/// How long giving back may take.
const RELEASE_LIMIT: Duration = Duration::from_secs(3);

/// Who leads, or waits for that.
pub(super) struct Stand {
    /// The node.
    pub(super) node: String,
    /// The address of the machine.
    pub(super) address: String,
    /// The keys of the service.
    pub(super) keys: Keys,
    /// How long the session lives without renewal.
    pub(super) ttl: Duration,
    /// Checks of services here that end the session when they are critical.
    pub(super) checks: Vec<String>,
    /// Where the session is noted.
    pub(super) note: PathBuf,
}

/// An election that runs. Dropped, it leaves the session to its time to live, or to the next agent.
pub(super) struct Leader {
    client: Client,
    keys: Keys,
    note: PathBuf,
    task: JoinHandle<()>,
}

impl Leader {
    /// Stands for election.
    ///
    /// # Errors
    /// Nobody could lead so, or the note cannot be read; in words.
    pub(super) fn stand(client: Client, ports: &Ports, stand: Stand) -> Result<Self, String> {
        let Stand { node, address, keys, ttl, checks, note } = stand;
        // As Helios had it: the key goes with the session, and another may lead at once.
        let settings = Settings {
            ttl,
            lock_delay: Duration::ZERO,
            stop_within: Duration::ZERO,
            behavior: Behavior::Delete,
            service_checks: checks,
            ..Settings::default()
        };
        let candidate = Candidate { who: node, address, keys: keys.clone(), settings, note: note.clone() };
        let mut handle = Elector::start(client.clone(), candidate, ports.clone()).map_err(|error| error.to_string())?;
        let task = tokio::spawn(async move {
            while let Some(event) = handle.event().await {
                if let Event::Lost { .. } = event {
                    handle.stopped().await;
                }
            }
        });
        Ok(Self { client, keys, note, task })
    }

    /// Gives the lock back, as well as can be.
    pub(super) async fn release(self) {
        self.task.abort();
        let file = NoteFile::at(&self.note);
        let noted = file.read(&SessionRequest::default()).ok().flatten();
        let Some(session) = noted.map(|noted| noted.note.session) else { return };
        let ending = async {
            self.client.session_destroy(&session).await?;
            match &self.keys.session {
                Some(key) => self.client.kv_delete(key, None).await.map(drop),
                None => Ok(()),
            }
        };
        match tokio::time::timeout(RELEASE_LIMIT, ending).await {
            Ok(Ok(())) => drop(file.remove()),
            Ok(Err(error)) => tracing::warn!(%error, "the lead could not be given back; it ends with its session"),
            Err(_) => tracing::warn!("the lead could not be given back in time; it ends with its session"),
        }
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.task.abort();
    }
}
