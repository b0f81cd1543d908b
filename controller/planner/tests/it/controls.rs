//! People's requests: each is answered once, in every state.

use helium_crds::{
    control::{Unreadable, Verb},
    status::{AbortCause, Reason, Stage},
};

use crate::model::{Model, open_pause, soak, weight};

fn paused_canary() -> Model {
    let mut model = Model::new(3, 1, 0).with_canary(vec![weight(25), open_pause(), weight(50), open_pause()]).settled();
    model.apply_version("v2");
    model.run(20);
    assert_eq!(model.reason(), Reason::PausedAtStep);
    model
}

#[test]
fn an_abort_with_nothing_under_way_changes_nothing() {
    let mut model = Model::new(3, 1, 0).settled();
    model.ask(Verb::Abort);
    model.run(5);
    assert_eq!((model.reason(), model.live("v1")), (Reason::AllHealthy, 3));
    assert_eq!((model.status().control.len(), model.last_refusal()), (1, None), "it is answered, and no mistake");
}

#[test]
fn an_abort_works_in_every_state_that_is_not_over() {
    let pause_after_weight = vec![weight(25), open_pause()];
    let gate = vec![open_pause(), weight(25), soak(500)];
    let long_soak = vec![weight(25), soak(500)];
    let by_hand_at_the_end = vec![weight(25), soak(2)];
    let rows = [
        (pause_after_weight, true, Reason::PausedAtStep),
        (gate, true, Reason::PausedAtStep),
        (long_soak, true, Reason::CanaryStep),
        (by_hand_at_the_end, false, Reason::AwaitingPromotion),
    ];
    for (steps, auto_promote, at_last) in rows {
        for wait in [0, 1, 2, 5, 20] {
            let mut model = Model::new(3, 1, 0).with_canary(steps.clone()).settled();
            model.world.canary.as_mut().unwrap().spec.auto_promote = auto_promote;
            model.apply_version("v2");
            model.run(wait);
            model.step();
            if wait == 20 {
                assert_eq!(model.reason(), at_last);
            }
            abort_and_check(model, &format!("{steps:?} after {wait} s"));
        }
    }
}

fn abort_and_check(mut model: Model, when: &str) {
    model.ask(Verb::Abort);
    model.run(30);
    assert_eq!((model.reason(), model.live("v1"), model.live("v2")), (Reason::RolloutAborted, 3, 0), "{when}");
    let abort = model.status().rollout.as_ref().unwrap().abort.clone().unwrap();
    assert_eq!((abort.cause, abort.by.as_deref()), (AbortCause::Requested, Some("alice")));
}

#[test]
fn an_abort_while_promoting_goes_back_in_bounds() {
    let mut model = paused_canary();
    model.ask(Verb::PromoteFull);
    model.run(7);
    assert_eq!(model.stage(), Some(Stage::Promoting));
    model.ask(Verb::Abort);
    model.run(60);
    assert_eq!((model.reason(), model.live("v1"), model.live("v2")), (Reason::RolloutAborted, 3, 0));
}

/// Argo Rollouts e2e 5: abort at a pause, retry: paused again at the same step.
#[test]
fn a_retry_starts_again_from_the_first_step() {
    let mut model = paused_canary();
    let first = model.status().rollout.as_ref().unwrap().id.clone();
    model.ask(Verb::Abort);
    model.run(20);
    model.ask(Verb::Retry);
    model.run(30);
    assert_eq!((model.reason(), model.live("v2")), (Reason::PausedAtStep, 1));
    assert_ne!(model.status().rollout.as_ref().unwrap().id, first);
}

#[test]
fn a_request_for_another_rollout_or_step_is_refused_visibly() {
    let mut model = paused_canary();
    model.ask(Verb::Promote);
    model.world.requests.last_mut().unwrap().rollout = Some("bygone".to_owned());
    model.step();
    assert!(model.last_refusal().unwrap().contains("meant for rollout bygone"));
    model.ask(Verb::Promote);
    model.world.requests.last_mut().unwrap().step = Some(0);
    model.step();
    assert_eq!(model.last_refusal().as_deref(), Some("it was meant for step 1, and the rollout is at step 2"));
    assert_eq!(model.status().rollout.as_ref().unwrap().step, 1);
}

/// Asks for something with a reason, and gives what is told of it at that instant.
fn told_of(model: &mut Model, verb: Verb) -> Vec<String> {
    model.told.clear();
    model.ask_with(verb, |request| request.reason = Some("looks well".to_owned()));
    model.step();
    model.told.clone()
}

#[test]
fn the_events_of_a_request_say_who_asked_and_why() {
    let mut model = paused_canary();
    let told = |model: &mut Model, verb| told_of(model, verb).into_iter().next();
    assert_eq!(told(&mut model, Verb::Pause).as_deref(), Some("v2 held by alice: looks well"));
    assert_eq!(told(&mut model, Verb::Resume).as_deref(), Some("v2 goes on; alice asked to resume: looks well"));
    let done = "step 2/4 (pause) is done; alice asked to promote: looks well";
    assert_eq!(told(&mut model, Verb::Promote).as_deref(), Some(done));
    let skipped = "step 3/4 (setWeight 50%) is done; alice asked to skip: looks well";
    assert_eq!(told(&mut model, Verb::Skip).as_deref(), Some(skipped));
    assert_eq!(told(&mut model, Verb::Abort).as_deref(), Some("v2 given up: alice asked for it: looks well"));
    model.run(30);
    assert_eq!(
        told(&mut model, Verb::Retry).as_deref(),
        Some("canary from v1 to v2; alice asked to retry: looks well")
    );
    model.run(30);
    let promoted = "v2 takes the whole count; alice asked to promote --full: looks well";
    assert_eq!(told(&mut model, Verb::PromoteFull).as_deref(), Some(promoted));
    model.run(60);
    let restarted = "every instance is replaced; alice asked to restart: looks well";
    assert_eq!(told(&mut model, Verb::Restart).as_deref(), Some(restarted));
}

