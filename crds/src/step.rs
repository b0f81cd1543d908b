//! The steps of a canary, and what each of them waits for.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    gate::Gate,
    metric::Criterion,
    period::Period,
    quantity::{Amount, Percent},
};

/// One step of a canary: one of `preview`, `setWeight`, `setReplicas`, `pause`, `analysis` and `gate`, or a `soak` alone; and what else has to
/// be so before it is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "StepFields", into = "StepFields")]
pub struct Step {
    /// What it does.
    pub kind: StepKind,
    /// How long the canary has to be healthy before it is over, once what it does is done.
    pub soak: Option<Period>,
    /// How many good samples of each metric it needs, in place of the metric's own number.
    pub min_samples: Option<u32>,
    /// Criteria that hold in it, by the metric's name, in place of the metrics' own.
    pub criteria: BTreeMap<String, Criterion>,
    /// When it has failed if it is not over.
    pub deadline: Option<Period>,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// Runs so many instances of the new version, or this share of the wanted count, that serve nobody yet, beside all stable ones.
    Preview(Amount),
    /// Runs this share of the instances on the new version.
    SetWeight(Percent),
    /// Runs this many instances on the new version.
    SetReplicas(u32),
    /// Waits until the canary has been healthy for so long.
    Soak(Period),
    /// Waits for a time, or for a person.
    Pause(Pause),
    /// Waits for good samples.
    Analysis(InlineAnalysis),
    /// Waits until somebody or something lets it through.
    Gate(Gate),
}

/// The step as it is written.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename = "Step", rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("oneOf" = [
    { "required": ["preview"] },
    { "required": ["setWeight"] },
    { "required": ["setReplicas"] },
    { "required": ["pause"] },
    { "required": ["analysis"] },
    { "required": ["gate"] },
    { "required": ["soak"], "properties": {
        "preview": false, "setWeight": false, "setReplicas": false, "pause": false, "analysis": false, "gate": false
    } },
]))]
struct StepFields {
    /// Run so many instances of the new version, or this share of the wanted count, beside all those that serve, and let nobody reach them by
    /// the service yet: they are tagged `preview`, and a check of Helium's own keeps them from passing in Consul. Later steps let them serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    preview: Option<Amount>,
    /// Run this share of the instances on the new version, `1%` to `100%`: the nearest whole count, at least one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-min" = "1%"))]
    set_weight: Option<Percent>,
    /// Run this many instances on the new version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    set_replicas: Option<u32>,
    /// Wait for this long, or for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pause: Option<Pause>,
    /// Wait for good samples of metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    analysis: Option<InlineAnalysis>,
    /// Wait until a person, a webhook or a key lets the rollout through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gate: Option<Gate>,
    /// Go on when at least `minPassing` of the canary instances are healthy, and each of these has been for this long without a break;
    /// and every metric has its good samples. Alone, or beside one of the others, whose end it delays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-min" = "1ms", "x-max" = "30d"))]
    soak: Option<Period>,
    /// So many good samples of each metric are needed, in place of the metrics' own `minSamples`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    min_samples: Option<u32>,
    /// Criteria that hold in this step, by the metric's name, in place of the metrics' own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = {
        "pattern": r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        "x-allowed": "the names of metrics"
    }))]
    criteria: BTreeMap<String, Criterion>,
    /// The step has failed if it is not over after this long. Default: none; `progressDeadline` of the Deployment holds, which waits do
    /// not count against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-min" = "1s", "x-max" = "30d"))]
    deadline: Option<Period>,
}

/// A step that does nothing, or two things.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a step is one of `preview`, `setWeight`, `setReplicas`, `pause`, `analysis` and `gate`, or a `soak` alone")]
pub struct NotOneStep;

impl TryFrom<StepFields> for Step {
    type Error = NotOneStep;

