//! The templates of a package into the files of one instance.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use helium_crds::package::Missing;
use helium_processes::{Command, Run};
use helium_templates::{
    Bounds, Kept, Strictness,
    files::RealFiles,
    hidden::Hidden,
    lookup::Lookup,
    output::Output,
    render::{Render, RenderError, Rendered, render_within},
    template::Template,
    transaction::{self, Applied, Check, Staged, command},
    values::Values,
};

use super::asking::{Asking, Seen};
use crate::{instance::work::Trouble, telemetry::Telemetry};

/// How long the command that looks at new files may take.
const CHECK_LIMIT: Duration = Duration::from_secs(30);
/// The mark that files have changed of which the process was not told.
pub(crate) const UNTOLD: &str = "untold";
/// The largest template.
const LARGEST: u64 = 4 * 1024 * 1024;

/// What is to be rendered.
pub(crate) struct Rendering {
    pub(crate) templates: Arc<Vec<Template>>,
    pub(crate) values: Arc<Values>,
    /// Who asks what the templates ask.
    pub(crate) asking: Arc<Asking>,
    pub(crate) missing: Missing,
    /// The command that looks at new files; empty if there is none.
    pub(crate) check: Vec<String>,
    /// The environment and the folder that it runs in.
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) view: PathBuf,
    /// Where the journal of the transaction is.
    pub(crate) state: PathBuf,
    /// Whose turn it is with the files, and whether they are still wanted.
    pub(crate) turn: Turn,
    /// What was asked is put here.
    pub(crate) seen: Arc<Mutex<Option<Seen>>>,
}

/// One at a time puts files in place: what was begun and is not wanted any more may still be at it, for nobody can end a thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turn {
    one: Arc<Mutex<()>>,
    over: Arc<AtomicBool>,
    /// What is parsed already of their templates.
    kept: Kept,
}

impl Turn {
    /// The same files, for work that begins now.
    pub(crate) fn next(&self) -> Self {
        Self { one: Arc::clone(&self.one), over: Arc::default(), kept: self.kept.clone() }
    }

    /// Waits for the turn; it is held until what is given is dropped.
    pub(crate) fn take(&self) -> MutexGuard<'_, ()> {
        self.one.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that what was begun is not wanted any more once this is dropped.
    pub(crate) fn guard(&self) -> Over {
        Over(Arc::clone(&self.over))
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }
}

/// Dropped, it says that files are not wanted any more.
pub(crate) struct Over(Arc<AtomicBool>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Rendering {
    /// Renders all templates and puts the files in place, all or none. What the files hold already is not written again.
    pub(crate) async fn apply(self) -> Result<Applied, Trouble> {
        let (outputs, hidden) = self.render().await?;
        let done = tokio::task::spawn_blocking(move || {
            let _turn = self.turn.take();
            let check = Look { rendering: &self, outputs: &outputs, hidden: &hidden };
            transaction::apply(&RealFiles, &self.state, &outputs, &check)
        });
        let done = done.await.map_err(|error| Trouble::may_heal(error.to_string()))?;
        done.map_err(|error| Trouble::may_heal(error.to_string()))
    }

    /// The same, counted and timed, its check and its switch included.
    pub(crate) async fn apply_counted(self, telemetry: &Telemetry) -> Result<Applied, Trouble> {
        let begun = telemetry.clock();
        let applied = self.apply().await;
        let result = match &applied {
            Ok(Applied::Unchanged) => "unchanged",
            Ok(_) => "changed",
            Err(_) => "failed",
        };
        telemetry.metrics().render(result, telemetry.clock().saturating_sub(begun));
        applied
    }

    async fn render(&self) -> Result<(Vec<Output>, Hidden), Trouble> {
        let strictness = match self.missing {
            Missing::Fail => Strictness::Strict,
            Missing::Empty => Strictness::Lenient,
        };
        let made = self.follow(&self.asking, strictness).await?;
        match made.result {
            Rendered::Ready(outputs) => {
                // Files that ask nothing are not made again while the instance runs.
                if made.asked.questions.is_empty() {
                    self.turn.kept.forget();
                }
                self.note_seen(self.asking.settle(&made.asked.questions));
                Ok((outputs, made.hidden))
            }
            Rendered::Failed(error) => Err(Trouble::lasting(in_a_line(&error)).with_details(error.to_string())),
            Rendered::Pending => Err(Trouble::may_heal("answers are lacking")),
        }
    }

    fn note_seen(&self, seen: Seen) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
    }

    /// Renders until nothing is lacking that a follower could tell.
    async fn follow(&self, asking: &Asking, strictness: Strictness) -> Result<Render, Trouble> {
        let mut asking = asking.begin();
        loop {
            let made = self.once(Arc::new(asking.lookup()), strictness).await?;
            asking.ask(&made.asked.questions);
            match made.result {
                Rendered::Pending => asking.wait(&made.asked.lacking).await.map_err(Trouble::may_heal)?,
                Rendered::Ready(_) | Rendered::Failed(_) => return Ok(made),
            }
        }
    }

    /// A template may take its time, which is bounded.
    async fn once(&self, lookup: Arc<dyn Lookup>, strictness: Strictness) -> Result<Render, Trouble> {
        let (templates, values) = (Arc::clone(&self.templates), Arc::clone(&self.values));
        let kept = self.turn.kept.clone();
        let made = tokio::task::spawn_blocking(move || {
            render_within(&templates, &values, &lookup, strictness, &Bounds::default(), &kept)
        });
        let made = made.await;
        made.map_err(|error| Trouble::lasting(format!("the templates: {error}")))
    }
}

