//! Previews: what they foresee is what then happens, they write nothing, and they say the same each time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::{collections::BTreeMap, time::Duration};

use consul_embedded::state::State;
use helium_crds::{
    AnyObject, InstanceId, ObjectKey, Phase,
    instance::{Desired, Instance},
    keys::Keys,
};
use helium_sim::{
    preview::{Assumptions, Outlook, PreviewError, What, foresee, rehearsal::Rehearsal},
    specs::{self, Wish},
    truth,
};
use serde_json::json;

const LONG_AGO: Duration = Duration::from_secs(30);

fn web(version: &str, replicas: u32) -> AnyObject {
    Wish::new("web", version, replicas).object().unwrap()
}

fn recreated(version: &str) -> AnyObject {
    let wish = Wish { strategy: json!({"recreate": {}}), ..Wish::new("web", version, 3) };
    wish.object().unwrap()
}

fn canary(steps: &serde_json::Value) -> AnyObject {
    specs::canary("web", steps, true, false).unwrap()
}

/// A world with so many nodes to which these were applied long ago.
fn deployed(nodes: usize, objects: &[AnyObject]) -> Rehearsal {
    let rehearsal = Rehearsal::of(nodes).unwrap();
    rehearsal.apply(objects).unwrap();
    rehearsal.run(LONG_AGO);
    rehearsal
}

fn foreseen(rehearsal: &Rehearsal, objects: &[AnyObject]) -> Outlook {
    failing_at(rehearsal, objects, None).unwrap()
}

fn failing_at(rehearsal: &Rehearsal, objects: &[AnyObject], step: Option<u32>) -> Result<Outlook, PreviewError> {
    let outlooks = rehearsal.plan(objects, Assumptions { canary_fails_at: step, ..Assumptions::default() })?;
    assert_eq!(outlooks.len(), 1);
    Ok(outlooks.into_iter().next().unwrap())
}

/// `+2 -1`: which versions were made and removed, in order.
fn moves(outlook: &Outlook) -> String {
    let word = |what: &What| match what {
        What::Made(named) => Some(format!("+{}", named.version)),
        What::Removed(named) => Some(format!("-{}", named.version)),
        _ => None,
    };
    outlook.moments.iter().filter_map(|moment| word(&moment.what)).collect::<Vec<_>>().join(" ")
}

/// What really happens to the instances of `web` after an apply, told as [`moves`] tells it; and how few were healthy.
fn what_happens(rehearsal: &Rehearsal, objects: &[AnyObject]) -> (String, usize) {
    let prefix = Keys::default().instances(&ObjectKey::new("default", "web"));
    let instances = |state: &State| truth::instances(state, &prefix).collect::<Vec<Instance>>();
    let state = || rehearsal.world().net.server.state();
    let mut known: BTreeMap<InstanceId, Desired> =
        instances(&state()).into_iter().map(|instance| (instance.id, instance.desired)).collect();
    rehearsal.apply(objects).unwrap();
    let (mut words, mut least) = (Vec::new(), usize::MAX);
    for _ in 0..3000 {
        rehearsal.run(Duration::from_millis(20));
        let state = state();
        let mut now = instances(&state);
        now.sort_by_key(|instance| instance.created_at);
        for instance in &now {
            match (known.insert(instance.id.clone(), instance.desired), instance.desired) {
                (None, Desired::Run) => words.push(format!("+{}", instance.version)),
                (Some(Desired::Run), Desired::Stop) => words.push(format!("-{}", instance.version)),
                _ => {}
            }
        }
        let serves = |instance: &&Instance| instance.desired == Desired::Run && truth::is_healthy(&state, instance);
        least = least.min(now.iter().filter(serves).count());
    }
    (words.join(" "), least)
}

#[test]
fn what_is_foreseen_is_what_then_happens() {
    let steps = json!([{"setWeight": "25%"}, {"soak": "10s"}, {"setWeight": "50%"}, {"soak": "10s"}]);
    for change in [
        vec![web("2", 3)],
        vec![web("1", 5)],
        vec![web("1", 1)],
        vec![recreated("2")],
        vec![web("2", 3), canary(&steps)],
    ] {
        let rehearsal = deployed(3, &[web("1", 3)]);
        let outlook = foreseen(&rehearsal, &change);
        let (happened, least) = what_happens(&rehearsal, &change);
        assert_eq!(moves(&outlook), happened, "{change:?}");
        assert!(least >= outlook.least_healthy as usize, "{change:?}: {least} healthy, {outlook:?}");
        assert_eq!(outlook.end.phase, Phase::Healthy, "{change:?}");
    }
}

