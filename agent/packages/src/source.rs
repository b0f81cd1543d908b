//! What an address says: where a package is and in which form. Nothing is asked of anybody here.
//!
//! A user or a password in an address is refused, and so is never told: who asks is found in the netrc file, or in the chain of AWS. A query
//! may hold a signature (as presigned addresses do), so no message and no `Debug` shows it.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use http::Uri;
use percent_encoding::percent_decode_str;

use crate::digest::Digest;

/// Where a package is.
#[derive(Clone, PartialEq, Eq)]
pub struct Source {
    place: Place,
    form: Form,
}

/// By what a package is reached.
#[derive(Clone, PartialEq, Eq)]
pub enum Place {
    /// A file or a folder of this machine, by its absolute path.
    File(PathBuf),
    /// An `http://` or `https://` address.
    Http(Uri),
    /// An object of S3.
    S3 {
        /// The bucket.
        bucket: String,
        /// The key, without a leading `/`, not encoded.
        key: String,
    },
    /// A path of this machine's Nix store: one that is there, or that Nix can fetch.
    Nix(PathBuf),
}

/// In which form a package is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A tar archive, compressed by gzip.
    TarGz,
    /// A tar archive, compressed by zstd.
    TarZst,
    /// A folder of this machine.
    Folder,
    /// A path of the Nix store, which is used where it is.
    StorePath,
}

impl Form {
    /// The form that a name tells by how it ends.
    pub fn of_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
        if ends(&[".tar.gz", ".tgz"]) {
            Some(Self::TarGz)
        } else if ends(&[".tar.zst", ".tzst"]) {
            Some(Self::TarZst)
        } else {
            None
        }
    }
}

impl Source {
    /// By what it is reached.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// In which form it is.
    pub fn form(&self) -> Form {
        self.form
    }

    /// A name for this source that is safe as a file's: half of the digest of its whole address.
    pub(crate) fn slug(&self) -> String {
        let whole = match &self.place {
            Place::Http(uri) => uri.to_string(),
            Place::File(_) | Place::S3 { .. } | Place::Nix(_) => self.to_string(),
        };
        Digest::of(whole.as_bytes()).to_string()[..32].to_owned()
    }

    /// The same place with `.minisig` behind its name, where the signature is by custom.
    pub(crate) fn signature(&self) -> Place {
        self.beside(".minisig")
    }

    /// The same place with an ending behind its name: what lies beside the package by custom, such as its `.sha256`.
    pub fn beside(&self, ending: &str) -> Place {
        match &self.place {
            Place::File(path) => Place::File(ending_in(path, ending)),
            Place::Nix(path) => Place::Nix(ending_in(path, ending)),
            Place::S3 { bucket, key } => Place::S3 { bucket: bucket.clone(), key: format!("{key}{ending}") },
            Place::Http(uri) => {
                let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
                let mut parts = uri.clone().into_parts();
                parts.path_and_query = format!("{}{ending}{query}", uri.path()).parse().ok();
                Place::Http(Uri::from_parts(parts).unwrap_or_else(|_| uri.clone()))
            }
        }
    }
}

impl FromStr for Source {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self, Error> {
        let shown = shown(url);
        let wrong = |reason: &str| Error::Address { url: shown.clone(), reason: reason.to_owned() };
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| wrong("it begins with none of `s3://`, `https://`, `http://`, `file://` and `nix://`"))?;
        let place = match scheme {
            "file" => file(rest).map_err(wrong)?,
            "s3" => s3(rest).map_err(wrong)?,
            "http" | "https" => http(url).map_err(|reason| wrong(&reason))?,
            "nix" => nix(rest).map_err(wrong)?,
            _ => return Err(wrong("its scheme is none of `s3`, `https`, `http`, `file` and `nix`")),
        };
        let form = match &place {
            Place::File(path) => Form::of_name(&path.to_string_lossy()).unwrap_or(Form::Folder),
            Place::Http(uri) => Form::of_name(uri.path()).ok_or_else(|| wrong(NO_FORM))?,
            Place::S3 { key, .. } => Form::of_name(key).ok_or_else(|| wrong(NO_FORM))?,
            Place::Nix(_) => Form::StorePath,
        };
        Ok(Self { place, form })
    }
}

const NO_FORM: &str =
    "its path ends in neither `.tar.gz` nor `.tar.zst` (a folder is one of this machine, by `file://`)";

fn file(rest: &str) -> Result<Place, &'static str> {
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    if !path.starts_with('/') {
        return Err("a file is named by its absolute path: `file:///srv/hello.tar.zst`");
    }
    let path = percent_decode_str(path).decode_utf8().map_err(|_| "its path is not UTF-8")?;
    Ok(Place::File(PathBuf::from(path.as_ref())))
}

/// How many characters the hash in the name of a store path has, and which there are.
const NIX_HASH: usize = 32;
const NIX_DIGITS: &str = "0123456789abcdfghijklmnpqrsvwxyz";

fn nix(path: &str) -> Result<Place, &'static str> {
    const WRONG: &str =
        "a path of the Nix store has a hash of 32 characters and a name: `nix:///nix/store/<hash>-<name>`";
    let (store, base) = path.rsplit_once('/').ok_or(WRONG)?;
    let (hash, name) = base.split_once('-').ok_or(WRONG)?;
    let in_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'_' | b'=');
    let is_hash = hash.len() == NIX_HASH && hash.chars().all(|digit| NIX_DIGITS.contains(digit));
    let is_store = store.starts_with('/') && !store.split('/').any(|part| matches!(part, "." | ".."));
    if !is_hash || !is_store || name.is_empty() || !name.bytes().all(in_name) {
        return Err(WRONG);
    }
    Ok(Place::Nix(PathBuf::from(path)))
}

