//! What is not yet so, and what it hangs on.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{InstanceId, NodeName};

/// Something that is not yet so, and what it hangs on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "on", rename_all_fields = "camelCase")]
pub enum WaitingOn {
    /// No agent has joined.
    Agents,
    /// So many instances have no node that can take them.
    Place {
        /// How many.
        instances: u32,
        /// Why not, node by node in short.
        why: String,
    },
    /// Instances of a version are being started.
    Starting {
        /// The version.
        version: String,
        /// How many are not healthy yet.
        count: u32,
        /// Some of them, at most [`WaitingOn::EXAMPLES`].
        instances: Vec<InstanceId>,
    },
    /// An instance fails its checks or cannot run.
    Unhealthy {
        /// The version.
        version: String,
        /// The instance.
        instance: InstanceId,
        /// What its agent or its checks say.
        why: String,
    },
    /// Instances have not been healthy for `minHealthyTime` yet.
    MinHealthyTime {
        /// How many.
        instances: u32,
        /// When the last of them will have been.
        until: Timestamp,
    },
    /// The soak of a canary step.
    Soak {
        /// When it ends, if nothing flaps.
        until: Timestamp,
    },
    /// The bake behind a promotion: the old version is on standby, should the new one fail.
    Bake {
        /// The old version.
        standby: String,
        /// When it ends, if nothing fails.
        until: Timestamp,
    },
    /// A timed pause, or an open one that ends by itself.
    Pause {
        /// When it ends.
        until: Timestamp,
    },
    /// A person: `helium canary promote`, or `helium rollout resume`.
    Person {
        /// The command that goes on.
        command: String,
    },
    /// Instances of an older version that was never stable have to go before a newer one is begun.
    Superseded {
        /// The older version.
        version: String,
        /// How many of it are left.
        instances: u32,
    },
    /// So many instances of a version are stopping.
    Stopping {
        /// The version.
        version: String,
        /// How many.
        instances: u32,
    },
    /// Too few canary instances pass to go on.
    Canary {
        /// How many pass.
        passing: u32,
        /// How many there are.
        instances: u32,
        /// How many must pass.
        needed: u32,
    },
    /// The weights of services in Consul.
    Weights {
        /// How many instances have theirs.
        weighed: u32,
        /// How many there are.
        instances: u32,
    },
    /// Good samples of a metric.
    Metric {
        /// Its name.
        name: String,
        /// How many good ones there are at the present weight; in a row, where a streak is asked for.
        good: u32,
        /// How many are needed.
        needed: u32,
        /// What the last sample was, with its numbers; none before the first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last: Option<String>,
        /// When the next one is taken; none before the present weight is reached.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next: Option<Timestamp>,
    },
    /// A gate.
    Gate {
        /// What has to open it: `POST https://...` or `release/hello = open`.
        what: String,
        /// What was seen last; none before the first look.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seen: Option<String>,
        /// When it has been shut for too long, and what happens then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// A lock, `suspend` or the schedule.
    Shut {
        /// Why, in words.
        why: String,
        /// When it ends by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// The stop of old instances waits until new ones are available: `maxUnavailable` forbids it now.
    Available {
        /// How many are available.
        available: u32,
        /// How many must stay.
        needed: u32,
    },
    /// An instance's node or catalog entry cannot be seen at the moment.
    Sight {
        /// The instance.
        instance: InstanceId,
        /// Its node.
        node: NodeName,
        /// When the node counts as lost, if it stays away.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lost_at: Option<Timestamp>,
    },
    /// A rollout was aborted: a new template or a retry.
    Fix {
        /// The version that was aborted.
        version: String,
    },
    /// The first build of a job of Hydra.
    Build {
        /// The HydraJob.
        hydra_job: String,
        /// Why there is none, as far as is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// Values in Consul that cannot be a part of a revision, or cannot be seen; those of the present one go on to hold.
    Values {
        /// What is wrong with them.
        problem: String,
    },
    /// Another Deployment or a person has to change the spec.
    Spec {
        /// What is wrong with it.
        problem: String,
    },
}

impl WaitingOn {
    /// No more instances than this are named for the same reason: a status has to stay small, and people read the first few.
    pub const EXAMPLES: usize = 8;
}
