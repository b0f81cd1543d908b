//! TLS by rustls with ring: whom to trust and who we are.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};

use crate::config::{ConfigError, TlsConfig};

/// Reads the files and makes the settings of all connections.
pub(crate) fn client_config(settings: &TlsConfig) -> Result<Arc<ClientConfig>, ConfigError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().map_err(|e| ConfigError::Tls(e.to_string()))?;
    let builder = if settings.verify {
        builder.with_root_certificates(roots(settings.ca.as_deref())?)
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AcceptAll { provider }))
    };
    let config = match (&settings.client_cert, &settings.client_key) {
        (Some(cert), Some(key)) => {
            let bad_pair = |e: TlsError| ConfigError::Tls(format!("client certificate and key: {e}"));
            builder.with_client_auth_cert(certificates(cert)?, private_key(key)?).map_err(bad_pair)?
        }
        (None, None) => builder.with_no_client_auth(),
        _ => return Err(ConfigError::Tls("a client certificate and its key go together".to_owned())),
    };
    Ok(Arc::new(config))
}

/// The name to verify: the one that is set, or the host's.
pub(crate) fn server_name(settings: &TlsConfig, host: &str) -> Result<ServerName<'static>, ConfigError> {
    let name = settings.server_name.as_deref().unwrap_or(host).to_owned();
    ServerName::try_from(name.clone()).map_err(|e| ConfigError::Tls(format!("server name {name:?}: {e}")))
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, ConfigError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca {
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(|error| file(path, &error))?;
        }
        return Ok(roots);
    }
    let system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(system.certs);
    if roots.is_empty() {
        return Err(ConfigError::Tls("this system has no certificates to trust; name a CA file".to_owned()));
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| file(path, &error))?;
    let certificates = read.collect::<Result<Vec<_>, _>>().map_err(|error| file(path, &error))?;
    if certificates.is_empty() {
        return Err(file(path, &"holds no certificate"));
    }
    Ok(certificates)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, ConfigError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| file(path, &error))
}

fn file(path: &Path, reason: &impl ToString) -> ConfigError {
    ConfigError::File { path: path.to_owned(), reason: reason.to_string() }
}

/// Trusts any certificate, as `CONSUL_HTTP_SSL_VERIFY=false` asks for; signatures must still be right.
#[derive(Debug)]
struct AcceptAll {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AcceptAll {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
