//! The election step by step, and two candidates over a store that dies, freezes and loses sessions.

use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn held(session: &str, id: &str) -> Lock {
    let holder = Holder { id: id.to_owned(), address: String::new(), since: Timestamp::UNIX_EPOCH };
    Lock::Held { session: session.to_owned(), holder: Some(holder) }
}

fn critical(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

/// A candidate with session `mine` that was renewed at 0.
fn candidate() -> Election {
    let mut election = Election::new(Times::default(), None);
    election.created("mine".into(), ms(0));
    election
}

fn leader() -> Election {
    let mut election = candidate();
    election.lock_seen(held("mine", "me"), ms(1));
    assert!(election.leads());
    election
}

fn standby() -> Election {
    let mut election = candidate();
    election.lock_seen(held("theirs", "other"), ms(1));
    election
}

#[test]
fn a_candidate_makes_a_session_reads_the_lock_takes_it_and_reads_it_again() {
    let mut election = Election::new(Times::default(), None);
    assert_eq!(election.duty(ms(0)), Duty::CreateSession);
    election.created("mine".into(), ms(0));
    assert_eq!(election.duty(ms(1)), Duty::ReadLock);
    election.lock_seen(Lock::Free, ms(1));
    assert_eq!(election.duty(ms(1)), Duty::Acquire { session: "mine".into() });
    election.acquired(true, ms(2));
    assert!(!election.leads(), "the answer to the write is not proof enough");
    assert_eq!(election.duty(ms(2)), Duty::ReadLock);
    election.lock_seen(held("mine", "me"), ms(3));
    assert!(election.leads());
    assert_eq!(election.duty(ms(3)), Duty::Wait { until: ms(5000) });
}

#[test]
fn a_lock_that_could_not_be_taken_is_read_again_after_a_pause() {
    let mut election = candidate();
    election.lock_seen(Lock::Free, ms(1));
    election.acquired(false, ms(1));
    assert_eq!(election.duty(ms(2)), Duty::Wait { until: ms(501) });
    assert_eq!(election.duty(ms(501)), Duty::ReadLock);
}

#[test]
fn the_lease_ends_half_a_ttl_after_the_last_renewal_was_sent() {
    let mut election = leader();
    assert_eq!(election.deadline(), ms(15_000));
    assert_eq!(election.duty(ms(5000)), Duty::Renew { session: "mine".into() });
    election.renewed(ms(5000));
    assert_eq!(election.deadline(), ms(20_000));
}

#[test]
fn failing_renewals_do_not_end_the_leadership_and_go_on_until_one_succeeds() {
    let mut election = leader();
    for now in (5000..60_000).step_by(500) {
        assert_eq!(election.duty(ms(now)), Duty::Renew { session: "mine".into() });
        election.failed(ms(now));
        assert_eq!(election.duty(ms(now)), Duty::Wait { until: ms(now + 500) });
        assert!(election.leads());
        assert_eq!(election.deadline(), ms(15_000), "but the lease is not extended");
    }
    election.renewed(ms(60_000));
    assert_eq!((election.deadline(), election.session()), (ms(75_000), Some("mine")));
}

#[test]
fn the_word_of_the_store_that_the_session_is_gone_ends_the_leadership() {
    let mut election = leader();
    election.session_gone();
    assert!(!election.leads());
    assert_eq!(election.duty(ms(2)), Duty::CreateSession);
}

#[test]
fn a_lock_seen_in_other_hands_or_in_none_ends_the_leadership() {
    for (lock, duty) in [
        (held("theirs", "other"), Duty::Wait { until: ms(5000) }),
        (Lock::Free, Duty::Acquire { session: "mine".into() }),
    ] {
        let mut election = leader();
        election.lock_seen(lock, ms(2));
        assert!(!election.leads());
        assert_eq!(election.duty(ms(2)), duty);
    }
}

#[test]
fn a_refused_session_is_renewed_before_anything_else() {
    let mut election = candidate();
    election.lock_seen(Lock::Free, ms(1));
    election.session_doubtful(ms(2));
    assert_eq!(election.duty(ms(502)), Duty::Renew { session: "mine".into() });
}

#[test]
fn a_session_left_by_an_earlier_life_is_renewed_first_and_leads_on_if_it_holds_the_lock() {
    let mut election = Election::new(Times::default(), Some("mine".into()));
    assert_eq!(election.duty(ms(0)), Duty::Renew { session: "mine".into() });
    assert_eq!(election.deadline(), ms(15_000), "no lease of this life is older than its clock");
    election.renewed(ms(1));
    election.lock_seen(held("mine", "me"), ms(2));
    assert!(election.leads());
}

#[test]
fn a_holder_that_stays_critical_is_deposed_after_looks_that_all_say_so() {
    let mut election = standby();
    election.health_seen(critical(&["other"]), false, ms(100));
    assert_eq!(election.duty(ms(100)), Duty::Inspect);
    for now in [100, 350, 600] {
        assert_eq!(election.duty(ms(now)), Duty::Inspect);
        election.health_seen(critical(&["other"]), true, ms(now));
        assert_eq!(election.duty(ms(now)), Duty::Wait { until: ms(now + 250) });
    }
    election.health_seen(critical(&["other"]), true, ms(850));
    assert_eq!(election.duty(ms(850)), Duty::Depose { session: "theirs".into() });
    election.deposed();
    assert_eq!(election.duty(ms(851)), Duty::ReadLock);
}

#[test]
fn a_holder_that_is_critical_for_a_moment_is_not_deposed() {
    let mut election = standby();
    election.health_seen(critical(&["other"]), false, ms(100));
    election.health_seen(critical(&["other"]), true, ms(100));
    election.health_seen(critical(&[]), true, ms(350));
    assert_eq!(election.duty(ms(5)), Duty::Wait { until: ms(5000) });
    election.health_seen(critical(&["other"]), true, ms(900));
    assert_eq!(election.duty(ms(900)), Duty::Wait { until: ms(1150) }, "the doubt began anew");
}

#[test]
fn polls_alone_never_depose() {
    let mut election = standby();
    for now in [100, 900, 1700] {
        election.health_seen(critical(&["other"]), false, ms(now));
        assert_eq!(election.duty(ms(now)), Duty::Inspect);
    }
}

#[test]
fn a_failed_look_makes_the_doubt_begin_anew() {
    let mut election = standby();
    for now in [100, 350, 600] {
        election.health_seen(critical(&["other"]), true, ms(now));
    }
    election.failed(ms(700));
    assert_eq!(election.duty(ms(1200)), Duty::Inspect, "it is not forgotten");
    election.health_seen(critical(&["other"]), true, ms(1200));
    assert_eq!(election.duty(ms(1200)), Duty::Wait { until: ms(1450) });
}

#[test]
fn the_health_known_before_the_lock_counts_when_the_lock_is_read() {
    let mut election = candidate();
    election.health_seen(critical(&["other"]), false, ms(1));
    election.lock_seen(held("theirs", "other"), ms(2));
    assert_eq!(election.duty(ms(2)), Duty::Inspect);
}

#[test]
fn nobody_is_deposed_for_anothers_check_or_without_a_name_and_a_leader_not_for_its_own() {
    let mut election = standby();
    election.health_seen(critical(&["third", "me"]), true, ms(2));
    assert_eq!(election.duty(ms(2)), Duty::Wait { until: ms(5000) });
    election.lock_seen(Lock::Held { session: "theirs".into(), holder: None }, ms(3));
    assert_eq!(election.duty(ms(3)), Duty::Wait { until: ms(5000) });
    let mut election = leader();
    election.health_seen(critical(&["me"]), true, ms(2));
    assert_eq!(election.duty(ms(2)), Duty::Wait { until: ms(5000) });
}

#[test]
fn a_doubt_does_not_pass_from_one_session_to_the_next() {
    let mut election = standby();
    for now in [100, 350, 600, 850] {
        election.health_seen(critical(&["other"]), true, ms(now));
    }
    election.lock_seen(held("newer", "other"), ms(851));
    assert_eq!(election.duty(ms(851)), Duty::Inspect);
}

/// A store, and candidates that may be paused, killed and started again.
#[derive(Debug)]
struct World {
    now: Duration,
    sessions: BTreeSet<String>,
    lock: Lock,
    made: usize,
    frozen: bool,
    /// The last heartbeat of every candidate that there ever was.
    beats: BTreeMap<String, Duration>,
    candidates: Vec<Candidate>,
}

#[derive(Debug)]
struct Candidate {
    id: String,
    election: Election,
    alive: bool,
}

#[derive(Clone, Debug)]
enum Op {
    Act(usize),
    Pass(u64),
    Freeze(bool),
    Kill(usize),
    Restart(usize),
    EndSession,
    DropLock,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        20 => (0..2_usize).prop_map(Op::Act),
        10 => prop_oneof![1..300_u64, 500..6000_u64].prop_map(Op::Pass),
        1 => any::<bool>().prop_map(Op::Freeze),
        1 => (0..2_usize).prop_map(Op::Kill),
        1 => (0..2_usize).prop_map(Op::Restart),
        1 => Just(Op::EndSession),
        1 => Just(Op::DropLock),
    ]
}

