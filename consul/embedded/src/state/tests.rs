//! A journal of what changed anything, replayed, gives the same state, whatever happened and wherever it was cut.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const SESSIONS: [&str; 2] = ["00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"];

/// A step of a life: some time passes, then something happens.
#[derive(Clone, Debug)]
struct Step {
    after: Duration,
    command: Command,
}

fn kv() -> impl Strategy<Value = KvOp> {
    let verbs = prop::sample::select(vec![
        Verb::Set,
        Verb::Cas,
        Verb::Lock,
        Verb::Unlock,
        Verb::Delete,
        Verb::DeleteCas,
        Verb::DeleteTree,
        Verb::CheckSession,
    ]);
    let keys = prop::sample::select(vec!["a", "a/b", "a/c", "b"]);
    (verbs, keys, prop::sample::select(vec!["x", "y"]), 0..4_u64, prop::sample::select(SESSIONS.to_vec())).prop_map(
        |(verb, key, value, index, session)| {
            let value = Bytes::from_static(value.as_bytes());
            KvOp { value, index, session: session.to_owned(), ..KvOp::new(verb, key) }
        },
    )
}

fn session() -> impl Strategy<Value = Session> {
    let ids = prop::sample::select(SESSIONS.to_vec());
    let behaviors = prop::sample::select(vec![Behavior::Release, Behavior::Delete]);
    (ids, behaviors, 0..30_u64, any::<bool>()).prop_map(|(id, behavior, delay, bound)| Session {
        id: id.to_owned(),
        name: String::new(),
        node: "n".into(),
        lock_delay: delay * 1_000_000_000,
        behavior,
        ttl: "10s".into(),
        node_checks: vec!["serfHealth".into()],
        service_checks: bound.then(|| vec![ServiceCheck { id: "c-s".into(), namespace: String::new() }]),
        checks: None,
        create_index: 0,
        modify_index: 0,
    })
}

fn register() -> impl Strategy<Value = Command> {
    let names = prop::sample::select(vec!["web", "api"]);
    let tags = prop::sample::select(vec!["stable", "canary"]);
    (names, tags, any::<bool>(), any::<bool>()).prop_map(|(name, tag, with_check, replace_checks)| {
        let service = Service { id: "s".into(), service: name.into(), tags: vec![tag.into()], ..Service::default() };
        let check =
            Check { check_id: "c-s".into(), service_id: "s".into(), status: "critical".into(), ..Check::default() };
        let mut definition = CheckDefinition::new(CheckKind::Ttl(Duration::from_secs(20)));
        definition.deregister_after = Some(Duration::from_secs(90));
        let checks = if with_check { vec![AgentCheck::new(check, definition)] } else { vec![] };
        Command::AgentRegister { node: "n".into(), service, checks, replace_checks }
    })
}

fn update() -> impl Strategy<Value = Command> {
    let statuses = prop::sample::select(vec!["passing", "warning", "critical"]);
    (statuses, prop::sample::select(vec!["one", "two", "three"])).prop_map(|(status, output)| Command::UpdateCheck {
        node: "n".into(),
        check: "c-s".into(),
        status: status.into(),
        output: output.into(),
        by_ttl: true,
    })
}

fn other() -> impl Strategy<Value = Command> {
    let node = || "n".to_owned();
    prop::sample::select(vec![
        Command::DestroySession { id: SESSIONS[0].into() },
        Command::RenewSession { id: SESSIONS[1].into() },
        Command::AgentDeregister { node: node(), service: "s".into() },
        Command::AgentDeregisterCheck { node: node(), check: "c-s".into() },
        Command::Deregister { node: node(), service: Some("s".into()), check: None },
        Command::Deregister { node: node(), service: None, check: None },
        Command::Leave { node: node() },
        Command::Join(own_node("n", "", "127.0.0.1", "dc1")),
        Command::Reachable { node: node(), alive: false },
        Command::Reachable { node: node(), alive: true },
    ])
}

fn step() -> impl Strategy<Value = Step> {
    let command = prop_oneof![
        4 => kv().prop_map(Command::Kv),
        2 => prop::collection::vec(kv().prop_map(TxnOp::Kv), 0..4).prop_map(Command::Txn),
        1 => session().prop_map(Command::CreateSession),
        2 => register(),
        3 => update(),
        2 => other(),
    ];
    let after = prop::sample::select(vec![0_u64, 0, 1, 5, 25, 120, 400, 1000]).prop_map(Duration::from_secs);
    (after, command).prop_map(|(after, command)| Step { after, command })
}

/// Lives through the steps, timers included. Gives the state, and what a journal would hold: each command that changed
/// anything, and the state's text at each point.
fn live(steps: &[Step]) -> (Vec<Command>, Vec<String>) {
    let mut state = State::new("dc1");
    let (mut journal, mut texts, mut now) = (Vec::new(), vec![text(&state)], Duration::ZERO);
    let mut apply = |state: &mut State, command: &Command, at| {
        let before = (state.index(), text(state));
        let outcome = state.apply(command, at);
        if outcome.touched.is_empty() {
            assert_eq!(before, (state.index(), text(state)), "{command:?} changed something unsaid");
        } else {
            journal.push(command.clone());
            texts.push(text(state));
        }
        if outcome.result.is_err() {
            assert!(outcome.touched.is_empty(), "{command:?} was refused and changed something");
        }
    };
    apply(&mut state, &Command::Join(own_node("n", "", "127.0.0.1", "dc1")), now);
    for step in steps {
        now += step.after;
        while let Some((at, command)) = state.due(now) {
            apply(&mut state, &command, at);
        }
        apply(&mut state, &step.command, now);
    }
    (journal, texts)
}

fn text(state: &State) -> String {
    String::from_utf8(state.snapshot().unwrap()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_replayed_journal_gives_the_same_state_from_any_snapshot(
        steps in prop::collection::vec(step(), 1..60),
        cut in any::<prop::sample::Index>(),
    ) {
        let (journal, texts) = live(&steps);
        let cut = cut.index(texts.len());
        let mut state = State::restore(texts[cut].as_bytes(), Duration::ZERO).unwrap();
        prop_assert_eq!(&text(&state), &texts[cut]);
        for (command, expected) in journal[cut..].iter().zip(&texts[cut + 1..]) {
            state.replay(command);
            prop_assert_eq!(&text(&state), expected, "after {:?}", command);
        }
    }
}

#[test]
fn tombstones_are_collected_and_the_index_of_their_prefix_falls() {
    let mut state = State::new("dc1");
    let at = Duration::from_secs;
    for (now, op) in
        [(0, KvOp::new(Verb::Set, "p/a")), (5, KvOp::new(Verb::Set, "p/b")), (10, KvOp::new(Verb::Delete, "p/b"))]
    {
        state.apply(&Command::Kv(op), at(now)).result.unwrap();
    }
    assert_eq!((state.kv().prefix_index("p/"), state.index()), (3, 3));
    assert_eq!(state.due(at(929)), None);
    let (due, command) = state.due(at(931)).unwrap();
    assert_eq!((due, &command), (at(930), &Command::ReapTombstones { up_to: 3 }));
    state.apply(&command, due);
    assert_eq!(state.kv().prefix_index("p/"), 1);
    assert_eq!(state.next_deadline(), None);
    // The next write takes an index above all that were ever seen.
    state.apply(&Command::Kv(KvOp::new(Verb::Set, "p/c")), at(940)).result.unwrap();
    assert!(state.kv().prefix_index("p/") > 3);
}
