//! Questions to metric sources and gates, and what came back. An answer is never a bare number.
//!
//! A plan asks; the engine has it answered beside the reconciles; a later plan judges the answer. Only what was judged is kept, so an
//! answer that is lost with its controller is asked for again.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    gate::{KvValue, Webhook},
    metric::{ConsulService, Criterion, HttpJson, Prometheus},
    period::Period,
    quantity::Number,
};

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Probe {
    /// The metric of this name.
    Metric(String),
    /// The gate of the present step.
    Gate,
}

/// One question of one rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The rollout's id.
    pub rollout: String,
    /// When it was due: with the rollout's id it tells this question from every other about the same.
    pub due: Timestamp,
    /// What is asked.
    pub ask: Ask,
}

/// What is asked, with all variables replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "there are few of them, and each is on its way to a server")]
pub enum Ask {
    /// A number of the canary, and the same of the stable version where the two are compared.
    Metric {
        /// Of the canary.
        canary: Query,
        /// Of the stable version.
        stable: Option<Query>,
        /// A number that its source dates further back than this is stale.
        max_age: Period,
        /// Which numbers are good: no source is told, but a rehearsal, which has none, answers by it.
        criterion: Criterion,
    },
    /// Whether a webhook lets the rollout through, and the document that is posted.
    Webhook(Webhook, String),
    /// Whether a key does.
    Kv(KvValue),
}

/// A question to one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// To Prometheus, over a window that ends now.
    Prometheus(Prometheus, Period),
    /// To whoever serves a JSON document.
    Http(HttpJson),
    /// To Consul.
    Consul(ConsulService),
}

/// An answer to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The rollout that asked.
    pub rollout: String,
    /// When the question was due.
    pub due: Timestamp,
    /// When it was answered.
    pub at: Timestamp,
    /// What came back.
    pub found: Found,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Of a metric.
    Metric {
        /// The canary's.
        canary: Reading,
        /// The stable version's, where it was asked for.
        stable: Option<Reading>,
    },
    /// Of a gate.
    Gate(GateReading),
}

/// What one look at a metric gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is", rename_all_fields = "camelCase")]
pub enum Reading {
    /// A number.
    Value {
        /// The number.
        value: Number,
    },
    /// The source answered, and has none.
    NoData,
    /// The source did not answer, or not as it should.
    Error {
        /// Why, without any secret.
        why: String,
    },
    /// The source's number is too old.
    Stale {
        /// Of when it is.
        of: Timestamp,
    },
}

/// What one look at a gate gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is", rename_all_fields = "camelCase")]
pub enum GateReading {
    /// It lets the rollout through.
    Open,
    /// It does not.
    Shut {
        /// What it says.
        why: String,
    },
    /// It could not be asked.
    Error {
        /// Why not, without any secret.
        why: String,
    },
}
