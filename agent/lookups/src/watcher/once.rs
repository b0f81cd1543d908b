//! One time: waits until every answer is there, puts the files in place, reacts, and ends; or only shows what would change.

use std::{
    collections::BTreeSet, fmt::Write as _, fs, os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration,
};

use helium_runtime::shutdown::Shutdown;
use helium_templates::{
    diff::{Old, diff},
    render::Rendered,
};

use super::{Seen, Watcher};

/// Why it did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OnceError {
    /// Answers did not come in time: each question, and what is known of why.
    #[error("{} not answered within {limit:?}:{}", count(.lacking), list(.lacking))]
    Lacking {
        /// The questions.
        lacking: Vec<String>,
        /// How long it waited.
        limit: Duration,
    },
    /// Names that nobody gives, in the world or the values; nothing else is wrong.
    #[error("{0}")]
    Missing(String),
    /// Templates are wrong.
    #[error("{0}")]
    Wrong(String),
    /// The files were not put in place.
    #[error("{0}")]
    NotApplied(String),
    /// The files are in place, and what had to be run then failed.
    #[error("the files are in place, but {0}")]
    NotTold(String),
    /// It was asked to stop.
    #[error("stopped before every answer was there")]
    Stopped,
}

fn count(lacking: &[String]) -> String {
    if lacking.len() == 1 { "1 question is".to_owned() } else { format!("{} questions are", lacking.len()) }
}

fn list(lacking: &[String]) -> String {
    lacking.iter().fold(String::new(), |mut text, question| {
        let _ = write!(text, "\n  {question}");
        text
    })
}

impl Watcher {
    /// Puts the files in place once, and gives those that changed. No child is started.
    pub async fn once(&mut self, limit: Duration, shutdown: &Shutdown) -> Result<Vec<PathBuf>, OnceError> {
        self.begin().map_err(|error| OnceError::NotApplied(error.to_string()))?;
        self.complete(limit, shutdown).await?;
        let changed = self.apply(shutdown).await.map_err(OnceError::NotApplied)?;
        if !self.memory.owed.is_empty() {
            self.react(false, shutdown).await.map_err(OnceError::NotTold)?;
        }
        Ok(changed)
    }

    /// What would change: a diff of each file, without secrets; empty if nothing would. Nothing is written and nothing is run.
    pub async fn preview(&mut self, limit: Duration, shutdown: &Shutdown) -> Result<String, OnceError> {
        self.complete(limit, shutdown).await?;
        let hidden = self.hidden();
        let mut shown = String::new();
        for output in self.outputs() {
            let unreadable =
                |error| OnceError::NotApplied(format!("{}: cannot read it: {error}", output.target.display()));
            let old = match fs::read(&output.target) {
                Ok(bytes) => Some(bytes),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
                Err(error) => return Err(unreadable(error)),
            };
            let mode = fs::metadata(&output.target).map_or(0, |found| found.permissions().mode() & 0o7777);
            let old = old.as_deref().map(|bytes| Old { bytes, mode });
            shown.push_str(&diff(old, output, &hidden));
        }
        let targets: BTreeSet<PathBuf> = self.outputs().iter().map(|output| output.target.clone()).collect();
        let left = self.memory.made.difference(&targets).filter(|left| self.config.remove_left && left.exists());
        for left in left {
            let _ = writeln!(shown, "{}: goes, since no template makes it any more", left.display());
        }
        Ok(shown)
    }

    /// Renders until nothing is lacking.
    async fn complete(&mut self, limit: Duration, shutdown: &Shutdown) -> Result<(), OnceError> {
        let until = self.ports.monotonic().saturating_add(limit);
        loop {
            match self.render().await {
                Seen::Ready => return Ok(()),
                Seen::Failed(words) => return Err(self.failed(words)),
                Seen::Pending => {}
            }
            let ports = self.ports.clone();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Err(OnceError::Stopped),
                () = self.follower.changed() => {}
                () = ports.sleep_until(until) => return Err(OnceError::Lacking { lacking: self.lacking(), limit }),
            }
        }
    }

    fn failed(&self, words: String) -> OnceError {
        match self.render.as_ref().map(|render| &render.result) {
            Some(Rendered::Failed(error)) if error.wrong.is_empty() => OnceError::Missing(words),
            _ => OnceError::Wrong(words),
        }
    }

    fn lacking(&self) -> Vec<String> {
        let answers = self.follower.answers();
        let lacking = self.render.iter().flat_map(|render| &render.asked.lacking);
        let told = lacking.map(|question| match answers.why_lacking(question) {
            Some(why) => format!("{question}: {why}"),
            None => question.to_string(),
        });
        told.collect()
    }
}
