//! TLS by rustls with ring, and the certificates that this system trusts.

use rustls::{ClientConfig, RootCertStore};

/// Whom this system trusts. `SSL_CERT_FILE` and `SSL_CERT_DIR` name other certificates.
pub(crate) fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in system.errors {
        tracing::warn!(%error, "a certificate of this system cannot be read");
    }
    roots.add_parsable_certificates(system.certs);
    roots
}

/// The settings of all connections.
pub(crate) fn client_config(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
