//! Programs run to their end, conditions waited for, and processes looked at.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Command,
    thread,
    time::{Duration, Instant},
};

/// How often a condition is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What a program printed; the error is what it said when it failed.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    let [said, why] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned());
    if output.status.success() {
        return Ok(said);
    }
    Err(format!("`{program} {}` ended with {}: {said} {why}", arguments.join(" "), output.status))
}

/// Looks again and again until there is an answer; after `limit` the last reason why there was none.
pub(crate) fn wait<T>(limit: u64, mut look: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    let since = now();
    loop {
        match look() {
            Err(_) if since.elapsed_seconds() < limit => pause(LOOK_AGAIN),
            Err(why) => return Err(format!("after {limit} s: {why}")),
            done => return done,
        }
    }
}

/// Looks again and again for so many seconds that something holds.
pub(crate) fn stays(seconds: u64, mut look: impl FnMut() -> Result<(), String>) -> Result<(), String> {
    let since = now();
    while since.elapsed_seconds() < seconds {
        look()?;
        pause(LOOK_AGAIN);
    }
    Ok(())
}

/// An instant of the real clock.
pub(crate) struct Since(Instant);

#[allow(clippy::disallowed_methods, reason = "real processes take real time")]
pub(crate) fn now() -> Since {
    Since(Instant::now())
}

impl Since {
    /// Seconds since then.
    #[allow(clippy::disallowed_methods, reason = "real processes take real time")]
    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    fn elapsed_seconds(&self) -> u64 {
        self.elapsed().as_secs()
    }
}

#[allow(clippy::disallowed_methods, reason = "a program of its own, without a runtime")]
pub(crate) fn pause(time: Duration) {
    thread::sleep(time);
}

/// An error, unless it is so.
pub(crate) fn ensure(so: bool, words: impl FnOnce() -> String) -> Result<(), String> {
    if so { Ok(()) } else { Err(words()) }
}

/// Writes a file and the folders that it is in.
pub(crate) fn write(path: &str, text: &str) -> Result<(), String> {
    let folder = path.rsplit_once('/').map_or("/", |(folder, _)| folder);
    fs::create_dir_all(folder).and_then(|()| fs::write(path, text)).map_err(|error| format!("{path}: {error}"))
}

/// A file's text, without white space around it.
pub(crate) fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map(|text| text.trim().to_owned()).map_err(|error| format!("{path}: {error}"))
}

/// The processes whose arguments are these, joined by blanks.
pub(crate) fn processes(arguments: &str) -> Vec<u32> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_it = |pid: &u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        text.trim_end_matches('\0').replace('\0', " ") == arguments
    };
    let mut found: Vec<u32> = pids.filter(is_it).collect();
    found.sort_unstable();
    found
}

/// The folder of the control group of v2 that a process is in.
pub(crate) fn group(pid: u32) -> Result<String, String> {
    let text = read(&format!("/proc/{pid}/cgroup"))?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"));
    path.map(|path| format!("/sys/fs/cgroup{path}")).ok_or_else(|| format!("process {pid} is in no group of v2"))
}

/// The status and the body that the agent answers with.
pub(crate) fn get(path: &str) -> Result<(u16, String), String> {
    let asked = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect("127.0.0.1:7576")?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    let text = asked().map_err(|error| format!("{path}: {error}"))?;
    let status = text.split(' ').nth(1).and_then(|word| word.parse().ok());
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.trim().to_owned()).unwrap_or_default();
    status.map(|status| (status, body)).ok_or_else(|| format!("{path}: no answer of HTTP: {text}"))
}