impl World {
    fn new() -> Self {
        let candidates = (0..2).map(|which| Candidate::new(which, 0)).collect();
        let (sessions, lock, now) = (BTreeSet::new(), Lock::Free, Duration::ZERO);
        let mut world = Self { now, sessions, lock, made: 0, frozen: false, beats: BTreeMap::new(), candidates };
        world.pass(ms(0));
        world
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Act(which) => self.act(*which),
            Op::Pass(length) => self.pass(ms(*length)),
            Op::Freeze(frozen) => self.frozen = *frozen,
            Op::Kill(which) => self.candidates[*which].alive = false,
            Op::Restart(which) if !self.candidates[*which].alive => {
                self.made += 1;
                self.candidates[*which] = Candidate::new(*which, self.made);
                // Nobody stands for election before it is registered.
                self.pass(ms(0));
            }
            Op::Restart(_) => {}
            Op::EndSession => {
                if let Lock::Held { session, .. } = self.lock.clone() {
                    self.end(&session);
                }
            }
            Op::DropLock => self.lock = Lock::Free,
        }
        // What Consul guarantees and the fence relies on.
        if let Lock::Held { session, .. } = &self.lock {
            assert!(self.sessions.contains(session));
        }
    }

    /// Whoever lives sends heartbeats while time passes; a frozen agent takes them when it goes on.
    fn pass(&mut self, length: Duration) {
        self.now += length;
        for candidate in self.candidates.iter().filter(|candidate| candidate.alive) {
            self.beats.insert(candidate.id.clone(), self.now);
        }
    }

    fn end(&mut self, session: &str) {
        self.sessions.remove(session);
        if matches!(&self.lock, Lock::Held { session: holder, .. } if holder == session) {
            self.lock = Lock::Free;
        }
    }

    fn critical(&self) -> BTreeSet<String> {
        let late = |beat: &Duration| self.now.saturating_sub(*beat) >= Times::default().check_ttl;
        self.beats.iter().filter(|(_, beat)| late(beat)).map(|(id, _)| id.clone()).collect()
    }

    /// Lets one candidate do what is due, or hear the news.
    fn act(&mut self, which: usize) {
        if !self.candidates[which].alive {
            return;
        }
        let (now, critical, lock) = (self.now, self.critical(), self.lock.clone());
        let mut candidate = std::mem::replace(&mut self.candidates[which], Candidate::new(9, 9));
        let election = &mut candidate.election;
        match election.duty(now) {
            Duty::Wait { .. } if self.frozen => {}
            Duty::Wait { .. } => {
                election.health_seen(critical, false, now);
                election.lock_seen(lock, now);
            }
            _ if self.frozen => election.failed(now),
            Duty::CreateSession => {
                self.made += 1;
                let id = format!("s{}", self.made);
                self.sessions.insert(id.clone());
                election.created(id, now);
            }
            Duty::Renew { session } if self.sessions.contains(&session) => election.renewed(now),
            Duty::Renew { .. } => election.session_gone(),
            Duty::ReadLock => election.lock_seen(lock, now),
            Duty::Acquire { session } if !self.sessions.contains(&session) => election.session_doubtful(now),
            Duty::Acquire { session } => {
                let free = self.lock == Lock::Free;
                if free {
                    self.lock = held(&session, &candidate.id);
                }
                election.acquired(free, now);
            }
            Duty::Inspect => election.health_seen(critical, true, now),
            Duty::Depose { session } => {
                let alive = |other: &Candidate| other.alive && other.election.session() == Some(&session);
                assert!(!self.candidates.iter().any(alive), "a living leader whose heartbeat arrives is not deposed");
                self.end(&session);
                election.deposed();
            }
        }
        self.candidates[which] = candidate;
    }
}

impl Candidate {
    fn new(which: usize, life: usize) -> Self {
        let election = Election::new(Times::default(), None);
        Self { id: format!("c{which}-{life}"), election, alive: true }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_has_happened_one_living_candidate_leads_in_the_end(ops in prop::collection::vec(op(), 0..150)) {
        let mut world = World::new();
        for op in &ops {
            world.apply(op);
        }
        world.frozen = false;
        world.apply(&Op::Restart(0));
        // A dead holder is noticed after 3 s, doubted for 0.75 s, and a failed duty pauses for 0.5 s.
        for _ in 0..60 {
            world.pass(ms(100));
            for which in [0, 1, 0, 1, 0, 1] {
                world.act(which);
            }
        }
        let leading: Vec<&Candidate> = world.candidates.iter().filter(|one| one.alive && one.election.leads()).collect();
        prop_assert_eq!(leading.len(), 1, "{:?}", world);
        let holder = leading[0].election.session().map(str::to_owned);
        let holds = matches!(&world.lock, Lock::Held { session, .. } if Some(session) == holder.as_ref());
        prop_assert!(holds, "{:?}", world);
    }
}
