//! What people and controllers do: the commands that a build of the agent alone leaves out.

pub(crate) mod acl;
pub(crate) mod apply;
pub(crate) mod canary;
mod canary_get;
pub(crate) mod controller;
mod controller_http;
pub(crate) mod delete;
pub(crate) mod describe;
pub(crate) mod dev;
mod dev_screen;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod get;
mod get_instances;
mod get_watch;
pub(crate) mod haproxy;
pub(crate) mod logs;
pub(crate) mod node;
mod node_maintenance;
mod notifying;
mod others;
pub(crate) mod plan;
pub(crate) mod request;
pub(crate) mod rollout;
pub(crate) mod sample;
pub(crate) mod scale;
pub(crate) mod schema;
pub(crate) mod set;
pub(crate) mod validate;
pub(crate) mod wait;
mod waiting;

use clap::Subcommand;
use helium_crds::control::Verb;

use crate::{
    Workers,
    output::{Console, Outcome},
    session::Session,
};

/// Those commands.
#[derive(Debug, Subcommand)]
pub(crate) enum ControlCommand {
    /// Bring objects into the store as files declare them
    Apply(apply::ApplyArgs),
    /// Show what apply would change; exit code 1 if there is something
    Diff(diff::DiffArgs),
    /// Foresee what apply would do, step by step, in a simulated world; exit code 1 if there is something
    Plan(plan::PlanArgs),
    /// Check files without any store
    Validate(validate::ValidateArgs),
    /// List objects
    Get(get::GetArgs),
    /// Show all that is known of objects
    Describe(describe::DescribeArgs),
    /// Tell what a field means (deployment.spec), or why an object is not there yet (deployment/hello)
    Explain(explain::ExplainArgs),
    /// Show what happened to objects lately
    Events(events::EventsArgs),
    /// Take objects down, then away
    Delete(delete::DeleteArgs),
    /// Set how many instances there are, in all or by version
    Scale(scale::ScaleArgs),
    /// Set the version, or variables, of a template
    Set(set::SetArgs),
    /// Let no rollout of a Deployment start or come forward; one that fails still goes back
    Lock(rollout::HoldArgs),
    /// End a lock
    Unlock(request::RequestArgs),
    /// Look at rollouts and steer them
    #[command(subcommand)]
    Rollout(rollout::RolloutCommand),
    /// Promote, skip, hold, abort or retry a canary
    #[command(subcommand)]
    Canary(canary::CanaryCommand),
    /// Show what instances print
    Logs(logs::LogsArgs),
    /// Wait until an object is as wanted
    Wait(wait::WaitArgs),
    /// Run everything on this machine alone, with a store of its own
    Dev(dev::DevArgs),
    /// Run a controller; of several, one leads
    Controller(controller::ControllerArgs),
    /// Keep an HAProxy in step with the catalog
    Haproxy(haproxy::HaproxyArgs),
    /// Look at nodes, and take them out of service for a while
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Help with Consul's access rules
    #[command(subcommand)]
    Acl(acl::AclCommand),
    /// Look for what is wrong with the store
    Doctor(doctor::DoctorArgs),
    /// Print the JSON Schema of a kind
    Schema(schema::SchemaArgs),
    /// Be a small HTTP server to try deployments with
    Sample(sample::SampleArgs),
}

impl ControlCommand {
    /// Which log lines it prints unless `HELIUM_LOG` says otherwise. `dev` shows what happens in its own way.
    pub(super) fn usual_log(&self) -> &'static str {
        match self {
            Self::Controller(_) | Self::Haproxy(_) => "info",
            Self::Dev(_) => "warn",
            _ => "error",
        }
    }

    /// Whether it runs until it is told to stop, and so deals with signals itself.
    pub(super) fn is_server(&self) -> bool {
        match self {
            Self::Dev(_) | Self::Controller(_) | Self::Sample(_) => true,
            Self::Haproxy(args) => !args.once,
            _ => false,
        }
    }

    /// How many threads it needs.
    pub(super) fn workers(&self) -> Workers {
        match self {
            Self::Haproxy(_) => Workers::Two,
            _ => Workers::Cores,
        }
    }

    /// Whether its exit code is the verdict on something that it waits for.
    pub(super) fn is_verdict(&self) -> bool {
        match self {
            Self::Apply(args) => args.wait,
            Self::Delete(args) => args.wait,
            Self::Set(args) => args.wait,
            Self::Rollout(command) => command.waits(),
            Self::Wait(_) => true,
            _ => false,
        }
    }
}

/// Runs one of them.
pub(super) async fn run(command: ControlCommand, session: &Session, console: &mut Console) -> Outcome {
    match command {
        ControlCommand::Apply(args) => apply::run(args, session, console).await,
        ControlCommand::Diff(args) => diff::run(args, session, console).await,
        ControlCommand::Plan(args) => plan::run(args, session, console).await,
        ControlCommand::Validate(args) => validate::run(&args, session, console),
        ControlCommand::Get(args) => get::run(args, session, console).await,
        ControlCommand::Describe(args) => describe::run(args, session, console).await,
        ControlCommand::Explain(args) => explain::run(args, session, console).await,
        ControlCommand::Events(args) => events::run(args, session, console).await,
        ControlCommand::Delete(args) => delete::run(args, session, console).await,
        ControlCommand::Scale(args) => scale::run(args, session, console).await,
        ControlCommand::Set(args) => set::run(args, session, console).await,
        ControlCommand::Lock(args) => rollout::hold(args, Verb::Lock, "locked", session, console).await,
        ControlCommand::Unlock(args) => request::send(args, Verb::Unlock, "unlocked", session, console).await,
        ControlCommand::Rollout(command) => rollout::run(command, session, console).await,
        ControlCommand::Canary(command) => canary::run(command, session, console).await,
        ControlCommand::Logs(args) => logs::run(args, session, console).await,
        ControlCommand::Wait(args) => wait::run(args, session, console).await,
        ControlCommand::Dev(args) => dev::run(args, session, console).await,
        ControlCommand::Controller(args) => controller::run(args, session, console).await,
        ControlCommand::Haproxy(args) => haproxy::run(args, session, console).await,
        ControlCommand::Node(command) => node::run(command, session, console).await,
        ControlCommand::Acl(command) => acl::run(&command, session, console),
        ControlCommand::Doctor(args) => doctor::run(args, session, console).await,
        ControlCommand::Schema(args) => schema::run(&args, console),
        ControlCommand::Sample(args) => sample::run(args, console).await,
    }
}
