//! HTTPS: whom this machine trusts is whom a package may come from.

use std::{env, path::Path, process::Command, sync::Arc};

use helium_packages::{
    fetch::{Config, Error, Fetcher},
    source::Source,
};
use helium_runtime::ports::Ports;
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

/// A server of HTTPS, whose certificate is written to `certificate`.
async fn serve(certificate: &Path) -> u16 {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(certificate, own.cert.pem()).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(vec![own.cert.der().clone()], key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that does not trust the certificate says so in the middle of this.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            let _ = stream.shutdown().await;
        }
    });
    port
}

/// Certificates are named by the environment, which is a process's own: the test runs itself again in another one.
#[tokio::test]
async fn only_a_certificate_that_this_machine_trusts_is_believed() {
    let scratch = TempDir::new().unwrap();
    let (trusted, other) = (scratch.path().join("trusted.pem"), scratch.path().join("other.pem"));
    let port = serve(&trusted).await;
    serve(&other).await;
    for (file, outcome) in [(&trusted, "it came"), (&other, "it was refused")] {
        let mut again = tokio::process::Command::from(Command::new(env::current_exe().unwrap()));
        again
            .args(["--exact", "trust::inside", "--ignored", "--nocapture"])
            .env("SSL_CERT_FILE", file)
            .env_remove("SSL_CERT_DIR");
        let output = again.env("HELIUM_INSIDE", port.to_string()).output().await.unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && said.contains(outcome), "{said}");
    }
}

#[tokio::test]
#[ignore = "runs in the environment that the test above makes"]
async fn inside() {
    let Ok(port) = env::var("HELIUM_INSIDE") else { return };
    let scratch = TempDir::new().unwrap();
    let source: Source = format!("https://localhost:{port}/p.tgz").parse().unwrap();
    let fetcher = Fetcher::new(Config { retries: 0, ..Config::default() }, Ports::real());
    match fetcher.fetch(source.place(), &scratch.path().join("p")).await {
        Ok(()) => eprintln!("it came"),
        Err(Error::Lost { reason, .. }) if reason.contains("certificate") => eprintln!("it was refused: {reason}"),
        Err(error) => panic!("{error}"),
    }
}
