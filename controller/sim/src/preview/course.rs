//! The course of a preview: the controller takes its place, the documents are applied, and time passes until all is at rest.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use helium_crds::{
    Kind, ObjectKey, Phase,
    control::Verb,
    status::{Reason, WaitingOn},
};
use helium_engine::{Engine, EngineConfig, people::ObjectRef};
use helium_runtime::shutdown::Shutdown;
use jiff::{SignedDuration, Timestamp};

use super::{
    Assumptions, HORIZON, Outlook, PreviewError, Snapshot, foresight::Foresight, machines::Machines, record::Track,
    stage::Stage,
};

/// How long the controller of a preview may take until it leads.
const ELECTION: Duration = Duration::from_mins(1);
/// A world in which nothing was to happen is left alone for so long before the documents are applied.
const SETTLED: Duration = Duration::from_secs(3);
/// Nothing more comes of an object that is where it should be, or that was given up, when nothing has happened for so long.
const AT_REST: Duration = Duration::from_secs(5);
/// Nothing more comes of any other object when nothing has happened for so long and no instant is waited for.
const STUCK: Duration = Duration::from_mins(1);
/// What was to happen at an instant has happened so long after it.
const LATE: SignedDuration = SignedDuration::from_secs(5);
/// Time passes in steps of this while nothing happens.
const LOOK: Duration = Duration::from_secs(1);
/// The controller looks at everything again about this often, and so soon after a leap of the clock.
const RESYNC: Duration = Duration::from_secs(20);
/// A leap ends so long before the instant that is waited for: the controller has looked again by then.
const BEFORE: SignedDuration = SignedDuration::from_secs(30);
/// A shorter wait is not worth a leap.
const WORTH_A_LEAP: SignedDuration = SignedDuration::from_mins(2);

/// Builds the world, applies the documents in it, and gives what came of it.
pub(super) async fn follow(snapshot: &Snapshot, assumptions: Assumptions) -> Result<Vec<Outlook>, PreviewError> {
    let stage = Stage::build(snapshot, assumptions.canary_fails_at).await?;
    let objects = snapshot.objects.keys().cloned();
    tokio::spawn(Machines::of(&stage, objects, assumptions.start).run());
    let (_stop, shutdown) = Shutdown::new();
    lead(&stage, shutdown).await?;
    settle(&stage).await;
    let goes_on = apply(&stage, snapshot, assumptions.start).await?;
    if let Some(step) = assumptions.canary_fails_at.filter(|_| !stage.recorder.has_failed()) {
        return Err(no_such_step(step, &stage));
    }
    let outlooks = stage.recorder.outlooks().into_iter().map(|outlook| match outlook {
        Ok(outlook) => Ok(Outlook { goes_on: goes_on.contains(&outlook.object), ..outlook }),
        Err(object) => Err(PreviewError::NoAnswer(ObjectRef::new(Kind::Deployment, object))),
    });
    outlooks.collect()
}

/// Starts the controller, and waits until it leads.
async fn lead(stage: &Stage, shutdown: Shutdown) -> Result<(), PreviewError> {
    // It has only just begun to watch; a node that is away was away before, and does not come back here.
    let lost_after = Duration::from_secs(1);
    let config = EngineConfig { name: "preview".to_owned(), resync: RESYNC, lost_after, ..EngineConfig::default() };
    let engine = Engine::new(stage.client(), config, stage.ports.child("controller"), Arc::new(Foresight));
    let mut leading = engine.leading();
    tokio::spawn(async move { engine.run(shutdown).await });
    match tokio::time::timeout(ELECTION, leading.wait_for(|leads| *leads)).await {
        Ok(Ok(_)) => Ok(()),
        _ => Err(PreviewError::Stage("its controller does not come to lead".to_owned())),
    }
}

/// Lets time pass until a world in which nothing is under way has shown to be so. One in which something is goes on at once.
async fn settle(stage: &Stage) {
    let under_way = |track: &Track| {
        let phase = track.status.as_ref().map(|status| status.phase);
        matches!(phase, Some(Phase::Progressing | Phase::RollingBack))
    };
    if !stage.recorder.with_tracks(|tracks| tracks.values().any(under_way)) {
        tokio::time::sleep(SETTLED).await;
    }
}

