//! The controller under measurement: a process of its own, looked at from outside.

use std::{fs, io, time::Duration};

use helium_e2e::{Consul, Daemon, Helium, Http};

/// A running controller.
pub(crate) struct Controller {
    daemon: Daemon,
    _helium: Helium,
}

/// What a converged system costs.
pub(crate) struct Rest {
    /// How far Consul's KV index moved: each write of anybody moves it by one or more.
    pub(crate) writes: u64,
    /// Processor time of the controller, in percent of one core.
    pub(crate) cpu_percent: f64,
}

/// Linux counts processor time in hundredths of a second on every platform that Helium runs on.
const TICKS_A_SECOND: f64 = 100.0;
/// How long a system that has just converged may take to fall silent.
const SETTLE: Duration = Duration::from_secs(15);

impl Controller {
    /// Starts `helium controller` on this Consul.
    pub(crate) fn start(consul: &Consul) -> Self {
        let helium = Helium::on(consul);
        let daemon = helium.start("controller", &["controller", "--http-addr", "127.0.0.1:0"]);
        Self { daemon, _helium: helium }
    }

    /// The most memory it has had, in megabytes.
    pub(crate) fn peak_memory_mb(&self) -> io::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.daemon.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<f64>().ok());
        kilobytes.map(|kilobytes| kilobytes / 1024.0).ok_or_else(|| io::Error::other("no VmHWM"))
    }

    /// What one of its metrics is now; nothing before it is shown.
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        let said = self.daemon.said();
        let port = said.split("metrics on http://127.0.0.1:").nth(1)?.split('/').next()?.parse().ok()?;
        let page = Http::on(port).get("/metrics").ok()?.text();
        page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    /// Watches the converged system for `length`.
    pub(crate) async fn at_rest(&self, consul: &Consul, length: Duration) -> io::Result<Rest> {
        tokio::time::sleep(SETTLE).await;
        let (writes, cpu) = (consul.fingerprint("helium/v1/").0, self.cpu_seconds()?);
        tokio::time::sleep(length).await;
        let cpu = self.cpu_seconds()? - cpu;
        let writes = consul.fingerprint("helium/v1/").0 - writes;
        Ok(Rest { writes, cpu_percent: cpu / length.as_secs_f64() * 100.0 })
    }

    fn cpu_seconds(&self) -> io::Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.daemon.pid()))?;
        // The name in parentheses may hold anything; utime and stime are the 12th and 13th field behind it.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |place: usize| fields.get(place).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
        Ok((ticks(11) + ticks(12)) / TICKS_A_SECOND)
    }
}
