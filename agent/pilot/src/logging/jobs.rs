//! What jobs print, in the log: each line in the log's form, and raw output as it is.

use std::collections::BTreeSet;

use tokio::{
    io::{AsyncBufReadExt as _, BufReader, DuplexStream},
    sync::watch,
    task::JoinHandle,
};

use super::{Log, Message, line::line};

/// The names of the jobs: what begins with one of them in brackets is a line of that job.
pub type Names = watch::Receiver<BTreeSet<String>>;

/// How many bytes may wait between the jobs and the log.
const BETWEEN: usize = 64 * 1024;

impl Log {
    /// Where a supervisor is to write what its jobs print, and the task that brings it into the log, which ends with it.
    pub fn of_jobs(&self, names: Names) -> (DuplexStream, JoinHandle<()>) {
        let (output, source) = tokio::io::duplex(BETWEEN);
        let log = self.clone();
        let task = tokio::spawn(async move {
            let mut source = BufReader::new(source);
            let mut bytes = Vec::new();
            while let Ok(1..) = source.read_until(b'\n', &mut bytes).await {
                let line = log.of_job(std::mem::take(&mut bytes), &names);
                if log.queue.send(Message::Line(line)).await.is_err() {
                    return;
                }
            }
        });
        (output, task)
    }

    fn of_job(&self, bytes: Vec<u8>, names: &Names) -> Vec<u8> {
        let text = String::from_utf8_lossy(&bytes);
        let parts = text.strip_prefix('[').and_then(|rest| rest.split_once("] "));
        let Some((name, message)) = parts.filter(|(name, _)| names.borrow().contains(*name)) else {
            return bytes;
        };
        let fields = [("job".to_owned(), name.to_owned())];
        line(self.format, self.ports.now(), "info", message.trim_end_matches('\n'), &fields).into_bytes()
    }
}
