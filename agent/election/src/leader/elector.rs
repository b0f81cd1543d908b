//! The driver of a service's election: asks Consul what the machine wants to know, and keeps its note.

use std::{io, path::PathBuf, time::Duration};

use consul_client::{Client, Error, KvPair, Put, Read, SessionRequest, session::ServiceCheckRef};
use futures::{
    FutureExt,
    future::{self, BoxFuture},
};
use helium_runtime::ports::Ports;
use jiff::Timestamp;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};
use tracing::{debug, info, warn};

use super::{
    Event, Holder, Settings, SettingsError, Status,
    machine::State,
    note::NoteFile,
    words::{Ask, Effect, Input, Lock},
};
use crate::keys::{Form, Keys};

/// The longest wait of a blocking query. Short, since one that waits on an index of the future sleeps until its end.
const MAX_WAIT: Duration = Duration::from_secs(25);

/// How many events may wait for their reader. Each takes a lease at least, so one that is so far behind does not read at all.
const EVENTS: usize = 64;

/// Who wants to lead what.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The node or instance, for people; the plain name in Helios' layout.
    pub who: String,
    /// Where it can be reached, such as `10.0.0.7:8080`, for people and for HAProxy.
    pub address: String,
    /// Where the lock is.
    pub keys: Keys,
    /// How it is elected.
    pub settings: Settings,
    /// The file that carries the session over a restart of the agent; its folder must exist.
    pub note: PathBuf,
}

