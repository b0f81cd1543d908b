//! A small real HTTP server for one file, which breaks off when it is told to.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

/// What it serves, and how.
#[derive(Clone, Default)]
pub(crate) struct Serving {
    pub(crate) bytes: Vec<u8>,
    pub(crate) etag: String,
    /// After how many bytes each answer breaks off; 0 if none does.
    pub(crate) breaks_after: usize,
    /// The `Authorization` that it wants.
    pub(crate) wants: Option<String>,
    /// Where it sends its clients instead.
    pub(crate) leads_to: Option<String>,
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) serving: Arc<Mutex<Serving>>,
    /// The header lines of each request.
    pub(crate) heard: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Serves until the test's runtime ends.
    pub(crate) async fn start(serving: Serving) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (serving, heard) = (Arc::new(Mutex::new(serving)), Arc::new(Mutex::new(Vec::new())));
        let server = Self { address, serving: Arc::clone(&serving), heard: Arc::clone(&heard) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (serving, heard) = (Arc::clone(&serving), Arc::clone(&heard));
                tokio::spawn(async move { drop(answer(stream, &serving, &heard).await) });
            }
        });
        server
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

async fn answer(stream: TcpStream, serving: &Mutex<Serving>, heard: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut request = String::new();
    while stream.read_line(&mut request).await? > 2 {}
    heard.lock().unwrap().push(request.clone());
    let serving = serving.lock().unwrap().clone();
    let header = |name: &str| {
        let lines = request.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    if let Some(to) = &serving.leads_to {
        let moved = format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
        return stream.write_all(moved.as_bytes()).await;
    }
    if serving.wants.is_some() && header("authorization") != serving.wants {
        return stream.write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n").await;
    }
    let same = header("if-range").as_ref() == Some(&serving.etag);
    let from = header("range")
        .filter(|_| same)
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let (status, range) = match from {
        Some(from) => ("206 Partial Content", format!("content-range: bytes {from}-/{}\r\n", serving.bytes.len())),
        None => ("200 OK", String::new()),
    };
    let rest = &serving.bytes[from.unwrap_or(0)..];
    let answer =
        format!("HTTP/1.1 {status}\r\netag: {}\r\n{range}content-length: {}\r\n\r\n", serving.etag, rest.len());
    stream.write_all(answer.as_bytes()).await?;
    let most = if serving.breaks_after == 0 { rest.len() } else { rest.len().min(serving.breaks_after) };
    stream.write_all(&rest[..most]).await
}
