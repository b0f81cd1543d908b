//! What a preview cannot find out.

use helium_engine::people::{ObjectRef, PeopleError};

/// Why there is no preview.
#[derive(Debug, thiserror::Error)]
pub enum PreviewError {
    /// The store cannot be read, or refuses the documents as `apply` would have it refuse them.
    #[error(transparent)]
    People(#[from] PeopleError),
    /// The store is damaged, so that no controller would do anything.
    #[error(
        "nothing would happen: the sentinel `{sentinel}` is missing, so controllers change nothing until `helium doctor --repair`"
    )]
    Damaged {
        /// The first key that is missing.
        sentinel: String,
    },
    /// A value of the store cannot be read, so that no controller would act on the object.
    #[error("nothing can be foreseen: `{key}` cannot be read: {why}")]
    Unreadable {
        /// The key.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// The copy of the world could not be made, or the controller in it does not work on it.
    #[error("the preview has no world to look at: {0}")]
    Stage(String),
    /// The controller of the copy gives no answer about an object.
    #[error("nothing can be foreseen of {0}: a controller would not act on it, as `helium explain` tells")]
    NoAnswer(ObjectRef),
    /// The step at which the canary is to fail is never reached.
    #[error("no canary would reach step {step}: {known}")]
    NoSuchStep {
        /// The step that was asked for, from 1.
        step: u32,
        /// What there is instead.
        known: String,
    },
    /// The simulated world could not be started.
    #[error(transparent)]
    Runtime(#[from] std::io::Error),
}

impl From<consul_client::Error> for PreviewError {
    fn from(error: consul_client::Error) -> Self {
        Self::Stage(error.to_string())
    }
}
