//! What `helium dev` shows: a tree that is drawn again on a terminal, a line per change in a pipe.

use std::{collections::BTreeMap, time::Duration};

use helium_crds::{DeploymentStatus, Kind};
use helium_engine::people::{ObjectRef, People, Stored, follow::Follow};

use crate::{
    output::{
        Console, Failure,
        explain::waiting_line,
        object_table::{phase_of, phase_tone, version},
    },
    session::Session,
};

/// How often the tree is drawn again for the sake of the times in it.
const TICK: Duration = Duration::from_secs(1);
/// The width that is taken where a terminal does not tell its own.
const WIDTH: usize = 80;

/// The columns of an object's line: `deployment/hello  Healthy  3/3  1.0.0`.
type Cells = [String; 4];

/// What was shown last.
pub(super) struct Screen {
    redraw: bool,
    /// How many lines of the last drawing stand above the cursor.
    drawn: usize,
    /// The last line of each object.
    shown: BTreeMap<ObjectRef, Cells>,
}

impl Screen {
    /// An empty screen. `redraw`: on a terminal, the tree is drawn over the last one.
    pub(super) fn new(redraw: bool) -> Self {
        Self { redraw, drawn: 0, shown: BTreeMap::new() }
    }

    /// Shows every Deployment as it changes, for ever.
    pub(super) async fn show(
        &mut self,
        people: &People,
        session: &Session,
        console: &mut Console,
    ) -> Result<(), Failure> {
        let root = people.keys().root().to_owned();
        let mut specs = Follow::prefix(people, format!("{root}spec/"));
        let mut statuses = Follow::prefix(people, format!("{root}status/"));
        let mut spec_pairs = specs.next().await?;
        let mut status_pairs = statuses.next().await?;
        loop {
            let objects: Vec<Stored> = people.parse_objects(&spec_pairs).into_iter().map(|row| row.value).collect();
            let said = people.parse_statuses(&status_pairs);
            let deployments = objects.iter().filter(|stored| stored.kind == Kind::Deployment);
            let views: Vec<_> = deployments.map(|stored| (stored, said.get(&stored.key()))).collect();
            if self.redraw {
                self.draw(&views, session, console)?;
            } else {
                self.changes(&views, console)?;
            }
            tokio::select! {
                biased;
                pairs = specs.next() => spec_pairs = pairs?,
                pairs = statuses.next() => status_pairs = pairs?,
                () = tokio::time::sleep(TICK), if self.redraw => {}
            }
        }
    }

    /// One line for each object whose line has changed.
    fn changes(
        &mut self,
        views: &[(&Stored, Option<&DeploymentStatus>)],
        console: &mut Console,
    ) -> Result<(), Failure> {
        let now: BTreeMap<ObjectRef, Cells> =
            views.iter().map(|(stored, status)| (ObjectRef::of(stored), cells(stored, *status))).collect();
        for (name, cells) in &now {
            if self.shown.get(name) != Some(cells) {
                console.line(cells.join("  "))?;
            }
        }
        for gone in self.shown.keys().filter(|name| !now.contains_key(*name)) {
            console.line(format!("{gone}  gone"))?;
        }
        self.shown = now;
        Ok(())
    }

    /// The whole tree, over the last one.
    fn draw(
        &mut self,
        views: &[(&Stored, Option<&DeploymentStatus>)],
        session: &Session,
        console: &mut Console,
    ) -> Result<(), Failure> {
        let (width, mut lines) = (width(), Vec::new());
        for (stored, status) in views {
            let [name, phase, counts, version] = cells(stored, *status);
            let phase = console.paint(phase_tone(phase_of(stored, *status)), &phase);
            lines.push(format!("{name}  {phase}  {counts}  {version}"));
            let below = status.map(|status| branches(status, session)).unwrap_or_default();
            let last = below.len().saturating_sub(1);
            lines.extend(below.iter().enumerate().map(|(place, text)| {
                // A line that wraps would be counted as one and leave its rest on the screen.
                let branch = format!("{} {text}", if place == last { "└" } else { "├" });
                branch.chars().take(width).collect::<String>()
            }));
        }
        // Up to the first line of the last drawing, and clear what is below.
        let up = if self.drawn > 0 { format!("\x1b[{}A\x1b[J", self.drawn) } else { String::new() };
        self.drawn = lines.len();
        let mut text = lines.join("\n");
        if !text.is_empty() {
            text.push('\n');
        }
        console.data(up + &text)
    }
}

/// How many characters fit into a line of the terminal.
fn width() -> usize {
    let told = rustix::termios::tcgetwinsize(std::io::stdout()).map_or(0, |size| usize::from(size.ws_col));
    if told == 0 { WIDTH } else { told }
}

fn cells(stored: &Stored, status: Option<&DeploymentStatus>) -> Cells {
    let counts = status.map_or_else(|| "-".to_owned(), |status| format!("{}/{}", status.healthy, status.wanted));
    [ObjectRef::of(stored).to_string(), phase_of(stored, status).to_string(), counts, version(stored, status)]
}

/// The versions, and what is being waited for.
fn branches(status: &DeploymentStatus, session: &Session) -> Vec<String> {
    let versions = status.versions.iter().filter(|version| version.desired + version.assigned > 0).map(|version| {
        format!("{} {}  {}/{} healthy", version.role.tag(), version.version, version.healthy, version.desired)
    });
    let waiting = status.waiting_on.iter().filter_map(|waiting| waiting_line(waiting, session.ports.now()));
    versions.chain(waiting).collect()
}
