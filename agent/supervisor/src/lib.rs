//! Jobs beside a main process: started on events, restarted, checked, and stopped in order within a grace.
//!
//! All that is decided is decided in [`Supervisor::step`], a function of the state, the time, a random number and an [`Input`], which
//! returns [`Effect`]s. [`Runner`] carries them out with real processes. Nothing here knows Consul: the health of services comes in by
//! [`Handle::happened`], and what happens here goes out by [`Handle::events`].
//!
//! | module | what it is |
//! |---|---|
//! | [`job`] | what a job is: its command, what starts it, how it is restarted, checked and stopped |
//! | [`event`] | what happens, and to whom |
//! | [`set`] | the jobs of a supervisor, which fit together or are refused |
//! | [`supervisor`] | the decisions |
//! | [`runner`] | the processes |
//! | [`guardian`] | a parent that reaps what nobody else does, for process 1 |

pub mod event;
pub mod guardian;
pub mod job;
pub mod runner;
pub mod set;
mod shell;
pub mod supervisor;

pub use event::{Code, Event, Source};
pub use job::{Health, Job, Output, Periodic, Restarts, Start};
pub use runner::{CheckReport, Handle, Options, Runner, end_what_is_left};
pub use set::{JobSet, SetError, Settings};
pub use supervisor::{
    Effect, Input, Supervisor,
    view::{JobState, JobView},
};
