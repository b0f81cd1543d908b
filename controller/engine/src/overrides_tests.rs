//! When a change of values is a revision.

use std::time::Duration;

use helium_crds::{ObjectKey, keys::Keys};
use helium_runtime::snapshot::Snapshot;
use jiff::Timestamp;

use super::{EMPTIED, Overrides, Present, REST, Taken, Values, take};

fn values(pairs: &[(&str, &str)]) -> Values {
    pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn still(present: &Values, left: Duration) -> Taken {
    Taken { values: present.clone(), look_again: Some(left), problem: None }
}

#[test]
fn a_first_revision_takes_what_is_there() {
    let seen = values(&[("db/host", "a")]);
    assert_eq!(take(Ok(seen.clone()), Present::None, Duration::ZERO), Ok(Taken::at_once(seen)));
}

#[test]
fn a_change_is_a_revision_once_it_has_rested() {
    let (seen, present) = (values(&[("db/host", "b")]), values(&[("db/host", "a")]));
    for (unchanged_for, left) in [(Duration::ZERO, REST), (REST / 2, REST / 2)] {
        assert_eq!(take(Ok(seen.clone()), Present::Same(&present), unchanged_for), Ok(still(&present, left)));
    }
    assert_eq!(take(Ok(seen.clone()), Present::Same(&present), REST), Ok(Taken::at_once(seen)));
    let back = take(Ok(present.clone()), Present::Same(&present), Duration::ZERO);
    assert_eq!(back, Ok(Taken::at_once(present)), "changed back meanwhile");
}

#[test]
fn that_all_values_are_gone_is_believed_later() {
    let (none, present) = (Values::new(), values(&[("db/host", "a")]));
    let left = EMPTIED.saturating_sub(REST);
    assert_eq!(take(Ok(none.clone()), Present::Same(&present), REST), Ok(still(&present, left)));
    assert_eq!(take(Ok(none.clone()), Present::Same(&present), EMPTIED), Ok(Taken::at_once(none)));
}

#[test]
fn values_that_are_unfit_leave_those_of_the_revision_and_are_told_once_they_have_rested() {
    let present = values(&[("db/host", "a")]);
    let words = "the value of config/default/web/db/host is no text (UTF-8)";
    let broken = || Err(words.to_owned());
    assert_eq!(take(broken(), Present::Same(&present), Duration::ZERO), Ok(still(&present, REST)));
    assert_eq!(take(broken(), Present::Same(&present), REST), Ok(Taken::kept(&present, words.to_owned())));
    assert_eq!(
        take(broken(), Present::None, Duration::ZERO).unwrap_err().to_string(),
        words,
        "a template without a revision"
    );
}

#[test]
fn a_template_that_changes_takes_what_is_there_at_once_but_does_not_believe_sooner_that_all_is_gone() {
    let (none, had, other) = (Values::new(), values(&[("db/host", "a")]), values(&[("db/host", "b")]));
    let at_once = take(Ok(other.clone()), Present::Other(&had), Duration::ZERO);
    assert_eq!(at_once, Ok(Taken::at_once(other)));
    assert_eq!(take(Ok(none.clone()), Present::Other(&had), REST), Ok(still(&had, EMPTIED.saturating_sub(REST))));
    assert_eq!(take(Ok(none.clone()), Present::Other(&had), EMPTIED), Ok(Taken::at_once(none.clone())));
    assert_eq!(
        take(Ok(none.clone()), Present::Other(&none), Duration::ZERO),
        Ok(Taken::at_once(none)),
        "nothing was there"
    );
}

#[test]
fn a_time_in_which_values_could_not_be_seen_is_no_rest() {
    let overrides = Overrides::new(Keys::default(), || panic!("nobody asks for a watch"));
    let (web, wiped) = (ObjectKey::new("default", "web"), Snapshot::default());
    let unchanged_for = |in_sight_since, now| {
        let since = Timestamp::from_second(in_sight_since).unwrap();
        overrides.unchanged_for(&web, &wiped, since, Duration::from_secs(now)).as_secs()
    };
    assert_eq!([unchanged_for(0, 10), unchanged_for(0, 20)], [0, 10]);
    assert_eq!([unchanged_for(35, 40), unchanged_for(35, 45)], [0, 5], "meanwhile they may have been there");
}
