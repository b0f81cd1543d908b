//! What `helium dev` shows: a tree that is drawn again on a terminal, a line per change in a pipe.

use std::{collections::BTreeMap, time::Duration};

use helium_crds::{DeploymentStatus, Kind, status::VersionStatus};
use helium_engine::people::{ObjectRef, People, Stored, follow::Follow};
use jiff::Timestamp;

use crate::{
    output::{
        Console, Failure,
        canvas::{Canvas, Size, cut, size},
        explain::waiting_line,
        object_table::{phase_of, phase_tone, version},
    },
    session::Session,
};

/// How often the tree is drawn again for the sake of the times in it.
const TICK: Duration = Duration::from_secs(1);
/// The columns of an object's line: `deployment/hello  Healthy  3/3  1.0.0`.
type Cells = [String; 4];

/// What was shown last.
pub(super) struct Screen {
    redraw: bool,
    canvas: Canvas,
    /// The last line of each object.
    shown: BTreeMap<ObjectRef, Cells>,
}

impl Screen {
    /// An empty screen. `redraw`: on a terminal that can move its cursor, the tree is drawn over the last one.
    pub(super) fn new(redraw: bool) -> Self {
        Self { redraw, canvas: Canvas::default(), shown: BTreeMap::new() }
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
        let lines = frame(views, size(), session.ports.now(), console);
        self.canvas.draw(&lines, console)
    }
}

/// The tree as lines that fit: one that wraps, or that has left the screen, could not be drawn over.
fn frame(views: &[(&Stored, Option<&DeploymentStatus>)], size: Size, now: Timestamp, console: &Console) -> Vec<String> {
    let mut lines = Vec::new();
    for (stored, status) in views {
        let [name, phase, counts, version] = cells(stored, *status);
        let line = cut(&format!("{name}  {phase}  {counts}  {version}"), size.width);
        let tone = phase_tone(phase_of(stored, *status));
        // Cut as plain text, since colours have no width.
        lines.push(line.replacen(&format!("  {phase}  "), &format!("  {}  ", console.paint(tone, &phase)), 1));
        let below = status.map(|status| branches(status, now)).unwrap_or_default();
        let last = below.len().saturating_sub(1);
        lines.extend(below.iter().enumerate().map(|(place, text)| {
            let branch = if place == last { "└" } else { "├" };
            cut(&format!("{branch} {text}"), size.width)
        }));
    }
    // The cursor stands in the line below.
    let room = size.height.saturating_sub(1).max(1);
    if lines.len() > room {
        let hidden = lines.split_off(room - 1).len();
        lines.push(cut(&format!("... {hidden} more lines; `helium get deployments` shows all"), size.width));
    }
    lines
}

fn cells(stored: &Stored, status: Option<&DeploymentStatus>) -> Cells {
    let counts = status.map_or_else(|| "-".to_owned(), |status| format!("{}/{}", status.healthy, status.wanted));
    [ObjectRef::of(stored).to_string(), phase_of(stored, status).to_string(), counts, version(stored, status)]
}

/// The versions, and what is being waited for.
fn branches(status: &DeploymentStatus, now: Timestamp) -> Vec<String> {
    let versions = status.versions.iter().filter(|version| version.desired + version.assigned > 0).map(|version| {
        let VersionStatus { version, role, desired, healthy, standby, .. } = version;
        let standby = if *standby > 0 { format!(", {standby} on standby") } else { String::new() };
        format!("{} {version}  {healthy}/{desired} healthy{standby}", role.tag())
    });
    let waiting = status.waiting_on.iter().filter_map(|waiting| waiting_line(waiting, status, now));
    versions.chain(waiting).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stored(name: &str) -> Stored {
        serde_json::from_value(json!({
            "apiVersion": "helium.dev/v1", "kind": "Deployment", "metadata": {"name": name, "uid": "u"},
            "spec": {"replicas": 3, "template": {"version": "1.0.0"}},
        }))
        .unwrap()
    }

    fn healthy() -> DeploymentStatus {
        serde_json::from_value(json!({
            "uid": "u", "observedGeneration": 1, "phase": "Healthy", "reason": "AllHealthy", "message": "",
            "wanted": 3, "healthy": 3, "current": {"version": "1.0.0", "revision": "r1-1"},
            "versions": [{"version": "1.0.0", "revision": "r1-1", "role": "stable", "desired": 3, "assigned": 3,
                          "registered": 3, "healthy": 3}],
            "nextOrdinal": 1, "nextRevision": 1,
        }))
        .unwrap()
    }

    fn drawn(width: usize, height: usize) -> String {
        let (one, two, status) = (stored("hello"), stored("a-much-longer-name"), healthy());
        let views = [(&one, Some(&status)), (&two, Some(&status)), (&two, None)];
        frame(&views, Size { width, height }, Timestamp::UNIX_EPOCH, &Console::plain()).join("\n")
    }

    #[test]
    fn a_screen_that_is_large_enough_shows_the_whole_tree() {
        insta::assert_snapshot!(drawn(80, 24), @r"
        deployment/hello  Healthy  3/3  1.0.0
        └ stable 1.0.0  3/3 healthy
        deployment/a-much-longer-name  Healthy  3/3  1.0.0
        └ stable 1.0.0  3/3 healthy
        deployment/a-much-longer-name  Pending  -  1.0.0
        ");
    }

    #[test]
    fn the_tree_is_cut_to_the_width_and_height_of_the_screen() {
        insta::assert_snapshot!(drawn(30, 4), @r"
        deployment/hello  Healthy  3/3
        └ stable 1.0.0  3/3 healthy
        ... 3 more lines; `helium get
        ");
    }
}
