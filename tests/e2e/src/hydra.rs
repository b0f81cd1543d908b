//! A small server on loopback that answers as Hydra does about one job: `p`, `main`, `web`.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use serde_json::json;

/// How long one request may take to come in.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A Hydra; ends when it is dropped.
#[derive(Debug)]
pub struct Hydra {
    port: u16,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// The builds that have succeeded, each with the last part of its path, or with the whole of it.
    builds: Mutex<BTreeMap<u64, String>>,
    /// The `Authorization` that it wants.
    wants: String,
    asked: AtomicUsize,
    ends: AtomicBool,
}

impl Hydra {
    /// Listens on a port of the loopback interface, and answers whoever sends this `Authorization`, or anybody if it is empty.
    #[track_caller]
    pub fn on(port: u16, wants: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let shared = Arc::new(Shared { wants: wants.to_owned(), ..Shared::default() });
        let known = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if known.ends.load(Ordering::SeqCst) {
                    return;
                }
                // Who breaks off asks again.
                let _answered = stream.and_then(|stream| answer(stream, &known));
            }
        });
        Self { port, shared, thread: Some(thread) }
    }

    /// The address of the job.
    pub fn job(&self) -> String {
        format!("http://127.0.0.1:{}/job/p/main/web", self.port)
    }

    /// A build has succeeded; gives the last part of its path in the store.
    pub fn builds(&self, build: u64, name: &str) -> String {
        let base = format!("{build:032}-{name}");
        self.built(build, &base);
        base
    }

    /// A build of this last part of a path in the store, or of this whole path, has succeeded.
    pub fn built(&self, build: u64, base: &str) {
        self.shared.builds.lock().unwrap_or_else(PoisonError::into_inner).insert(build, base.to_owned());
    }

    /// How often it was asked anything.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Hydra {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::SeqCst);
        // It waits for a connection; this is one.
        let woken = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take().filter(|_| woken.is_ok()) {
            let _ended = thread.join();
        }
    }
}

fn answer(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while reader.read_line(&mut head)? > 2 {}
    shared.asked.fetch_add(1, Ordering::SeqCst);
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let is_known = shared.wants.is_empty()
        || head.lines().any(|line| {
            line.split_once(": ")
                .is_some_and(|(name, value)| name.eq_ignore_ascii_case("authorization") && value.trim() == shared.wants)
        });
    let (status, more, body) =
        if is_known { says(&path, shared) } else { ("401 Unauthorized", String::new(), String::new()) };
    let length = body.len();
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{more}\r\n{body}");
    reader.into_inner().write_all(answer.as_bytes())
}

/// The status, further headers and the body.
fn says(path: &str, shared: &Shared) -> (&'static str, String, String) {
    let builds = shared.builds.lock().unwrap_or_else(PoisonError::into_inner);
    let nothing = ("404 Not Found", String::new(), r#"{"error":"not found"}"#.to_owned());
    if path == "/job/p/main/web/latest" {
        let newest = builds.keys().last();
        return newest.map_or(nothing, |build| ("302 Found", format!("Location: /build/{build}\r\n"), String::new()));
    }
    let number = path.strip_prefix("/build/").and_then(|number| number.parse::<u64>().ok());
    let Some((build, base)) = number.and_then(|number| builds.get_key_value(&number)) else { return nothing };
    let path = if base.starts_with('/') { base.clone() } else { format!("/nix/store/{base}") };
    let outputs = json!({ "out": { "path": path } });
    let body = json!({ "id": build, "job": "web", "finished": 1, "buildstatus": 0, "buildoutputs": outputs });
    ("200 OK", String::new(), body.to_string())
}
