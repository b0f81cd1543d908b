//! Tables of what looks at Hydra come to.

use helium_crds::{HydraJobSpec, Kind, Metadata, Object};
use helium_hydra::Built;
use serde_json::json;

use super::*;

const URL: &str = "https://h/job/p/main/web";

fn job() -> HydraJob {
    let spec: HydraJobSpec = serde_json::from_value(json!({ "url": URL })).unwrap();
    let mut metadata = Metadata::named("default", "web");
    (metadata.uid, metadata.generation) = ("u1".to_owned(), 1);
    Object::new(Kind::HydraJob, metadata, spec)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn built(build: u64) -> Built {
    Built { path: format!("/nix/store/{build:032}-web"), build, evaluation: None }
}

fn found(build: u64) -> Outcome {
    Outcome::Looked(Ok(Look::Found(built(build))))
}

fn missed(reason: &'static str, message: &str, unreachable: bool) -> Outcome {
    Outcome::Looked(Err(Missed { reason, message: message.to_owned(), unreachable }))
}

/// Judges outcomes one after the other, a second apart; gives the last status and the reasons of all events.
fn after(outcomes: &[Outcome]) -> (HydraJobStatus, Vec<String>) {
    let (mut status, mut told) = (None, Vec::new());
    for (second, outcome) in (1..).zip(outcomes) {
        let (next, events) = judge(&job(), status.as_ref(), outcome, None, at(second));
        told.extend(events.into_iter().map(|event| event.reason));
        status = Some(next);
    }
    (status.unwrap(), told)
}

fn newest(status: &HydraJobStatus) -> Option<u64> {
    status.newest.as_ref().map(|newest| newest.build)
}

fn holds(status: &HydraJobStatus, kind: HydraConditionKind) -> Option<bool> {
    status.condition(kind).map(|condition| condition.status)
}

#[test]
fn each_history_comes_to_its_build_and_tells_each_change_once() {
    let same = || Outcome::Looked(Ok(Look::Same));
    let gone = || Outcome::Looked(Ok(Look::Gone(built(1))));
    let away = || missed("Unreachable", "refused", true);
    let not_whole = || missed("NotWhole", "evaluation 3 is not whole", false);
    let (ready, reachable) = (HydraConditionKind::Ready, HydraConditionKind::Reachable);
    for (outcomes, build, is_ready, is_reachable, told) in [
        (vec![found(1)], Some(1), Some(true), Some(true), vec!["BuildFound"]),
        (vec![found(1), same(), same()], Some(1), Some(true), Some(true), vec!["BuildFound"]),
        (vec![found(1), found(2)], Some(2), Some(true), Some(true), vec!["BuildFound", "BuildFound"]),
        (vec![found(1), found(1)], Some(1), Some(true), Some(true), vec!["BuildFound"]),
        (vec![found(2), gone()], Some(1), Some(true), Some(true), vec!["BuildFound", "BuildGone"]),
        (vec![away(), away()], None, Some(false), Some(false), vec!["Unreachable"]),
        (vec![found(1), away(), away()], Some(1), Some(true), Some(false), vec!["BuildFound", "Unreachable"]),
        (
            vec![found(1), away(), same()],
            Some(1),
            Some(true),
            Some(true),
            vec!["BuildFound", "Unreachable", "HydraAnswers"],
        ),
        (vec![found(1), not_whole(), not_whole()], Some(1), Some(true), Some(true), vec!["BuildFound", "NotWhole"]),
        (
            vec![found(1), not_whole(), found(2)],
            Some(2),
            Some(true),
            Some(true),
            vec!["BuildFound", "NotWhole", "BuildFound"],
        ),
        (vec![not_whole()], None, Some(false), Some(true), vec!["NotWhole"]),
        (vec![Outcome::Suspended], None, Some(false), None, vec![]),
    ] {
        let (status, events) = after(&outcomes);
        assert_eq!(events, told, "{outcomes:?}");
        assert_eq!(
            (newest(&status), holds(&status, ready), holds(&status, reachable)),
            (build, is_ready, is_reachable),
            "{outcomes:?}"
        );
    }
}

#[test]
fn the_same_again_changes_nothing() {
    let away = || missed("Unreachable", "refused", true);
    for outcomes in
        [vec![found(1), Outcome::Looked(Ok(Look::Same))], vec![found(1), away(), away()], vec![away(), away()]]
    {
        let (status, _) = after(&outcomes);
        let last = outcomes.last().unwrap();
        assert_eq!(judge(&job(), Some(&status), last, Some(at(99)), at(100)), (status, vec![]), "{outcomes:?}");
    }
}

#[test]
fn what_went_wrong_is_told_with_when_it_began_and_when_hydra_answered_last() {
    let (known, _) = after(&[found(1)]);
    let (first, _) = judge(&job(), Some(&known), &missed("Unreachable", "refused", true), Some(at(50)), at(60));
    let (second, _) = judge(&job(), Some(&first), &missed("Unreachable", "silent", true), Some(at(50)), at(70));
    let error = second.error.unwrap();
    assert_eq!((error.since, error.message.as_str(), second.last_success), (at(60), "silent", Some(at(50))));
}

#[test]
fn a_build_whose_name_can_be_no_version_is_told_and_not_taken() {
    let unfit = Look::Found(Built { path: format!("/nix/store/{:032}-a=b", 2), build: 2, evaluation: None });
    let (status, told) = after(&[found(1), Outcome::Looked(Ok(unfit))]);
    assert_eq!((newest(&status), told), (Some(1), vec!["BuildFound".to_owned(), "UnfitName".to_owned()]));
    assert!(
        status.error.unwrap().message.contains("build 2: ")
            && status.conditions[0].message.starts_with("build 1 is kept")
    );
}

#[test]
fn what_another_object_of_the_name_has_found_does_not_count() {
    let (mut status, _) = after(&[found(1)]);
    status.uid = "u0".to_owned();
    let (status, _) = judge(&job(), Some(&status), &missed("Nothing", "404", false), None, at(5));
    assert_eq!((status.newest, status.uid.as_str()), (None, "u1"));
}

#[test]
fn a_look_that_failed_is_tried_again_soon_and_then_less_often() {
    let minutes = Duration::from_mins(5);
    let waits: Vec<u64> = (0..9).map(|failures| pause(minutes, failures).as_secs()).collect();
    assert_eq!(waits, [300, 5, 10, 20, 40, 80, 160, 300, 300]);
    assert_eq!(pause(Duration::from_secs(1), u32::MAX), Duration::from_secs(1));
}

fn invalid(uid: &str) -> InvalidSpec {
    InvalidSpec { uid: uid.to_owned(), generation: 2, problem: "no url".to_owned(), ..InvalidSpec::default() }
}

#[test]
fn what_is_wrong_with_a_spec_is_told_and_leaves_the_build_and_the_word_on_hydra_as_they_are() {
    let (known, _) = after(&[found(1), missed("Unreachable", "refused", true)]);
    for uid in ["u1", ""] {
        let (status, events) = call_invalid(&invalid(uid), Some(&known), at(9));
        assert_eq!((newest(&status), status.uid.as_str(), status.observed_generation), (Some(1), "u1", 2));
        assert_eq!(status.error.as_ref().map(|error| error.reason.as_str()), Some(INVALID));
        assert_eq!(holds(&status, HydraConditionKind::Reachable), Some(false), "nobody has asked since");
        assert_eq!(events.iter().map(|event| event.reason.as_str()).collect::<Vec<_>>(), [INVALID]);
        assert_eq!(
            call_invalid(&invalid(uid), Some(&status), at(20)),
            (status, vec![]),
            "the same again changes nothing"
        );
    }
    let (status, _) = call_invalid(&invalid("u2"), Some(&known), at(9));
    assert_eq!((newest(&status), status.uid.as_str()), (None, "u2"), "it is another object");
}

#[test]
fn the_world_is_told_of_builds_and_of_each_turn_once() {
    let away = || missed("Unreachable", "refused", true);
    let not_whole = || missed("NotWhole", "evaluation 3 is not whole", false);
    let outcomes = [found(1), away(), away(), not_whole(), found(2), not_whole(), Outcome::Looked(Ok(Look::Same))];
    let (mut status, mut all) = (None, Vec::new());
    for (second, outcome) in (1..).zip(&outcomes) {
        let (next, events) = judge(&job(), status.as_ref(), outcome, None, at(second));
        all.push(
            told(status.as_ref(), &next, &events, at(second))
                .into_iter()
                .map(|event| event.reason)
                .collect::<Vec<_>>()
                .join(" "),
        );
        status = Some(next);
    }
    let expected = ["BuildFound", "JobNotFollowed", "", "", "JobFollowed BuildFound", "JobNotFollowed", "JobFollowed"];
    assert_eq!(all, expected);
}

#[test]
fn a_spec_that_was_put_right_is_not_called_invalid_any_more_though_hydra_is_not_asked() {
    let (known, _) = after(&[found(1)]);
    let (status, _) = call_invalid(&invalid("u1"), Some(&known), at(9));
    let (status, events) = judge(&job(), Some(&status), &Outcome::Suspended, None, at(10));
    assert_eq!((status.error.clone(), newest(&status), events), (None, Some(1), vec![]));
    let (away, _) = after(&[found(1), missed("Unreachable", "refused", true), Outcome::Suspended]);
    assert!(away.error.is_some(), "that Hydra is away is not known to be over");
}
