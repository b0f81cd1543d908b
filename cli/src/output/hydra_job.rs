//! HydraJobs as people see them: a row of a table, and in words what a job has built and why nothing newer is taken.

use helium_crds::{
    HydraJobSpec,
    status::{HydraBuild, HydraConditionKind, HydraJobStatus},
    version_from::VersionFrom,
};
use helium_engine::people::Stored;
use jiff::Timestamp;

use super::{
    console::Tone,
    time::{age, short},
};

/// How a HydraJob stands, in one word.
pub(crate) fn state(stored: &Stored, status: Option<&HydraJobStatus>) -> (&'static str, Tone) {
    let status = own(stored, status);
    let holds = |kind| status.and_then(|status| status.condition(kind)).map(|condition| condition.status);
    let built = holds(HydraConditionKind::Ready) == Some(true);
    match holds(HydraConditionKind::Reachable) {
        _ if stored.is_deleting() => ("Deleting", Tone::Warning),
        _ if is_suspended(stored) => ("Suspended", Tone::Warning),
        Some(false) => ("Unreachable", Tone::Bad),
        _ if built && status.is_some_and(|status| status.error.is_some()) => ("Kept", Tone::Warning),
        _ if built => ("Ready", Tone::Good),
        Some(true) => ("NoBuild", Tone::Bad),
        None => ("Pending", Tone::Busy),
    }
}

/// Name, state, build, version and age; and if `wide`, when it was found, the address of the job, and what is wrong.
pub(crate) fn cells(stored: &Stored, status: Option<&HydraJobStatus>, wide: bool, now: Timestamp) -> Vec<String> {
    let newest = own(stored, status).and_then(|status| status.newest.as_ref());
    let mut cells = vec![
        stored.metadata.name.clone(),
        state(stored, status).0.to_owned(),
        newest.map_or_else(|| "-".to_owned(), |newest| newest.build.to_string()),
        newest.map_or_else(|| "-".to_owned(), |newest| newest.version.clone()),
        age(stored.metadata.created_at, now),
    ];
    if wide {
        let error = own(stored, status).and_then(|status| status.error.as_ref());
        cells.push(age(newest.map(|newest| newest.found_at), now));
        cells.push(spec(stored).map(|spec| spec.url).unwrap_or_default());
        cells.push(error.map(|error| error.message.clone()).unwrap_or_default());
    }
    cells
}

/// The lines of `helium explain hydrajob/<name>`, and of its status in `helium describe`.
pub(crate) fn explain(stored: &Stored, status: Option<&HydraJobStatus>, now: Timestamp) -> Vec<String> {
    let (state, _) = state(stored, status);
    let Some(status) = own(stored, status) else {
        let words = if is_suspended(stored) { "its spec says `suspend`" } else { "no controller has looked at it yet" };
        return vec![format!("{state}: {words}.")];
    };
    let mut lines = vec![match &status.newest {
        Some(newest) => format!("{state}: {}.", build(newest, now)),
        None => format!("{state}: no build that can be taken was found yet."),
    }];
    if status.observed_generation < stored.metadata.generation {
        lines.push("  no controller has seen the newest spec yet".to_owned());
    }
    let other = |newest: &&HydraBuild| spec(stored).is_some_and(|spec| spec.url != newest.job);
    if let Some(newest) = status.newest.as_ref().filter(other) {
        lines.push(format!("  that is of {}, and is kept until a build of the present job is found", newest.job));
    }
    if let Some(error) = &status.error {
        let since = short(now.duration_since(error.since));
        lines.push(format!("  for {since}: {} ({})", error.message, error.reason));
    }
    if let Some(last) = status.last_success.filter(|_| status.error.is_some()) {
        lines.push(format!("  Hydra answered well last {} ago", short(now.duration_since(last))));
    }
    if is_suspended(stored) {
        lines.push("Next: take `suspend` out of the spec to have Hydra asked again".to_owned());
    }
    lines
}

/// Where the version of a Deployment comes from, for `helium explain` and `helium describe`.
pub(crate) fn source(
    from: &VersionFrom,
    job: Option<&Stored>,
    status: Option<&HydraJobStatus>,
    now: Timestamp,
) -> Vec<String> {
    let name = format!("hydrajob/{}", from.hydra_job);
    let Some(job) = job else {
        return vec![format!("  {name}, which gives the version, is not there: the version that it has is kept")];
    };
    let newest = own(job, status).and_then(|status| status.newest.as_ref());
    let mut lines = vec![match newest {
        Some(newest) => format!("  the version comes from {name}: {}", build(newest, now)),
        None => format!("  the version comes from {name}, which has no build yet"),
    }];
    match (&from.instead, newest) {
        (Some(instead), Some(newest)) if instead.of == newest.version => {
            lines.push(format!("  {} is taken in its place, until there is a newer build", instead.take));
        }
        _ => {}
    }
    if is_suspended(job) {
        lines.push(format!("  {name} is suspended: Hydra is not asked"));
    }
    if let Some(error) = own(job, status).and_then(|status| status.error.as_ref()) {
        lines.push(format!("  {name}, for {}: {}", short(now.duration_since(error.since)), error.message));
    }
    lines
}

/// `build 17 of evaluation 3, found 5m ago: 1a61...-web-1.2`.
fn build(newest: &HydraBuild, now: Timestamp) -> String {
    let evaluation = newest.evaluation.map(|number| format!(" of evaluation {number}")).unwrap_or_default();
    let found = short(now.duration_since(newest.found_at));
    format!("build {}{evaluation}, found {found} ago: {}", newest.build, newest.version)
}

/// The status, if it is of this object and of no other of its name.
fn own<'a>(stored: &Stored, status: Option<&'a HydraJobStatus>) -> Option<&'a HydraJobStatus> {
    status.filter(|status| status.uid == stored.metadata.uid)
}

fn spec(stored: &Stored) -> Option<HydraJobSpec> {
    serde_json::from_value(stored.spec.clone()).ok()
}

fn is_suspended(stored: &Stored) -> bool {
    spec(stored).is_some_and(|spec| spec.suspend)
}

#[cfg(test)]
#[path = "hydra_job_tests.rs"]
mod tests;
