//! Notifications: who is told of events, and how it is told to them.
//!
//! Whoever has something to tell holds an [`Announce`], which takes it at once and never fails. In production it is a [`Notifier`]:
//!
//! | file | what it does |
//! |---|---|
//! | `news.rs` | an event, with where its rollout stands |
//! | `notifier.rs` | filters, and a bounded queue for each receiver |
//! | `delivery.rs` | posts one after the other to one receiver, again where that may help |
//! | `slack.rs` | the form that Slack's incoming webhooks take |
//!
//! Requests and secrets are those of metric sources. What is queued is in memory alone: after a crash an event may not be told, and the store
//! has it still.

mod announce;
mod delivery;
mod metrics;
mod news;
mod notifier;
mod slack;

pub use announce::{Announce, Nobody};
pub use news::News;
pub use notifier::Notifier;
