//! The task that does the work of one instance, and what is known of it.

use std::future::Future;

use helium_crds::instance::InstancePhase;
use tokio::{sync::watch, task::JoinHandle};

use super::work::{Outcome, Prepared, Trouble, Work, Working};
use crate::{
    hooks::HookRun,
    package::{asking::Seen, preparation::Preparation},
};

/// What work has made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Made {
    /// What it has found.
    pub(crate) found: Prepared,
    /// What its templates have asked; none where their files are those of an earlier start.
    pub(crate) seen: Option<Seen>,
}

/// The work of one instance. Dropping it ends the work, and with it the processes that it has started.
pub(crate) struct WorkTask {
    working: Working,
    /// What the templates of the work that is done have asked.
    seen: Option<Seen>,
    task: Option<JoinHandle<Result<Made, Trouble>>>,
    progress: watch::Receiver<Option<InstancePhase>>,
}

impl Default for WorkTask {
    fn default() -> Self {
        Self { working: Working::Nothing, seen: None, task: None, progress: watch::channel(None).1 }
    }
}

impl WorkTask {
    /// What is being done.
    pub(crate) fn working(&self) -> &Working {
        &self.working
    }

    /// Begins a preparation, of a start or of fresh files.
    pub(crate) fn begin_preparation(
        &mut self,
        work: Work,
        preparation: impl FnOnce(watch::Sender<Option<InstancePhase>>) -> Preparation,
    ) {
        let (progress, told) = watch::channel(None);
        self.progress = told;
        self.begin(work, preparation(progress).run());
    }

    /// Begins a hook.
    pub(crate) fn begin_hook(&mut self, work: Work, hook: HookRun) {
        self.begin(work, async move { hook.to_success().await.map(|_| Made::default()).map_err(Trouble::may_heal) });
    }

    fn begin(&mut self, work: Work, doing: impl Future<Output = Result<Made, Trouble>> + Send + 'static) {
        self.cancel();
        self.working = Working::Busy(work, None);
        self.task = Some(tokio::spawn(doing));
    }

    /// Takes up how far it is, or what has become of it.
    pub(crate) async fn look(&mut self) {
        let Working::Busy(work, _) = self.working else { return };
        if self.task.as_ref().is_some_and(|task| !task.is_finished()) {
            self.working = Working::Busy(work, *self.progress.borrow_and_update());
            return;
        }
        let Some(task) = self.task.take() else { return };
        let outcome = task.await.unwrap_or_else(|error| Err(Trouble::may_heal(format!("it broke off: {error}"))));
        self.end(work, outcome);
    }

    fn end(&mut self, work: Work, outcome: Result<Made, Trouble>) {
        let (outcome, seen) = match outcome {
            Ok(Made { found, seen }) => (Ok(found), seen),
            Err(trouble) => (Err(trouble), None),
        };
        (self.working, self.seen) = (Working::Done(work, outcome), seen);
    }

    /// What has become of it, once it has ended, and what its templates have asked.
    pub(crate) fn done(&self) -> Option<(Work, Outcome, Option<Seen>)> {
        match &self.working {
            Working::Done(work, outcome) => Some((*work, outcome.clone(), self.seen.clone())),
            Working::Nothing | Working::Busy(..) => None,
        }
    }

    /// Forgets what has become of it, once it is noted.
    pub(crate) fn clear(&mut self) {
        self.working = Working::Nothing;
    }

    /// Ends it.
    pub(crate) fn cancel(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
        self.working = Working::Nothing;
    }

    /// Waits until there is something new to know. It may be dropped and called again.
    pub(crate) async fn changed(&mut self) {
        match &mut self.task {
            None => std::future::pending().await,
            Some(task) => tokio::select! {
                biased;
                Ok(()) = self.progress.changed() => {}
                outcome = task => {
                    self.task = None;
                    let outcome = outcome.unwrap_or_else(|error| Err(Trouble::may_heal(format!("it broke off: {error}"))));
                    if let Working::Busy(work, _) = self.working {
                        self.end(work, outcome);
                    }
                }
            },
        }
    }
}

impl Drop for WorkTask {
    fn drop(&mut self) {
        self.cancel();
    }
}
