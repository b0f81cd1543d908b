//! People's requests: each is answered once, and one that was meant for another rollout or step is refused visibly.

use std::collections::BTreeSet;

use helium_crds::{
    DeploymentStatus,
    control::{ControlAnswer, ControlRequest, Verb},
    status::{AbortCause, Hold, HoldKind, Lock, Rollout, Stage, WaitingOn},
};

use crate::{analysis, bake, draft::Draft, rollout, steps};

/// Answers every request that has not been answered yet, oldest first.
pub(crate) fn answer_all(draft: &mut Draft<'_>) {
    let world = draft.world;
    // One that could not be read and was mended under the same id has not been answered.
    let read = draft.status.control.iter().filter(|answer| answer.verb.is_some());
    let answered: BTreeSet<String> = read.map(|answer| answer.id.clone()).collect();
    for request in world.requests.iter().filter(|request| !answered.contains(&request.id)) {
        let told = draft.events.len();
        let outcome = meant_for_this(draft, request).and_then(|()| carry_out(draft, request));
        sign(draft, told, request);
        record(draft, request, outcome.err());
    }
    refuse_unreadable(draft);
    forget_old_answers(draft);
    rollout::note_rescale(draft); // a hold that came together with a new count follows it
}

/// Has the events that a request has caused, those from `told` on, say who asked for it and why. Those that are about the person
/// anyway say it themselves.
fn sign(draft: &mut Draft<'_>, told: usize, request: &ControlRequest) {
    match request.verb {
        Verb::Abort | Verb::Pause | Verb::Lock | Verb::Unlock => return,
        Verb::Promote | Verb::PromoteFull | Verb::Skip | Verb::Retry | Verb::Resume | Verb::Restart => {}
    }
    let signature = format!("; {} asked to {}{}", request.by, request.verb.as_str(), because(request));
    draft.events.iter_mut().skip(told).for_each(|event| event.message.push_str(&signature));
}

/// A request names the rollout and the step that its author saw.
fn meant_for_this(draft: &Draft<'_>, request: &ControlRequest) -> Result<(), String> {
    let present = draft.status.rollout.as_ref();
    match (&request.rollout, present) {
        (None, _) => {}
        (Some(meant), Some(rollout)) if *meant == rollout.id => {}
        (Some(meant), Some(rollout)) => {
            return Err(format!("it was meant for rollout {meant}, and the present one is {}", rollout.id));
        }
        (Some(meant), None) => return Err(format!("rollout {meant}, which it was meant for, is over")),
    }
    match (request.step, present) {
        (Some(meant), Some(rollout)) if meant != rollout.step => {
            Err(format!("it was meant for step {}, and the rollout is at step {}", meant + 1, rollout.step + 1))
        }
        _ => Ok(()),
    }
}

fn carry_out(draft: &mut Draft<'_>, request: &ControlRequest) -> Result<(), String> {
    match request.verb {
        Verb::Restart => return restart(draft),
        Verb::Lock => return lock(draft, request),
        Verb::Unlock => {
            unlock(draft, request);
            return Ok(());
        }
        Verb::Abort if draft.status.rollout.is_none() => return Ok(()), // there is nothing to give up
        _ => {}
    }
    let rollout = draft.status.rollout.as_ref().ok_or("no rollout is under way")?;
    let stage = rollout.stage;
    let under_way = stage.is_under_way();
    match request.verb {
        Verb::Promote | Verb::PromoteFull | Verb::Skip | Verb::Pause if !under_way => Err(over(rollout)),
        Verb::Promote | Verb::PromoteFull | Verb::Skip if may_not(rollout).is_some() => {
            may_not(rollout).map_or(Ok(()), Err)
        }
        Verb::Promote | Verb::PromoteFull | Verb::Skip if stage == Stage::Baking => end_bake(draft, request.to_step),
        Verb::Promote => promote(draft, request.to_step),
        Verb::Skip => skip(draft),
        Verb::PromoteFull => promote_full(draft),
        Verb::Abort if under_way => {
            let message = format!("{} asked for it{}", request.by, because(request));
            rollout::abort(draft, AbortCause::Requested, &message, Some(request.by.clone()));
            Ok(())
        }
        Verb::Retry if under_way => Err("the rollout is under way; nothing was given up".to_owned()),
        Verb::Retry if draft.by_hand => {
            Err("the counts are set by hand; `helium scale` with a single count ends that".to_owned())
        }
        Verb::Retry => rollout::retry(draft, request.to_step),
        Verb::Pause => {
            pause(draft, request);
            Ok(())
        }
        Verb::Resume => resume(draft),
        // Given up already, so that asking again changes nothing; or answered above.
        Verb::Abort | Verb::Restart | Verb::Lock | Verb::Unlock => Ok(()),
    }
}

