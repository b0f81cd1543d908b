//! The log as the file wants it: level, form and place, with what jobs print in it.
//!
//! One thread writes, so that no line is torn by another and nobody waits for a slow disk or reader: of the supervisor's own lines, those that find
//! the queue full are lost; jobs that print faster than is written wait in their own pipes.

mod jobs;
mod line;

use std::{
    fs::File,
    io::{self, Write as _},
    path::PathBuf,
};

use helium_containerpilot::config::{LogFormat, LogLevel, LogOutput, Logging};
use helium_runtime::ports::Ports;
use tokio::sync::{mpsc, oneshot};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

pub use self::jobs::Names;
use self::line::Lines;

/// The variable that says which log lines there are, whatever the file says.
const VARIABLE: &str = "HELIUM_LOG";
/// How many lines may wait to be written.
const WAITING: usize = 1024;

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file cannot be opened.
    #[error("logging.output: cannot open `{}`: {source}", path.display())]
    Output {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The filter cannot be read.
    #[error("{VARIABLE} cannot be read: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// There is a log already, or no thread for it.
    #[error("the log cannot be started: {0}")]
    Start(String),
}

enum Message {
    Line(Vec<u8>),
    Reopen,
    Flush(oneshot::Sender<()>),
}

/// The log of this process; cheap to clone.
#[derive(Clone)]
pub struct Log {
    queue: mpsc::Sender<Message>,
    format: LogFormat,
    ports: Ports,
}

impl Log {
    /// Starts the log of the process.
    ///
    /// # Errors
    /// There is one already; the file cannot be opened, or [`VARIABLE`] not be read.
    pub fn start(logging: &Logging, ports: Ports) -> Result<Self, LogError> {
        let filter = match std::env::var(VARIABLE).ok().filter(|value| !value.is_empty()) {
            Some(value) => EnvFilter::try_new(value)?,
            None => EnvFilter::try_new(usual(logging.level))?,
        };
        let log = Self::writing(logging, ports)?;
        let layer = Lines(log.clone());
        let started = tracing_subscriber::registry().with(filter).with(layer).try_init();
        started.map_err(|error| LogError::Start(error.to_string()))?;
        Ok(log)
    }

    /// A log that nothing of this process goes to by itself.
    fn writing(logging: &Logging, ports: Ports) -> Result<Self, LogError> {
        let (queue, messages) = mpsc::channel(WAITING);
        let sink = Sink::open(&logging.output)?;
        let thread = std::thread::Builder::new().name("log".to_owned());
        thread.spawn(move || write(sink, messages)).map_err(|error| LogError::Start(error.to_string()))?;
        Ok(Self { queue, format: logging.format, ports })
    }

    /// Opens a file again, whose name may be another file's by now.
    pub async fn reopen(&self) {
        let _ = self.queue.send(Message::Reopen).await;
    }

    /// Waits until all that was said so far is written.
    pub async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.queue.send(Message::Flush(done)).await.is_ok() {
            let _ = written.await;
        }
    }
}

/// The lines of each level. What a supervisor says at every check is for whoever looks for something.
fn usual(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Debug => "debug,hyper=info,hyper_util=info,consul_client=info",
        LogLevel::Info => "info,helium_supervisor=warn",
        LogLevel::Warn => "warn",
        LogLevel::Error | LogLevel::Fatal | LogLevel::Panic => "error",
    }
}

enum Sink {
    Stdout,
    Stderr,
    File(PathBuf, File),
}

impl Sink {
    fn open(output: &LogOutput) -> Result<Self, LogError> {
        Ok(match output {
            LogOutput::Stdout => Self::Stdout,
            LogOutput::Stderr => Self::Stderr,
            LogOutput::File(path) => {
                let path = PathBuf::from(path);
                let file = append(&path).map_err(|source| LogError::Output { path: path.clone(), source })?;
                Self::File(path, file)
            }
        })
    }

    /// A file that cannot be opened again is written on as it is.
    fn reopen(&mut self) {
        if let Self::File(path, file) = self
            && let Ok(fresh) = append(path)
        {
            *file = fresh;
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => io::stdout().lock().write_all(bytes).and_then(|()| io::stdout().flush()),
            Self::Stderr => io::stderr().lock().write_all(bytes),
            Self::File(_, file) => file.write_all(bytes),
        }
    }
}

fn append(path: &PathBuf) -> io::Result<File> {
    File::options().create(true).append(true).open(path)
}

/// The thread that writes. What cannot be written is lost: there is nobody to tell.
fn write(mut sink: Sink, mut messages: mpsc::Receiver<Message>) {
    while let Some(message) = messages.blocking_recv() {
        match message {
            Message::Line(bytes) => {
                let _ = sink.write(&bytes);
            }
            Message::Reopen => sink.reopen(),
            Message::Flush(done) => {
                let _ = done.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use tokio::{io::AsyncWriteExt as _, sync::watch};

    use super::*;

    fn to(path: &Path, format: LogFormat) -> Log {
        let output = LogOutput::File(path.to_str().unwrap().to_owned());
        Log::writing(&Logging { level: LogLevel::Info, format, output }, Ports::real()).unwrap()
    }

    async fn printed(format: LogFormat) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = to(&path, format);
        let (_names, names) = watch::channel(BTreeSet::from(["app".to_owned()]));
        let (mut output, copied) = log.of_jobs(names);
        output.write_all(b"[app] it \"runs\"\n[INFO] raw words\nmore of them").await.unwrap();
        drop(output);
        copied.await.unwrap();
        log.flush().await;
        fs::read_to_string(&path).unwrap()
    }

    #[tokio::test]
    async fn lines_of_jobs_are_wrapped_and_raw_ones_are_as_they_were() {
        let raw = "[INFO] raw words\nmore of them";
        let text = printed(LogFormat::Default).await;
        assert!(text.lines().next().unwrap().ends_with("Z [app] it \"runs\""), "{text}");
        assert!(text.ends_with(raw), "{text}");
        let text = printed(LogFormat::Text).await;
        let first = text.lines().next().unwrap();
        assert!(
            first.starts_with("time=\"") && first.ends_with("level=info msg=\"it \\\"runs\\\"\" job=app"),
            "{first}"
        );
        assert!(text.ends_with(raw), "{text}");
        let text = printed(LogFormat::Json).await;
        let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!((first["job"].as_str(), first["msg"].as_str()), (Some("app"), Some("it \"runs\"")));
        assert_eq!(first["level"], "info");
        assert!(text.ends_with(raw), "{text}");
    }

    #[tokio::test]
    async fn a_file_that_was_moved_away_is_opened_anew_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = to(&path, LogFormat::Default);
        let say = |words: &'static [u8]| log.queue.send(Message::Line(words.to_vec()));
        say(b"one\n").await.unwrap();
        log.flush().await;
        fs::rename(&path, folder.path().join("old")).unwrap();
        say(b"two\n").await.unwrap();
        log.reopen().await;
        say(b"three\n").await.unwrap();
        log.flush().await;
        assert_eq!(fs::read_to_string(folder.path().join("old")).unwrap(), "one\ntwo\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let output = LogOutput::File("/does/not/exist/log".to_owned());
        let logging = Logging { level: LogLevel::Info, format: LogFormat::Json, output };
        let error = Log::writing(&logging, Ports::real()).err().unwrap().to_string();
        assert!(error.starts_with("logging.output: cannot open `/does/not/exist/log`"), "{error}");
    }
}
