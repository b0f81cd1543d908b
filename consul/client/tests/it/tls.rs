//! HTTPS: whom the client trusts, and how it shows who it is.

use std::{fs, path::PathBuf, sync::Arc};

use bytes::Bytes;
use consul_client::{Address, Client, Config, ConfigError, Error, Put, TlsConfig};
use http::Response;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use tempfile::TempDir;

use crate::server::Server;

/// An authority with a folder for its PEM files.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer, folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn ca(&self) -> PathBuf {
        self.file("ca.pem", &self.issuer.pem())
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        (certificate, key)
    }

    /// A server with a certificate for `name`; with `clients` it wants to see one of this authority's.
    async fn serve(&self, name: &str, clients: bool) -> Server {
        let (certificate, key) = self.issue(name);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
        let builder = if clients {
            let mut roots = RootCertStore::empty();
            roots.add(self.issuer.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        Server::start(Some(config), |_| async { Response::new(Bytes::from_static(b"true")) }).await
    }
}

async fn put(server: &Server, tls: TlsConfig) -> Result<bool, Error> {
    let address = Address::Https { host: "127.0.0.1".to_owned(), port: server.port };
    let client = Client::new(Config { tls: Some(tls), ..Config::at(address) }).unwrap();
    client.kv_put("a", "1", &Put::default()).await
}

#[tokio::test]
async fn a_server_of_the_named_authority_is_trusted_and_another_is_not() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = ours.serve("127.0.0.1", false).await;
    assert!(put(&server, TlsConfig { ca: Some(ours.ca()), ..TlsConfig::default() }).await.unwrap());
    let stranger = put(&server, TlsConfig { ca: Some(theirs.ca()), ..TlsConfig::default() }).await.unwrap_err();
    assert!(stranger.is_unreachable() && !stranger.is_ambiguous(), "{stranger}");
    assert!(stranger.to_string().contains("certificate"), "{stranger}");
}

#[tokio::test]
async fn the_name_is_verified_and_can_be_set() {
    let authority = Authority::new();
    let server = authority.serve("server.dc1.consul", false).await;
    let trusting = TlsConfig { ca: Some(authority.ca()), ..TlsConfig::default() };
    assert!(put(&server, trusting.clone()).await.is_err());
    assert!(put(&server, TlsConfig { server_name: Some("server.dc1.consul".to_owned()), ..trusting }).await.unwrap());
}

#[tokio::test]
async fn verification_can_be_switched_off() {
    let server = Authority::new().serve("elsewhere", false).await;
    assert!(put(&server, TlsConfig { verify: false, ..TlsConfig::default() }).await.unwrap());
}

#[tokio::test]
async fn a_server_that_wants_to_know_its_clients_is_shown_a_certificate() {
    let authority = Authority::new();
    let server = authority.serve("127.0.0.1", true).await;
    let (certificate, key) = authority.issue("client");
    let anonymous = TlsConfig { ca: Some(authority.ca()), ..TlsConfig::default() };
    assert!(put(&server, anonymous.clone()).await.is_err());
    let known = TlsConfig {
        client_cert: Some(authority.file("client.pem", &certificate.pem())),
        client_key: Some(authority.file("client.key", &key.serialize_pem())),
        ..anonymous
    };
    assert!(put(&server, known).await.unwrap());
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let authority = Authority::new();
    let refused = |tls: TlsConfig| Client::new(Config { tls: Some(tls), ..Config::at("https://a".parse().unwrap()) });
    let missing = TlsConfig { ca: Some("/does/not/exist.pem".into()), ..TlsConfig::default() };
    assert!(refused(missing).unwrap_err().to_string().contains("/does/not/exist.pem"));
    let empty = TlsConfig { ca: Some(authority.file("empty.pem", "nothing")), ..TlsConfig::default() };
    assert!(refused(empty).unwrap_err().to_string().contains("holds no certificate"));
    let half = TlsConfig { ca: Some(authority.ca()), client_cert: Some(authority.ca()), ..TlsConfig::default() };
    assert!(matches!(refused(half), Err(ConfigError::Tls(_))));
}
