//! When a change of values is a revision.

use std::time::Duration;

use super::{EMPTIED, OverridesError, REST, Taken, Values, take};

fn values(pairs: &[(&str, &str)]) -> Values {
    pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn at_once(values: &Values) -> Taken {
    Taken { values: values.clone(), look_again: None }
}

#[test]
fn a_first_revision_takes_what_is_there() {
    let seen = values(&[("db/host", "a")]);
    assert_eq!(take(Ok(seen.clone()), None, Duration::ZERO), at_once(&seen));
}

#[test]
fn a_change_is_a_revision_once_it_has_rested() {
    let (seen, present) = (values(&[("db/host", "b")]), values(&[("db/host", "a")]));
    for (unchanged_for, left) in [(Duration::ZERO, REST), (REST / 2, REST / 2)] {
        let still = Taken { values: present.clone(), look_again: Some(left) };
        assert_eq!(take(Ok(seen.clone()), Some(&present), unchanged_for), Ok(still));
    }
    assert_eq!(take(Ok(seen.clone()), Some(&present), REST), at_once(&seen));
    assert_eq!(take(Ok(present.clone()), Some(&present), Duration::ZERO), at_once(&present), "changed back meanwhile");
}

#[test]
fn that_all_values_are_gone_is_believed_later() {
    let (none, present) = (Values::new(), values(&[("db/host", "a")]));
    let still = Taken { values: present.clone(), look_again: EMPTIED.checked_sub(REST) };
    assert_eq!(take(Ok(none.clone()), Some(&present), REST), Ok(still));
    assert_eq!(take(Ok(none.clone()), Some(&present), EMPTIED), at_once(&none));
}

#[test]
fn a_value_that_is_no_text_is_an_error_once_it_has_rested() {
    let present = values(&[("db/host", "a")]);
    let broken = || Err("the value of config/default/web/db/host is no text (UTF-8)".to_owned());
    assert!(take(broken(), Some(&present), Duration::ZERO).is_ok_and(|taken| taken.values == present));
    let error = take(broken(), Some(&present), REST).unwrap_err();
    assert_eq!(error.to_string(), "the value of config/default/web/db/host is no text (UTF-8)");
}
