//! The signature of a package, by minisign: a public key as text, a signature as text, and the bytes as a stream.
//!
//! Only signatures over the hash of the file (`minisign -H`, since minisign 0.6 the default) are taken: others need the whole file in memory.

use std::{
    fmt,
    io::{self, Read},
};

use minisign_verify::{PublicKey, Signature};

/// How much of a stream is held at once.
const BLOCK: usize = 64 * 1024;

/// Whose signature a package must bear.
#[derive(Clone)]
pub struct Key(PublicKey);

impl Key {
    /// Reads a public key: the file of minisign with its comment, or its second line alone.
    pub fn read(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let key = if text.contains('\n') { PublicKey::decode(text) } else { PublicKey::from_base64(text) };
        key.map(Self).map_err(|error| Error::NotAKey { reason: error.to_string() })
    }

    /// Whether `signature` is this key's over all that is left of a stream.
    pub fn verify(&self, signature: &str, mut stream: impl Read) -> Result<(), Error> {
        let unfit = |error: minisign_verify::Error| Error::NotASignature { reason: error.to_string() };
        let signature = Signature::decode(signature.trim()).map_err(unfit)?;
        let mut verifier =
            self.0.verify_stream(&signature).map_err(|error| Error::Wrong { reason: error.to_string() })?;
        let mut block = vec![0; BLOCK];
        loop {
            match stream.read(&mut block) {
                Ok(0) => break,
                Ok(read) => verifier.update(&block[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Unread(error)),
            }
        }
        verifier.finalize().map_err(|error| Error::Wrong { reason: error.to_string() })
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(minisign)")
    }
}

/// Why a signature is not believed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The public key cannot be read.
    #[error("the public key is none of minisign ({reason}): it is the second line of minisign.pub")]
    NotAKey {
        /// What is wrong with it.
        reason: String,
    },
    /// The signature cannot be read.
    #[error("the signature is none of minisign ({reason}): it is the text of the file .minisig")]
    NotASignature {
        /// What is wrong with it.
        reason: String,
    },
    /// It is not the signature of these bytes by this key.
    #[error("the signature is not one of these bytes by this key: {reason}")]
    Wrong {
        /// What the verifier says.
        reason: String,
    },
    /// The bytes could not be read.
    #[error("the signed bytes cannot be read: {0}")]
    Unread(#[source] io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key of a test, its text, and its signature of `bytes`.
    fn signed(bytes: &[u8]) -> (String, String) {
        let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
        let signature = minisign::sign(Some(&pair.pk), &pair.sk, bytes, None, None).unwrap();
        (pair.pk.to_base64(), signature.to_string())
    }

    #[test]
    fn a_signature_is_believed_for_its_bytes_and_its_key_alone() {
        let (key, signature) = signed(b"bytes");
        let (other, _) = signed(b"bytes");
        assert!(Key::read(&key).unwrap().verify(&signature, &b"bytes"[..]).is_ok());
        assert!(matches!(Key::read(&key).unwrap().verify(&signature, &b"Bytes"[..]), Err(Error::Wrong { .. })));
        assert!(matches!(Key::read(&other).unwrap().verify(&signature, &b"bytes"[..]), Err(Error::Wrong { .. })));
    }

    #[test]
    fn a_key_is_read_with_its_comment_or_without() {
        let (key, signature) = signed(b"bytes");
        let file = format!("untrusted comment: minisign public key\n{key}\n");
        assert!(Key::read(&file).unwrap().verify(&signature, &b"bytes"[..]).is_ok());
        assert!(Key::read("no key").unwrap_err().to_string().contains("minisign.pub"));
    }

    #[test]
    fn what_is_no_signature_is_told_apart_from_a_wrong_one() {
        let (key, _) = signed(b"");
        let error = Key::read(&key).unwrap().verify("nothing", &b""[..]).unwrap_err();
        assert!(matches!(error, Error::NotASignature { .. }), "{error}");
    }
}
