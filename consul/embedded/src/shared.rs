//! What all handles of a server share: the state behind a lock, the readers that wait, and the driver that makes things
//! happen when their time comes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};

use crate::acl::{AclTable, Rights};
use crate::clock::Clock;
use crate::journal::Journal;
use crate::reply::{Failure, Page};
use crate::state::{Applied, Command, Refusal, State};
use crate::waiters::{Interest, Waiters, Wake};

/// Shared by all handles.
pub(crate) struct Shared {
    core: Mutex<Core>,
    pub(crate) clock: Clock,
    pub(crate) datacenter: String,
    /// The node of the server itself.
    pub(crate) node: String,
    pub(crate) entropy: crate::Entropy,
    /// Tells the driver that the next deadline may have moved.
    rearmed: Arc<Notify>,
    /// Counts the changes to agents' services and checks.
    agents_changed: watch::Sender<u64>,
}

struct Core {
    state: State,
    waiters: Waiters,
    journal: Option<Journal>,
    /// Why nothing can be served any more: the journal could not be written.
    broken: Option<String>,
    acl: Option<AclTable>,
}

/// A reader's place among the waiters; given up when dropped.
pub(crate) struct Waiter<'a> {
    shared: &'a Shared,
    id: u64,
    receiver: oneshot::Receiver<Wake>,
}

impl Waiter<'_> {
    pub(crate) async fn woken(&mut self) -> Wake {
        (&mut self.receiver).await.unwrap_or(Wake::Abandoned)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.shared.lock().waiters.remove(self.id);
    }
}

impl Shared {
    pub(crate) fn new(state: State, node: String, journal: Option<Journal>, entropy: crate::Entropy) -> Self {
        Self {
            clock: Clock::start(),
            datacenter: state.datacenter().to_owned(),
            node,
            entropy,
            rearmed: Arc::new(Notify::new()),
            agents_changed: watch::Sender::new(0),
            core: Mutex::new(Core { state, waiters: Waiters::default(), journal, broken: None, acl: None }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock, after everything that is due by now was done.
    fn up_to_date(&self) -> Result<MutexGuard<'_, Core>, Failure> {
        let mut core = self.lock();
        let now = self.clock.now();
        while let Some((at, command)) = core.state.due(now) {
            // A timer's command that finds its object gone is refused, and that is right.
            let _refused = self.apply(&mut core, &command, at);
        }
        match &core.broken {
            Some(why) => Err(Failure::internal(format!("the journal cannot be written: {why}"))),
            None => Ok(core),
        }
    }

    fn apply(&self, core: &mut Core, command: &Command, at: Duration) -> Result<Applied, Refusal> {
        let outcome = core.state.apply(command, at);
        if !outcome.touched.is_empty() {
            if let Some(journal) = &mut core.journal
                && let Err(error) = journal.append(&core.state, command, outcome.touched.takes_index())
            {
                tracing::error!(%error, "the journal cannot be written; nothing is served from now on");
                core.broken = Some(error.to_string());
            }
            core.waiters.wake(&outcome.touched);
            if outcome.touched.agents {
                self.agents_changed.send_modify(|count| *count += 1);
            }
        }
        outcome.result
    }

    /// Applies a command; it is on disk, if there is one, when this returns.
    pub(crate) fn commit(&self, command: &Command) -> Result<Applied, Failure> {
        Ok(self.try_commit(command)??)
    }

    /// Applies a command whose refusal is an answer of its own.
    pub(crate) fn try_commit(&self, command: &Command) -> Result<Result<Applied, Refusal>, Failure> {
        let mut core = self.up_to_date()?;
        let before = core.state.next_deadline();
        let result = self.apply(&mut core, command, self.clock.now());
        if core.state.next_deadline() != before {
            self.rearmed.notify_one();
        }
        if let Some(why) = &core.broken {
            return Err(Failure::internal(format!("the journal cannot be written: {why}")));
        }
        Ok(result)
    }

    /// A new random UUID.
    pub(crate) fn uuid(&self) -> String {
        crate::entropy::uuid(&self.entropy)
    }

    /// Looks at the state.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&State) -> T) -> Result<T, Failure> {
        Ok(look(&self.up_to_date()?.state))
    }

    /// Evaluates a read; if its index is not above `index`, enters the reader among the waiters.
    pub(crate) fn read_or_wait(
        &self,
        index: u64,
        eval: impl Fn(&State) -> Result<Page, Failure>,
    ) -> Result<(Page, Option<Waiter<'_>>), Failure> {
        let mut core = self.up_to_date()?;
        let page = eval(&core.state)?;
        if index == 0 || page.index.max(1) > index {
            return Ok((page, None));
        }
        let interest: Interest = page.interest.clone();
        let (id, receiver) = core.waiters.enter(interest);
        drop(core);
        Ok((page, Some(Waiter { shared: self, id, receiver })))
    }

    /// The rights of a token.
    pub(crate) fn rights(&self, token: &str) -> Rights {
        Rights::of(self.lock().acl.as_ref(), token)
    }

    pub(crate) fn acl(&self) -> Option<AclTable> {
        self.lock().acl.clone()
    }

    pub(crate) fn set_acl(&self, table: Option<AclTable>) {
        self.lock().acl = table;
    }

    /// Whether there is a table of rights.
    pub(crate) fn acl_enabled(&self) -> bool {
        self.lock().acl.is_some()
    }

    /// Puts another state in the place of this one, and sends all blocked readers away with what they saw last.
    pub(crate) fn replace(&self, older: State) -> Result<(), Failure> {
        let mut core = self.up_to_date()?;
        core.state.replace_with(older, self.clock.now());
        let Core { state, journal, .. } = &mut *core;
        if let Some(journal) = journal {
            journal.compact(state).map_err(|error| Failure::internal(error.to_string()))?;
        }
        core.waiters.abandon();
        drop(core);
        self.agents_changed.send_modify(|count| *count += 1);
        self.rearmed.notify_one();
        Ok(())
    }

    /// How many reads are blocked.
    pub(crate) fn blocked(&self) -> usize {
        self.lock().waiters.len()
    }

    /// Counts the changes to agents' services and checks.
    pub(crate) fn agents_changed(&self) -> watch::Receiver<u64> {
        self.agents_changed.subscribe()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.rearmed.notify_one();
    }
}

/// Makes things happen when they are due, for as long as any handle of the server lives.
pub(crate) async fn drive(shared: Weak<Shared>) {
    let Some((rearmed, clock)) = shared.upgrade().map(|shared| (Arc::clone(&shared.rearmed), shared.clock)) else {
        return;
    };
    loop {
        let next = match shared.upgrade() {
            None => return,
            // A broken journal ends the driver: nothing changes any more.
            Some(shared) => match shared.look(State::next_deadline) {
                Ok(next) => next,
                Err(_) => return,
            },
        };
        match next {
            None => rearmed.notified().await,
            Some(at) => tokio::select! {
                biased;
                () = rearmed.notified() => {}
                () = clock.sleep_until(at) => {}
            },
        }
    }
}