/// Applies the documents and waits for the end. Gives the objects that have not come to one.
async fn apply(stage: &Stage, snapshot: &Snapshot, start: Duration) -> Result<BTreeSet<ObjectKey>, PreviewError> {
    let people = stage.people();
    stage.server.with_state(|state| stage.recorder.begin(state, &snapshot.objects));
    let begun = stage.ports.now();
    for applied in people.preview(&snapshot.changes).await? {
        if applied.object.kind == Kind::Deployment {
            stage.recorder.await_generation(&applied.object.key, applied.after.metadata.generation);
        }
    }
    people.apply(&snapshot.changes).await?;
    let horizon = SignedDuration::try_from(HORIZON).unwrap_or(SignedDuration::MAX);
    let mut asked = BTreeMap::new();
    loop {
        tokio::select! {
            biased;
            () = stage.recorder.for_course.notified() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
        for (object, (place, command)) in waiting_for_a_person(stage) {
            if asked.insert(object.clone(), place.clone()).as_ref() != Some(&place) {
                stage.recorder.promoted(&object, &command);
                people.request(&object, Verb::Promote, None).await?;
            }
        }
        let (now, wall) = (stage.ports.monotonic(), stage.ports.now());
        let going_on =
            |(object, track): (&ObjectKey, &Track)| (!is_over(track, now, wall, start)).then(|| object.clone());
        let left: BTreeSet<ObjectKey> =
            stage.recorder.with_tracks(|tracks| tracks.iter().filter_map(going_on).collect());
        if left.is_empty() || wall.duration_since(begun) >= horizon {
            return Ok(left);
        }
        if let Some(next) = stage.recorder.with_tracks(|tracks| next_instant(tracks, now, wall, start)) {
            stage.clock.leap(next.min(begun + horizon) - BEFORE);
        }
    }
}

/// The instant that is far off and before which nothing happens; none if something may. What starts, starts by the monotonic clock.
fn next_instant(
    tracks: &BTreeMap<ObjectKey, Track>,
    now: Duration,
    wall: Timestamp,
    start: Duration,
) -> Option<Timestamp> {
    let waiting: Vec<&Track> = tracks.values().filter(|track| !is_over(track, now, wall, start)).collect();
    // What was waited for until a moment ago is about to happen.
    let is_due = |track: &Track| instants(track).any(|at| at <= wall && at + LATE > wall);
    if waiting.iter().any(|track| now.saturating_sub(track.changed_at) < AT_REST + start || is_due(track)) {
        return None;
    }
    let next = waiting.iter().map(|track| instants(track).filter(|at| *at > wall).min());
    let next = next.collect::<Option<Vec<Timestamp>>>()?.into_iter().min()?;
    (next.duration_since(wall) >= WORTH_A_LEAP).then_some(next)
}

/// The instants that an object's status waits for.
fn instants(track: &Track) -> impl Iterator<Item = Timestamp> + '_ {
    let status = track.status.iter();
    let deadlines = status.clone().filter_map(|status| status.rollout.as_ref()?.deadline_at);
    let awaited = status.flat_map(|status| &status.waiting_on).filter_map(|waiting| match waiting {
        WaitingOn::MinHealthyTime { until, .. }
        | WaitingOn::Soak { until }
        | WaitingOn::Bake { until, .. }
        | WaitingOn::Pause { until } => Some(*until),
        WaitingOn::Metric { next: until, .. } | WaitingOn::Gate { until, .. } | WaitingOn::Shut { until, .. } => *until,
        WaitingOn::Sight { lost_at, .. } => *lost_at,
        _ => None,
    });
    deadlines.chain(awaited)
}

/// The rollout and step at which an object waits for a person, and what that person would type.
type AtStep = ((String, u32), String);

/// The objects whose canaries wait for a person.
fn waiting_for_a_person(stage: &Stage) -> BTreeMap<ObjectKey, AtStep> {
    let waits = |(object, track): (&ObjectKey, &Track)| {
        let status = track.status.as_ref().filter(|status| status.observed_generation >= track.awaited)?;
        let rollout = status.rollout.as_ref()?;
        let at_stop = matches!(status.reason, Reason::PausedAtStep | Reason::AtGate | Reason::AwaitingPromotion);
        let command = status.waiting_on.iter().filter(|_| at_stop).find_map(|waiting| match waiting {
            WaitingOn::Person { command } => Some(command.clone()),
            _ => None,
        });
        Some((object.clone(), ((rollout.id.clone(), rollout.step), command?)))
    };
    stage.recorder.with_tracks(|tracks| tracks.iter().filter_map(waits).collect())
}

/// Whether nothing more comes of an object, where an instance takes so long to start.
fn is_over(track: &Track, now: Duration, wall: Timestamp, start: Duration) -> bool {
    let quiet = now.saturating_sub(track.changed_at);
    let answered = track.status.as_ref().filter(|status| status.observed_generation >= track.awaited);
    let Some(status) = answered else { return quiet >= STUCK };
    let ended = match status.phase {
        Phase::Healthy => status.rollout.is_none(),
        // What is on its way may still mend it.
        Phase::Degraded => quiet >= AT_REST + start,
        Phase::Invalid => true,
        Phase::Paused => ends_in_a_pause(status.reason) && !instants(track).any(|at| at > wall),
        Phase::Pending | Phase::Progressing | Phase::RollingBack | Phase::Deleting => false,
    };
    if ended && !track.stopping {
        return quiet >= AT_REST;
    }
    quiet >= STUCK + start && !instants(track).any(|at| at + LATE > wall)
}

/// Whether a pause for this reason ends by something that a preview does not do.
fn ends_in_a_pause(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::PausedByPerson
            | Reason::PausedOnFailure
            | Reason::Inconclusive
            | Reason::Locked
            | Reason::OutsideWindow
            | Reason::StableUnhealthy
    )
}

/// Says which steps there are in place of one that is never reached.
fn no_such_step(step: u32, stage: &Stage) -> PreviewError {
    let steps = |track: &Track| track.steps_seen();
    let most = stage.recorder.with_tracks(|tracks| tracks.values().map(steps).max().unwrap_or(0));
    let known = match most {
        0 => "nothing here goes by the steps of a Canary".to_owned(),
        1 => "there is one step".to_owned(),
        more => format!("there are {more} steps"),
    };
    PreviewError::NoSuchStep { step, known }
}
