//! A very small HTTP client: the tests' own eyes, so that they do not see through the client that they test.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;

/// The longest that one request may take; no test of the harness uses blocking reads.
const TIMEOUT: Duration = Duration::from_secs(10);

/// An HTTP server on this machine, and the Consul token to show to it.
#[derive(Clone, Debug)]
pub struct Http {
    address: SocketAddr,
    token: Option<String>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The body as it came.
    pub body: Vec<u8>,
}

impl Response {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; `null` where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

impl Http {
    /// A server on a port of the loopback interface.
    pub fn on(port: u16) -> Self {
        Self { address: SocketAddr::from(([127, 0, 0, 1], port)), token: None }
    }

    /// The same server, spoken to with a Consul token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// One request. HTTP/1.0, so that the answer ends with the connection and never comes in chunks.
    pub fn request(&self, method: &str, path: &str, body: &[u8]) -> io::Result<Response> {
        let mut stream = TcpStream::connect_timeout(&self.address, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let token = self.token.as_ref().map(|token| format!("X-Consul-Token: {token}\r\n")).unwrap_or_default();
        let length = body.len();
        write!(stream, "{method} {path} HTTP/1.0\r\nHost: localhost\r\n{token}Content-Length: {length}\r\n\r\n")?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        parse(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not an HTTP answer"))
    }

    /// `GET path`.
    pub fn get(&self, path: &str) -> io::Result<Response> {
        self.request("GET", path, &[])
    }

    /// `GET path` as JSON; `null` when the answer is none or not 200.
    pub fn json(&self, path: &str) -> Value {
        match self.get(path) {
            Ok(response) if response.status == 200 => response.json(),
            _ => Value::Null,
        }
    }

    /// `PUT path`; panics when the answer is not 200.
    #[track_caller]
    pub fn put(&self, path: &str, body: impl AsRef<[u8]>) -> Response {
        let response = self.request("PUT", path, body.as_ref()).unwrap();
        assert_eq!(response.status, 200, "PUT {path}: {}", response.text());
        response
    }

    /// `DELETE path`; panics when the answer is not 200.
    #[track_caller]
    pub fn delete(&self, path: &str) -> Response {
        let response = self.request("DELETE", path, &[]).unwrap();
        assert_eq!(response.status, 200, "DELETE {path}: {}", response.text());
        response
    }
}

fn parse(answer: &[u8]) -> Option<Response> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Response { status, body: answer[end + 4..].to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_cut_after_its_head() {
        let response = parse(b"HTTP/1.0 404 Not Found\r\nX-Consul-Index: 7\r\n\r\n{\"a\": 1}").unwrap();
        assert_eq!(response.status, 404);
        assert_eq!(response.json()["a"], 1);
        assert!(parse(b"HTTP/1.0 200 OK\r\n").is_none());
    }
}
