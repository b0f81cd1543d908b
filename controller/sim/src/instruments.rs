//! What metric sources and gates say in a simulated world. A version that ends in `-err` passes its checks, and most of its answers are
//! errors; only a metric can tell.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::future::{BoxFuture, FutureExt as _};
use helium_analysis::Measure;
use helium_crds::{
    Number,
    measurement::{Ask, Found, GateReading, Query, Reading},
};

use crate::{
    faults::FaultKind,
    fleet::Behaviour,
    net::{Net, lock},
    rng::Rng,
};

/// What a sound version reads, and one that answers with errors, in percent.
const FEW: f64 = 0.5;
const MANY: f64 = 20.0;
/// How long a look takes that nothing disturbs.
const LOOK: Duration = Duration::from_millis(80);

/// How the sources are, as a story has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// They say what is so.
    #[default]
    Fine,
    /// They answer nothing.
    Down,
    /// They have no numbers.
    Empty,
    /// They say the opposite.
    Lying,
}

/// The sources as one controller asks them.
pub struct Instruments {
    net: Arc<Net>,
    rng: Mutex<Rng>,
}

impl Instruments {
    /// The sources, for a life of a controller.
    pub fn new(net: &Arc<Net>, rng: Rng) -> Arc<Self> {
        Arc::new(Self { net: Arc::clone(net), rng: Mutex::new(rng) })
    }

    /// Whether a fault strikes this look.
    fn strikes(&self, kind: FaultKind) -> bool {
        let drawn = lock(&self.rng).below(1000);
        let strikes = self.net.faults().draws(kind, drawn);
        if strikes {
            self.net.faults().strike(kind);
        }
        strikes
    }

    async fn look(&self, ask: &Ask) -> Found {
        let slow = self.strikes(FaultKind::SourceSlow);
        let wait = lock(&self.rng).between(Duration::from_secs(2), Duration::from_secs(40));
        tokio::time::sleep(if slow { wait } else { LOOK }).await;
        match ask {
            Ask::Metric { canary, stable, .. } => {
                let canary = self.read(canary);
                Found::Metric { canary, stable: stable.as_ref().map(|stable| self.read(stable)) }
            }
            Ask::Webhook(webhook, _) => Found::Gate(self.gate(&webhook.url, "open")),
            Ask::Kv(value) => Found::Gate(self.gate(&value.key, &value.equals)),
        }
    }

    fn read(&self, query: &Query) -> Reading {
        let mood = *lock(&self.net.mood);
        if mood == Mood::Down || self.strikes(FaultKind::SourceDown) {
            return Reading::Error { why: "connection refused".to_owned() };
        }
        let Query::Prometheus(prometheus, _) = query else { return Reading::NoData };
        let asked = prometheus.query.strip_prefix("errors of ").and_then(|asked| asked.split_once(" of "));
        let Some((version, deployment)) = asked.filter(|_| mood != Mood::Empty) else { return Reading::NoData };
        let lies = mood == Mood::Lying || self.strikes(FaultKind::SourceLies);
        let many = (Behaviour::of(version) == Behaviour::Failing) != lies;
        if !many {
            self.net.check(|checkers, net| checkers.good_number(deployment, version, net.now()));
        }
        Number::new(if many { MANY } else { FEW }).map_or(Reading::NoData, |value| Reading::Value { value })
    }

    /// Webhooks and keys are the same here: a value in Consul.
    fn gate(&self, key: &str, opens: &str) -> GateReading {
        if self.strikes(FaultKind::GateSilent) {
            return GateReading::Error { why: "no answer".to_owned() };
        }
        let state = self.net.server.state();
        match state.kv().get(key) {
            Some(entry) if entry.value.as_ref() == opens.as_bytes() => GateReading::Open,
            Some(_) => GateReading::Shut { why: "it is another value".to_owned() },
            None => GateReading::Shut { why: "there is no such key".to_owned() },
        }
    }
}

impl Measure for Instruments {
    fn measure<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Found> {
        self.look(ask).boxed()
    }
}
