//! Getting the bytes of a package into a file: from this machine, over HTTP, from S3.
//!
//! S3 is HTTP with a signature on each request, so both go the same way and are resumed alike ([`http`]); what differs is who says under
//! which address and with which headers a request goes. Whether the bytes are the right ones is not decided here.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use helium_runtime::ports::Ports;

use crate::source::Place;

mod error;
mod get;
mod http;
mod netrc;
mod part;
#[cfg(feature = "s3")]
mod s3;
mod tls;

pub use error::Error;
pub use get::{Answer, Get};
pub use netrc::Netrc;

/// The longest signature that is fetched.
const MAX_SIGNATURE: u64 = 64 * 1024;

/// How packages are fetched.
#[derive(Clone)]
pub struct Config {
    /// Who asks which host.
    pub netrc: Netrc,
    /// The most bytes of one package; 4 GiB by default.
    pub most: u64,
    /// How long a server may be silent; 30 s by default.
    pub silence: Duration,
    /// How often a request is made again that brought not a single byte; 4 times by default.
    pub retries: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { netrc: Netrc::default(), most: 4 << 30, silence: Duration::from_secs(30), retries: 4 }
    }
}

/// Fetches packages.
pub struct Fetcher {
    http: http::Http,
    netrc: Netrc,
    most: u64,
    #[cfg(feature = "s3")]
    s3: s3::S3,
}

impl Fetcher {
    /// Makes one. It asks nobody for anything until something is fetched.
    pub fn new(config: Config, ports: Ports) -> Self {
        Self {
            #[cfg(feature = "s3")]
            s3: s3::S3::new(ports.clone()),
            http: http::Http::new(config.silence, config.retries, ports),
            netrc: config.netrc,
            most: config.most,
        }
    }

    /// Fetches what is at `place` to the file `to`. What has come of an earlier try lies beside it and is gone on from.
    pub async fn fetch(&self, place: &Place, to: &Path) -> Result<(), Error> {
        self.fetch_at_most(place, to, self.most).await
    }

    /// Fetches a signature, which is text, through the file `by`, which is removed again.
    pub async fn signature(&self, place: &Place, by: &Path) -> Result<String, Error> {
        self.fetch_at_most(place, by, MAX_SIGNATURE).await?;
        let text = fs::read_to_string(by).map_err(disk(by))?;
        fs::remove_file(by).map_err(disk(by))?;
        Ok(text)
    }

    async fn fetch_at_most(&self, place: &Place, to: &Path, most: u64) -> Result<(), Error> {
        match place {
            Place::File(path) => copy(path.clone(), to.to_owned(), most).await,
            Place::Http(uri) => self.http.download(&http::Target::Plain { uri, netrc: &self.netrc }, to, most).await,
            #[cfg(feature = "s3")]
            Place::S3 { bucket, key } => {
                let object = self.s3.object(bucket, key).await?;
                self.http.download(&http::Target::S3(&object), to, most).await
            }
            #[cfg(not(feature = "s3"))]
            Place::S3 { .. } => Err(Error::NoS3 { place: place.to_string() }),
            Place::Nix(_) => Err(Error::StorePath { place: place.to_string() }),
        }
    }
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fetcher")
    }
}

async fn copy(from: PathBuf, to: PathBuf, most: u64) -> Result<(), Error> {
    let copied = tokio::task::spawn_blocking(move || {
        let metadata = fs::metadata(&from).map_err(disk(&from))?;
        if metadata.len() > most {
            return Err(Error::TooLarge { place: from.display().to_string(), most });
        }
        fs::copy(&from, &to).map(drop).map_err(disk(&from))
    });
    copied.await.unwrap_or_else(|ended| Err(Error::Ended { reason: ended.to_string() }))
}

fn disk(path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Disk { path: path.to_owned(), source }
}
