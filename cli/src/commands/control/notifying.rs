//! Who is told of events: the file that says so, and the part that tells them.

use std::{path::Path, sync::Arc};

use helium_analysis::Sources;
use helium_crds::{Report, Source, notification::Notifications};
use helium_engine::Engine;
use helium_notify::Notifier;
use helium_runtime::shutdown::{Shutdown, Trigger};
use tokio::task::JoinHandle;

use crate::{
    output::{Console, Exit, Failure},
    session::Session,
};

/// Reads the file, if there is one to read. Everything that is wrong with it is told at once.
pub(super) fn settings(file: Option<&Path>, console: &mut Console) -> Result<Option<Notifications>, Failure> {
    let Some(file) = file else { return Ok(None) };
    read(file).map(Some).map_err(|report| {
        console.say(report.render(console.colours_words()).trim_end());
        Failure::new(Exit::Usage, "")
    })
}

fn read(file: &Path) -> Result<Notifications, Report> {
    let name = file.display().to_string();
    let bytes = std::fs::read(file).map_err(|error| Source::unreadable(name.as_str(), &error))?;
    Notifications::parse(&Source::from_bytes(name, &bytes)?)
}

/// The part that tells, beside a controller; it outlives the controller by the time that it takes to tell what is queued.
pub(super) struct Telling(Option<Running>);

struct Running {
    notifier: Arc<Notifier>,
    stop: Trigger,
    task: JoinHandle<()>,
}

impl Telling {
    /// Tells nobody.
    pub(super) fn nobody() -> Self {
        Self(None)
    }

    /// Tells whom the settings name.
    pub(super) fn start(settings: Option<Notifications>, sources: &Arc<Sources>, session: &Session) -> Self {
        let Some(settings) = settings else { return Self::nobody() };
        let notifier = Arc::new(Notifier::new(settings, sources, &session.ports));
        let (stop, shutdown) = Shutdown::new();
        let running = Arc::clone(&notifier);
        let task = tokio::spawn(async move { running.run(shutdown).await });
        Self(Some(Running { notifier, stop, task }))
    }

    /// The controller, with what it has to tell sent here, and what becomes of it among its metrics.
    pub(super) fn wired(&self, engine: Engine) -> Engine {
        let Some(Running { notifier, .. }) = &self.0 else { return engine };
        if let Ok(mut registry) = engine.metrics_registry().lock() {
            notifier.register(&mut registry);
        }
        engine.announcing(Arc::<Notifier>::clone(notifier))
    }

    /// Ends it, within a few seconds.
    pub(super) async fn stop(self) {
        let Some(Running { stop, task, .. }) = self.0 else { return };
        stop.trigger();
        if let Err(error) = task.await {
            tracing::error!(%error, "notifications ended badly");
        }
    }
}
