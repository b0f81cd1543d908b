//! The wires between the actors and Consul: a transport each, which takes time, breaks, and tells the checkers.
//!
//! A wire belongs to one life of one actor. When that life ends its wire goes dead: whatever is still under way is never
//! answered, and nothing is sent any more, so that a crashed controller cannot write from beyond the grave.

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use consul_client::{LongPoll, Transport, TransportError};
use consul_embedded::{Config, Server, state::State};
use futures::future::{BoxFuture, FutureExt as _};
use helium_crds::keys::Keys;
use http::{Method, Request, Response};
use tokio::sync::Notify;

use crate::{
    checkers::Delay,
    defects,
    faults::FaultKind,
    net::{Net, lock},
    ops,
    rng::Rng,
    tally::Sort,
};

/// A server that stands still answers a long poll only when its wait is over: 25 s and a sixteenth.
const LONGEST_POLL: Duration = Duration::from_secs(27);
/// How long at most an answer stays what a controller knows: then it asks again.
const NEXT_LOOK: Duration = Duration::from_secs(12);

/// Who is at the end of a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Actor {
    /// A controller.
    Controller(usize),
    /// An agent.
    Agent(usize),
    /// A person at the command line.
    User(usize),
    /// A person who mends things.
    Operator,
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Controller(number) => write!(f, "c{number}"),
            Self::Agent(number) => write!(f, "n{number}"),
            Self::User(number) => write!(f, "u{number}"),
            Self::Operator => write!(f, "op"),
        }
    }
}

/// At which of its calls a life is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Death {
    /// The number of the call, from 1.
    pub call: u64,
    /// Whether that call still takes effect.
    pub after: bool,
}

/// A call that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Whether it writes.
    pub writes: bool,
    /// The store's index when it arrived there.
    pub index: u64,
}

/// One life of an actor.
#[derive(Debug, Default)]
pub struct Life {
    dead: AtomicBool,
    calls: Mutex<Vec<Call>>,
    death: Mutex<Option<Death>>,
    /// How many effects on its machine there are until it ends, that one included, and whether that still takes place.
    fall: Mutex<Option<(u64, bool)>>,
    /// Rung at the end.
    pub ended: Notify,
}

impl Life {
    /// A life that ends at a call, if at all.
    pub fn until(death: Option<Death>) -> Arc<Self> {
        Arc::new(Self { death: Mutex::new(death), ..Self::default() })
    }

    /// Ends it.
    pub fn end(&self) {
        self.dead.store(true, Ordering::Relaxed);
        self.ended.notify_one();
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// The calls that were made.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.calls).clone()
    }

    /// Has it end at the call that is `calls` from now.
    pub fn crash_in(&self, calls: u64, after: bool) {
        *lock(&self.death) = Some(Death { call: lock(&self.calls).len() as u64 + calls, after });
    }

    /// Has it end at the effect on its machine that is `effects` from now, from 1.
    pub fn fall_in(&self, effects: u64, after: bool) {
        *lock(&self.fall) = Some((effects, after));
    }

    /// Notes an effect on its machine, as [`Life::arrive`] does a call.
    pub(crate) fn affect(&self, call: Call) -> Option<bool> {
        let ends = self.arrive(call);
        let mut fall = lock(&self.fall);
        let Some((left, after)) = *fall else { return ends };
        *fall = (left > 1).then_some((left.saturating_sub(1), after));
        ends.or((left <= 1).then_some(after))
    }

    /// Notes a call, and gives its number.
    fn count(&self, call: Call) -> u64 {
        let mut calls = lock(&self.calls);
        calls.push(call);
        calls.len() as u64
    }

    /// Notes a call or another effect. Gives whether it ends there, and if so whether before or after it took effect.
    pub(crate) fn arrive(&self, call: Call) -> Option<bool> {
        let number = self.count(call);
        self.ends_at(number)
    }

    /// Whether it ends at this call, before or after it took effect.
    fn ends_at(&self, call: u64) -> Option<bool> {
        lock(&self.death).filter(|death| death.call == call).map(|death| death.after)
    }
}

/// A transport of one life of one actor.
pub struct Wire {
    net: Arc<Net>,
    actor: Actor,
    node: String,
    life: Arc<Life>,
    inner: Arc<dyn Transport>,
    rng: Mutex<Rng>,
}

/// A request before it is sent on.
struct Sending {
    request: Request<Bytes>,
    method: Method,
    path: String,
    long_poll: bool,
    consistent: bool,
}

impl Wire {
    /// A wire to the agent of a Consul node.
    pub fn new(net: &Arc<Net>, actor: Actor, node: &str, life: Arc<Life>) -> Arc<Self> {
        let inner = net.server.transport_as(node);
        let rng = Mutex::new(net.rng.child("wire").child(&actor.to_string()));
        Arc::new(Self { net: Arc::clone(net), actor, node: node.to_owned(), life, inner, rng })
    }

    fn is_controller(&self) -> bool {
        matches!(self.actor, Actor::Controller(_))
    }

