//! The one question that a controller has to the world outside.

use futures::future::BoxFuture;
use helium_crds::measurement::{Ask, Found};

/// Answers questions about metrics and gates. A failure is an answer, too: it never has anything else to say.
pub trait Measure: Send + Sync {
    /// Asks once, and comes back within a bounded time. Dropping the future gives the question up.
    fn measure<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Found>;
}
