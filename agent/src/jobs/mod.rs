//! Jobs beside the main process of an instance.
//!
//! An instance that has any is run by a supervisor process of its own, `helium supervise`, which the agent starts through its gate in place of the main
//! process. What it is to do stands in a [plan](plan::Plan), a file that is on the disk before the gate opens. So an agent can be killed, or
//! replaced by a newer one, without touching what runs, and adopts a supervisor as any process.
//!
//! The agent looks at Consul, for all of its instances by one follower, and tells each supervisor by a socket in the instance's folder what the services
//! and keys look like that its jobs wait for ([`protocol`]); it says so again whenever the connection is made anew, and the supervisor, which remembers,
//! makes events of what differs. The other way come the states of the jobs, for the report and for a check in Consul.
//!
//! **Never two copies.** A supervisor is two processes: the guardian that the agent knows, and the worker (see [`helium_supervisor::guardian`]). If
//! the worker is killed, the guardian kills what it has left. If the guardian is killed, the agent ends the worker and all that it had written down
//! before it starts anything again ([`sweep`]).
//!
//! | module | what it is |
//! |---|---|
//! | [`plan`] | the file of a supervisor |
//! | [`mapping`] | a plan as jobs of a supervisor; pure |
//! | [`followed`] | what follows from what the agent tells; pure |
//! | [`protocol`] | what the two tell each other |
//! | [`socket`] | the socket that they do it by |
//! | [`mod@supervise`] | the supervisor |
//! | [`mod@line`] | the agent's end of the socket |
//! | [`standing`] | what the states of jobs mean for the instance; pure |
//! | [`telling`] | what Consul is told of the jobs, and when |
//! | [`sweep`] | an end of all that a supervisor has left |

mod followed;
pub(crate) mod line;
mod mapping;
pub(crate) mod plan;
mod protocol;
mod socket;
pub(crate) mod standing;
mod supervise;
pub(crate) mod sweep;
mod telling;
#[cfg(test)]
mod tests;

pub use supervise::{SuperviseError, supervise};
