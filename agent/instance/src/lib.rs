//! One instance on a machine: what its agent remembers of it, and what is to be done next, as pure functions of data.
//!
//! Where to begin: the rules on top of [`machine`], the one place that decides. Whoever runs an instance, on a real machine or in a simulated
//! world, goes round: gather the [`machine::Facts`], ask [`machine::decide`], do the one [`machine::Step`], note what came of it by
//! [`apply::apply`], and write the [`record::Record`] down before anything follows from it.
//!
//! | module | what it is |
//! |---|---|
//! | [`machine`] | facts in, one step out |
//! | [`stopping`] | the part of it that stops an instance |
//! | [`work`] | what is done beside the process, one piece at a time |
//! | [`apply`] | the record after an event, and how long who ended waits |
//! | [`record`] | all that is remembered of an instance |
//! | [`report`] | what is told of it |
//! | [`numbers`] | the numbers of its ports |
//! | [`hooks`], [`checks`] | what a package brings along, by name |
//! | [`words`] | words for people, cut to a length |
//! | [`process`] | which process is meant, how one ended, and its control group, in plain words |

pub mod apply;
pub mod checks;
pub mod hooks;
pub mod machine;
#[cfg(test)]
mod machine_world;
pub mod numbers;
pub mod process;
pub mod record;
pub mod report;
pub mod stopping;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod words;
pub mod work;
#[cfg(test)]
mod work_tests;