/// Why no person's word brings the rollout forward: what holds it is there as long as the world is so, and would hold it again at once.
fn may_not(rollout: &Rollout) -> Option<String> {
    let hold = rollout.hold.as_ref()?;
    let why = hold.reason.as_deref().unwrap_or_default();
    match hold.kind {
        HoldKind::Lock if hold.by.is_some() => Some("it is locked; `helium unlock` ends that".to_owned()),
        HoldKind::Lock => Some("it is suspended by its spec; take `suspend` out".to_owned()),
        HoldKind::Schedule => Some("its schedule holds it; change that to let it go on".to_owned()),
        HoldKind::StableUnhealthy => Some(format!("{why}; `ifStableUnhealthy: proceed` in the Canary lets it go on")),
        HoldKind::Person | HoldKind::Failure | HoldKind::Inconclusive | HoldKind::Gate => None,
    }
}

fn over(rollout: &Rollout) -> String {
    format!("{} was given up; a new template or `helium canary retry` starts again", rollout.version)
}

/// Ends the present step, or promotes behind the last. Promotion is refused while canaries fail; a pause before the first of them
/// is ended without, since nothing is known yet and nothing takes over.
fn promote(draft: &mut Draft<'_>, to_step: Option<u32>) -> Result<(), String> {
    let Some(rollout) = draft.status.rollout.as_ref().filter(|rollout| rollout.stage == Stage::Steps) else {
        return Err("it is being promoted already".to_owned());
    };
    let (present, all) = (rollout.step, rollout.steps.len());
    if let Some(to) = to_step.filter(|to| *to <= present || *to as usize >= all) {
        return Err(format!("it is at step {} of {all}, and step {} does not come after it", present + 1, to + 1));
    }
    if !steps::runs_none(rollout) {
        evidence(draft)?;
    }
    end_hold(draft);
    if present as usize >= all {
        rollout::promote(draft);
    } else {
        steps::go_to(draft, to_step.unwrap_or(present + 1));
    }
    Ok(())
}

/// Ends the bake before its time, if the new version is healthy.
fn end_bake(draft: &mut Draft<'_>, to_step: Option<u32>) -> Result<(), String> {
    if to_step.is_some() {
        return Err("it has been promoted, and bakes".to_owned());
    }
    evidence(draft)?;
    end_hold(draft);
    bake::end(draft);
    Ok(())
}

/// Ends the present step whatever it waits for. What comes behind the last one is the promotion, and that needs its evidence.
fn skip(draft: &mut Draft<'_>) -> Result<(), String> {
    let Some(rollout) = draft.status.rollout.as_ref().filter(|rollout| rollout.stage == Stage::Steps) else {
        return Err("it is being promoted already".to_owned());
    };
    if rollout.step as usize >= rollout.steps.len() {
        return Err("all steps are done; `helium canary promote` promotes it".to_owned());
    }
    end_hold(draft);
    steps::next(draft);
    Ok(())
}

/// Lets no rollout start or come forward. A second lock takes the place of the first.
fn lock(draft: &mut Draft<'_>, request: &ControlRequest) -> Result<(), String> {
    let now = draft.now();
    if let Some(until) = request.until.filter(|until| *until <= now) {
        return Err(format!("it would have ended at {until}"));
    }
    let (by, reason) = (request.by.clone(), request.reason.clone());
    draft.status.lock = Some(Lock { by, reason, since: now, until: request.until });
    draft.tell("Locked", format!("locked by {}{}", request.by, because(request)));
    Ok(())
}

fn unlock(draft: &mut Draft<'_>, request: &ControlRequest) {
    if draft.status.lock.take().is_some() {
        draft.tell("Unlocked", format!("unlocked by {}{}", request.by, because(request)));
    }
}

fn because(request: &ControlRequest) -> String {
    request.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default()
}

/// Whoever promotes wants it to go on: a hold would only make that wait for a second request.
fn end_hold(draft: &mut Draft<'_>) {
    if let Some(rollout) = draft.rollout_mut() {
        rollout.hold = None;
    }
}

/// Skips all steps that are left, but not the evidence: it is refused while no canary instance is there, or one fails.
fn promote_full(draft: &mut Draft<'_>) -> Result<(), String> {
    if draft.status.rollout.as_ref().is_some_and(|rollout| rollout.stage == Stage::Promoting) {
        return Err("it is being promoted already".to_owned());
    }
    evidence(draft)?;
    end_hold(draft);
    rollout::promote(draft);
    Ok(())
}

