//! Secrets: sent to one server, and told to nobody.

use std::{
    fs, io,
    sync::{Arc, Mutex},
};

use consul_client::Put;
use helium_crds::event::{EventReason, Severity};

use crate::{World, receiver::Receiver};

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
async fn an_address_and_a_token_that_are_secrets_are_sent_and_in_no_log() {
    let log = Log::default();
    let kept = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || kept.clone());
    // While there is a single subscriber, tracing asks that of whichever thread comes to a line first, and other tests' threads have none.
    let _another = tracing::Dispatch::new(tracing_subscriber::fmt().with_writer(io::sink).finish());
    let logging = tracing::subscriber::set_default(subscriber.finish());
    let folder = tempfile::tempdir().unwrap();
    let (refusing, failing) = (Receiver::answering(&[403]).await, Receiver::answering(&[503]).await);
    fs::write(folder.path().join("slack"), refusing.url("/services/T0S3CRET/B0S3CRET/XXS3CRETXX\n")).unwrap();
    let settings = format!(
        "notifications:\n  - {{name: chat, webhook: {{urlFrom: {{file: slack}}, format: slack}}}}\n  \
         - {{name: pager, webhook: {{url: \"{}\", auth: {{bearer: {{kv: pager}}}}}}}}\n  - {{name: lost, webhook: {{urlFrom: {{kv: nothing}}}}}}\n",
        failing.url("/"),
    );
    let world = World::new(&settings, Some(folder.path().to_owned()));
    world.consul.kv_put("helium/v1/secret/pager", "t0k3n-S3CRET", &Put::default()).await.unwrap();
    world.announce(Severity::Warning, EventReason::RolloutAborted, "2.0.0 was given up");
    world.until_counted("chat", "failed", 1).await;
    world.until_counted("lost", "failed", 1).await;
    world.until_counted("pager", "sent", 1).await;
    drop(logging);

    assert_eq!(refusing.told()[0].path, "/services/T0S3CRET/B0S3CRET/XXS3CRETXX");
    assert_eq!(failing.told()[0].headers["authorization"], "Bearer t0k3n-S3CRET");
    let said = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for words in [
        "given up name=\"chat\" reason=\"RolloutAborted\" tries=1",
        "posted again name=\"pager\"",
        "403 Forbidden",
        "(hidden)",
        "the key helium/v1/secret/nothing, which holds the secret, is not there",
    ] {
        assert!(said.contains(words), "{words:?} is missing\n{said}");
    }
    assert!(!said.contains("S3CRET"), "{said}");
}
