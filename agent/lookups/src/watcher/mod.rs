//! Keeps the files of a set of templates as the world has them: follows what they ask, renders, checks, puts in place, and reacts.
//!
//! Nothing here ends because Consul is away, and nothing is done on what is not known: files stay as they are until every answer is there. The
//! decisions are in a pure machine (`core`); this drives it. A set may have a child, which is started when its files are in place for the
//! first time, and whose end is the end of the watch.

mod apply;
mod core;
mod once;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{File, TryLockError},
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use helium_processes::{Exit, StartError};
use helium_runtime::{ports::Ports, shutdown::Shutdown};
use helium_templates::{
    files::{Files as _, RealFiles},
    lookup::Question,
    output::Output,
    quiet::Wait,
    render::{Render, Rendered},
    transaction::{TransactionError, recover},
};
use jiff::Timestamp;
use rustix::process::Signal;
use tokio::sync::{mpsc, watch};

use self::core::{Core, Effect, Event, Seen};
use crate::{
    child::{Child, ChildPlan},
    follower::Follower,
    memory::Memory,
    renderer::{Renderer, Set},
    shell::Surroundings,
};

pub use once::OnceError;

/// How often files that templates read are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// What a watcher is to do.
#[derive(Clone)]
pub struct Work {
    /// The templates.
    pub set: Arc<Set>,
    /// Lines of the shell that look at new files before they are put in place; see [`helium_templates::transaction::command`].
    pub checks: Vec<String>,
    /// Lines that are run when the file of this target has changed, in the order of the templates; of equal ones one is run.
    pub commands: BTreeMap<PathBuf, String>,
    /// Lines that are run when any file has changed, after those.
    pub reload: Vec<String>,
    /// Where people give values, for whoever is told of missing ones: `in the Deployment's config`.
    pub values_from: String,
}

/// How a watcher works.
#[derive(Clone)]
pub struct WatcherConfig {
    /// The folder of the journal and of what is remembered.
    pub state: PathBuf,
    /// How long changes are waited for.
    pub wait: Wait,
    /// How long rendering may take.
    pub render_limit: Duration,
    /// How lines of the shell are run.
    pub surroundings: Surroundings,
    /// Whether files that an earlier set made and this one does not are removed.
    pub remove_left: bool,
    /// A child.
    pub child: Option<ChildPlan>,
}

/// What somebody wants of a watcher that runs.
pub enum Order {
    /// Other templates, values or lines from now on.
    Replace(Box<Work>),
    /// A signal for the child.
    Forward(Signal),
}

/// How a watch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to. If there was a child, this is how it ended.
    Stopped(Option<Exit>),
    /// The child has ended by itself.
    Child(Exit),
}

