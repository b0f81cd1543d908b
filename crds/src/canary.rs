//! The kind Canary: how a new template of a Deployment is tried out before it takes over.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    metric::Metric,
    object::Object,
    period::Period,
    quantity::{Amount, Percent},
    step::{InlineAnalysis, Pause, Step, StepKind},
};

/// Says how a new template of the Deployment of the same name is tried out.
pub type Canary = Object<CanarySpec>;

/// What is wanted of a Canary. While one exists, a new template starts a canary in place of a plain roll.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("oneOf" = [{ "required": ["steps"] }, { "required": ["blueGreen"] }]))]
pub struct CanarySpec {
    /// The steps, taken in order. After the last one the new version is promoted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 100))]
    pub steps: Vec<Step>,
    /// In place of steps: the new version is started beside the old one and serves nobody until it takes over as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blue_green: Option<BlueGreen>,
    /// How long the old version stays on standby once the new one has taken over. Its instances run on and serve nobody, and let whatever
    /// fails meanwhile go back at once. Default: `30s` with `blueGreen`, and none with steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-max" = "30d", "x-default" = "30s with blueGreen, else none"))]
    pub scale_down_delay: Option<Period>,
    /// What is looked at while the canary runs.
    #[serde(default)]
    pub analysis: Analysis,
    /// Whether the last step leads to promotion by itself. If false, a person promotes. Default true.
    #[serde(default = "default_auto_promote")]
    pub auto_promote: bool,
    /// What happens to a canary while too few instances of the stable version are healthy: the new one may be the fix. Default `proceed`.
    #[serde(default)]
    pub if_stable_unhealthy: IfStableUnhealthy,
    /// Whether a weight that whole instances cannot make is refused. If false, the nearest count is taken. Default false.
    #[serde(default)]
    pub exact: bool,
    /// What makes a step's weight: how many instances of each version there are, or their weights in Consul beside that. Default
    /// `instanceRatio`.
    #[serde(default)]
    pub traffic_routing: TrafficRouting,
}

/// What is looked at while the canary runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Analysis {
    /// The health of the canary instances in Consul.
    #[serde(default)]
    pub health: HealthAnalysis,
    /// Metrics: measured while the canary runs, through all steps or in steps of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub metrics: Vec<Metric>,
}

/// What happens to a canary while too few instances of the stable version are healthy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum IfStableUnhealthy {
    /// It goes on.
    #[default]
    Proceed,
    /// It waits until they are healthy again.
    Pause,
}

/// What makes the weight of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TrafficRouting {
    /// The counts alone: of 3 old and 1 new instance the new one has a quarter, for all who take any that passes.
    #[default]
    InstanceRatio,
    /// The counts as near as they come, and weights of the services in Consul for the rest: 5% is 1 instance that weighs 16 beside 3 that
    /// weigh 100 each. For balancers that honour them: Consul's DNS (SRV), `helium haproxy`.
    ConsulWeights,
}

/// A switch from the old version to the new one as a whole, once that has been tried out beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BlueGreen {
    /// How many instances of the new version are tried out, or what share of the wanted count. The others are started before the switch.
    /// Default `100%`.
    #[serde(default = "default_preview")]
    pub preview: Amount,
    /// How long those have to be healthy. Default: no longer than `minHealthyTime`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-min" = "1ms", "x-max" = "30d", "x-default" = "no longer than minHealthyTime"))]
    pub soak: Option<Period>,
    /// What is measured of them: good samples of these metrics have to be there before the switch. Default: nothing but health.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<InlineAnalysis>,
    /// Switches after this long, if at least `minPassing` of them are healthy; a person may do so before. Default: at once, or when a person
    /// promotes, as `autoPromote` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-min" = "1ms", "x-max" = "30d", "x-default" = "at once, or when a person promotes, as autoPromote says"))]
    pub promote_after: Option<Period>,
}

impl BlueGreen {
    /// The steps that this stands for: some, what is found out about them, who decides, and then all.
    fn steps(&self, auto_promote: bool) -> Vec<Step> {
        let all = Amount::Share(Percent::FULL);
        let preview = Step { soak: self.soak, ..Step::from(StepKind::Preview(self.preview)) };
        let analysis = self.analysis.clone().map(|analysis| Step::from(StepKind::Analysis(analysis)));
        let pause = Pause { duration: None, promote_after: self.promote_after };
        let waits = self.promote_after.is_some() || !auto_promote;
        let decision = waits.then(|| Step::from(StepKind::Pause(pause)));
        let rest = (self.preview != all).then(|| Step::from(StepKind::Preview(all)));
        [Some(preview), analysis, decision, rest].into_iter().flatten().collect()
    }
}

impl CanarySpec {
    /// The steps: as they are written, or those that `blueGreen` stands for.
    pub fn all_steps(&self) -> Cow<'_, [Step]> {
        match &self.blue_green {
            Some(blue_green) => Cow::Owned(blue_green.steps(self.auto_promote)),
            None => Cow::Borrowed(&self.steps),
        }
    }

    /// Whether what is behind the last step comes by itself. Of a switch a person has decided before, in a step of its own.
    pub fn promotes_itself(&self) -> bool {
        self.auto_promote || self.blue_green.is_some()
    }

    /// How long the old version stays on standby behind a promotion; zero if it goes at once.
    pub fn bake(&self) -> Period {
        let default = if self.blue_green.is_some() { Period::from_secs(30) } else { Period::from_secs(0) };
        self.scale_down_delay.unwrap_or(default)
    }

    /// The metric of a name.
    pub fn metric(&self, name: &str) -> Option<&Metric> {
        self.analysis.metrics.iter().find(|metric| metric.name == name)
    }
}

/// When the health of the canary instances is bad enough to abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HealthAnalysis {
    /// The least share of canary instances that must be passing, rounded up. Default `100%`.
    #[serde(default = "default_min_passing")]
    #[schemars(extend("x-min" = "1%"))]
    pub min_passing: Percent,
    /// So many failed samples in a row abort the canary. Default 2.
    #[serde(default = "default_failures_in_a_row")]
    #[schemars(range(min = 1, max = 1000))]
    pub failures_in_a_row: u32,
    /// The time from one sample to the next. Default `2s`.
    #[serde(default = "default_sample_interval")]
    #[schemars(extend("x-min" = "1s", "x-max" = "1h"))]
    pub interval: Period,
}

impl Default for HealthAnalysis {
    fn default() -> Self {
        Self {
            min_passing: default_min_passing(),
            failures_in_a_row: default_failures_in_a_row(),
            interval: default_sample_interval(),
        }
    }
}

fn default_preview() -> Amount {
    Amount::Share(Percent::FULL)
}

fn default_auto_promote() -> bool {
    true
}

fn default_min_passing() -> Percent {
    Percent::FULL
}

fn default_failures_in_a_row() -> u32 {
    2
}

fn default_sample_interval() -> Period {
    Period::from_secs(2)
}