    async fn carry(&self, request: Request<Bytes>) -> Result<Response<Bytes>, TransportError> {
        let sending = Sending::new(request);
        self.live().await;
        self.travel().await;
        self.held_up(&sending).await;
        // Heartbeats and long polls happen at all times: a crash there is a crash anywhere.
        let counted = !sending.long_poll && !sending.is_heartbeat();
        let arriving = Call { writes: sending.is_write(), index: self.net.server.index() };
        let ends = if counted { self.life.arrive(arriving) } else { None };
        if ends == Some(false) {
            self.die(&sending).await;
        }
        let line = format!("{} {} {}{}", self.actor, sending.method, sending.path, sending.summary());
        // Reads that nobody doubts and heartbeats would hide what happens.
        let uneventful = sending.is_heartbeat() || !sending.is_write();
        let (long_poll, sort) = (sending.long_poll, sending.sort());
        let answer = self.deliver(sending).await;
        self.net.count(self.actor, sort, answer.as_ref().ok().map(Response::status));
        self.live().await;
        if ends == Some(true) {
            self.net.tell(&line);
            self.die_after().await;
        }
        self.travel().await;
        if !long_poll || answer.is_err() {
            let outcome =
                answer.as_ref().map_or_else(ToString::to_string, |answer| answer.status().as_u16().to_string());
            let line = format!("{line} -> {outcome}");
            let quiet = answer.as_ref().is_ok_and(|answer| answer.status().is_success()) && uneventful;
            if quiet { self.net.mention(&line) } else { self.net.tell(&line) }
        }
        answer
    }

    /// Goes on only while this life does.
    async fn live(&self) {
        if self.life.is_over() {
            pending::<()>().await;
        }
    }

    async fn die(&self, sending: &Sending) {
        self.net.tell(&format!("{} crashes before {} {}", self.actor, sending.method, sending.path));
        self.strike_down(FaultKind::CrashBefore);
        pending::<()>().await;
    }

    async fn die_after(&self) {
        self.net.tell(&format!("{} crashes after that", self.actor));
        self.strike_down(FaultKind::CrashAfter);
        pending::<()>().await;
    }

    /// Ends this life, by a fault of a kind if it is a controller's.
    fn strike_down(&self, kind: FaultKind) {
        let kind = if self.is_controller() { kind } else { FaultKind::AgentCrash };
        self.net.faults().strike(kind);
        self.life.end();
    }

    /// One way takes a moment.
    async fn travel(&self) {
        let moment = lock(&self.rng).between(Duration::from_millis(1), Duration::from_millis(4));
        tokio::time::sleep(moment).await;
        self.live().await;
    }

    /// Waits while the actor is cut off or its watches are stalled. The caller's deadline goes on.
    async fn held_up(&self, sending: &Sending) {
        loop {
            let until = self.net.faults().held_until(self.actor, sending.long_poll, self.net.now());
            let Some(until) = until else { return };
            tokio::time::sleep(until.saturating_sub(self.net.now())).await;
            self.live().await;
        }
    }

    /// Hands the request to Consul, with what goes wrong on the way.
    async fn deliver(&self, sending: Sending) -> Result<Response<Bytes>, TransportError> {
        if sending.is_write() {
            return self.write(sending).await;
        }
        let stale = self.is_controller() && !sending.consistent && self.draws(FaultKind::StaleRead);
        if stale && let Some(answer) = self.stale(&sending).await {
            self.strike(FaultKind::StaleRead);
            return Ok(answer);
        }
        let (long_poll, path) = (sending.long_poll, sending.path);
        let mut answer = self.inner.send(sending.request).await;
        if let Some(defect) = self.net.defect.filter(|_| self.is_controller()) {
            answer = answer.map(|answer| defects::pretend(defect, &path, answer));
        }
        if long_poll && self.is_controller() && self.draws(FaultKind::LateWake) {
            self.strike(FaultKind::LateWake);
            // Whatever happens meanwhile comes with the same wake.
            let late = lock(&self.rng).between(Duration::from_secs(1), Duration::from_secs(12));
            self.delay_sight(late, late);
            tokio::time::sleep(late).await;
        }
        answer
    }

    /// Whether a fault of this kind is to strike now.
    fn draws(&self, kind: FaultKind) -> bool {
        let drawn = lock(&self.rng).below(1000);
        self.net.faults().draws(kind, drawn)
    }

    /// What this controller sees may be older by so much for a while.
    fn delay_sight(&self, during: Duration, by: Duration) {
        self.net.check(|checkers, net| {
            let now = net.now();
            checkers.delay(Delay { until: now + during, by }, now);
        });
    }

    /// Counts a fault that struck.
    fn strike(&self, kind: FaultKind) {
        self.net.faults().strike(kind);
    }

