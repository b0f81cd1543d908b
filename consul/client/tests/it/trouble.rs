//! Servers that misbehave, and what the client makes of it.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use consul_client::{Client, Config, Error, Put, Read};
use flate2::{Compression, write::GzEncoder};
use http::{Response, StatusCode, header};

use crate::server::Server;

fn client(port: u16) -> Client {
    let address = format!("127.0.0.1:{port}").parse().unwrap();
    Client::new(Config { request_timeout: Duration::from_millis(500), ..Config::at(address) }).unwrap()
}

/// Accepts connections one after another; each gets the next of `answers` once its request has come, and is then closed.
fn raw(answers: Vec<&'static str>) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            request(&mut stream);
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (port, serving)
}

/// Reads one request with a body of one byte, or with none.
fn request(stream: &mut TcpStream) {
    let (mut seen, mut byte) = (Vec::new(), [0]);
    while !seen.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        seen.push(byte[0]);
    }
    if String::from_utf8(seen).unwrap().to_lowercase().contains("content-length: 1\r\n") {
        stream.read_exact(&mut byte).unwrap();
    }
}

async fn put(port: u16) -> Result<bool, Error> {
    client(port).kv_put("a", "1", &Put::default()).await
}

#[tokio::test]
async fn a_refused_connection_is_unreachable_and_not_ambiguous() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let lost = put(port).await.unwrap_err();
    assert!(lost.is_unreachable() && !lost.is_ambiguous(), "{lost}");
}

#[tokio::test]
async fn a_write_without_a_whole_answer_is_ambiguous() {
    let broken = ["", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ntr", "no HTTP at all\r\n\r\n"];
    for answer in broken {
        let (port, serving) = raw(vec![answer]);
        let lost = put(port).await.unwrap_err();
        assert!(lost.is_ambiguous() && lost.is_unreachable(), "{answer:?}: {lost}");
        serving.join().unwrap();
    }
}

#[tokio::test]
async fn a_silent_server_is_given_up_at_the_deadline() {
    let server = Server::start(None, |_| std::future::pending::<Response<Bytes>>()).await;
    let lost = put(server.port).await.unwrap_err();
    assert!(matches!(lost, Error::Timeout { .. }) && lost.is_ambiguous(), "{lost}");
}

#[tokio::test]
async fn a_connection_that_the_server_closed_while_idle_is_replaced() {
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue";
    let (port, serving) = raw(vec![ok, ok]);
    let client = client(port);
    assert!(client.kv_put("a", "1", &Put::default()).await.unwrap());
    // The second write finds the first connection closed: it was never sent there, so it may go over a new one.
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(client.kv_put("a", "2", &Put::default()).await.unwrap());
    serving.join().unwrap();
}

#[tokio::test]
async fn a_read_that_lost_its_kept_connection_is_asked_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = std::thread::spawn(move || {
        let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]";
        let (mut first, _) = listener.accept().unwrap();
        request(&mut first);
        first.write_all(ok).unwrap();
        // Takes the second request in and hangs up without a word.
        request(&mut first);
        drop(first);
        let (mut second, _) = listener.accept().unwrap();
        request(&mut second);
        second.write_all(ok).unwrap();
    });
    let client = client(port);
    for _ in 0..2 {
        assert!(client.kv_list("a/", &Read::default()).await.unwrap().value.is_empty());
    }
    serving.join().unwrap();
}

#[tokio::test]
async fn compressed_answers_are_asked_for_where_they_pay_and_unpacked() {
    let server = Server::start(None, |request| async move {
        if !request.headers().contains_key(header::ACCEPT_ENCODING) {
            return Response::new(Bytes::from_static(b"[]"));
        }
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(br#"["a/1","a/2"]"#).unwrap();
        let mut answer = Response::new(Bytes::from(packed.finish().unwrap()));
        answer.headers_mut().insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
        answer.headers_mut().insert("x-consul-index", "7".parse().unwrap());
        answer
    })
    .await;
    let nearby = Config::at(consul_client::Address::Http { host: "127.0.0.1".to_owned(), port: server.port });
    let afar = Config { gzip: Some(true), ..nearby.clone() };
    let reply = Client::new(afar).unwrap().kv_keys("a/", None, &Read::default()).await.unwrap();
    assert_eq!((reply.value.len(), reply.meta.index), (2, 7));
    let reply = Client::new(nearby).unwrap().kv_keys("a/", None, &Read::default()).await.unwrap();
    assert!(reply.value.is_empty(), "it was asked for on this machine");
    for (address, local) in
        [("http://10.0.0.7:8500", false), ("http://[::1]:8500", true), ("https://consul:8501", false)]
    {
        assert_eq!(address.parse::<consul_client::Address>().unwrap().is_local(), local, "{address}");
    }
}

#[tokio::test]
async fn a_broken_compression_is_no_answer() {
    let server = Server::start(None, |_| async {
        let mut answer = Response::new(Bytes::from_static(b"not gzip"));
        answer.headers_mut().insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
        answer
    })
    .await;
    let lost = client(server.port).kv_list("a/", &Read::default()).await.unwrap_err();
    assert!(matches!(lost, Error::Transport { .. }), "{lost}");
}

#[tokio::test]
async fn a_missing_page_is_not_a_missing_key() {
    let server = Server::start(None, |_| async {
        let mut answer = Response::new(Bytes::from_static(b"404 page not found"));
        *answer.status_mut() = StatusCode::NOT_FOUND;
        answer
    })
    .await;
    let lost = client(server.port).kv_list("a/", &Read::default()).await.unwrap_err();
    assert!(matches!(lost, Error::NotFound { .. }), "{lost}");
}

#[tokio::test]
async fn an_answer_that_is_not_json_is_named_as_such() {
    let server = Server::start(None, |_| async { Response::new(Bytes::from_static(b"<html>")) }).await;
    let lost = client(server.port).kv_list("a/", &Read::default()).await.unwrap_err();
    assert!(matches!(lost, Error::Decode { .. }), "{lost}");
}
