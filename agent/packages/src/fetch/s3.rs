//! Objects of S3: who asks, from where, and the signature of each request.
//!
//! The chain that finds credentials, the region and the endpoint (environment, the files of `~/.aws` with their profiles, a web identity, the
//! container, the machine by `IMDSv2`) is AWS's own, as is the signing. Getting one object is a signed GET, which goes the way of all downloads: the client for
//! the whole of S3 would double the time to compile, and would not resume.

use std::time::SystemTime;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
        UriPathNormalizationMode, sign,
    },
    sign::v4,
};
use aws_smithy_http_client::{Builder, tls};
use aws_types::service_config::ServiceConfigKey;
use helium_runtime::ports::Ports;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::OnceCell;

use super::Error;

/// What stands in a key as it is; AWS wants all else encoded, once.
const IN_KEY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
/// The region where nobody names one.
const REGION: &str = "us-east-1";

pub(super) struct S3 {
    /// Read at the first object: whoever uses no S3 is asked for nothing.
    config: OnceCell<SdkConfig>,
    ports: Ports,
}

/// One object.
pub(super) struct Object {
    bucket: String,
    key: String,
    config: SdkConfig,
    ports: Ports,
}

impl S3 {
    pub(super) fn new(ports: Ports) -> Self {
        Self { config: OnceCell::new(), ports }
    }

    pub(super) async fn object(&self, bucket: &str, key: &str) -> Result<Object, Error> {
        let config = self.config.get_or_init(load).await.clone();
        Ok(Object { bucket: bucket.to_owned(), key: key.to_owned(), config, ports: self.ports.clone() })
    }
}

async fn load() -> SdkConfig {
    let http = Builder::new().tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring)).build_https();
    aws_config::defaults(BehaviorVersion::latest()).http_client(http).load().await
}

impl Object {
    pub(super) fn place(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.key)
    }

    /// The address and the headers of one request, signed for this moment.
    pub(super) async fn request(&self) -> Result<(Uri, HeaderMap), Error> {
        let cannot = |reason: String| Error::Request { place: self.place(), reason };
        let region = self.config.region().map_or(REGION, |region| region.as_ref()).to_owned();
        let address = address(&self.bucket, &self.key, self.endpoint().as_deref(), &region);
        let uri: Uri = address.parse().map_err(|error: http::uri::InvalidUri| cannot(error.to_string()))?;
        let no_credentials = |reason: String| Error::NoCredentials { place: self.place(), reason };
        let provider = self.config.credentials_provider().ok_or_else(|| no_credentials("nobody to ask".to_owned()))?;
        let credentials = provider.provide_credentials().await.map_err(|error| no_credentials(error.to_string()))?;
        let identity = credentials.into();
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let params = v4::SigningParams::builder().identity(&identity).region(&region).name("s3");
        let params = params.time(SystemTime::from(self.ports.wall())).settings(settings).build();
        let params = params.map_err(|error| cannot(error.to_string()))?.into();
        let request = SignableRequest::new("GET", address.as_str(), std::iter::empty(), SignableBody::Bytes(&[]));
        let signed = sign(request.map_err(|error| cannot(error.to_string()))?, &params);
        let (signature, _) = signed.map_err(|error| cannot(error.to_string()))?.into_parts();
        let mut headers = HeaderMap::new();
        for (name, value) in signature.headers() {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| cannot(error.to_string()))?;
            let mut value = HeaderValue::from_str(value).map_err(|error| cannot(error.to_string()))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Ok((uri, headers))
    }

    /// `AWS_ENDPOINT_URL_S3`, the `services` of the profile, `AWS_ENDPOINT_URL`, in this order.
    fn endpoint(&self) -> Option<String> {
        let key = ServiceConfigKey::builder().service_id("s3").profile("endpoint_url").env("AWS_ENDPOINT_URL").build();
        let own = self.config.service_config().zip(key.ok()).and_then(|(services, key)| services.load_config(key));
        own.or_else(|| self.config.endpoint_url().map(str::to_owned))
    }
}

/// Where an object is. Other servers than AWS's own need not know a host for each bucket, and no certificate of AWS is for one with a dot.
fn address(bucket: &str, key: &str, endpoint: Option<&str>, region: &str) -> String {
    let key = utf8_percent_encode(key, IN_KEY);
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    match endpoint {
        Some(endpoint) => format!("{}/{bucket}/{key}", endpoint.trim_end_matches('/')),
        None if bucket.contains('.') => format!("https://s3.{region}.{domain}/{bucket}/{key}"),
        None => format!("https://{bucket}.s3.{region}.{domain}/{key}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_where_aws_or_the_endpoint_has_it() {
        let rows = [
            (("b-1", "a/b c+d.tgz", None, "eu-west-1"), "https://b-1.s3.eu-west-1.amazonaws.com/a/b%20c%2Bd.tgz"),
            (("b.c", "k", None, "us-east-1"), "https://s3.us-east-1.amazonaws.com/b.c/k"),
            (("bbb", "k", None, "cn-north-1"), "https://bbb.s3.cn-north-1.amazonaws.com.cn/k"),
            (("bbb", "k", Some("http://127.0.0.1:9000/"), "x"), "http://127.0.0.1:9000/bbb/k"),
        ];
        for ((bucket, key, endpoint, region), expected) in rows {
            assert_eq!(address(bucket, key, endpoint, region), expected);
        }
    }
}
