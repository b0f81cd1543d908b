//! `helium version`.

use clap::Args;
use serde_json::json;

use crate::output::{
    Console, Exit, Outcome,
    format::{Document, to_document},
};

/// Options of `helium version`.
#[derive(Args, Debug)]
pub(crate) struct VersionArgs {
    /// Print a document
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Document>,
}

/// Runs `helium version`.
pub(crate) fn run(args: &VersionArgs, console: &mut Console) -> Outcome {
    let version = env!("CARGO_PKG_VERSION");
    let (build, words) = if cfg!(feature = "control") { ("whole", "") } else { ("agent", ", the agent alone") };
    match args.output {
        None => console.line(format!("helium {version}{words}"))?,
        Some(document) => {
            let value = json!({
                "version": version,
                "build": build,
                "apiVersion": helium_crds::API_VERSION,
                "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
            });
            console.data(to_document(&value, document)?)?;
        }
    }
    Ok(Exit::Ok)
}
