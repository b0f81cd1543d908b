//! HTTPS: only a server whose certificate is trusted is told anything.

use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

use super::*;
use crate::server::{Server, answer};

/// A server with a certificate that it has signed itself, and who trusts it.
async fn server() -> (Server, RootCertStore) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = builder.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let server = Server::start(Some(config), |_, _| std::future::ready(answer(200, r#"{"n": 9}"#))).await;
    (server, roots)
}

fn query(server: &Server) -> Query {
    Query::Http(HttpJson { auth: Some(token()), ..http(&format!("https://localhost:{}/", server.port)) })
}

#[tokio::test]
async fn a_trusted_server_answers_over_tls() {
    let (server, roots) = server().await;
    assert_eq!(World::with(None, roots).look(query(&server)).await, value(9.0));
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_is_told_nothing() {
    let (server, _) = server().await;
    let (_, others) = self::server().await;
    let why = World::with(None, others).why(query(&server)).await;
    assert!(why.contains("cannot be reached") && why.contains("certificate"), "{why}");
    let why = World::new().why(query(&server)).await;
    assert!(why.contains("no certificates to trust"), "{why}");
    assert_eq!(server.count(), 0);
}
