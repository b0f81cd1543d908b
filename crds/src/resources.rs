//! What an instance may use of its machine: memory, processors, processes, open files, and the size of a core dump.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::size::{Bytes, Cores};

/// What an instance, with all that it starts, may use of its machine. What is not given is not limited. Hooks and checks are not within it.
///
/// A limit that a machine cannot keep does not keep the instance from running: its report says which one does not hold there, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resources {
    /// The most memory, swap included, such as `256Mi`; at least `1Mi`. Who needs more is killed, and started again as after any other end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-min" = "1Mi", "x-default" = "no limit"))]
    pub memory: Option<Bytes>,
    /// The most time of processors, in whole ones: `0.5` or `500m` is half of one, from 0.01 to 4096. Who needs more is slowed down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "no limit"))]
    pub cpu: Option<Cores>,
    /// The most processes and threads at a time; to start one more fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_194_304), extend("x-default" = "no limit"))]
    pub processes: Option<u32>,
    /// The most open files of each process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_073_741_816), extend("x-default" = "that of the agent"))]
    pub open_files: Option<u32>,
    /// The largest core dump of each process; `0B` for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "that of the agent"))]
    pub core_dump: Option<Bytes>,
}

impl Resources {
    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