    /// The answer of a server that is seconds behind.
    async fn stale(&self, sending: &Sending) -> Option<Response<Bytes>> {
        let age = lock(&self.rng).between(Duration::from_secs(1), Duration::from_secs(10));
        let old = self.net.past(age)?;
        let entropy = consul_embedded::seeded_entropy(lock(&self.rng).draw());
        let node = self.net.server.own_node().to_owned();
        let behind = Server::from_state(old, &Config { node, entropy, ..Config::default() });
        // Rights are looked up as they are now, however old the data is.
        behind.set_acl(self.net.server.acl());
        if sending.long_poll {
            self.delay_sight(LONGEST_POLL, LONGEST_POLL + age);
        }
        let answer = behind.transport_as(&self.node).send(sending.request.clone()).await.ok()?;
        self.delay_sight(NEXT_LOOK, age);
        self.net.tell(&format!("{} is answered from {age:?} ago", self.actor));
        Some(answer)
    }

    async fn write(&self, mut sending: Sending) -> Result<Response<Bytes>, TransportError> {
        let controller = self.is_controller();
        let body = sending.request.body().clone();
        let mut written = ops::of_request(&sending.method, &sending.path, &body);
        if controller && let Some(defect) = self.net.defect {
            defects::rewrite(defect, &mut sending.request, &mut written, &self.net.server);
        }
        if controller && written.is_txn && self.draws(FaultKind::UserRace) && self.race(&written).await {
            self.strike(FaultKind::UserRace);
        }
        let twice = written.is_txn && self.draws(FaultKind::Duplicate);
        let mut answer = self.write_once(&sending, &written).await;
        if twice {
            self.strike(FaultKind::Duplicate);
            self.net.tell(&format!("{} {} {} arrives twice", self.actor, sending.method, sending.path));
            answer = self.write_once(&sending, &written).await;
        }
        if self.draws(FaultKind::ReplyLost) {
            self.strike(FaultKind::ReplyLost);
            self.net.tell(&format!("{} loses the answer to {} {}", self.actor, sending.method, sending.path));
            return Err(TransportError::Lost("the connection broke".to_owned()));
        }
        answer
    }

    /// Has a person edit what a transaction is about. Gives whether one did.
    async fn race(&self, written: &ops::Written) -> bool {
        let rival = lock(&self.net.rival).clone();
        let spec = written.ops.iter().find(|op| op.verb == "check-index" && op.key.contains("/spec/"));
        match (rival, spec) {
            (Some(rival), Some(spec)) => rival.race(spec.key.clone()).await,
            _ => false,
        }
    }

    /// Consul carries it out at once: nothing else happens between the two looks of the checkers.
    async fn write_once(&self, sending: &Sending, written: &ops::Written) -> Result<Response<Bytes>, TransportError> {
        let before = (self.is_controller() && self.net.is_watched()).then(|| self.net.server.state());
        let answer = self.inner.send(sending.request.clone()).await;
        let applied = answer.as_ref().is_ok_and(|answer| answer.status().is_success());
        if !self.is_controller() && written.may_touch(&Keys::default().overrides_root()) {
            let state = self.net.server.state();
            self.net.check(|checkers, net| checkers.note_values(&state, net.now()));
        }
        if let Some(before) = before {
            if !applied && answer.is_ok() && deposed(written, &before) {
                self.net.faults().refuse();
                self.net.tell(&format!("{} is refused by the fence", self.actor));
            }
            let after = self.net.server.state();
            self.net.check(|checkers, net| {
                checkers.controller_wrote(net, self.actor, written, applied, &before, &after);
            });
        }
        answer
    }
}

/// Whether a transaction is one of a leader whose lock is another's by now, or nobody's.
fn deposed(written: &ops::Written, state: &State) -> bool {
    let held = |op: &ops::Op| state.kv().get(&op.key).is_some_and(|entry| entry.session.as_ref() == Some(&op.session));
    written.ops.iter().any(|op| op.verb == "check-session" && !held(op))
}

impl Transport for Wire {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
        self.carry(request).boxed()
    }
}

impl Sending {
    fn new(request: Request<Bytes>) -> Self {
        let method = request.method().clone();
        let path = request.uri().path_and_query().map_or_else(String::new, ToString::to_string);
        let long_poll = request.extensions().get::<LongPoll>().is_some();
        let consistent = path.contains("consistent");
        Self { request, method, path, long_poll, consistent }
    }

    /// What a transaction writes, in short.
    fn summary(&self) -> String {
        if !self.path.starts_with("/v1/txn") {
            return String::new();
        }
        let written = ops::of_request(&self.method, &self.path, self.request.body());
        written
            .ops
            .iter()
            .filter(|op| op.writes())
            .fold(String::new(), |text, op| text + " " + &op.verb + ":" + op.key.trim_start_matches("helium/v1/"))
    }

    /// What it counts as.
    fn sort(&self) -> Sort {
        if self.is_write() {
            let ops = ops::of_request(&self.method, &self.path, self.request.body()).ops.len();
            return if ops > 0 { Sort::Write(ops) } else { Sort::Told };
        }
        match () {
            () if self.long_poll => Sort::LongPoll,
            () if self.path.starts_with("/v1/health/service/") => Sort::Health,
            () => Sort::Read,
        }
    }

    fn is_write(&self) -> bool {
        self.method != Method::GET
    }

    fn is_heartbeat(&self) -> bool {
        self.path.starts_with("/v1/agent/check/update") || self.path.starts_with("/v1/session/renew")
    }
}
