//! A receiver of webhooks on loopback: takes whatever is posted, and keeps it.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use serde_json::Value;

/// How long one request may take to come in.
const TIMEOUT: Duration = Duration::from_secs(10);

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub struct Letter {
    /// What it was posted to.
    pub path: String,
    /// Its headers as they came, each on a line.
    pub head: String,
    /// Its body as JSON; `null` where it is none.
    pub body: Value,
}

/// A server that answers 200 to everything; ends when it is dropped.
#[derive(Debug)]
pub struct Inbox {
    port: u16,
    letters: Arc<Mutex<Vec<Letter>>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Inbox {
    /// Listens on a port of the loopback interface.
    #[track_caller]
    pub fn on(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let (letters, ends) = (Arc::<Mutex<Vec<Letter>>>::default(), Arc::new(AtomicBool::new(false)));
        let (kept, ended) = (Arc::clone(&letters), Arc::clone(&ends));
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                // A request that breaks off is nobody's letter.
                if let Ok(letter) = stream.and_then(take) {
                    kept.lock().unwrap_or_else(PoisonError::into_inner).push(letter);
                }
            }
        });
        Self { port, letters, ends, thread: Some(thread) }
    }

    /// All that has come in.
    pub fn letters(&self) -> Vec<Letter> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        // It waits for a connection; this is one.
        let woken = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take().filter(|_| woken.is_ok()) {
            let _ended = thread.join();
        }
    }
}

/// Reads one request and takes it.
fn take(stream: TcpStream) -> io::Result<Letter> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        head.push_str(&line);
    }
    let mut body = Vec::new();
    reader.by_ref().take(length).read_to_end(&mut body)?;
    reader.into_inner().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")?;
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    Ok(Letter { path, head, body: serde_json::from_slice(&body).unwrap_or(Value::Null) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Http, ports};

    #[test]
    fn what_is_posted_is_kept_in_its_order() {
        let port = ports::free();
        let inbox = Inbox::on(port);
        for number in 0..2 {
            let answer = Http::on(port).request("POST", &format!("/{number}"), b"{\"a\": 1}").unwrap();
            assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
        }
        let letters = inbox.letters();
        assert_eq!(
            (letters[0].path.as_str(), letters[1].path.as_str(), &letters[1].body["a"]),
            ("/0", "/1", &1.into())
        );
        drop(inbox);
        drop(Inbox::on(port));
    }
}
