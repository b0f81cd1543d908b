use super::*;

const S: fn(u64) -> Duration = Duration::from_secs;

fn settings() -> Settings {
    Settings::default()
}

fn held(session: &str, index: u64) -> Lock {
    Lock::Held { session: session.to_owned(), index, holder: None }
}

fn read(lock: Lock) -> Input {
    Input::Read { lock }
}

fn token(number: u64) -> Token {
    Token { key: "k".to_owned(), number }
}

fn ask_of(effects: &[Effect]) -> Option<&Ask> {
    effects.iter().find_map(|effect| match effect {
        Effect::Ask(ask) => Some(ask),
        _ => None,
    })
}

fn event_of(effects: &[Effect]) -> Option<&Event> {
    effects.iter().find_map(|effect| match effect {
        Effect::Emit(event) => Some(event),
        _ => None,
    })
}

/// Leads since second 0 under session `a` and token 7; its token is announced.
fn leading() -> State {
    let mut state = State::new(settings(), "k", None);
    assert_eq!(ask_of(&state.step(S(0), Input::Tick)), Some(&Ask::Create));
    let effects = state.step(S(0), Input::Created { session: "a".to_owned(), sent: S(0) });
    assert_eq!(ask_of(&effects), Some(&Ask::Read));
    assert_eq!(ask_of(&state.step(S(0), read(Lock::Free))), Some(&Ask::Acquire("a".to_owned())));
    assert_eq!(ask_of(&state.step(S(0), Input::Acquired { taken: true })), Some(&Ask::Read));
    let effects = state.step(S(0), read(held("a", 7)));
    assert_eq!(event_of(&effects), Some(&Event::Gained { token: token(7), kept: false }));
    assert_eq!(ask_of(&effects), Some(&Ask::Announce { session: "a".to_owned(), token: 7 }));
    state.step(S(0), Input::Announced);
    state
}

#[test]
fn the_token_is_noted_before_anybody_is_told() {
    let mut state = State::new(settings(), "k", None);
    state.step(S(0), Input::Tick);
    state.step(S(0), Input::Created { session: "a".to_owned(), sent: S(0) });
    let effects = state.step(S(1), read(held("a", 7)));
    let note = Effect::Note(Note { session: "a".to_owned(), token: Some(7) });
    let gained = Effect::Emit(Event::Gained { token: token(7), kept: false });
    assert_eq!(effects[..2], [note, gained]);
}

#[test]
fn a_leader_that_hears_nothing_loses_by_the_clock_alone() {
    let mut state = leading();
    assert_eq!(state.lost_at_latest(), Some(S(9)));
    assert_eq!(ask_of(&state.step(S(3), Input::Tick)), Some(&Ask::Renew("a".to_owned())));
    assert_eq!(state.wake_at(), Some(S(9)));
    let effects = state.step(S(9), Input::Tick);
    assert_eq!(event_of(&effects), Some(&Event::Lost { why: Why::LeaseOver }));
    assert!(effects.contains(&Effect::Forget));
    assert_eq!((state.token(), state.lost_at_latest()), (None, None));
}

#[test]
fn a_renewal_that_is_answered_late_counts_from_when_it_was_sent() {
    let mut state = leading();
    state.step(S(3), Input::Tick);
    state.step(S(5), Input::Renewed { sent: S(3) });
    assert_eq!(state.lost_at_latest(), Some(S(12)));
}

#[test]
fn an_answer_that_comes_after_the_lease_was_over_does_not_bring_it_back() {
    let mut state = leading();
    state.step(S(3), Input::Tick);
    let effects = state.step(S(9), Input::Renewed { sent: S(3) });
    assert_eq!(event_of(&effects), Some(&Event::Lost { why: Why::LeaseOver }));
    assert_eq!(state.token(), None);
}

#[test]
fn who_has_lost_gives_back_only_after_its_work_has_stopped_and_comes_again_under_another_session() {
    let mut state = leading();
    state.step(S(3), Input::Tick);
    state.step(S(9), Input::Failed { why: "late".to_owned() });
    assert_eq!(ask_of(&state.step(S(10), Input::Tick)), None);
    assert_eq!(ask_of(&state.step(S(11), Input::Stopped)), Some(&Ask::Release("a".to_owned())));
    assert_eq!(ask_of(&state.step(S(11), Input::Released)), Some(&Ask::Destroy("a".to_owned())));
    assert_eq!(ask_of(&state.step(S(11), Input::Destroyed)), Some(&Ask::Create));
}

#[test]
fn work_that_never_says_that_it_stopped_has_its_time_and_no_more() {
    let mut state = leading();
    state.step(S(1), Input::Leave);
    assert_eq!(state.wake_at(), Some(S(6)));
    assert_eq!(ask_of(&state.step(S(6), Input::Tick)), Some(&Ask::Release("a".to_owned())));
}

#[test]
fn who_leaves_gives_everything_back_and_is_done() {
    let mut state = leading();
    assert_eq!(event_of(&state.step(S(1), Input::Leave)), Some(&Event::Lost { why: Why::Released }));
    state.step(S(2), Input::Stopped);
    state.step(S(2), Input::Released);
    assert_eq!(state.step(S(2), Input::Destroyed), [Effect::Forget, Effect::Done]);
    assert_eq!(state.wake_at(), None);
}

