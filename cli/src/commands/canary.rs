//! `helium canary`: promote, abort or retry a canary.

use clap::{Args, Subcommand};
use helium_crds::control::Verb;

use super::request::{RequestArgs, send};
use crate::{
    output::{Console, Outcome},
    session::Session,
};

/// What can be asked of a canary.
#[derive(Debug, Subcommand)]
pub(crate) enum CanaryCommand {
    /// End the present pause or soak, or promote after the last step
    Promote(PromoteArgs),
    /// Give the canary up: the stable version takes over again
    Abort(RequestArgs),
    /// Start an aborted rollout again, from its first step
    Retry(RequestArgs),
}

/// Options of `helium canary promote`.
#[derive(Args, Debug)]
pub(crate) struct PromoteArgs {
    #[command(flatten)]
    request: RequestArgs,
    /// Skip the steps that are left
    #[arg(long)]
    full: bool,
}

/// Runs `helium canary ...`.
pub(crate) async fn run(command: CanaryCommand, session: &Session, console: &mut Console) -> Outcome {
    match command {
        CanaryCommand::Promote(args) => {
            let verb = if args.full { Verb::PromoteFull } else { Verb::Promote };
            send(args.request, verb, "promoted", session, console).await
        }
        CanaryCommand::Abort(args) => send(args, Verb::Abort, "aborted", session, console).await,
        CanaryCommand::Retry(args) => send(args, Verb::Retry, "started again", session, console).await,
    }
}