#[test]
fn a_canary_that_is_made_to_fail_goes_the_way_back_that_a_broken_one_goes() {
    let steps = json!([{"setWeight": "25%"}, {"soak": "10s"}]);
    let rehearsal = deployed(3, &[web("1", 3)]);
    let outlook = failing_at(&rehearsal, &[web("2", 3), canary(&steps)], Some(1)).unwrap();
    let (happened, least) = what_happens(&rehearsal, &[web("2-bad", 3), canary(&steps)]);
    assert_eq!(moves(&outlook).replace('2', "2-bad"), happened);
    assert_eq!((outlook.least_healthy, least, outlook.end.phase), (3, 3, Phase::Degraded));
}

#[test]
fn a_preview_writes_nothing_and_says_the_same_each_time() {
    let steps = json!([{"setWeight": "25%"}, {"pause": {}}, {"setWeight": "50%"}, {"soak": "24h"}]);
    let rehearsal = deployed(3, &[web("1", 3)]);
    let change = [web("2", 4), canary(&steps)];
    let read = || {
        let state = rehearsal.world().net.server.state();
        state.kv().under("").map(|entry| (entry.key.clone(), entry.modify_index)).collect::<Vec<_>>()
    };
    let (index, pairs) = (rehearsal.world().net.server.index(), read());
    let snapshot = rehearsal.snapshot(&change).unwrap().unwrap();
    let told = || format!("{:?}", foresee(&snapshot, Assumptions::default()).unwrap());
    assert_eq!(told(), told(), "the same store gives the same answer, to the last byte");
    assert_eq!((rehearsal.world().net.server.index(), read()), (index, pairs), "nothing was written");

    let moments = |outlook: &Outlook| outlook.moments.iter().map(|moment| moment.at).collect::<Vec<_>>();
    let now = foreseen(&rehearsal, &change);
    rehearsal.run(Duration::from_secs(7));
    let later = foreseen(&rehearsal, &change);
    assert_eq!((moments(&now), moves(&now)), (moments(&later), moves(&later)), "what time it is makes no difference");
}

#[test]
fn hours_of_soak_are_foreseen_to_the_second() {
    let rehearsal = deployed(3, &[web("1", 3)]);
    let short = foreseen(&rehearsal, &[web("2", 3), canary(&json!([{"setWeight": "25%"}, {"soak": "1m"}]))]);
    let long = foreseen(&rehearsal, &[web("2", 3), canary(&json!([{"setWeight": "25%"}, {"soak": "240h"}]))]);
    let more = long.took.saturating_sub(short.took);
    let expected = Duration::from_hours(240).saturating_sub(Duration::from_mins(1));
    assert!(more.abs_diff(expected) < Duration::from_secs(1), "{more:?}");
    assert_eq!(moves(&short), moves(&long));
    let endless = foreseen(&rehearsal, &[web("2", 3), canary(&json!([{"setWeight": "25%"}, {"soak": "720h"}]))]);
    assert!(endless.goes_on && !long.goes_on, "a preview ends after thirty days");
    assert_eq!((moves(&endless).as_str(), endless.end.phase), ("+2", Phase::Progressing));
}

/// Healthy after 2 s, for ten more before it counts, and then the soak: the end of one wait is no reason to leap to the deadline of all.
#[test]
fn a_wait_that_ends_is_followed_by_the_next_and_not_by_a_leap_to_the_deadline() {
    let wish = |version: &str| Wish {
        min_healthy: "10s".to_owned(),
        deadline: "10m".to_owned(),
        ..Wish::new("web", version, 3)
    };
    let web = |version: &str| wish(version).object().unwrap();
    let rehearsal = deployed(3, &[web("1"), canary(&json!([{"setWeight": "25%", "soak": "15s"}]))]);
    let outlook = foreseen(&rehearsal, &[web("2")]);
    let over = outlook.steps.iter().map(|step| step.over.unwrap().as_secs()).collect::<Vec<_>>();
    assert!(matches!(over.as_slice(), [26..=29]), "{over:?}");
}

