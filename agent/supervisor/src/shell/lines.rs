//! What processes print, line by line with the name of their job, through one writer.
//!
//! One task writes, so that no line of one job is torn by another's. Its queue is bounded: who prints faster than is read waits in its own pipe
//! and holds nobody else up but through the writer itself. A writer that fails is told of once, and what is printed from there on is lost.

use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader},
    sync::mpsc,
    task::JoinHandle,
};

/// A longer line is cut into several.
const LONGEST: u64 = 16 * 1024;
/// How many lines may wait for the writer.
const WAITING: usize = 64;

/// The way to the writer; cheap to clone. The writer ends when the last one is dropped.
#[derive(Clone)]
pub(crate) struct Lines(mpsc::Sender<Vec<u8>>);

/// Starts the writer.
pub(crate) fn writer(mut sink: Box<dyn AsyncWrite + Send + Unpin>) -> (Lines, JoinHandle<()>) {
    let (sender, mut lines) = mpsc::channel::<Vec<u8>>(WAITING);
    let task = tokio::spawn(async move {
        let mut broken = false;
        while let Some(line) = lines.recv().await {
            if broken {
                continue;
            }
            let flush = lines.is_empty();
            let mut written = sink.write_all(&line).await;
            if written.is_ok() && flush {
                written = sink.flush().await;
            }
            if let Err(error) = written {
                tracing::warn!(%error, "what jobs print can no longer be written");
                broken = true;
            }
        }
        let _ = sink.flush().await;
    });
    (Lines(sender), task)
}

impl Lines {
    /// Copies an output to its end.
    pub(crate) async fn copy(self, name: &str, output: impl AsyncRead + Unpin) {
        let mut output = BufReader::new(output);
        loop {
            let mut line = format!("[{name}] ").into_bytes();
            let read = (&mut output).take(LONGEST).read_until(b'\n', &mut line).await;
            if !matches!(read, Ok(1..)) {
                break;
            }
            if line.last() != Some(&b'\n') {
                line.push(b'\n');
            }
            self.write(line).await;
        }
    }

    /// Writes bytes as they are, in one piece.
    pub(crate) async fn write(&self, bytes: Vec<u8>) {
        let _ = self.0.send(bytes).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn copied(output: &[u8]) -> String {
        let (sink, mut source) = tokio::io::duplex(1 << 20);
        let (lines, task) = writer(Box::new(sink));
        lines.copy("app", output).await;
        task.await.unwrap();
        let mut text = String::new();
        source.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn each_line_bears_the_name_of_its_job_and_the_last_one_is_ended() {
        assert_eq!(copied(b"one\n\ntwo").await, "[app] one\n[app] \n[app] two\n");
        assert_eq!(copied(b"").await, "");
    }

    #[tokio::test]
    async fn a_line_without_end_is_cut_and_fills_no_memory() {
        let text = copied(&vec![b'x'; 40_000]).await;
        assert_eq!(text.lines().map(str::len).collect::<Vec<_>>(), [16_390, 16_390, 7_238]);
    }

    #[tokio::test]
    async fn a_writer_that_fails_holds_no_job_up() {
        let (sink, source) = tokio::io::duplex(1);
        drop(source);
        let (lines, task) = writer(Box::new(sink));
        lines.copy("app", "line\n".repeat(1000).as_bytes()).await;
        task.await.unwrap();
    }
}
