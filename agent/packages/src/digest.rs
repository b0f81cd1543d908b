//! A SHA-256, as people write it and as it is taken of a stream.

use std::{
    fmt,
    io::{self, Read, Write},
    str::FromStr,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// How much of a stream is held at once.
const BLOCK: usize = 64 * 1024;

/// The SHA-256 of some bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of bytes at hand.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest of all that is left of a stream.
    pub fn of_stream(mut stream: impl Read) -> io::Result<Self> {
        let mut hasher = Sha256::new();
        let mut block = vec![0; BLOCK];
        loop {
            match stream.read(&mut block) {
                Ok(0) => return Ok(Self(hasher.finalize().into())),
                Ok(read) => hasher.update(&block[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Takes the digest of whatever is written into it.
#[derive(Default)]
pub(crate) struct Taking(Sha256);

impl Taking {
    pub(crate) fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl Write for Taking {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{self}")
    }
}

impl FromStr for Digest {
    type Err = Error;

    /// Reads 64 hexadecimal digits, with `sha256:` before them or not.
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::NotADigest { text: text.to_owned() };
        let digits = text.trim();
        let digits = digits.strip_prefix("sha256:").unwrap_or(digits);
        if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// What is wrong with a digest.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not one.
    #[error("`{text}` is no SHA-256, which is 64 hexadecimal digits")]
    NotADigest {
        /// What was given.
        text: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_digest_reads_what_it_writes() {
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
        assert_eq!(EMPTY.parse::<Digest>().unwrap(), Digest::of(b""));
        assert_eq!(format!("sha256:{}", EMPTY.to_uppercase()).parse::<Digest>().unwrap(), Digest::of(b""));
    }

    #[test]
    fn a_stream_has_the_digest_of_its_bytes() {
        let bytes = vec![7; 3 * BLOCK + 1];
        assert_eq!(Digest::of_stream(&bytes[..]).unwrap(), Digest::of(&bytes));
    }

    #[test]
    fn what_is_no_digest_is_refused_by_its_name() {
        for text in ["", "e3b0", &EMPTY[1..], &EMPTY.replace('e', "g"), &format!("é{}", &EMPTY[2..])] {
            assert!(text.parse::<Digest>().unwrap_err().to_string().contains("64 hexadecimal digits"), "{text}");
        }
    }
}
