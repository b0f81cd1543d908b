//! Gates: a step that is over when a person, a webhook or a key lets the rollout through.
//!
//! A gate is looked at once an interval, counted from the step's begin, so that nothing has to be remembered of a look that saw what was seen
//! before: a gate that stays shut for days writes nothing.
//!
//! A gate holds nothing else up: health and metrics are looked at meanwhile, and an abort is heard at once. One that is shut for too long
//! does what its `onTimeout` says.

use helium_crds::{
    gate::{Gate, OnTimeout},
    measurement::{Ask, Found, GateReading, Probe, Question},
    status::{AbortCause, GateState, HoldKind, Rollout, Stage, WaitingOn},
    step::{Step, StepKind},
};
use jiff::{SignedDuration, Timestamp};

use crate::{draft::Draft, rollout, steps};

/// The gate that the rollout stands at.
pub(crate) fn present<'d>(draft: &'d Draft<'_>) -> Option<(&'d Rollout, &'d Gate)> {
    let rollout = draft.status.rollout.as_ref();
    let rollout = rollout.filter(|rollout| rollout.stage == Stage::Steps && rollout.hold.is_none())?;
    match rollout.steps.get(rollout.step as usize) {
        Some(Step { kind: StepKind::Gate(gate), .. }) => Some((rollout, gate)),
        _ => None,
    }
}

/// Enters what was seen of the gate, if it was asked what is due now.
pub(crate) fn take_in(draft: &mut Draft<'_>) {
    let Some((rollout, _)) = present(draft) else { return };
    let Some(answer) = draft.world.answers.get(&Probe::Gate) else { return };
    // One that took longer than an interval is an answer to this step still.
    let fits = answer.rollout == rollout.id && answer.due >= rollout.step_started_at;
    let Found::Gate(seen) = &answer.found else { return };
    let known = rollout.analysis.gate.as_ref().is_some_and(|state| state.seen == *seen);
    if !fits || known {
        return;
    }
    let state = GateState { at: answer.at.min(draft.now()), seen: seen.clone() };
    if let Some(rollout) = draft.rollout_mut() {
        rollout.analysis.gate = Some(state);
    }
}

/// Asks the gate if that is due, and acts when it has been shut for too long.
pub(crate) fn act_on_timeout(draft: &mut Draft<'_>) {
    let Some((rollout, gate)) = present(draft) else { return };
    let Some(until) = until(rollout, gate).filter(|until| *until <= draft.now()) else { return };
    let Some(timeout) = gate.timeout else { return };
    let seen = seen(rollout).map(|seen| format!(": {seen}")).unwrap_or_default();
    let message = format!("the gate ({gate}) was shut for {timeout}{seen}");
    match gate.on_timeout {
        OnTimeout::Abort => rollout::give_up(draft, AbortCause::GateShut, &message),
        OnTimeout::Hold => rollout::hold(draft, HoldKind::Gate, &message),
        OnTimeout::Continue if steps::runs_none(rollout) || steps::canaries_healthy(draft).is_ok() => {
            draft.tell("GatePassed", format!("{message}; it goes on as `onTimeout` says"));
            steps::next(draft);
        }
        OnTimeout::Continue => draft.wake_at(until),
    }
}

/// Notes the question to the gate, or wakes for it.
pub(crate) fn ask(draft: &mut Draft<'_>) {
    let Some((rollout, gate)) = present(draft) else { return };
    let (Some(due), Some(ask)) = (due(draft, rollout, gate), question(draft, rollout, gate)) else { return };
    if is_open(rollout) {
        return;
    }
    let next = due + gate.interval.as_signed();
    let question = Question { rollout: rollout.id.clone(), due, ask };
    // One that was answered already is not asked again: whoever asks knows it by its due time.
    draft.questions.insert(Probe::Gate, question);
    draft.wake_at(next);
}

/// Whether the gate was seen open. A person opens one by promoting.
pub(crate) fn is_open(rollout: &Rollout) -> bool {
    rollout.analysis.gate.as_ref().is_some_and(|state| state.seen == GateReading::Open)
}

/// What is waited for at a gate that is shut.
pub(crate) fn waiting(draft: &Draft<'_>, rollout: &Rollout, gate: &Gate) -> Vec<WaitingOn> {
    let until = until(rollout, gate);
    let shut = WaitingOn::Gate { what: gate.to_string(), seen: seen(rollout), until };
    let command = format!("helium canary promote {}", draft.world.deployment.key());
    let person = gate.person.map(|_| WaitingOn::Person { command });
    // Of a person's gate only its end has to be told beside the person.
    person.iter().cloned().chain((person.is_none() || until.is_some()).then_some(shut)).collect()
}

fn seen(rollout: &Rollout) -> Option<String> {
    match &rollout.analysis.gate.as_ref()?.seen {
        GateReading::Open => None,
        GateReading::Shut { why } => Some(why.clone()),
        GateReading::Error { why } => Some(format!("it could not be asked: {why}")),
    }
}

fn until(rollout: &Rollout, gate: &Gate) -> Option<Timestamp> {
    gate.timeout.map(|timeout| rollout.step_started_at + timeout.as_signed())
}

/// When the last look at the gate was due: at the step's begin, and then once an interval. A person's is not looked at.
///
/// Example: begun at 10:00:00, `interval: 10s`. At 10:00:27 it is that of 10:00:20.
fn due(draft: &Draft<'_>, rollout: &Rollout, gate: &Gate) -> Option<Timestamp> {
    let started = rollout.step_started_at.min(draft.now());
    let interval = gate.interval.as_signed().as_secs().max(1);
    let looks = draft.now().duration_since(started).as_secs() / interval;
    gate.person.is_none().then(|| started + SignedDuration::from_secs(looks * interval))
}

fn question(draft: &Draft<'_>, rollout: &Rollout, gate: &Gate) -> Option<Ask> {
    if let Some(kv) = &gate.kv {
        return Some(Ask::Kv(kv.clone()));
    }
    let webhook = gate.webhook.clone()?;
    let metadata = &draft.world.deployment.metadata;
    let stable = draft.status.stable.as_ref().map(|stable| stable.version.as_str());
    let body = serde_json::json!({
        "namespace": metadata.namespace,
        "name": metadata.name,
        "rollout": rollout.id,
        "version": rollout.version,
        "revision": rollout.revision,
        "stable": stable,
        "step": rollout.step + 1,
        "steps": rollout.steps.len(),
    });
    Some(Ask::Webhook(webhook, body.to_string()))
}
