//! How the sample begins: the flags of `helium sample`.

use std::time::Duration;

/// Flags of the sample workload.
#[derive(Clone, Debug, PartialEq, clap::Args)]
pub struct SampleConfig {
    /// The port to listen on; 0 takes any free one
    #[arg(long, env = "PORT", default_value_t = 8080)]
    pub port: u16,
    /// The address or host name to listen on
    #[arg(long, env = "HELIUM_ADDRESS", default_value = "127.0.0.1")]
    pub address: String,
    /// The version to show
    #[arg(long, env = "VERSION", default_value = "dev")]
    pub version: String,
    /// Begin with a health check that answers 500
    #[arg(long)]
    pub fail_health: bool,
    /// Let the health check fail so long after the start (such as 30s)
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub fail_health_after: Option<Duration>,
    /// The share of requests that are answered with 500, from 0 to 1
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    pub error_rate: f64,
    /// How long a request takes (such as 20ms)
    #[arg(long, default_value = "0ms", value_name = "TIME", value_parser = time)]
    pub latency: Duration,
    /// By how much at most a request takes longer than that
    #[arg(long, default_value = "0ms", value_name = "TIME", value_parser = time)]
    pub latency_jitter: Duration,
    /// How long to wait before listening
    #[arg(long, default_value = "0ms", value_name = "TIME", value_parser = time)]
    pub start_delay: Duration,
    /// Exit with status 1 so long after the start
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub crash_after: Option<Duration>,
    /// The words of the greeting
    #[arg(long, env = "GREETING", default_value = "hello")]
    pub greeting: String,
}

impl Default for SampleConfig {
    /// What the flags are without any being given, on any free port.
    fn default() -> Self {
        Self {
            port: 0,
            address: "127.0.0.1".to_owned(),
            version: "dev".to_owned(),
            fail_health: false,
            fail_health_after: None,
            error_rate: 0.0,
            latency: Duration::ZERO,
            latency_jitter: Duration::ZERO,
            start_delay: Duration::ZERO,
            crash_after: None,
            greeting: "hello".to_owned(),
        }
    }
}

impl SampleConfig {
    /// Where it serves, as a URL takes it: `127.0.0.1:8080`, `[::1]:8080`.
    pub fn place(&self) -> String {
        let Self { address, port, .. } = self;
        if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
    }
}

/// Reads `500ms`, `10s` or `2m`.
fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a length of time; write a number and a unit, such as 500ms, 10s or 2m");
    let at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(at);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "ms" => number / 1000.0,
        "s" => number,
        "m" => number * 60.0,
        _ => return Err(wrong()),
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

/// Reads a share from 0 to 1.
fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err(format!("{text} is not between 0 and 1")) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        config: SampleConfig,
    }

    #[test]
    fn flags_that_are_not_given_are_the_defaults() {
        // These may come from the environment that the test runs in.
        let given = ["--port", "1", "--address", "127.0.0.1", "--version", "dev", "--greeting", "hello"];
        let given = ["sample"].into_iter().chain(given);
        let config = Cli::try_parse_from(given).unwrap().config;
        assert_eq!(config, SampleConfig { port: 1, ..SampleConfig::default() });
    }

    #[test]
    fn an_ipv6_address_is_shown_in_brackets() {
        for (address, place) in [("10.0.0.1", "10.0.0.1:80"), ("::1", "[::1]:80"), ("localhost", "localhost:80")] {
            let config = SampleConfig { address: address.to_owned(), port: 80, ..SampleConfig::default() };
            assert_eq!(config.place(), place);
        }
    }

    #[test]
    fn flags_are_read_and_wrong_ones_are_refused() {
        let flags =
            ["sample", "--port", "0", "--fail-health-after", "1.5s", "--error-rate", "0.2", "--latency", "20ms"];
        let config = Cli::try_parse_from(flags).unwrap().config;
        assert_eq!(config.fail_health_after, Some(Duration::from_millis(1500)));
        assert_eq!((config.error_rate.to_string(), config.latency), ("0.2".to_owned(), Duration::from_millis(20)));
        for wrong in [["--error-rate", "1.1"], ["--error-rate", "NaN"], ["--latency", "20"], ["--latency", "5h"]] {
            assert!(Cli::try_parse_from(["sample"].into_iter().chain(wrong)).is_err(), "{wrong:?}");
        }
    }
}
