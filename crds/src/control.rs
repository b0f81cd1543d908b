//! People's requests to a rollout: promote, abort, retry and the like, under the `control` key beside the spec.
//!
//! A request names the rollout and step that it is meant for, so that one that was meant for another is refused visibly and
//! never applied to whatever happens to be running by then. The controller answers in `status.control`.

mod reading;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use reading::{Heard, Unreadable, hear, request_id, unanswered};

/// The value of a `control` key: requests that have not been answered yet, oldest first. Whoever adds one takes out those
/// that `status.control` has answered. At most [`ControlRequests::LIMIT`] are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ControlRequests {
    /// The requests, oldest first.
    pub requests: Vec<ControlRequest>,
}

impl ControlRequests {
    /// No more than this many requests stand under one key; answered ones go first.
    pub const LIMIT: usize = 16;
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ControlRequest {
    /// A random id, by which it is answered once and only once.
    pub id: String,
    /// Who asks: `alice@laptop`.
    pub by: String,
    /// When it was asked.
    pub at: Timestamp,
    /// Why, in the words of whoever asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What is asked.
    pub verb: Verb,
    /// The rollout that it is meant for; none means whichever is there (a restart needs none).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<String>,
    /// The step that it is meant for, counted from 0; none means any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u32>,
    /// Where to go on, counted from 0: of `promote --to-step` and `retry --from-step`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_step: Option<u32>,
    /// When a pause or a lock ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// What can be asked of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verb {
    /// End the present pause or soak, or promote after the last step.
    Promote,
    /// Skip the steps that are left and promote.
    PromoteFull,
    /// Give the rollout up: the stable version takes over again.
    Abort,
    /// Start an aborted rollout again, from its first step.
    Retry,
    /// Hold everything as it is.
    Pause,
    /// End a pause that was asked for, or that a failure has caused.
    Resume,
    /// Replace every instance by a new one of the same revision.
    Restart,
    /// Go on without waiting for the present step; nothing is promoted without evidence by it.
    Skip,
    /// Let no rollout start or come forward.
    Lock,
    /// End a lock.
    Unlock,
}

impl Verb {
    /// The verb as people type it.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Promote => "promote",
            Verb::PromoteFull => "promote --full",
            Verb::Abort => "abort",
            Verb::Retry => "retry",
            Verb::Pause => "pause",
            Verb::Resume => "resume",
            Verb::Restart => "restart",
            Verb::Skip => "skip",
            Verb::Lock => "lock",
            Verb::Unlock => "unlock",
        }
    }
}

/// The controller's answer to one request, in `status.control`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ControlAnswer {
    /// The request's id.
    pub id: String,
    /// What was asked; none for a request that could not be read, whose answer goes when it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verb: Option<Verb>,
    /// Who asked; empty for a request that does not say so.
    pub by: String,
    /// Why, in the words of whoever asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was answered.
    pub at: Timestamp,
    /// Why it was refused; none if it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}
