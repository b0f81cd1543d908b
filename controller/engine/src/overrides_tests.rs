//! When a change of values is a revision.

use std::time::Duration;

use super::{EMPTIED, REST, Taken, Values, take};

fn values(pairs: &[(&str, &str)]) -> Values {
    pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn still(present: &Values, left: Duration) -> Taken {
    Taken { values: present.clone(), look_again: Some(left), problem: None }
}

#[test]
fn a_first_revision_takes_what_is_there() {
    let seen = values(&[("db/host", "a")]);
    assert_eq!(take(Ok(seen.clone()), None, Duration::ZERO), Ok(Taken::at_once(seen)));
}

#[test]
fn a_change_is_a_revision_once_it_has_rested() {
    let (seen, present) = (values(&[("db/host", "b")]), values(&[("db/host", "a")]));
    for (unchanged_for, left) in [(Duration::ZERO, REST), (REST / 2, REST / 2)] {
        assert_eq!(take(Ok(seen.clone()), Some(&present), unchanged_for), Ok(still(&present, left)));
    }
    assert_eq!(take(Ok(seen.clone()), Some(&present), REST), Ok(Taken::at_once(seen)));
    let back = take(Ok(present.clone()), Some(&present), Duration::ZERO);
    assert_eq!(back, Ok(Taken::at_once(present)), "changed back meanwhile");
}

#[test]
fn that_all_values_are_gone_is_believed_later() {
    let (none, present) = (Values::new(), values(&[("db/host", "a")]));
    let left = EMPTIED.saturating_sub(REST);
    assert_eq!(take(Ok(none.clone()), Some(&present), REST), Ok(still(&present, left)));
    assert_eq!(take(Ok(none.clone()), Some(&present), EMPTIED), Ok(Taken::at_once(none)));
}

#[test]
fn values_that_are_unfit_leave_those_of_the_revision_and_are_told_once_they_have_rested() {
    let present = values(&[("db/host", "a")]);
    let words = "the value of config/default/web/db/host is no text (UTF-8)";
    let broken = || Err(words.to_owned());
    assert_eq!(take(broken(), Some(&present), Duration::ZERO), Ok(still(&present, REST)));
    assert_eq!(take(broken(), Some(&present), REST), Ok(Taken::kept(&present, words.to_owned())));
    assert_eq!(take(broken(), None, Duration::ZERO).unwrap_err().to_string(), words, "a template without a revision");
}
