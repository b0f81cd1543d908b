//! Two candidates and a model of Consul under any schedule: messages that are late, lost or answered too late, outages, sessions that are ended by
//! a check, crashes, late timers. Never two believe to lead at one instant, and tokens only grow.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::Duration,
};

use proptest::prelude::*;

use super::{
    Event, Note, Settings,
    machine::State,
    words::{Ask, Effect, Input, Lock},
};

/// Milliseconds.
type Ms = u64;

const CHAOS: Ms = 300_000;
const CALM: Ms = 120_000;
/// How late a timer of a candidate may be.
const LATE: Ms = 500;

/// Consul at its strictest: a session ends exactly one TTL after its last renewal.
#[derive(Default)]
struct Consul {
    sessions: BTreeMap<String, Ms>,
    made: u64,
    index: u64,
    holder: Option<String>,
    locked_until: Ms,
}

impl Consul {
    fn end(&mut self, session: &str, now: Ms, settings: &Settings) {
        if self.sessions.remove(session).is_some() && self.holder.as_deref() == Some(session) {
            self.holder = None;
            self.index += 1;
            self.locked_until = now + ms(settings.lock_delay);
        }
    }

    fn expire(&mut self, now: Ms, settings: &Settings) {
        let over: Vec<_> =
            self.sessions.iter().filter(|(_, ends)| **ends <= now).map(|(id, ends)| (*ends, id.clone())).collect();
        for (ends, id) in over {
            self.end(&id, ends, settings);
        }
    }

    fn answer(&mut self, ask: &Ask, sent: Ms, now: Ms, settings: &Settings) -> Input {
        self.expire(now, settings);
        let sent = Duration::from_millis(sent);
        match ask {
            Ask::Create => {
                self.made += 1;
                let session = format!("s{}", self.made);
                self.sessions.insert(session.clone(), now + ms(settings.ttl));
                Input::Created { session, sent }
            }
            Ask::Renew(session) => match self.sessions.get_mut(session) {
                Some(ends) => {
                    *ends = now + ms(settings.ttl);
                    Input::Renewed { sent }
                }
                None => Input::SessionGone,
            },
            Ask::Read => Input::Read { lock: self.lock() },
            Ask::Acquire(session) | Ask::Announce { session, .. } => {
                if !self.sessions.contains_key(session) {
                    return Input::Refused { why: "invalid session".to_owned() };
                }
                let held_by_it = self.holder.as_ref() == Some(session);
                let taken = held_by_it || (self.holder.is_none() && now >= self.locked_until);
                if taken {
                    self.holder = Some(session.clone());
                    self.index += 1;
                }
                if matches!(ask, Ask::Announce { .. }) { Input::Announced } else { Input::Acquired { taken } }
            }
            Ask::Release(session) => {
                if self.holder.as_ref() == Some(session) {
                    self.holder = None;
                    self.index += 1;
                }
                Input::Released
            }
            Ask::Destroy(session) => {
                self.end(session, now, settings);
                Input::Destroyed
            }
        }
    }

    fn lock(&self) -> Lock {
        match &self.holder {
            Some(session) => Lock::Held { session: session.clone(), index: self.index, holder: None },
            None => Lock::Free,
        }
    }
}

/// What happens when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Arrive { who: usize, life: u64, number: u64, sent: Ms },
    Answer { who: usize, life: u64, number: u64 },
    Timeout { who: usize, life: u64, number: u64 },
    Tick { who: usize, life: u64 },
    Watch { who: usize, life: u64 },
    Stopped { who: usize, life: u64 },
    Disturb,
}

struct Candidate {
    state: State,
    note: Option<Note>,
    life: u64,
    /// The number of the question that is under way.
    asked: u64,
    waiting: bool,
    /// Whether leader-only work may run: from the gain until it has stopped after a loss.
    works: bool,
    done: bool,
}