/// A request that somebody typed with a slip.
fn slip(id: &str, problem: &str) -> Unreadable {
    Unreadable { id: id.to_owned(), by: "bob".to_owned(), problem: problem.to_owned() }
}

#[test]
fn a_request_that_cannot_be_read_is_refused_once_and_keeps_no_other_from_being_carried_out() {
    let mut model = paused_canary();
    let problem = "requests[0].verb: unknown variant `promoet`";
    model.world.unreadable_requests = vec![slip("a", problem), slip("a", "the same id twice"), slip("b", "no verb")];
    model.ask(Verb::Pause);
    model.step();
    assert_eq!(model.reason(), Reason::PausedByPerson);
    let answers: Vec<_> = model.status().control.iter().map(|answer| (answer.id.as_str(), answer.verb)).collect();
    assert_eq!(answers, [("q1", Some(Verb::Pause)), ("a", None), ("b", None)]);
    assert_eq!(model.status().control[1].refused.as_deref(), Some(problem));
    let told = |model: &Model| model.events.iter().filter(|reason| *reason == "RequestRefused").count();
    assert_eq!(told(&model), 2);
    let before = model.status().clone();
    model.run(30);
    assert_eq!((model.status(), told(&model)), (&before, 2), "nothing is written again because of it");
}

#[test]
fn a_request_that_is_mended_under_its_id_is_carried_out_and_its_refusal_goes() {
    let mut model = paused_canary();
    model.world.unreadable_requests = vec![slip("q1", "requests[0].verb: unknown variant `paus`")];
    model.step();
    assert!(model.last_refusal().is_some());
    model.world.unreadable_requests.clear();
    model.ask(Verb::Pause);
    model.step();
    let answers: Vec<_> = model.status().control.iter().map(|answer| (answer.id.as_str(), answer.verb)).collect();
    assert_eq!((answers, model.reason()), (vec![("q1", Some(Verb::Pause))], Reason::PausedByPerson));
}

#[test]
fn a_request_is_carried_out_once_however_often_it_is_seen() {
    let mut model = paused_canary();
    model.ask(Verb::Promote);
    model.run(20);
    assert_eq!(model.status().rollout.as_ref().unwrap().step, 3, "one promotion ends one pause");
    assert_eq!(model.status().control.len(), 1);
}

#[test]
fn a_held_rollout_stays_where_it_is_and_goes_on_when_it_is_resumed() {
    let mut model = Model::new(4, 1, 0).settled();
    model.apply_version("v2");
    model.run(5);
    model.ask(Verb::Pause);
    model.step();
    let held = (model.live("v1"), model.live("v2"));
    model.run(200);
    assert_eq!((model.reason(), held), (Reason::PausedByPerson, (model.live("v1"), model.live("v2"))));
    model.ask(Verb::Resume);
    model.run(60);
    assert_eq!((model.reason(), model.live("v2")), (Reason::AllHealthy, 4));
}

#[test]
fn a_hold_does_not_suspend_safety() {
    let mut model = paused_canary();
    model.ask(Verb::Pause);
    model.run(2);
    model.bad.insert("v2".to_owned());
    model.run(20);
    assert_eq!((model.reason(), model.live("v1"), model.live("v2")), (Reason::RolloutAborted, 3, 0));
}

#[test]
fn a_restart_replaces_every_instance_within_the_bounds() {
    let mut model = Model::new(3, 1, 0).settled();
    let before: Vec<_> = model.fleet.instances.keys().cloned().collect();
    model.ask(Verb::Restart);
    model.step();
    assert_eq!(model.reason(), Reason::Restarting);
    model.run(60);
    assert_eq!((model.reason(), model.live("v1")), (Reason::AllHealthy, 3));
    assert!(before.iter().all(|id| !model.fleet.instances.contains_key(id)));
}

#[test]
fn answers_are_bounded_and_never_forget_a_request_that_is_still_there() {
    let mut model = Model::new(1, 1, 0).settled();
    for _ in 0..40 {
        model.ask(Verb::Abort);
        model.step();
        let surplus = model.world.requests.len().saturating_sub(10);
        model.world.requests.drain(..surplus);
    }
    assert_eq!(model.status().control.len(), 16);
    let before = model.status().control.clone();
    model.run(5);
    assert_eq!(model.status().control, before);
}

#[test]
fn a_first_rollout_that_a_person_gives_up_is_left_as_it_is() {
    let mut model = Model::new(4, 1, 0);
    model.bad.insert("v1".to_owned());
    model.run(2);
    let id = model.fleet.instances.keys().next().unwrap().clone();
    model.ask(Verb::Abort);
    model.run(2);
    model.scale(8);
    model.run(10);
    assert_eq!((model.reason(), model.live("v1")), (Reason::RolloutAborted, 4), "nothing more is made of it");
    assert!(model.fleet.instances.contains_key(&id));
}
