//! Downloads from a real server.

use std::path::Path;

use helium_packages::{
    fetch::{Answer, Config, Error, Fetcher, Get, Netrc},
    source::Source,
};
use helium_runtime::ports::Ports;
use tempfile::TempDir;

use crate::server::{Server, Serving};

fn fetcher(config: Config) -> Fetcher {
    Fetcher::new(config, Ports::real())
}

async fn fetch(fetcher: &Fetcher, url: &str, to: &Path) -> Result<Vec<u8>, Error> {
    let source: Source = url.parse().unwrap();
    fetcher.fetch(source.place(), to).await.map(|()| std::fs::read(to).unwrap())
}

fn bytes() -> Vec<u8> {
    (0..100_000_u32).flat_map(u32::to_le_bytes).collect()
}

#[tokio::test]
async fn a_line_that_breaks_again_and_again_still_brings_it_home() {
    let serving = Serving { bytes: bytes(), etag: "\"1\"".to_owned(), breaks_after: 50_000, ..Serving::default() };
    let (server, scratch) = (Server::start(serving).await, TempDir::new().unwrap());
    let to = scratch.path().join("p");
    let got = fetch(&fetcher(Config { retries: 1, ..Config::default() }), &server.url("p.tar.gz"), &to).await.unwrap();
    assert_eq!(got, bytes());
    let heard = server.heard();
    assert!(heard.len() >= 8, "400 000 bytes, of which 50 000 come at a time: {}", heard.len());
    assert!(heard[1].to_lowercase().contains("if-range: \"1\""), "{}", heard[1]);
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1, "neither a part nor a note is left");
}

#[tokio::test]
async fn a_later_try_goes_on_and_one_for_other_bytes_starts_anew() {
    for (etag, ranged) in [("\"1\"", true), ("\"2\"", false)] {
        let serving =
            Serving { bytes: vec![1; 9000], etag: "\"1\"".to_owned(), breaks_after: 4000, ..Serving::default() };
        let (server, scratch) = (Server::start(serving).await, TempDir::new().unwrap());
        let to = scratch.path().join("p");
        let error = fetch(&fetcher(Config { retries: 0, ..Config::default() }), &server.url("p.tgz"), &to).await;
        assert!(error.unwrap_err().may_heal() && !to.exists());
        let other = if ranged { vec![1; 9000] } else { vec![2; 5000] };
        *server.serving.lock().unwrap() = Serving { bytes: other.clone(), etag: etag.to_owned(), ..Serving::default() };
        // Another process, as it were: all that is known is on the disk.
        assert_eq!(fetch(&fetcher(Config::default()), &server.url("p.tgz"), &to).await.unwrap(), other);
        assert!(server.heard()[1].to_lowercase().contains("range: bytes="), "{:?}", server.heard());
    }
}

#[tokio::test]
async fn the_login_is_of_the_netrc_file_and_in_no_message() {
    let wants = Some("Basic bWU6aHVudGVyMg==".to_owned());
    let server = Server::start(Serving { bytes: vec![1], wants, ..Serving::default() }).await;
    let scratch = TempDir::new().unwrap();
    let netrc = Netrc::read("machine 127.0.0.1 login me password hunter2");
    let (to, url) = (scratch.path().join("p"), server.url("p.tgz"));
    let known = fetcher(Config { netrc, ..Config::default() });
    assert_eq!(fetch(&known, &url, &to).await.unwrap(), [1]);
    let wrong = Config { netrc: Netrc::read("default login me password hunter3"), ..Config::default() };
    let error = fetch(&fetcher(wrong), &url, &to).await.unwrap_err();
    let told = format!("{error} {error:?} {known:?}");
    assert!(told.contains("netrc") && !told.contains("hunter"), "{told}");
}

#[tokio::test]
async fn a_redirect_is_followed_and_its_signature_is_not_told() {
    let last = Server::start(Serving { bytes: vec![7; 10], ..Serving::default() }).await;
    let leads_to = Some(last.url("x?X-Amz-Signature=hunter2"));
    let first = Server::start(Serving { leads_to, ..Serving::default() }).await;
    let scratch = TempDir::new().unwrap();
    let to = scratch.path().join("p");
    assert_eq!(fetch(&fetcher(Config::default()), &first.url("p.tgz"), &to).await.unwrap(), [7; 10]);
    let round = Serving { leads_to: Some("/p?hunter2".to_owned()), ..Serving::default() };
    *first.serving.lock().unwrap() = round;
    let error = fetch(&fetcher(Config::default()), &first.url("p.tgz"), &to).await.unwrap_err();
    assert!(matches!(error, Error::Astray { .. }) && !format!("{error:?}").contains("hunter2"), "{error}");
}

#[tokio::test]
async fn more_than_agreed_is_not_taken() {
    let server = Server::start(Serving { bytes: vec![1; 1001], ..Serving::default() }).await;
    let scratch = TempDir::new().unwrap();
    let few = fetcher(Config { most: 1000, ..Config::default() });
    let error = fetch(&few, &server.url("p.tgz"), &scratch.path().join("p")).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { most: 1000, .. }), "{error}");
}

#[tokio::test]
async fn a_small_answer_comes_into_memory_with_its_tag_and_within_its_bounds() {
    let serving = Serving { bytes: b"{}".to_vec(), etag: "\"7\"".to_owned(), ..Serving::default() };
    let server = Server::start(serving).await;
    let fetcher = Fetcher::new(Config::default(), Ports::real());
    let uri = server.url("latest").parse().unwrap();
    let get =
        Get { uri: &uri, accept: "application/json", etag: None, most: 10, limit: std::time::Duration::from_mins(1) };
    let expected = Answer::New { bytes: b"{}".to_vec(), etag: Some("\"7\"".to_owned()) };
    assert_eq!(fetcher.get(&get).await.unwrap(), expected);
    assert!(server.heard()[0].to_lowercase().contains("accept: application/json"), "{:?}", server.heard());
    let error = fetcher.get(&Get { most: 1, ..get }).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { most: 1, .. }), "{error}");
    server.serving.lock().unwrap().wants = Some("Basic x".to_owned());
    let error = fetcher.get(&get).await.unwrap_err();
    assert!(error.to_string().contains("401"), "{error}");
}
