//! A Deployment as a tree: its steps, its versions with their instances, its metrics.

use helium_crds::{
    DeploymentStatus,
    instance::Report,
    status::{HoldKind, MetricState, Rollout, RolloutKind, Verdict, VersionStatus},
};
use helium_engine::people::read::InstanceView;
use jiff::Timestamp;

use super::{
    Console, Tone,
    explain::waiting_line,
    time::{age, short},
    trouble,
};

/// A line, and how it is to be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// The text, with its branch.
    pub(crate) text: String,
    /// Its tone, if it has one.
    pub(crate) tone: Option<Tone>,
}

impl Line {
    /// As it is printed, cut to a width if there is one.
    pub(crate) fn paint(&self, width: Option<usize>, console: &Console) -> String {
        let text: String = match width {
            Some(width) => self.text.chars().take(width).collect(),
            None => self.text.clone(),
        };
        self.tone.map_or_else(|| text.clone(), |tone| console.paint(tone, &text))
    }
}

/// The lines below a Deployment's own.
pub(crate) fn tree(status: &DeploymentStatus, instances: &[InstanceView], now: Timestamp) -> Vec<Line> {
    let mut limbs =
        vec![limb(status.message.clone(), status.waiting_on.iter().filter_map(|on| waiting_line(on, status, now)))];
    let canary = status.rollout.as_ref().filter(|rollout| rollout.kind == RolloutKind::Canary);
    if let Some(rollout) = canary {
        limbs.push(steps(rollout, now));
    }
    limbs.extend(status.versions.iter().map(|version| a_version(version, canary, instances, now)));
    let metrics = canary.map(|rollout| &rollout.analysis.metrics).filter(|metrics| !metrics.is_empty());
    limbs.extend(metrics.map(|metrics| Limb {
        head: plain("metrics"),
        leaves: metrics.iter().map(|(name, state)| metric(name, state, now)).collect(),
    }));
    let last = limbs.len().saturating_sub(1);
    limbs.into_iter().enumerate().flat_map(|(place, limb)| limb.lines(place == last)).collect()
}

/// A line with others below it.
struct Limb {
    head: Line,
    leaves: Vec<Line>,
}

impl Limb {
    fn lines(self, last: bool) -> Vec<Line> {
        let (branch, beside) = if last { ("└ ", "  ") } else { ("├ ", "│ ") };
        let under = |prefix: &str, line: Line| Line { text: format!("{prefix}{}", line.text), ..line };
        let head = under(branch, self.head);
        [head].into_iter().chain(self.leaves.into_iter().map(|leaf| under(&format!("{beside}  "), leaf))).collect()
    }
}

fn plain(text: impl Into<String>) -> Line {
    Line { text: text.into(), tone: None }
}

fn limb(head: String, leaves: impl Iterator<Item = String>) -> Limb {
    Limb { head: plain(head), leaves: leaves.map(plain).collect() }
}

/// What is done, where it is, and what is still to come.
fn steps(rollout: &Rollout, now: Timestamp) -> Limb {
    let present = rollout.step as usize;
    let ended = !rollout.stage.is_under_way();
    let reached = rollout.abort.as_ref().map_or(present, |abort| abort.step as usize);
    let leaves = rollout.steps.iter().enumerate().map(|(place, step)| {
        let (mark, tone) = match place {
            place if place < reached => ("✓", Some(Tone::Good)),
            place if place == reached && ended => ("✗", Some(Tone::Bad)),
            place if place == reached => ("▶", Some(Tone::Busy)),
            _ => (" ", None),
        };
        let since = (place == present && !ended).then(|| now.duration_since(rollout.step_started_at));
        let since = since.map(|since| format!("  for {}", short(since))).unwrap_or_default();
        Line { text: format!("{mark} {} {step}{since}", place + 1), tone }
    });
    let held = rollout.hold.as_ref().map(|hold| match hold.kind {
        HoldKind::Person => "steps (paused)",
        _ => "steps (held)",
    });
    Limb { head: plain(held.unwrap_or("steps")), leaves: leaves.collect() }
}

fn a_version(version: &VersionStatus, canary: Option<&Rollout>, instances: &[InstanceView], now: Timestamp) -> Limb {
    let weight = canary.filter(|rollout| rollout.revision == version.revision).and_then(|rollout| rollout.weight);
    let weight = weight.filter(|weight| weight.canary > 0);
    let weight = weight.map(|weight| format!(", {}% ({}% asked for)", weight.achieved(), weight.requested));
    let standby = if version.standby > 0 { format!(", {} on standby", version.standby) } else { String::new() };
    let head = format!(
        "{} {}  {}/{} healthy{}{standby}",
        version.version,
        version.role.tag(),
        version.healthy,
        version.desired,
        weight.unwrap_or_default()
    );
    let own = instances.iter().filter(|view| view.instance.revision == version.revision);
    Limb { head: plain(head), leaves: own.map(|view| instance(view, now)).collect() }
}

fn instance(view: &InstanceView, now: Timestamp) -> Line {
    use helium_crds::instance::Desired;
    let InstanceView { instance, report } = view;
    let failing = report.as_ref().and_then(|report| report.failing.values().next().cloned());
    let said = report.as_ref().and_then(|report| report.message.clone());
    let (state, tone) = match (instance.desired, instance.healthy_since, failing) {
        (Desired::Stop, _, _) => ("stopping".to_owned(), Some(Tone::Busy)),
        (_, Some(since), _) => (format!("healthy for {}", age(Some(since), now)), Some(Tone::Good)),
        (_, None, Some(failing)) => (failing, Some(Tone::Bad)),
        (_, None, None) => {
            let phase =
                report.as_ref().map_or("assigned".to_owned(), |report| format!("{:?}", report.phase).to_lowercase());
            (said.map_or(phase.clone(), |said| format!("{phase}: {said}")), Some(Tone::Busy))
        }
    };
    let state = if instance.role.is_standby() { format!("{state}, on standby") } else { state };
    let more = report.iter().flat_map(Report::words_of_jobs).chain(report.iter().flat_map(unheld));
    let mut state: Vec<String> = [state].into_iter().chain(more).collect();
    state.extend(trouble::beside(view, &state));
    Line { text: format!("{}  {}  {}", instance.id, instance.node, state.join("; ")), tone }
}

/// The limits that do not hold for an instance: ``its limit `memory` does not hold: ...``.
pub(crate) fn unheld(report: &Report) -> impl Iterator<Item = String> + '_ {
    report.unheld.iter().map(|(name, why)| format!("its limit `{name}` does not hold: {why}"))
}

/// `errors  0.2 (at most 1)  good, 3 of 4 samples; 12s ago`
fn metric(name: &str, state: &MetricState, now: Timestamp) -> Line {
    let Some(last) = state.last() else { return plain(format!("{name}  no sample yet")) };
    let (word, tone) = match last.verdict {
        Verdict::Good => ("good", Tone::Good),
        Verdict::Failed => ("failed", Tone::Bad),
        Verdict::Inconclusive => ("inconclusive", Tone::Busy),
        Verdict::Ignored => ("ignored", Tone::Busy),
    };
    let counts = format!("{} of {} good at this weight", state.good, state.taken);
    let text = format!("{name}  {}  {word}; {counts}; {} ago", last.why, age(Some(last.at), now));
    Line { text, tone: Some(tone) }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