#[test]
fn a_step_that_is_never_reached_cannot_fail() {
    let rehearsal = deployed(3, &[web("1", 3)]);
    let plain = failing_at(&rehearsal, &[web("2", 3)], Some(1)).unwrap_err();
    assert!(plain.to_string().contains("nothing here goes by the steps of a Canary"), "{plain}");
    let steps = json!([{"setWeight": "25%"}, {"soak": "10s"}]);
    let beyond = failing_at(&rehearsal, &[web("2", 3), canary(&steps)], Some(3)).unwrap_err();
    assert!(beyond.to_string().contains("there are 2 steps"), "{beyond}");
}

#[test]
fn a_store_without_its_sentinels_is_not_foreseen() {
    let rehearsal = deployed(2, &[web("1", 2)]);
    let client = rehearsal.world().client(helium_sim::wire::Actor::Operator);
    let sentinel = Keys::default().sentinels().remove(0);
    rehearsal.act(async { client.kv_delete(&sentinel, None).await }).unwrap();
    let refused = rehearsal.plan(&[web("2", 2)], Assumptions::default()).unwrap_err();
    assert!(refused.to_string().contains(&sentinel), "{refused}");
}

#[test]
fn what_is_stored_already_needs_no_preview() {
    let rehearsal = deployed(2, &[web("1", 2)]);
    assert!(rehearsal.snapshot(&[web("1", 2)]).unwrap().is_none());
}

#[test]
fn a_node_that_is_lost_gets_nothing() {
    let rehearsal = deployed(3, &[web("1", 3)]);
    rehearsal.act(async { rehearsal.world().stop_agent(0) });
    rehearsal.run(Duration::from_mins(2));
    let outlook = foreseen(&rehearsal, &[web("2", 3)]);
    let away = |what: &What| matches!(what, What::Made(named) if named.node.as_str() == "n0");
    assert!(!outlook.moments.iter().any(|moment| away(&moment.what)), "{:?}", outlook.moments);
    assert_eq!((moves(&outlook).matches("+2").count(), outlook.end.phase), (3, Phase::Healthy));
}

#[test]
fn a_canary_that_waits_for_a_person_already_gives_way_and_the_new_one_is_promoted() {
    let steps = canary(&json!([{"setWeight": "25%"}, {"pause": {}}]));
    let rehearsal = deployed(3, &[web("1", 3), steps]);
    rehearsal.apply(&[web("2", 3)]).unwrap();
    rehearsal.run(LONG_AGO);
    let outlook = foreseen(&rehearsal, &[web("3", 3)]);
    assert_eq!(moves(&outlook), "-2 +3 -1 +3 -1 +3 -1", "{:?}", outlook.end);
    let promotions = outlook.moments.iter().filter(|moment| matches!(moment.what, What::Promoted { .. })).count();
    assert_eq!((promotions, outlook.end.phase), (1, Phase::Healthy));

    let failing = failing_at(&rehearsal, &[web("3", 3)], Some(2)).unwrap();
    let failed = failing.moments.iter().find_map(|moment| match &moment.what {
        What::Failing { version, step } => Some((version.as_str(), *step)),
        _ => None,
    });
    assert_eq!(failed, Some(("3", 2)), "the one that waits at that step already is not meant");
    assert_eq!(moves(&failing), "-2 +3 -3");
}

#[test]
fn what_takes_minutes_to_start_is_waited_for() {
    let rehearsal = Rehearsal::of(2).unwrap();
    let wish = Wish { deadline: "10m".to_owned(), ..Wish::new("web", "1", 2) };
    let assumptions = Assumptions { start: Duration::from_mins(4), ..Assumptions::default() };
    let outlooks = rehearsal.plan(&[wish.object().unwrap()], assumptions).unwrap();
    let (phase, took) = (outlooks[0].end.phase, outlooks[0].took.as_secs());
    assert_eq!((phase, took), (Phase::Healthy, 4 * 60 + 5));
}
