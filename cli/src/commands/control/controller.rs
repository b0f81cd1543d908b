//! `helium controller`: run a controller; of several, one leads and the others stand by.

use std::{net::SocketAddr, path::PathBuf, pin::pin, sync::Arc, time::Duration};

use clap::Args;
use helium_analysis::Sources;
use helium_crds::Period;
use helium_engine::{Engine, EngineConfig};
use helium_runtime::{notify::Notifier, shutdown::Shutdown};

use super::{
    controller_http,
    notifying::{self, Telling},
};
use crate::commands::serving::Signals;
use crate::{
    output::{Console, Exit, Failure, Outcome},
    session::Session,
};

/// How long the first look at the store may take.
const FIRST_LOOK: Duration = Duration::from_secs(5);

/// Options of `helium controller`.
#[derive(Args, Debug)]
pub(crate) struct ControllerArgs {
    /// Where /metrics, /healthz and /readyz are served
    #[arg(long, value_name = "ADDRESS:PORT", env = "HELIUM_HTTP_ADDR", default_value = "127.0.0.1:7575")]
    http_addr: SocketAddr,
    /// This controller's name among its like, for people and logs [default: a random one]
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    name: String,
    /// How long a node's heartbeat may be absent before its instances are replaced elsewhere
    #[arg(long, value_name = "PERIOD", default_value = "60s")]
    lost_after: Period,
    /// The folder of the files that metric sources and gates name as secrets [default: none are found]
    #[arg(long, value_name = "FOLDER", env = "HELIUM_SECRETS_DIR")]
    secrets_dir: Option<PathBuf>,
    /// A file that says who is told of which events [default: nobody is]
    #[arg(long, value_name = "FILE", env = "HELIUM_NOTIFICATIONS")]
    notifications: Option<PathBuf>,
    /// About how often everything is looked at again, whatever has happened or not
    #[arg(long, value_name = "PERIOD", default_value = "5m")]
    resync: Period,
}

/// Runs `helium controller` until it is asked to stop.
pub(crate) async fn run(args: ControllerArgs, session: &Session, console: &mut Console) -> Outcome {
    let notifications = notifying::settings(args.notifications.as_deref(), console)?;
    let client = session.client()?;
    let listener = controller_http::listen(args.http_addr).await?;
    let address = listener.local_addr().map_err(|error| Failure::internal(error.to_string()))?;
    let config = EngineConfig {
        keys: session.keys(),
        name: args.name,
        lost_after: args.lost_after.as_duration(),
        resync: args.resync.as_duration(),
        address: address.ip().to_string(),
        port: address.port(),
        ..EngineConfig::default()
    };
    let measure = controller_http::metric_sources(client.clone(), args.secrets_dir, session)?;
    let telling = Telling::start(notifications, &measure, session);
    let engine = telling
        .wired(Engine::new(client, config, session.ports.clone(), Arc::<Sources>::clone(&measure)).following(measure));
    console.say(format!(
        "helium controller: Consul at {}, metrics on http://{address}/metrics",
        session.consul()?.address
    ));
    // A store that was never used is made ready before anybody watches it. If that cannot be done yet, the engine goes on trying
    // and says why it does not act.
    if let Ok(Err(error)) = tokio::time::timeout(FIRST_LOOK, session.people("controller")?.initialise()).await {
        tracing::warn!(%error, "the store is not ready");
    }
    let mut signals = Signals::of_daemon()?;
    let (trigger, shutdown) = Shutdown::new();
    let http =
        tokio::spawn(controller_http::serve(listener, engine.readiness(), engine.metrics_registry(), shutdown.clone()));
    let notifier = Notifier::of_process();
    let managed = tokio::spawn(controller_http::tell_manager(engine.readiness(), notifier.clone()));
    let (ending, told) = (shutdown.clone(), notifier);
    tokio::spawn(async move {
        ending.cancelled().await;
        told.stopping();
    });
    let ended = signals.obeyed_by(pin!(engine.run(shutdown)), &trigger).await;
    trigger.trigger();
    let ended = ended?;
    telling.stop().await;
    http.abort();
    managed.abort();
    ended.map(|()| Exit::Ok).map_err(|error| Failure::internal(error.to_string()))
}