/// The same path with an ending behind its name.
fn ending_in(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn s3(rest: &str) -> Result<Place, &'static str> {
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    let in_bucket = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if !(3..=255).contains(&bucket.len()) || !bucket.bytes().all(in_bucket) {
        return Err("no bucket has this name: `s3://bucket/key`");
    }
    if key.is_empty() || key.chars().any(char::is_control) {
        return Err("it names no key: `s3://bucket/key`");
    }
    Ok(Place::S3 { bucket: bucket.to_owned(), key: key.to_owned() })
}

fn http(url: &str) -> Result<Place, String> {
    let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
    let authority = uri.authority().ok_or("it names no host")?;
    if authority.as_str().contains('@') {
        return Err("it names a user: put it into the netrc file, for a `machine` of this host".to_owned());
    }
    Ok(Place::Http(uri))
}

/// An address as it may be told: without a user, without a query.
fn shown(url: &str) -> String {
    let bare = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = bare.split_once("://").map_or((String::new(), bare), |(s, r)| (format!("{s}://"), r));
    let host_ends = rest.find('/').unwrap_or(rest.len());
    // A password may hold a `/`, which would make an `@` look like one of the path: all before the last one goes.
    let from = rest.rfind('@').map_or(0, |at| at + 1);
    if from > host_ends || from > 0 { format!("{scheme}{}", &rest[from..]) } else { bare.to_owned() }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file://{}", path.display()),
            Self::S3 { bucket, key } => write!(f, "s3://{bucket}/{key}"),
            Self::Nix(path) => write!(f, "nix://{}", path.display()),
            Self::Http(uri) => {
                let (scheme, host) =
                    (uri.scheme_str().unwrap_or("http"), uri.authority().map_or("", |host| host.as_str()));
                write!(f, "{scheme}://{}{}", host.rsplit('@').next().unwrap_or_default(), uri.path())
            }
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(f)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?})", self.place, self.form)
    }
}

/// What is wrong with an address.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be used.
    #[error("the package's address {url} cannot be used: {reason}")]
    Address {
        /// The address, without what may not be told.
        url: String,
        /// Why, and what would be right.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Source {
        url.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn an_address_tells_its_place_and_form() {
        assert_eq!(read("file:///srv/a%20b.tgz").place(), &Place::File("/srv/a b.tgz".into()));
        assert_eq!(read("file:///srv/hello").form(), Form::Folder);
        assert_eq!(read("https://h:8443/a/b.tar.zst?X-Sig=1").form(), Form::TarZst);
        let s3 = Place::S3 { bucket: "releases".to_owned(), key: "a/b c.tar.gz".to_owned() };
        assert_eq!(read("s3://releases/a/b c.tar.gz").place(), &s3);
        let path = "/nix/store/s66mzxpvicwk07gjbjfw9izjfa797vsw-hello-1.0";
        let nix = read(&format!("nix://{path}"));
        assert_eq!((nix.place(), nix.form()), (&Place::Nix(path.into()), Form::StorePath));
    }

    #[test]
    fn what_cannot_be_used_says_what_would_be_right() {
        let rows = [
            ("hello.tar.gz", "begins with none of"),
            ("ftp://h/a.tar.gz", "scheme"),
            ("file://srv/a.tar.gz", "absolute path"),
            ("https://h/a.zip", ".tar.zst"),
            ("s3://b/a.tar.gz", "bucket"),
            ("s3://bucket", "key"),
            ("https://me:pw@h/a.tar.gz", "netrc"),
            ("nix:///nix/store/hello-1.0", "hash of 32"),
            ("nix:///nix/store/s66mzxpvicwk07gjbjfw9izjfa797vsw-hello-1.0/bin", "hash of 32"),
            ("nix:///nix/../s66mzxpvicwk07gjbjfw9izjfa797vsw-hello-1.0", "hash of 32"),
            ("nix://s66mzxpvicwk07gjbjfw9izjfa797vsw-hello-1.0", "hash of 32"),
        ];
        for (url, reason) in rows {
            let error = url.parse::<Source>().unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn no_message_and_no_debug_holds_a_password_or_a_query() {
        for url in
            ["https://me:hunter2@h/a.tar.gz", "https://me:hun/ter2@h/a.zip?k=hunter2", "ftp://hunter2@h/x#hunter2"]
        {
            let error = url.parse::<Source>().unwrap_err();
            let told = format!("{error} {error:?}");
            assert!(!told.contains("hunter2") && !told.contains("ter2"), "{told}");
        }
        let source = read("https://h/a.tar.gz?X-Amz-Signature=hunter2");
        assert!(!format!("{source} {source:?} {:?}", source.signature()).contains("hunter2"));
    }

    #[test]
    fn the_signature_lies_beside_the_package_and_keeps_the_query() {
        let Place::Http(uri) = read("https://h/a.tar.gz?k=1").signature() else { panic!("it is not HTTP") };
        assert_eq!(uri.to_string(), "https://h/a.tar.gz.minisig?k=1");
        assert_eq!(read("file:///a.tgz").signature(), Place::File("/a.tgz.minisig".into()));
    }
}