    fn try_from(fields: StepFields) -> Result<Self, NotOneStep> {
        let StepFields {
            preview,
            set_weight,
            set_replicas,
            pause,
            analysis,
            gate,
            soak,
            min_samples,
            criteria,
            deadline,
        } = fields;
        let given = [
            preview.map(StepKind::Preview),
            set_weight.map(StepKind::SetWeight),
            set_replicas.map(StepKind::SetReplicas),
            pause.map(StepKind::Pause),
            analysis.map(StepKind::Analysis),
            gate.map(StepKind::Gate),
        ];
        let mut given = given.into_iter().flatten();
        let (kind, soak) = match (given.next(), given.next(), soak) {
            (Some(kind), None, soak) => (kind, soak),
            (None, None, Some(soak)) => (StepKind::Soak(soak), None),
            _ => return Err(NotOneStep),
        };
        Ok(Self { kind, soak, min_samples, criteria, deadline })
    }
}

impl From<Step> for StepFields {
    fn from(step: Step) -> Self {
        let Step { kind, soak, min_samples, criteria, deadline } = step;
        let fields = Self { soak, min_samples, criteria, deadline, ..Self::default() };
        match kind {
            StepKind::Preview(number) => Self { preview: Some(number), ..fields },
            StepKind::SetWeight(weight) => Self { set_weight: Some(weight), ..fields },
            StepKind::SetReplicas(number) => Self { set_replicas: Some(number), ..fields },
            StepKind::Soak(period) => Self { soak: Some(period), ..fields },
            StepKind::Pause(pause) => Self { pause: Some(pause), ..fields },
            StepKind::Analysis(analysis) => Self { analysis: Some(analysis), ..fields },
            StepKind::Gate(gate) => Self { gate: Some(gate), ..fields },
        }
    }
}

impl From<StepKind> for Step {
    /// A step with nothing beside what it does.
    fn from(kind: StepKind) -> Self {
        Self { kind, soak: None, min_samples: None, criteria: BTreeMap::new(), deadline: None }
    }
}

impl Step {
    /// The soak that it takes, alone or beside something else.
    pub fn soak(&self) -> Option<Period> {
        match self.kind {
            StepKind::Soak(period) => Some(period),
            _ => self.soak,
        }
    }
}

impl fmt::Display for Step {
    /// In words: `setWeight 25%, soak 5m`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            StepKind::Preview(number) => write!(f, "preview {number}")?,
            StepKind::SetWeight(weight) => write!(f, "setWeight {weight}")?,
            StepKind::SetReplicas(number) => write!(f, "setReplicas {number}")?,
            StepKind::Soak(period) => write!(f, "soak {period}")?,
            StepKind::Pause(Pause { duration: Some(duration), .. }) => write!(f, "pause {duration}")?,
            StepKind::Pause(Pause { promote_after: Some(after), .. }) => write!(f, "pause, promoteAfter {after}")?,
            StepKind::Pause(_) => f.write_str("pause")?,
            StepKind::Analysis(InlineAnalysis { metrics, .. }) if metrics.is_empty() => f.write_str("analysis")?,
            StepKind::Analysis(InlineAnalysis { metrics, .. }) => write!(f, "analysis of {}", metrics.join(", "))?,
            StepKind::Gate(gate) => write!(f, "gate: {gate}")?,
        }
        match self.soak {
            Some(soak) => write!(f, ", soak {soak}"),
            None => Ok(()),
        }
    }
}

/// A wait within a canary. Without `duration` and `promoteAfter` it is open: it ends when a person promotes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pause {
    /// How long to wait. Default: until a person promotes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-min" = "1ms", "x-max" = "30d", "x-default" = "until a person promotes"))]
    pub duration: Option<Period>,
    /// Ends an open pause after this long, but only while at least `minPassing` of the canary instances are healthy, and every metric
    /// has its good samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-min" = "1ms", "x-max" = "30d"))]
    pub promote_after: Option<Period>,
}

/// A wait for good samples. Before the first canary instance it looks at what is there already.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InlineAnalysis {
    /// The names of the metrics that it waits for. Default: all that are required and measured through all steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), extend("x-default" = "all that are required and measured through all steps"))]
    pub metrics: Vec<String>,
    /// After so many samples of a metric without enough good ones the rollout waits for a person. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_samples: Option<u32>,
}
