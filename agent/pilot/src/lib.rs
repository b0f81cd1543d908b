//! ContainerPilot 3's files, run: jobs under a supervisor, in Consul, with a control socket and telemetry.
//!
//! [`file::read`] judges a file and [`run::run`] runs one to its end, in a program that has called [`guard`] first. What a file says becomes jobs of [`helium_supervisor`], and all that
//! concerns Consul stands beside it: nothing there holds a job up, and what Consul is to know is told again when it has forgotten it.
//!
//! | module | what it is |
//! |---|---|
//! | [`mod@file`] | a file, read with its environment, and why it is refused |
//! | [`mapping`] | what a file says as jobs, services and watches; pure |
//! | [`registration`] | services in Consul: what Consul is to know, pure, and a task each that sees to it |
//! | [`watches`] | services and keys of Consul: what follows from a change, pure, and a task each that looks |
//! | [`control`] | the control socket, and who speaks to it |
//! | [`telemetry`] | metrics and status over HTTP |
//! | [`logging`] | the log as the file wants it |
//! | [`run`] | all of it together |

pub mod control;
pub mod file;
pub mod logging;
pub mod mapping;
pub mod registration;
pub mod run;
pub mod telemetry;
pub mod watches;

pub use helium_supervisor::guardian::guard;
