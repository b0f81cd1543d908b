//! HydraJobs: the leader asks Hydra what their jobs have built, and Deployments take their version from that.
//!
//! Design: what is known of a job is its status in the store, and nowhere else; that is all that a Deployment is planned from. So a new
//! leader, and one that was killed in the middle, goes on with the build that was taken last. When Hydra is asked next is no memory: whoever
//! takes the lead asks at once.
//!
//! | module | what it is |
//! |---|---|
//! | [`machine`] | what a look at Hydra comes to, and when to look again: pure |
//! | [`follower`] | the loop that looks, commits and has Deployments planned anew |
//! | [`versions`] | which version a Deployment has |

pub(crate) mod follower;
pub mod machine;
pub(crate) mod versions;