#[test]
fn who_leaves_while_consul_is_away_does_not_wait_for_it() {
    let mut state = leading();
    state.step(S(1), Input::Leave);
    state.step(S(2), Input::Stopped);
    assert_eq!(state.step(S(4), Input::Failed { why: "away".to_owned() }), [Effect::Forget, Effect::Done]);
}

#[test]
fn who_leaves_in_the_middle_of_a_try_gives_back_what_the_try_may_have_got() {
    let mut state = State::new(settings(), "k", None);
    state.step(S(0), Input::Tick);
    state.step(S(0), Input::Created { session: "a".to_owned(), sent: S(0) });
    assert_eq!(ask_of(&state.step(S(0), read(Lock::Free))), Some(&Ask::Acquire("a".to_owned())));
    assert_eq!(state.step(S(0), Input::Leave), [Effect::Forget]);
    assert_eq!(ask_of(&state.step(S(1), Input::Acquired { taken: true })), Some(&Ask::Release("a".to_owned())));
}

#[test]
fn the_leadership_and_its_token_are_kept_over_a_restart() {
    let note = Note { session: "a".to_owned(), token: Some(7) };
    let mut state = State::new(settings(), "k", Some(note));
    assert_eq!(ask_of(&state.step(S(0), Input::Tick)), Some(&Ask::Renew("a".to_owned())));
    assert_eq!(ask_of(&state.step(S(0), Input::Renewed { sent: S(0) })), Some(&Ask::Read));
    let effects = state.step(S(0), read(held("a", 12)));
    assert_eq!(event_of(&effects), Some(&Event::Gained { token: token(7), kept: true }));
}

#[test]
fn what_was_not_kept_over_a_restart_is_told_as_lost_once() {
    let note = || Some(Note { session: "a".to_owned(), token: Some(7) });
    let not_kept = Event::Lost { why: Why::NotKept };
    let mut state = State::new(settings(), "k", note());
    state.step(S(0), Input::Tick);
    let effects = state.step(S(0), Input::SessionGone);
    assert_eq!((event_of(&effects), ask_of(&effects)), (Some(&not_kept), Some(&Ask::Create)));

    let mut state = State::new(settings(), "k", note());
    state.step(S(0), Input::Tick);
    state.step(S(0), Input::Renewed { sent: S(0) });
    assert_eq!(event_of(&state.step(S(0), read(held("b", 12)))), Some(&not_kept));
    state.step(S(1), Input::Seen { lock: Lock::Free });
    let effects = state.step(S(1), read(Lock::Free));
    assert_eq!((event_of(&effects), ask_of(&effects)), (None, Some(&Ask::Acquire("a".to_owned()))));
}

#[test]
fn a_held_lock_is_watched_and_not_asked_for_again() {
    let mut state = State::new(settings(), "k", None);
    state.step(S(0), Input::Tick);
    state.step(S(0), Input::Created { session: "a".to_owned(), sent: S(0) });
    assert_eq!(ask_of(&state.step(S(0), read(held("b", 5)))), None);
    assert!(state.watches());
    assert_eq!(state.wake_at(), Some(S(3)), "nothing but the renewal");
    assert_eq!(ask_of(&state.step(S(1), Input::Seen { lock: held("b", 5) })), None);
    assert_eq!(ask_of(&state.step(S(2), Input::Seen { lock: Lock::Free })), Some(&Ask::Read));
}

#[test]
fn while_a_lock_delay_runs_it_is_tried_at_the_pace_of_retries() {
    let mut state = State::new(settings(), "k", None);
    state.step(S(0), Input::Tick);
    state.step(S(0), Input::Created { session: "a".to_owned(), sent: S(0) });
    state.step(S(0), read(Lock::Free));
    assert_eq!(ask_of(&state.step(S(0), Input::Acquired { taken: false })), None);
    assert_eq!(state.wake_at(), Some(S(1)));
    assert_eq!(ask_of(&state.step(S(1), Input::Tick)), Some(&Ask::Read));
    assert_eq!(ask_of(&state.step(S(1), read(Lock::Free))), Some(&Ask::Acquire("a".to_owned())));
}

#[test]
fn what_the_watch_saw_is_confirmed_before_a_leadership_ends() {
    let mut state = leading();
    let effects = state.step(S(1), Input::Seen { lock: Lock::Free });
    assert_eq!((event_of(&effects), ask_of(&effects)), (None, Some(&Ask::Read)));
    let effects = state.step(S(1), read(Lock::Free));
    assert_eq!(event_of(&effects), Some(&Event::Lost { why: Why::LockLost }));
}

#[test]
fn a_session_that_cannot_be_made_is_trouble_and_tried_again_after_a_pause() {
    let mut state = State::new(settings(), "k", None);
    state.step(S(0), Input::Tick);
    let effects = state.step(S(0), Input::Refused { why: "Check 'up' is in critical state".to_owned() });
    assert_eq!(effects, []);
    assert_eq!(state.trouble(), Some("Check 'up' is in critical state"));
    assert_eq!(ask_of(&state.step(state.wake_at().unwrap(), Input::Tick)), Some(&Ask::Create));
}