/// Why an election could not begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Nobody could lead so.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The note cannot be read.
    #[error("cannot read {path}: {error}")]
    Note {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// A running election. Dropped, it ends without giving anything back: the next life goes on with the note. Leader-only work that
/// outlives it must have begun to stop by [`Status::lost_at_latest`].
#[derive(Debug)]
pub struct Handle {
    status: watch::Receiver<Status>,
    words: mpsc::Sender<Word>,
    events: mpsc::Receiver<Event>,
    task: JoinHandle<()>,
}

#[derive(Clone, Copy, Debug)]
enum Word {
    Stopped,
    Leave,
}

impl Handle {
    /// The next event; none after [`Handle::leave`] was heard and all was given back.
    pub async fn event(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// How it stands now, and a way to wait for changes.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Says that leader-only work has stopped after an [`Event::Lost`]; the lock is given back then.
    pub async fn stopped(&self) {
        let _ = self.words.send(Word::Stopped).await;
    }

    /// Asks to give the leadership back and not to take it again, as on TERM. Events go on until all is given back: stop leader-only work on
    /// [`Event::Lost`] and say [`Handle::stopped`].
    pub async fn leave(&self) {
        let _ = self.words.send(Word::Leave).await;
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The driver.
pub struct Elector {
    client: Client,
    candidate: Candidate,
    ports: Ports,
    file: NoteFile,
    state: State,
    /// The index of the last answer about the lock.
    index: u64,
    /// When the lock was taken, for people.
    since: Option<Timestamp>,
    status: watch::Sender<Status>,
    words: mpsc::Receiver<Word>,
    events: mpsc::Sender<Event>,
}

/// An answer to a question, and the index that a poll can go on from.
type Answer = (Input, Option<u64>);

impl Elector {
    /// Begins an election, going on with the session that an earlier life has noted. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`] if nobody could lead with these settings, or the note cannot be read.
    pub fn start(client: Client, candidate: Candidate, ports: Ports) -> Result<Handle, StartError> {
        candidate.settings.check()?;
        let file = NoteFile::at(&candidate.note);
        let error = |error| StartError::Note { path: candidate.note.clone(), error };
        let noted = file.read(&request_of(&candidate)).map_err(error)?;
        let fits = noted.as_ref().is_none_or(|noted| noted.fits);
        let note = noted.map(|noted| noted.note);
        let outdated = note.as_ref().filter(|_| !fits).map(|note| note.session.clone());
        let state = State::new(candidate.settings.clone(), candidate.keys.leader.clone(), note);
        let (status, seen) = watch::channel(Status::default());
        let (say, words) = mpsc::channel(4);
        let (tell, events) = mpsc::channel(EVENTS);
        let elector =
            Self { client, candidate, ports, file, state, index: 0, since: None, status, words, events: tell };
        let task = tokio::spawn(elector.run(outdated));
        Ok(Handle { status: seen, words: say, events, task })
    }

    /// Runs until all was given back. `outdated` is a noted session that was made with other settings: its times are not those that the machine
    /// counts with, so it is ended and not used.
    async fn run(mut self, outdated: Option<String>) {
        let mut request: Option<BoxFuture<'static, Answer>> = None;
        let mut poll: Option<BoxFuture<'static, Option<(u64, Lock)>>> = None;
        let mut input = Input::Tick;
        if let Some(session) = outdated {
            info!("the settings of the election have changed: a new session is made");
            if let Err(error) = self.client.session_destroy(&session).await {
                warn!(%error, "could not end the session of before; its TTL ends it");
            }
            input = Input::SessionGone;
        }
        loop {
            for effect in self.state.step(self.ports.monotonic(), input) {
                match effect {
                    Effect::Ask(ask) => request = Some(self.ask(ask)),
                    Effect::Emit(event) => self.tell(event),
                    Effect::Note(note) => self.kept(self.file.write(&note, &request_of(&self.candidate))),
                    Effect::Forget => self.kept(self.file.remove()),
                    Effect::Done => return self.publish(),
                }
            }
            self.publish();
            // A poll that is under way is never cut off: Consul would hold it until its wait is over.
            if poll.is_none() && self.state.watches() {
                poll = Some(self.poll());
            }
            input = self.next(&mut request, &mut poll).await;
        }
    }

    /// Waits for whatever comes first; time before everything else, since a lease may be over.
    async fn next(
        &mut self,
        request: &mut Option<BoxFuture<'static, Answer>>,
        poll: &mut Option<BoxFuture<'static, Option<(u64, Lock)>>>,
    ) -> Input {
        let wake = self.state.wake_at();
        tokio::select! {
            biased;
            () = async { self.ports.sleep_until(wake.unwrap_or_default()).await }, if wake.is_some() => Input::Tick,
            Some(word) = self.words.recv() => match word {
                Word::Stopped => Input::Stopped,
                Word::Leave => Input::Leave,
            },
            (input, index) = pending(request) => {
                *request = None;
                self.index = index.unwrap_or(self.index);
                input
            }
            news = pending(poll) => {
                *poll = None;
                let Some((index, lock)) = news else {
                    self.index = 0;
                    return Input::Tick;
                };
                // An index that went back is begun with anew.
                self.index = if index < self.index { 0 } else { index };
                Input::Seen { lock }
            }
        }
    }

    fn ask(&mut self, ask: Ask) -> BoxFuture<'static, Answer> {
        if matches!(ask, Ask::Acquire(_)) {
            self.since = Some(self.ports.now());
        }
        let since = self.since.or_else(|| self.state.holder().and_then(|holder| holder.since));
        let (client, candidate, sent) = (self.client.clone(), self.candidate.clone(), self.ports.monotonic());
        let limit = candidate.settings.request;
        async move {
            match timeout(limit, put_to(&client, &candidate, ask, since, sent)).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(error @ Error::Invalid { .. })) => (Input::Refused { why: error.to_string() }, None),
                Ok(Err(error)) => (Input::Failed { why: error.to_string() }, None),
                Err(_) => (Input::Failed { why: format!("Consul did not answer within {limit:?}") }, None),
            }
        }
        .boxed()
    }

    fn poll(&self) -> BoxFuture<'static, Option<(u64, Lock)>> {
        let (client, key) = (self.client.clone(), self.candidate.keys.leader.clone());
        let read = Read::blocking(self.index, MAX_WAIT);
        let pause = self.ports.jittered(self.candidate.settings.retry, 50);
        async move {
            match client.kv_get(&key, &read).await {
                Ok(reply) => Some((reply.meta.index, lock_of(reply.value.as_ref()))),
                Err(error) => {
                    debug!(%error, "a poll failed");
                    tokio::time::sleep(pause).await;
                    None
                }
            }
        }
        .boxed()
    }

    fn tell(&self, event: Event) {
        match &event {
            Event::Gained { token, kept } => info!(key = token.key, token = token.number, kept, "leads"),
            Event::Lost { why } => warn!(why = why.as_str(), "does not lead any more"),
        }
        if self.events.try_send(event).is_err() {
            warn!("nobody reads the events of the election");
        }
    }

    fn kept(&self, outcome: io::Result<()>) {
        if let Err(error) = outcome {
            warn!(%error, path = %self.candidate.note.display(), "the election's note could not be kept");
        }
    }

    fn publish(&self) {
        let next = Status {
            leads: self.state.token(),
            lost_at_latest: self.state.lost_at_latest(),
            leader: self.state.holder().cloned(),
            exclusive: self.candidate.settings.is_exclusive(),
            trouble: self.state.trouble().map(str::to_owned),
        };
        self.status.send_if_modified(|now| {
            let changed = *now != next;
            *now = next;
            changed
        });
    }
}