/// What is wrong with templates, in one line: each fault with its place, and every name that is missing.
fn in_a_line(error: &RenderError) -> String {
    let fault = |report: &String| {
        let mut lines = report.lines().map(|line| line.trim_start_matches("error:").trim_start_matches(" -->").trim());
        let what = lines.next().unwrap_or_default();
        lines.next().map_or_else(|| what.to_owned(), |place| format!("{place}: {what}"))
    };
    let mut parts: Vec<String> = error.wrong.iter().map(fault).collect();
    if !error.missing.is_empty() {
        let named = |missing: &helium_templates::Missing| {
            format!("`{}` ({}:{}:{})", missing.name, missing.template, missing.line, missing.column)
        };
        let all: Vec<String> = error.missing.iter().map(named).collect();
        parts.push(format!("nobody gives {}", all.join(", ")));
    }
    format!("the templates cannot be rendered: {}", parts.join("; "))
}

/// The command that looks at new files.
struct Look<'a> {
    rendering: &'a Rendering,
    outputs: &'a [Output],
    hidden: &'a Hidden,
}

impl Check for Look<'_> {
    fn check(&self, staged: &[Staged]) -> Result<(), String> {
        let looked = self.look(staged);
        if self.rendering.turn.is_over() {
            return Err("they are not wanted any more".to_owned());
        }
        looked?;
        // Whoever dies between here and the telling has left a mark that somebody is to be told.
        let mark = self.rendering.state.join(UNTOLD);
        fs::write(&mark, "").map_err(|error| format!("{}: {error}", mark.display()))
    }
}

impl Look<'_> {
    fn look(&self, staged: &[Staged]) -> Result<(), String> {
        let Rendering { check, env, view, .. } = self.rendering;
        if check.is_empty() {
            return Ok(());
        }
        let argv = command(check, self.outputs, staged);
        let look = Command { argv, env: env.clone(), cwd: view.clone(), user: None };
        let run = Run { limit: CHECK_LIMIT, grace: Duration::from_secs(1), log: None, keep: 16 * 1024, note: None };
        let done = tokio::runtime::Handle::current().block_on(run.to_end(&look));
        let finished = done.map_err(|error| format!("the command `check` cannot be run: {error}"))?;
        if finished.is_success() {
            return Ok(());
        }
        let how =
            if finished.timed_out { format!("took longer than {CHECK_LIMIT:?}") } else { finished.exit.to_string() };
        let said =
            String::from_utf8_lossy(if finished.stderr.is_empty() { &finished.stdout } else { &finished.stderr })
                .into_owned();
        Err(self.hidden.mask(format!("{how}: {}", said.trim()).as_str()))
    }
}

/// Ends what an agent before this one was putting in place when it died: all of it or nothing. Whoever reads the files next, be it the hooks of a stop,
/// finds one set.
pub(crate) async fn end_half_done(state: PathBuf) -> Result<bool, String> {
    let done = tokio::task::spawn_blocking(move || transaction::recover(&RealFiles, &state)).await;
    done.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

/// The templates of a package, each of which makes its file in the view.
pub(crate) fn templates(package: &Path, view: &Path) -> io::Result<Vec<Template>> {
    let mut found = Vec::new();
    collect(package, Path::new(""), view, &mut found)?;
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

/// Links within the package are not followed: what they lead to is found where it is. What a path of the Nix store was put together from is links
/// to files elsewhere in that store.
fn collect(package: &Path, within: &Path, view: &Path, found: &mut Vec<Template>) -> io::Result<()> {
    for entry in fs::read_dir(package.join(within))? {
        let entry = entry?;
        let (kind, name) = (entry.file_type()?, within.join(entry.file_name()));
        if kind.is_dir() {
            collect(package, &name, view, found)?;
        } else if helium_templates::template::Language::of(&name).is_some()
            && (kind.is_file() || (kind.is_symlink() && is_file_elsewhere(package, &entry.path())))
        {
            let words = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", name.display()));
            let metadata = fs::metadata(entry.path())?;
            if metadata.len() > LARGEST {
                return Err(io::Error::other(format!("{}: a template of more than {LARGEST} bytes", name.display())));
            }
            let text = fs::read_to_string(entry.path()).map_err(words)?;
            let folder = view.join(within);
            let mut template = Template::read_from(&name, text, &folder);
            if let Some(template) = &mut template {
                // Scripts stay scripts.
                use std::os::unix::fs::PermissionsExt as _;
                template.form.mode = Some(metadata.permissions().mode() & 0o777);
            }
            found.extend(template);
        }
    }
    Ok(())
}

/// Whether a link leads to a file that is not in the package.
fn is_file_elsewhere(package: &Path, link: &Path) -> bool {
    let (Ok(package), Ok(target)) = (package.canonicalize(), link.canonicalize()) else { return false };
    target.is_file() && !target.starts_with(package)
}

#[cfg(test)]
#[path = "rendering_tests.rs"]
mod tests;