fn evidence(draft: &Draft<'_>) -> Result<(), String> {
    steps::canaries_healthy(draft).map_err(|waiting| match waiting {
        WaitingOn::Canary { passing, instances: 0, needed } => {
            format!("no canary instance is there yet: {passing} of 0 passing (needs {needed})")
        }
        WaitingOn::Canary { passing, instances, needed } => {
            format!("{passing} of {instances} canary passing (needs {needed})")
        }
        other => format!("{other:?}"),
    })
}

fn pause(draft: &mut Draft<'_>, request: &ControlRequest) {
    let now = draft.now();
    let Some(rollout) = draft.rollout_mut() else { return };
    // A pause that a failure caused becomes a person's, who knows of it now.
    let since = rollout.hold.as_ref().map_or(now, |hold| hold.since);
    let rescaled = rollout.hold.as_ref().is_some_and(|hold| hold.rescaled);
    let (by, reason) = (Some(request.by.clone()), request.reason.clone());
    rollout.hold = Some(Hold { kind: HoldKind::Person, since, by, reason, until: request.until, rescaled });
    let version = rollout.version.clone();
    draft.tell("RolloutPaused", format!("{version} held by {}{}", request.by, because(request)));
}

/// Ends the hold. Its time counts against no deadline, and failures from before it count no more.
fn resume(draft: &mut Draft<'_>) -> Result<(), String> {
    let Some(rollout) = draft.rollout_mut() else { return Err("no rollout is under way".to_owned()) };
    if rollout.hold.is_none() {
        return Err("nothing is held; `helium canary promote` ends a pause step".to_owned());
    }
    if let Some(why) = may_not(rollout) {
        return Err(why);
    }
    analysis::forget_failures(&mut rollout.analysis);
    rollout::let_go(draft);
    Ok(())
}

/// Every instance that was made before now is replaced by a new one of the same revision. An aborted rollout is no obstacle: the
/// stable version serves alone.
fn restart(draft: &mut Draft<'_>) -> Result<(), String> {
    match draft.status.rollout.as_ref().map(|rollout| rollout.stage) {
        None | Some(Stage::Aborted) => {}
        Some(Stage::RollbackFailed) => {
            return Err("the way back has failed, and everything is left as it is".to_owned());
        }
        Some(_) => return Err("a rollout is under way; it makes new instances anyway".to_owned()),
    }
    draft.status.restart_before = Some(draft.now());
    draft.tell("RestartRequested", "every instance is replaced".to_owned());
    Ok(())
}

fn record(draft: &mut Draft<'_>, request: &ControlRequest, refused: Option<String>) {
    if let Some(why) = &refused {
        draft.warn("RequestRefused", format!("{} by {}: {why}", request.verb.as_str(), request.by));
    }
    let ControlRequest { id, verb, by, reason, .. } = request.clone();
    let answer = ControlAnswer { id, verb: Some(verb), by, reason, at: draft.now(), refused };
    draft.status.control.push(answer);
}

/// Refuses what cannot be read, each once and again when it reads otherwise. The answer goes with it: what is mended is no news any more.
fn refuse_unreadable(draft: &mut Draft<'_>) {
    let unreadable = &draft.world.unreadable_requests;
    let stands = |answer: &ControlAnswer| {
        unreadable.iter().any(|one| one.id == answer.id && answer.refused.as_ref() == Some(&one.problem))
    };
    draft.status.control.retain(|answer| answer.verb.is_some() || stands(answer));
    for one in unreadable {
        if draft.status.control.iter().any(|answer| answer.id == one.id) {
            continue;
        }
        let whose = if one.by.is_empty() { String::new() } else { format!(" by {}", one.by) };
        draft.warn("RequestRefused", format!("a request{whose} cannot be read: {}", one.problem));
        let (id, by, refused) = (one.id.clone(), one.by.clone(), Some(one.problem.clone()));
        draft.status.control.push(ControlAnswer { id, verb: None, by, reason: None, at: draft.now(), refused });
    }
}

/// Keeps the answers to requests that are still there, whatever their age: a forgotten one would be carried out again.
fn forget_old_answers(draft: &mut Draft<'_>) {
    let world = draft.world;
    let readable = world.requests.iter().map(|request| request.id.as_str());
    let present: BTreeSet<&str> =
        readable.chain(world.unreadable_requests.iter().map(|request| request.id.as_str())).collect();
    let answers = &mut draft.status.control;
    while answers.len() > DeploymentStatus::ANSWERS {
        let Some(oldest) = answers.iter().position(|answer| !present.contains(answer.id.as_str())) else { return };
        answers.remove(oldest);
    }
}