struct World {
    settings: Settings,
    seed: u64,
    now: Ms,
    order: u64,
    queue: BinaryHeap<Reverse<(Ms, u64, Happening)>>,
    asks: BTreeMap<(usize, u64, u64), Ask>,
    answers: BTreeMap<(usize, u64, u64), Input>,
    consul: Consul,
    away_until: [Ms; 2],
    candidates: [Candidate; 2],
    last_token: u64,
    gains: usize,
}

fn ms(duration: Duration) -> Ms {
    u64::try_from(duration.as_millis()).unwrap()
}

impl World {
    fn new(seed: u64, settings: Settings) -> Self {
        let candidate = |_| Candidate {
            state: State::new(settings.clone(), "lock", None),
            note: None,
            life: 0,
            asked: 0,
            waiting: false,
            works: false,
            done: false,
        };
        let candidates = [0, 1].map(candidate);
        let mut world = Self {
            settings,
            seed,
            now: 0,
            order: 0,
            queue: BinaryHeap::new(),
            asks: BTreeMap::new(),
            answers: BTreeMap::new(),
            consul: Consul::default(),
            away_until: [0, 0],
            candidates,
            last_token: 0,
            gains: 0,
        };
        for who in [0, 1] {
            world.at(0, Happening::Tick { who, life: 0 });
            world.at(50, Happening::Watch { who, life: 0 });
        }
        world.at(1000, Happening::Disturb);
        world
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % bound
    }

    fn at(&mut self, when: Ms, what: Happening) {
        self.order += 1;
        self.queue.push(Reverse((when, self.order, what)));
    }

    fn calm(&self) -> bool {
        self.now >= CHAOS
    }

    /// How long a message is under way; most are quick, some take longer than their sender waits.
    fn travel(&mut self) -> Ms {
        match self.below(if self.calm() { 8 } else { 10 }) {
            0..8 => self.below(100),
            8 => self.below(3000),
            _ => self.below(40_000),
        }
    }

    fn is_lost(&mut self, who: usize) -> bool {
        !self.calm() && (self.now < self.away_until[who] || self.below(20) == 0)
    }

