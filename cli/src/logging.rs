//! Log lines: on stderr, as text or JSON, as many as `HELIUM_LOG` asks for.

use std::io;

use tracing_subscriber::{EnvFilter, fmt};

use crate::{
    args::LogFormat,
    output::{Failure, console::colours_stderr},
};

/// The variable that says which log lines there are: `info`, or `warn,helium_engine=debug`.
const VARIABLE: &str = "HELIUM_LOG";

/// Starts logging; `usual` says which lines there are if the variable says nothing.
pub(crate) fn start(format: LogFormat, usual: &str) -> Result<(), Failure> {
    let wanted = std::env::var(VARIABLE).ok().filter(|value| !value.is_empty());
    let filter = EnvFilter::try_new(wanted.as_deref().unwrap_or(usual))
        .map_err(|error| Failure::usage(format!("{VARIABLE} cannot be read: {error}")))?;
    let lines = fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = match format {
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(true).try_init(),
        LogFormat::Text => lines.with_ansi(colours_stderr()).with_target(false).try_init(),
    };
    started.map_err(|error| Failure::internal(format!("cannot start logging: {error}")))
}
