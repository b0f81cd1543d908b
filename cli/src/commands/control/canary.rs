//! `helium canary`: look at a canary and steer it.

use clap::{Args, Subcommand};
use helium_crds::control::Verb;

use super::{
    canary_get::{self, CanaryGetArgs},
    request::{More, RequestArgs, send, send_more},
    rollout::{HoldArgs, hold},
};
use crate::{
    output::{Console, Outcome},
    session::Session,
};

/// What can be asked of a canary.
#[derive(Debug, Subcommand)]
pub(crate) enum CanaryCommand {
    /// Show its steps, versions, instances and metrics as a tree
    Get(CanaryGetArgs),
    /// End the present pause, gate or soak, or promote after the last step; canaries that fail are not promoted
    Promote(PromoteArgs),
    /// Give the canary up: the stable version takes over again
    Abort(RequestArgs),
    /// Start an aborted rollout again, from its first step or a later one
    Retry(RetryArgs),
    /// Go on without waiting for the present step; nothing is promoted without evidence by it
    Skip(RequestArgs),
    /// Hold the canary where it is; it is looked at meanwhile, and goes back if it fails
    Pause(HoldArgs),
    /// Go on after a pause
    Resume(RequestArgs),
}

/// Options of `helium canary promote`.
#[derive(Args, Debug)]
pub(crate) struct PromoteArgs {
    #[command(flatten)]
    request: RequestArgs,
    /// Skip the steps that are left
    #[arg(long, conflicts_with = "to_step")]
    full: bool,
    /// Go on at this step, counted from 1
    #[arg(long, value_name = "STEP")]
    to_step: Option<u32>,
}

/// Options of `helium canary retry`.
#[derive(Args, Debug)]
pub(crate) struct RetryArgs {
    #[command(flatten)]
    request: RequestArgs,
    /// Begin at this step, counted from 1
    #[arg(long, value_name = "STEP")]
    from_step: Option<u32>,
}

/// Runs `helium canary ...`.
pub(crate) async fn run(command: CanaryCommand, session: &Session, console: &mut Console) -> Outcome {
    match command {
        CanaryCommand::Get(args) => canary_get::run(args, session, console).await,
        CanaryCommand::Promote(args) => {
            let verb = if args.full { Verb::PromoteFull } else { Verb::Promote };
            let more = More { step: args.to_step, ..More::default() };
            send_more(args.request, verb, more, "promoted", session, console).await
        }
        CanaryCommand::Abort(args) => send(args, Verb::Abort, "aborted", session, console).await,
        CanaryCommand::Retry(args) => {
            let more = More { step: args.from_step, ..More::default() };
            send_more(args.request, Verb::Retry, more, "started again", session, console).await
        }
        CanaryCommand::Skip(args) => send(args, Verb::Skip, "sent on to its next step", session, console).await,
        CanaryCommand::Pause(args) => hold(args, Verb::Pause, "paused", session, console).await,
        CanaryCommand::Resume(args) => send(args, Verb::Resume, "resumed", session, console).await,
    }
}