/// Why a watcher cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// A transaction of an earlier run cannot be ended.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
    /// What is remembered cannot be read.
    #[error("{}: cannot read what is remembered there: {source}", .folder.display())]
    Memory {
        /// The folder of the state.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no folder for the state.
    #[error("{}: cannot keep the state there: {source}", .folder.display())]
    State {
        /// The folder of the state.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else works with this state.
    #[error("{}: somebody else keeps the files of this state: end that one, or name another folder for the state", .folder.display())]
    Taken {
        /// The folder of the state.
        folder: PathBuf,
    },
    /// The child cannot be started.
    #[error("the command cannot be started: {0}")]
    Child(#[from] StartError),
}

/// How a watcher is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// When the files were put in place, or found in place, last.
    pub applied: Option<Timestamp>,
    /// How often files changed.
    pub changes: u64,
    /// Why the files are not as they should be, or a reaction has failed.
    pub failure: Option<String>,
    /// What templates ask and nobody has answered.
    pub lacking: BTreeSet<Question>,
}

/// Keeps files as the world has them.
pub struct Watcher {
    work: Work,
    config: WatcherConfig,
    follower: Follower,
    ports: Ports,
    files: RealFiles,
    core: Core,
    renderer: Renderer,
    memory: Memory,
    child: Option<Child>,
    /// Whether the child was started with the files as they are, so that it need not be told of them.
    is_told: bool,
    render: Option<Render>,
    read: BTreeMap<PathBuf, Option<(SystemTime, u64)>>,
    status: watch::Sender<Status>,
    /// Held for as long as this lives, once there is something to be held.
    lock: Option<File>,
}

impl Watcher {
    /// A watcher that goes on where an earlier one has ended, in whatever way. [`Memory::load`] gives what the follower has to be made with.
    /// Nothing is written yet.
    pub fn open(work: Work, config: WatcherConfig, follower: Follower, ports: Ports) -> Result<Self, WatchError> {
        let files = RealFiles;
        let memory = Memory::load(&files, &config.state)
            .map_err(|source| WatchError::Memory { folder: config.state.clone(), source })?;
        let core = Core::new(config.wait, !memory.owed.is_empty());
        let renderer = Renderer::new(config.render_limit);
        let child = config.child.clone().map(Child::new);
        let (is_told, render, read, status) = (false, None, BTreeMap::new(), watch::Sender::default());
        Ok(Self {
            work,
            config,
            follower,
            ports,
            files,
            core,
            renderer,
            memory,
            child,
            is_told,
            render,
            read,
            status,
            lock: None,
        })
    }

    /// How it is doing.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Works until it is asked to stop, or its child ends.
    ///
    /// # Errors
    /// The child could not be started the first time.
    pub async fn run(&mut self, orders: &mut mpsc::Receiver<Order>, shutdown: &Shutdown) -> Result<Ended, WatchError> {
        self.begin()?;
        let mut next = Some(Event::Changed);
        loop {
            if let Some(event) = next.take() {
                self.handle(event, shutdown).await?;
            }
            let (due, ports) = (self.core.due(), self.ports.clone());
            let reads = !self.read.is_empty();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                exit = ended(&mut self.child) => return Ok(Ended::Child(exit)),
                Some(order) = orders.recv() => next = self.obey(order),
                () = self.follower.changed() => next = Some(Event::Changed),
                () = ports.sleep_until(due.unwrap_or_default()), if due.is_some() => next = Some(Event::Time),
                () = tokio::time::sleep(LOOK), if reads => next = self.look_at_files().then_some(Event::Changed),
            }
        }
        let exit = match &mut self.child {
            Some(child) => child.stop(None).await,
            None => None,
        };
        Ok(Ended::Stopped(exit))
    }

    /// Ends what an earlier run has left half done, whether or not Consul is there.
    fn begin(&mut self) -> Result<(), WatchError> {
        if self.config.state.is_dir() {
            self.hold()?;
            recover(&self.files, &self.config.state)?;
        }
        Ok(())
    }

    /// Makes sure that nobody else works with this state.
    fn hold(&mut self) -> Result<(), WatchError> {
        if self.lock.is_some() {
            return Ok(());
        }
        let (folder, path) = (self.config.state.clone(), self.config.state.join("lock"));
        let state = |source| WatchError::State { folder: folder.clone(), source };
        self.files.create_folders(&folder).map_err(state)?;
        let file = File::options().create(true).append(true).open(path).map_err(state)?;
        match file.try_lock() {
            Ok(()) => self.lock = Some(file),
            Err(TryLockError::WouldBlock) => return Err(WatchError::Taken { folder }),
            Err(TryLockError::Error(error)) => return Err(state(error)),
        }
        Ok(())
    }

    fn obey(&mut self, order: Order) -> Option<Event> {
        match order {
            Order::Replace(work) => {
                self.work = *work;
                Some(Event::Changed)
            }
            Order::Forward(signal) => {
                if let Some(Err(error)) = self.child.as_ref().map(|child| child.forward(signal)) {
                    tracing::warn!(%error, ?signal, "a signal did not reach the child");
                }
                None
            }
        }
    }

    async fn handle(&mut self, event: Event, shutdown: &Shutdown) -> Result<(), WatchError> {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for effect in self.core.step(event, self.ports.monotonic(), &self.ports) {
                if shutdown.is_cancelled() {
                    return Ok(());
                }
                match effect {
                    Effect::Render => events.push(Event::Rendered(self.render().await)),
                    Effect::Apply => {
                        let applied = self.apply(shutdown).await;
                        if applied.is_ok() {
                            self.start_child()?;
                        }
                        events.push(Event::Applied(applied));
                    }
                    Effect::React => {
                        let told = std::mem::take(&mut self.is_told);
                        events.push(Event::Reacted(self.react(!told, shutdown).await));
                    }
                    Effect::Tell(words) => tracing::error!("{words}"),
                    Effect::Mended => tracing::info!("what was wrong is over"),
                }
            }
        }
        self.is_told = false;
        let failure = self.core.failure().map(str::to_owned);
        self.status.send_if_modified(|status| {
            let differs = status.failure != failure;
            status.failure = failure;
            differs
        });
        Ok(())
    }

    /// Renders, and follows what was asked.
    async fn render(&mut self) -> Seen {
        let answers = self.follower.answers();
        let made = match self.renderer.render(&self.work.set, answers).await {
            Ok(made) => made,
            Err(words) => return Seen::Failed(words),
        };
        self.follow(&made);
        self.status.send_if_modified(|status| {
            let differs = status.lacking != made.asked.lacking;
            status.lacking.clone_from(&made.asked.lacking);
            differs
        });
        let seen = match &made.result {
            Rendered::Ready(_) => Seen::Ready,
            Rendered::Pending => Seen::Pending,
            Rendered::Failed(error) => Seen::Failed(error.words(&self.work.values_from)),
        };
        self.render = Some(made);
        seen
    }

    fn follow(&mut self, made: &Render) {
        let mut questions = made.asked.questions.clone();
        if !matches!(made.result, Rendered::Ready(_))
            && let Some(before) = &self.render
        {
            // A pass that lacks answers does not come to ask all that depends on them.
            questions.extend(before.asked.questions.iter().cloned());
        }
        self.follower.follow(&questions);
        let files = questions.iter().filter_map(|question| match question {
            Question::File(path) => Some((path.clone(), stamp(path))),
            _ => None,
        });
        self.read = files.collect();
    }

    /// Whether a file that templates read is another one now.
    fn look_at_files(&self) -> bool {
        self.read.iter().any(|(path, before)| stamp(path) != *before)
    }

    fn outputs(&self) -> &[Output] {
        match &self.render {
            Some(Render { result: Rendered::Ready(outputs), .. }) => outputs,
            _ => &[],
        }
    }

    fn start_child(&mut self) -> Result<(), StartError> {
        let Some(child) = self.child.as_mut().filter(|child| !child.is_running()) else { return Ok(()) };
        child.start()?;
        self.is_told = true;
        Ok(())
    }
}

async fn ended(child: &mut Option<Child>) -> Exit {
    match child {
        Some(child) => child.ended().await,
        None => std::future::pending().await,
    }
}

/// By what a change of a file is noticed.
fn stamp(path: &std::path::Path) -> Option<(SystemTime, u64)> {
    let found = path.metadata().ok()?;
    Some((found.modified().ok()?, found.len()))
}
