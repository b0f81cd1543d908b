//! `helium sample`: a small HTTP server to try deployments with.

use clap::Args;
use helium_sample::{SampleConfig, serve};

use crate::commands::serving::Signals;
use crate::output::{Console, Exit, Failure, Outcome};

/// Options of `helium sample`.
#[derive(Args, Debug)]
#[command(disable_version_flag = true)]
pub(crate) struct SampleArgs {
    #[command(flatten)]
    config: SampleConfig,
}

/// Runs `helium sample` until it is asked to stop. Its first line is what `helium logs` has to show of an instance.
pub(crate) async fn run(args: SampleArgs, console: &mut Console) -> Outcome {
    let (version, place) = (&args.config.version, args.config.place());
    console.line(format!("sample {version} serves on http://{place}"))?;
    let mut signals = Signals::listen()?;
    tokio::select! {
        biased;
        _ = signals.next() => Ok(Exit::Ok),
        served = serve(args.config) => match served {
            Ok(()) => Ok(Exit::Ok),
            Err(error) => Err(Failure::internal(format!("cannot serve: {error}"))),
        },
    }
}