    fn run(&mut self) {
        while let Some(Reverse((when, _, what))) = self.queue.pop() {
            if when > CHAOS + CALM {
                return;
            }
            self.now = when;
            self.consul.expire(when, &self.settings);
            self.happen(what);
            let works: Vec<_> = [0, 1].into_iter().filter(|who| self.candidates[*who].works).collect();
            assert!(works.len() < 2, "both lead at {} ms", self.now);
        }
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Arrive { who, life, number, sent } => {
                let Some(ask) = self.asks.remove(&(who, life, number)) else { return };
                let answer = self.consul.answer(&ask, sent, self.now, &self.settings);
                if !self.is_lost(who) {
                    self.answers.insert((who, life, number), answer);
                    let when = self.now + self.travel();
                    self.at(when, Happening::Answer { who, life, number });
                }
            }
            Happening::Answer { who, life, number } => {
                if let Some(input) = self.answers.remove(&(who, life, number)) {
                    self.answered(who, life, number, input);
                }
            }
            Happening::Timeout { who, life, number } => {
                self.answered(who, life, number, Input::Failed { why: "late".to_owned() });
            }
            Happening::Tick { who, life } if life == self.candidates[who].life => self.step(who, Input::Tick),
            Happening::Stopped { who, life } if life == self.candidates[who].life => {
                self.candidates[who].works = false;
                self.step(who, Input::Stopped);
            }
            Happening::Watch { who, life } if life == self.candidates[who].life => {
                if self.candidates[who].state.watches() && !self.is_lost(who) {
                    self.step(who, Input::Seen { lock: self.consul.lock() });
                }
                let again = self.now + 20 + self.below(2000);
                self.at(again, Happening::Watch { who, life });
            }
            Happening::Disturb => self.disturb(),
            Happening::Tick { .. } | Happening::Stopped { .. } | Happening::Watch { .. } => {}
        }
    }

    fn disturb(&mut self) {
        if self.calm() {
            return;
        }
        let who = usize::try_from(self.below(2)).unwrap();
        match self.below(5) {
            // A partition of one, or of both.
            0 => self.away_until[who] = self.now + self.below(60_000),
            1 => self.away_until = [self.now + self.below(60_000); 2],
            // A check turns critical: only where the session is bound to one.
            2 => {
                if let Some(session) = self.consul.holder.clone().filter(|_| !self.settings.node_checks.is_empty()) {
                    self.consul.end(&session, self.now, &self.settings);
                }
            }
            // The agent dies with its work, and starts again.
            3 => self.restart(who),
            _ => {}
        }
        let again = self.now + 500 + self.below(20_000);
        self.at(again, Happening::Disturb);
    }

    fn restart(&mut self, who: usize) {
        let candidate = &mut self.candidates[who];
        candidate.life += 1;
        (candidate.works, candidate.waiting) = (false, false);
        candidate.state = State::new(self.settings.clone(), "lock", candidate.note.clone());
        let (life, when) = (candidate.life, self.now + self.below(5000));
        self.at(when, Happening::Tick { who, life });
        self.at(when, Happening::Watch { who, life });
    }

    fn answered(&mut self, who: usize, life: u64, number: u64, input: Input) {
        let candidate = &mut self.candidates[who];
        if candidate.life == life && candidate.asked == number && candidate.waiting {
            candidate.waiting = false;
            self.step(who, input);
        }
    }

    fn step(&mut self, who: usize, input: Input) {
        let now = Duration::from_millis(self.now);
        for effect in self.candidates[who].state.step(now, input) {
            self.perform(who, effect);
        }
        let candidate = &self.candidates[who];
        let life = candidate.life;
        if let Some(at) = candidate.state.wake_at() {
            let at = ms(at).max(self.now) + 1 + self.below(LATE);
            self.at(at, Happening::Tick { who, life });
        }
    }

    fn perform(&mut self, who: usize, effect: Effect) {
        match effect {
            Effect::Emit(Event::Gained { token, kept }) => {
                assert!(token.number > self.last_token || (kept && token.number == self.last_token), "{token:?}");
                self.last_token = token.number;
                self.gains += 1;
                self.candidates[who].works = true;
            }
            Effect::Emit(Event::Lost { .. }) => {
                let life = self.candidates[who].life;
                let when = self.now + self.below(ms(self.settings.stop_within) + 1);
                self.at(when, Happening::Stopped { who, life });
            }
            Effect::Note(note) => self.candidates[who].note = Some(note),
            Effect::Forget => self.candidates[who].note = None,
            Effect::Done => self.candidates[who].done = true,
            Effect::Ask(ask) => self.ask(who, ask),
        }
    }

    fn ask(&mut self, who: usize, ask: Ask) {
        let candidate = &mut self.candidates[who];
        candidate.asked += 1;
        candidate.waiting = true;
        let (life, number, sent) = (candidate.life, candidate.asked, self.now);
        self.at(sent + ms(self.settings.request), Happening::Timeout { who, life, number });
        if !self.is_lost(who) {
            self.asks.insert((who, life, number), ask);
            let when = sent + self.travel();
            self.at(when, Happening::Arrive { who, life, number, sent });
        }
    }
}

fn settings() -> impl Strategy<Value = Settings> {
    (any::<bool>(), 10..40_u64, 12..40_u64, 0..4_u64).prop_map(|(bound, ttl, delay, stop)| Settings {
        ttl: Duration::from_secs(ttl.max(12)),
        lock_delay: Duration::from_secs(if bound { delay } else { delay - 12 }),
        stop_within: Duration::from_secs(stop),
        node_checks: if bound { vec!["serfHealth".to_owned()] } else { vec![] },
        ..Settings::default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_two_lead_at_one_instant_tokens_only_grow_and_in_the_calm_one_leads(seed in any::<u64>(), settings in settings()) {
        prop_assert!(settings.check().is_ok());
        let mut world = World::new(seed, settings);
        world.run();
        prop_assert!(world.gains > 0);
        let leads = world.candidates.iter().filter(|candidate| candidate.state.token().is_some()).count();
        prop_assert_eq!(leads, 1);
    }
}
