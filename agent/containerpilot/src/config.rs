//! What a file says, with every default filled in.
//!
//! What Helium adds to ContainerPilot's files is marked "Helium's own"; a file that uses none of it means what it means to ContainerPilot.

use std::{fmt, time::Duration};

use crate::{event::Event, interfaces::Spec};

/// A whole file.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `consul`: where Consul is.
    pub consul: Consul,
    /// `logging`: what is logged, how, and where to.
    pub logging: Logging,
    /// `stopTimeout`, in whole seconds in the file: how long jobs may take to stop before they are killed. 5 s if it is absent or 0.
    pub stop_timeout: Duration,
    /// `control`: the socket for the control plane.
    pub control: Control,
    /// `jobs`, in the order of the file.
    pub jobs: Vec<Job>,
    /// `watches`, in the order of the file.
    pub watches: Vec<Watch>,
    /// `telemetry`, if the file has it.
    pub telemetry: Option<Telemetry>,
}

/// Where Consul is and how it is spoken to. Variables of the environment go before the file: `CONSUL_HTTP_TOKEN`, `CONSUL_CACERT`,
/// `CONSUL_CAPATH`, `CONSUL_CLIENT_CERT`, `CONSUL_CLIENT_KEY`, `CONSUL_TLS_SERVER_NAME`, `CONSUL_HTTP_SSL_VERIFY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consul {
    /// `host:port`, or a path for [`Scheme::Unix`]. If the file has none: `CONSUL_HTTP_ADDR`, or else `127.0.0.1:8500`.
    pub address: String,
    /// How it is spoken to.
    pub scheme: Scheme,
    /// The ACL token, if there is one.
    pub token: Option<Token>,
    /// For [`Scheme::Https`].
    pub tls: Tls,
}

/// How Consul is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// Plain.
    #[default]
    Http,
    /// With TLS.
    Https,
    /// By a socket of this machine.
    Unix,
}

/// An ACL token. It is not shown when it is printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// `consul.tls`: files by path, each only if it is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// `cafile`: certificates of authorities.
    pub ca_file: Option<String>,
    /// `capath`: a folder of them.
    pub ca_path: Option<String>,
    /// `clientcert`: the own certificate.
    pub client_cert: Option<String>,
    /// `clientkey`: the key for it.
    pub client_key: Option<String>,
    /// `servername`: the name that the server's certificate must have.
    pub server_name: Option<String>,
    /// `verify`: whether the server's certificate is checked; false if absent.
    pub verify: bool,
}

/// `logging`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    /// `level`, in capitals or not; INFO if absent.
    pub level: LogLevel,
    /// `format`: `default`, `text` or `json`.
    pub format: LogFormat,
    /// `output`: `stdout`, `stderr`, or a file by path.
    pub output: LogOutput,
}

/// The least severity that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// `DEBUG`
    Debug,
    /// `INFO`
    Info,
    /// `WARN` or `WARNING`
    Warn,
    /// `ERROR`
    Error,
    /// `FATAL`
    Fatal,
    /// `PANIC`
    Panic,
}

/// The form of a line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Time and message.
    Default,
    /// Keys and values.
    Text,
    /// One JSON object a line.
    Json,
}

/// Where the log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogOutput {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// This file, opened again at `SIGUSR1`.
    File(String),
}

/// `control`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// `socket`: `/var/run/containerpilot.socket` if absent.
    pub socket: String,
}

/// One of `jobs`.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// `name`: never empty. Two jobs may have the same.
    pub name: String,
    /// `exec`: what is run; a job without it runs nothing, and has health and events all the same.
    pub exec: Option<Exec>,
    /// What is registered in Consul, if `port` is given and is not 0.
    pub service: Option<Service>,
    /// `health`.
    pub health: Option<Health>,
    /// `timeout`: after which a run is killed; at least 1 ms. For a periodic job without one it is `when.interval`.
    pub timeout: Option<Duration>,
    /// `stopTimeout`: how long the job waits, when it stops, for those that wait for its `stopping`; without end if none.
    pub stop_timeout: Option<Duration>,
    /// `restarts`: how often it is run again after it ended by itself; of a periodic job, how many further times it is run.
    pub restarts: Restarts,
    /// `restartDelay`, `restartMaxDelay`: Helium's own.
    pub restart_delay: RestartDelay,
    /// `when`: what it waits for.
    pub when: When,
    /// `logging.raw`: whether the process writes to the agent's own output, and not into the log.
    pub raw_output: bool,
}

/// A program and its arguments, as they are: no shell looks at them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// The program; empty if the file says so, which fails when it is run.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
}

/// What a job is in Consul.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// `port`, 1 to 65535.
    pub port: u16,
    /// `initial_status`: with it the service is registered at once, and else with its first passing check.
    pub initial_status: Option<InitialStatus>,
    /// `interfaces`, in the order in which they are tried; never empty.
    pub interfaces: Vec<Spec>,
    /// `tags`
    pub tags: Vec<String>,
    /// `consul.enableTagOverride`: false if absent.
    pub enable_tag_override: bool,
    /// `consul.deregisterCriticalServiceAfter`, as it is written (Go's syntax).
    pub deregister_critical_service_after: Option<String>,
}

