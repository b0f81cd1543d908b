//! Watch, cache, queue, runner, leader: a controller over Consul KV, generic over the object.
//!
//! | module | what it is |
//! |---|---|
//! | [`ports`] | the clock and the entropy, so that a whole world replays from one seed |
//! | [`steady`] | a wall clock that does not leap while a process lives |
//! | [`shutdown`] | a request to stop |
//! | [`backoff`] | how long to wait before another try |
//! | [`snapshot`] | what a watch shows: rows, and whether they may be believed |
//! | [`mod@watch`] | the watch of a prefix as a pure machine; [`watcher`] drives it |
//! | [`queue`] | which key to run next, as a pure machine; [`runner`] drives it |
//! | [`leader`] | one of several writes, and can prove that it may |
//! | [`controller`] | all of it tied together; its example is the place to begin |

pub mod backoff;
pub mod controller;
pub mod leader;
pub mod notify;
pub mod ports;
pub mod pulse;
pub mod queue;
pub mod runner;
pub mod shutdown;
pub mod snapshot;
pub mod steady;
pub mod watch;
pub mod watcher;
