//! TLS by rustls with ring, and the certificates that this system trusts.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

/// The settings of all connections. `SSL_CERT_FILE` and `SSL_CERT_DIR` name other certificates than the system's.
pub(super) fn client_config() -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in system.errors {
        tracing::warn!(%error, "a certificate of this system cannot be read");
    }
    roots.add_parsable_certificates(system.certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