/// The status that a service is registered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitialStatus {
    /// `passing`
    Passing,
    /// `warning`
    Warning,
    /// `critical`
    Critical,
}

/// `health`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// `exec`: passes when it ends with 0. Without it nothing is checked, and no `healthy` is ever sent.
    pub exec: Option<Exec>,
    /// `interval`: whole seconds, at least 1.
    pub interval: Duration,
    /// `ttl`: whole seconds, at least 1; Consul calls the service critical when no check has passed for so long.
    pub ttl: Duration,
    /// `timeout`, after which a check is killed; `interval` if absent, none if 0.
    pub timeout: Option<Duration>,
    /// `logging.raw`
    pub raw_output: bool,
}

/// How often something may be run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restarts {
    /// So often. `never` is 0.
    Limited(u64),
    /// `unlimited`
    Unlimited,
}

/// How long a job waits before it is run again. Helium's own: ContainerPilot does not wait at all. What a job without `restartDelay` waits is for
/// whoever runs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestartDelay {
    /// `restartDelay`: before the first restart; 0 if absent.
    pub first: Duration,
    /// `restartMaxDelay`: the delay doubles with each restart up to this; the same as `first` if absent, so that it stays.
    pub max: Duration,
}

/// How often an event starts a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Starts {
    /// `once`: the first time.
    Once,
    /// `each`: every time.
    Each,
}

/// An event and how often it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The event.
    pub event: Event,
    /// How often it counts.
    pub starts: Starts,
}

/// What a job waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// An event; [`Event::STARTUP`] once if the file says nothing.
    Event {
        /// What, and how often.
        condition: Condition,
        /// `timeout`: when the event has not come by then, the job ends.
        timeout: Option<Duration>,
    },
    /// `interval`: at once, and then again and again, at least 1 ms apart.
    Interval {
        /// From one run to the next.
        every: Duration,
        /// What comes before the first run: [`Event::STARTUP`], or, Helium's own, the event of `once` and `source` beside `interval`.
        after: Event,
        /// `timeout` beside such an event: when it has not come by then, the job ends.
        timeout: Option<Duration>,
    },
    /// `all`: several conditions together. Helium's own. The job starts when each has been met since the last start, in any order; one with
    /// `once` stays met for ever. If all are `once`, it starts once.
    All {
        /// Two or more, or one.
        conditions: Vec<Condition>,
        /// `timeout`: when not all have been met by then, the job ends.
        timeout: Option<Duration>,
    },
    /// What the file names never happens, by ContainerPilot's rules: a code without a source, or a source without a code. The job never
    /// starts; a warning says so.
    Never {
        /// `timeout`: the job ends then.
        timeout: Option<Duration>,
    },
}

/// One of `watches`. Its events have the source [`crate::Source::Watch`] of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// The name of its events, without `watch.` before it: the service, or, Helium's own, `name` beside `key` or `prefix`, or else that key
    /// or prefix itself.
    pub name: String,
    /// What is watched.
    pub what: Watched,
    /// `interval`: whole seconds, at least 1. Of keys it may be absent: they are followed by long polls.
    pub interval: Option<Duration>,
    /// `dc`: the datacenter of Consul.
    pub datacenter: Option<String>,
}

/// What a watch looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watched {
    /// The healthy instances of the service of the watch's name.
    Service {
        /// `tag`: only those with it.
        tag: Option<String>,
    },
    /// `key` of Consul KV: `changed` when its value changes, `healthy` and `unhealthy` when it comes and goes. Helium's own.
    Key(String),
    /// All keys of Consul KV that begin with `prefix`, likewise. Helium's own.
    Prefix(String),
}

/// `telemetry`: an endpoint for metrics, registered as the service `containerpilot` with a TTL of 15 s and a beat every 5 s.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telemetry {
    /// `port`: 9090 if absent. With 0 any free port is listened on, and nothing is registered.
    pub port: u16,
    /// `interfaces`, in the order in which they are tried; never empty.
    pub interfaces: Vec<Spec>,
    /// `tags`; ContainerPilot adds its version.
    pub tags: Vec<String>,
    /// `metrics`
    pub metrics: Vec<Metric>,
}

/// One of `telemetry.metrics`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    /// The name that measurements are sent under: `namespace`, `subsystem` and `name` joined by underscores, empty ones too.
    pub key: String,
    /// The name that Prometheus sees: the same without the empty ones.
    pub exposed_name: String,
    /// `help`: never empty.
    pub help: String,
    /// `type`
    pub kind: MetricKind,
}

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// `counter`: measurements are added.
    Counter,
    /// `gauge`: the last measurement counts.
    Gauge,
    /// `histogram`
    Histogram,
    /// `summary`
    Summary,
}