async fn pending<T>(slot: &mut Option<BoxFuture<'static, T>>) -> T {
    match slot {
        Some(future) => future.await,
        None => future::pending().await,
    }
}

async fn put_to(
    client: &Client,
    candidate: &Candidate,
    ask: Ask,
    since: Option<Timestamp>,
    sent: Duration,
) -> Result<Answer, Error> {
    let (key, form) = (&candidate.keys.leader, candidate.keys.form);
    let value = |token| {
        let Candidate { who, address, .. } = candidate;
        Holder { who: who.clone(), address: address.clone(), since, token }.encode(form)
    };
    let input = match ask {
        Ask::Create => Input::Created { session: client.session_create(&request_of(candidate)).await?, sent },
        Ask::Renew(session) => match client.session_renew(&session).await? {
            Some(_) => Input::Renewed { sent },
            None => Input::SessionGone,
        },
        Ask::Read => {
            let reply = client.kv_get(key, &Read::consistent()).await?;
            return Ok((Input::Read { lock: lock_of(reply.value.as_ref()) }, Some(reply.meta.index)));
        }
        Ask::Acquire(session) => {
            Input::Acquired { taken: client.kv_put(key, value(None), &Put::acquire(session)).await? }
        }
        Ask::Announce { session, token } => {
            if let Some(beside) = &candidate.keys.session {
                client.kv_put(beside, session.clone(), &Put::default()).await?;
            }
            if form == Form::Json {
                client.kv_put(key, value(Some(token)), &Put::acquire(session)).await?;
            }
            Input::Announced
        }
        Ask::Release(session) => {
            client.kv_put(key, value(None), &Put::release(session)).await?;
            Input::Released
        }
        Ask::Destroy(session) => {
            client.session_destroy(&session).await?;
            Input::Destroyed
        }
    };
    Ok((input, None))
}

fn request_of(candidate: &Candidate) -> SessionRequest {
    let Settings { ttl, lock_delay, behavior, node_checks, service_checks, .. } = &candidate.settings;
    SessionRequest {
        name: format!("{} of {}", candidate.keys.leader, candidate.who),
        ttl: Some(*ttl),
        lock_delay: Some(*lock_delay),
        behavior: *behavior,
        node_checks: Some(node_checks.clone()),
        service_checks: service_checks
            .iter()
            .map(|id| ServiceCheckRef { id: id.clone(), namespace: String::new() })
            .collect(),
        ..SessionRequest::default()
    }
}

fn lock_of(pair: Option<&KvPair>) -> Lock {
    let Some(pair) = pair else { return Lock::Free };
    match &pair.session {
        None => Lock::Free,
        Some(session) => {
            Lock::Held { session: session.clone(), index: pair.modify_index, holder: Holder::decode(&pair.value) }
        }
    }
}
