//! Secrets: found where they were put aside and nowhere else, sent to one server, and told to nobody.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::Path,
    sync::{Arc, Mutex},
};

use helium_crds::secret::{BasicAuth, HeaderAuth};

use super::*;
use crate::server::{Server, answer};

fn query(url: &str, auth: Auth) -> Query {
    Query::Http(HttpJson { auth: Some(auth), ..http(url) })
}

fn file(name: &str) -> SecretRef {
    SecretRef::File(name.to_owned())
}

fn env(name: &str) -> SecretRef {
    SecretRef::Env(name.to_owned())
}

fn kv(name: &str) -> SecretRef {
    SecretRef::Kv(name.to_owned())
}

fn in_folder(folder: &Path) -> World {
    World::with(Some(folder.to_owned()), RootCertStore::empty())
}

#[tokio::test]
async fn a_secret_is_found_in_a_file_a_variable_and_a_key_at_each_request() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::says(200, r#"{"n": 1}"#).await;
    let world = in_folder(folder.path());
    fs::write(folder.path().join("token"), "  one\n").unwrap();
    world.put("helium/v1/secret/team/token", "two").await;
    let url = server.url("/");
    for (auth, header, sent) in [
        (Auth::Bearer(file("token")), "authorization", "Bearer one"),
        (Auth::Bearer(kv("team/token")), "authorization", "Bearer two"),
        (
            Auth::Header(HeaderAuth { name: "X-Api-Key".to_owned(), value: env("HELIUM_SECRET_TOKEN") }),
            "x-api-key",
            SECRET,
        ),
        // The example of RFC 7617.
        (
            Auth::Basic(BasicAuth { username: "Aladdin".to_owned(), password: file("password") }),
            "authorization",
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
        ),
    ] {
        fs::write(folder.path().join("password"), "open sesame").unwrap();
        assert_eq!(world.look(query(&url, auth)).await, value(1.0));
        assert_eq!(server.last().headers()[header], sent);
    }
    fs::write(folder.path().join("token"), "three").unwrap();
    world.look(query(&url, Auth::Bearer(file("token")))).await;
    assert_eq!(server.last().headers()["authorization"], "Bearer three");
}

#[tokio::test]
async fn a_secret_that_is_not_where_secrets_are_is_not_found_and_nothing_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let secrets = folder.path().join("secrets");
    fs::create_dir_all(secrets.join("folder")).unwrap();
    fs::write(folder.path().join("outside"), "no").unwrap();
    fs::write(secrets.join("empty"), "\n").unwrap();
    fs::write(secrets.join("binary"), [0xff, 0xfe]).unwrap();
    fs::write(secrets.join("lines"), "one\ntwo").unwrap();
    fs::write(secrets.join("large"), "x".repeat(64 * 1024 + 1)).unwrap();
    symlink(folder.path().join("outside"), secrets.join("link")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, secrets.join("pipe"), rustix::fs::Mode::RWXU).unwrap();
    let server = Server::says(200, r#"{"n": 1}"#).await;
    let world = in_folder(&secrets);
    for (secret, reason) in [
        (file("../outside"), "is not the plain name of a file"),
        (file(".."), "is not the plain name of a file"),
        (file("nothing"), "is not there"),
        (file("folder"), "it is no regular file"),
        (file("pipe"), "it is no regular file"),
        (file("link"), "links are not followed"),
        (file("large"), "it is larger than 64 KiB"),
        (file("binary"), "it is no UTF-8 text"),
        (file("empty"), "is empty"),
        (file("lines"), "a secret is one line of text"),
        (env("HOME"), "is not there"),
        (env("HELIUM_SECRET_NONE"), "is empty"),
        (kv("nothing"), "the key helium/v1/secret/nothing, which holds the secret, is not there"),
        (kv("../layout"), "cannot be read"),
    ] {
        let why = world.why(query(&server.url("/"), Auth::Bearer(secret.clone()))).await;
        assert!(why.contains(reason), "{secret:?}: {why}");
    }
    let why = World::new().why(query(&server.url("/"), Auth::Bearer(file("token")))).await;
    assert!(why.contains("--secrets-dir"), "{why}");
    assert_eq!(server.count(), 0);
}

#[tokio::test]
async fn a_secret_that_a_server_says_back_is_in_no_answer_of_ours() {
    // The whole head of the request comes back, in plain text, in JSON, and as a document of another form than was promised.
    let echo = |status: u16, as_json: bool| {
        move |_, request: http::Request<bytes::Bytes>| {
            let said = request.headers()["authorization"].to_str().unwrap().to_owned();
            let body = if as_json { format!("{{\"n\": {said:?}}}") } else { format!("who is {said}?") };
            std::future::ready(answer(status, &body))
        }
    };
    let world = World::new();
    for auth in [
        Auth::Bearer(env("HELIUM_SECRET_TOKEN")),
        Auth::Basic(BasicAuth { username: "me".to_owned(), password: env("HELIUM_SECRET_TOKEN") }),
    ] {
        for (status, as_json) in [(401, false), (401, true), (200, false), (200, true), (503, true)] {
            let server = Server::start(None, echo(status, as_json)).await;
            let why = world.why(query(&server.url("/"), auth.clone())).await;
            let mut texts = vec![why.clone()];
            let asked = Prometheus { auth: Some(auth.clone()), ..prometheus(&server.url("")) };
            texts.push(world.why(Query::Prometheus(asked, Period::from_secs(60))).await);
            let hook = Webhook { auth: Some(auth.clone()), ..webhook(&server.url("/")) };
            texts.push(format!("{:?}", world.gate(Ask::Webhook(hook, "{}".to_owned())).await));
            assert!(why.contains("(hidden)"), "{why}");
            for text in texts {
                assert!(!text.contains("s3cret") && !text.contains("bWU6dDBw"), "{text}");
            }
        }
    }
}

#[test]
fn secrets_are_not_in_debug_output() {
    let variables = [("HELIUM_SECRET_A".to_owned(), SECRET.to_owned()), ("PATH".to_owned(), "/bin".to_owned())];
    let shown = format!("{:?}", Secrets::new(Some("/etc/helium".into()), variables));
    assert!(shown.contains("HELIUM_SECRET_A") && !shown.contains("s3cret") && !shown.contains("PATH"), "{shown}");
}

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_most_talkative_log_holds_no_secret() {
    let log = Log::default();
    let kept = log.clone();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || kept.clone());
    // While there is a single subscriber, tracing asks that of whichever thread comes to a line first, and other tests' threads have none.
    let _another = tracing::Dispatch::new(tracing_subscriber::fmt().with_writer(io::sink).finish());
    let logging = tracing::subscriber::set_default(subscriber.finish());
    let server = Server::says(503, SECRET).await;
    let world = World::new();
    world.put("helium/v1/secret/token", SECRET).await;
    for secret in [env("HELIUM_SECRET_TOKEN"), kv("token")] {
        let query = HttpJson { auth: Some(Auth::Bearer(secret)), retries: 1, ..http(&server.url("/")) };
        world.why(Query::Http(query)).await;
    }
    drop(logging);
    let said = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(said.contains("a request has failed and is made again"), "{said}");
    assert!(!said.contains("s3cret"), "{said}");
}
