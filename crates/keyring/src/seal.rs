//! AES-256-GCM under a key-encryption key, bound to the row that a private key belongs to.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::{Zeroize, Zeroizing};

use crate::Algorithm;
use crate::envelope::SealedFor;
use crate::keyset::is_kid;

/// Length of the key-encryption key in bytes.
const KEY_BYTES: usize = 32;

/// The key that seals private keys. Wiped from memory when dropped, never printed.
#[derive(Clone)]
pub struct KeyEncryptionKey(Zeroizing<[u8; KEY_BYTES]>);

/// Why something cannot be sealed or opened. Deliberately says no more: an attacker must not learn which part was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The key-encryption key is not 32 bytes, raw, in hexadecimal or in base64.
    #[error("the key-encryption key must be 32 bytes: raw, 64 hexadecimal digits, or base64")]
    KeyFormat,
    /// No version, one below 1, or one twice.
    #[error("the versions of the key-encryption key must be numbers from 1, each there once")]
    Versions,
    /// A row names a version that this process does not have.
    #[error("there is no key-encryption key of version {0} in the settings")]
    UnknownVersion(i32),
    /// A ring name or kid with a character that would make the bound context ambiguous.
    #[error("the ring name or the kid cannot be bound")]
    Context,
    /// The blob was not sealed by this key for this row, or has been changed.
    #[error("the sealed key does not open")]
    Open,
    /// The cryptographic library failed.
    #[error("the key cannot be sealed")]
    Seal,
}

impl KeyEncryptionKey {
    /// Takes the 32 bytes of a key; the caller's copy is the caller's to wipe.
    #[must_use]
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Reads a key as it stands in a secret file: 32 raw bytes, or as text 64 hexadecimal digits or 44 characters of base64,
    /// either with a line end. The three have different lengths, so none can be mistaken for another.
    ///
    /// # Errors
    ///
    /// [`SealError::KeyFormat`] for anything else.
    pub fn parse(text: &[u8]) -> Result<Self, SealError> {
        let mut bytes = [0_u8; KEY_BYTES];
        let text = if text.len() == KEY_BYTES {
            text
        } else {
            text.trim_ascii_end()
        };
        match text.len() {
            KEY_BYTES => bytes.copy_from_slice(text),
            64 => decode_hex(text, &mut bytes).ok_or(SealError::KeyFormat)?,
            44 => {
                let decoded = Zeroizing::new(STANDARD.decode(text).map_err(|_| SealError::KeyFormat)?);
                if decoded.len() != KEY_BYTES {
                    return Err(SealError::KeyFormat);
                }
                bytes.copy_from_slice(&decoded);
            }
            _ => return Err(SealError::KeyFormat),
        }
        let key = Self::from_bytes(bytes);
        bytes.zeroize();
        Ok(key)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    fn cipher(&self) -> Result<RandomizedNonceKey, SealError> {
        RandomizedNonceKey::new(&AES_256_GCM, self.0.as_slice()).map_err(|_| SealError::Seal)
    }
}

impl std::fmt::Debug for KeyEncryptionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyEncryptionKey(…)")
    }
}

fn decode_hex(text: &[u8], bytes: &mut [u8; KEY_BYTES]) -> Option<()> {
    let digit = |byte: &u8| {
        char::from(*byte)
            .to_digit(16)
            .and_then(|value| u8::try_from(value).ok())
    };
    for (pair, byte) in text.chunks_exact(2).zip(bytes.iter_mut()) {
        if let [high, low] = pair {
            *byte = (digit(high)? << 4) | digit(low)?;
        }
    }
    Some(())
}

/// Seals a private key (PKCS#8) for one row: a random 96-bit nonce, then the ciphertext and tag. The additional data is
/// `ring|kid|alg|kek_version`, so the blob opens in no other row.
///
/// # Errors
///
/// [`SealError::Context`] for a ring or kid outside `[A-Za-z0-9._-]`, [`SealError::Seal`] when the library fails.
pub fn seal(
    kek: &KeyEncryptionKey,
    ring: &str,
    kid: &str,
    algorithm: Algorithm,
    kek_version: i32,
    private: &[u8],
) -> Result<Vec<u8>, SealError> {
    let row = SealedFor { ring, kid, algorithm };
    seal_bytes(kek, &bind(row, Some(kek_version))?, private)
}

/// A random nonce, then the ciphertext and tag.
pub(crate) fn seal_bytes(key: &KeyEncryptionKey, aad: &str, plain: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut ciphertext = plain.to_vec();
    let sealed = key
        .cipher()?
        .seal_in_place_append_tag(Aad::from(aad.as_bytes()), &mut ciphertext);
    let Ok(nonce) = sealed else {
        ciphertext.zeroize();
        return Err(SealError::Seal);
    };
    let mut blob = nonce.as_ref().to_vec();
    blob.append(&mut ciphertext);
    Ok(blob)
}

/// Opens what [`seal`] made for exactly this ring, kid, algorithm and version of the key-encryption key.
///
/// # Errors
///
/// [`SealError::Open`] when any of them, the key, or a bit of the blob differs.
pub fn open(
    kek: &KeyEncryptionKey,
    ring: &str,
    kid: &str,
    algorithm: Algorithm,
    kek_version: i32,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let row = SealedFor { ring, kid, algorithm };
    open_bytes(kek, &bind(row, Some(kek_version))?, sealed)
}

pub(crate) fn open_bytes(
    key: &KeyEncryptionKey,
    aad: &str,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let (nonce, ciphertext) = sealed.split_at_checked(NONCE_LEN).ok_or(SealError::Open)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Open)?;
    let mut buffer = Zeroizing::new(ciphertext.to_vec());
    let length = key
        .cipher()?
        .open_in_place(nonce, Aad::from(aad.as_bytes()), &mut buffer)
        .map_err(|_| SealError::Open)?
        .len();
    buffer.truncate(length);
    Ok(buffer)
}

/// What a blob is bound to: `ring|kid|alg|kek_version` under a key-encryption key, `ring|kid|alg` under a data key, which no
/// other row has.
pub(crate) fn bind(row: SealedFor<'_>, kek_version: Option<i32>) -> Result<String, SealError> {
    // Neither may contain the separator, or two rows could share a context.
    if !is_kid(row.ring) || !is_kid(row.kid) {
        return Err(SealError::Context);
    }
    let SealedFor { ring, kid, algorithm } = row;
    Ok(match kek_version {
        Some(version) => format!("{ring}|{kid}|{algorithm}|{version}"),
        None => format!("{ring}|{kid}|{algorithm}"),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kek() -> KeyEncryptionKey {
        KeyEncryptionKey::from_bytes([7; 32])
    }

    proptest! {
        #[test]
        fn a_sealed_key_opens_in_its_own_row_and_in_no_other(
            private in proptest::collection::vec(any::<u8>(), 0..200),
            flip in any::<prop::sample::Index>(),
            bit in 0_u8..8,
        ) {
            let sealed = seal(&kek(), "access", "k1", Algorithm::EdDSA, 1, &private).unwrap();
            let opened = open(&kek(), "access", "k1", Algorithm::EdDSA, 1, &sealed).unwrap();
            prop_assert_eq!(opened.as_slice(), private.as_slice());

            let others = [
                open(&kek(), "stepup", "k1", Algorithm::EdDSA, 1, &sealed),
                open(&kek(), "access", "k2", Algorithm::EdDSA, 1, &sealed),
                open(&kek(), "access", "k1", Algorithm::ES256, 1, &sealed),
                open(&kek(), "access", "k1", Algorithm::EdDSA, 2, &sealed),
                open(&KeyEncryptionKey::from_bytes([8; 32]), "access", "k1", Algorithm::EdDSA, 1, &sealed),
            ];
            for other in others {
                prop_assert_eq!(other.unwrap_err(), SealError::Open);
            }

            let mut changed = sealed.clone();
            changed[flip.index(sealed.len())] ^= 1 << bit;
            prop_assert_eq!(open(&kek(), "access", "k1", Algorithm::EdDSA, 1, &changed).unwrap_err(), SealError::Open);
        }
    }

    #[test]
    fn the_same_key_is_never_sealed_to_the_same_bytes() {
        let one = seal(&kek(), "access", "k1", Algorithm::EdDSA, 1, b"secret").unwrap();
        let two = seal(&kek(), "access", "k1", Algorithm::EdDSA, 1, b"secret").unwrap();
        assert_ne!(one, two);
        assert!(!one.windows(6).any(|window| window == b"secret"));
    }

    #[test]
    fn a_separator_in_a_name_is_refused() {
        assert_eq!(
            seal(&kek(), "a|b", "k", Algorithm::EdDSA, 1, b"x").unwrap_err(),
            SealError::Context
        );
        assert_eq!(
            seal(&kek(), "a", "b|EdDSA", Algorithm::EdDSA, 1, b"x").unwrap_err(),
            SealError::Context
        );
    }

    #[test]
    fn short_blobs_do_not_open() {
        for length in [0, 1, 11, 12, 13, 27] {
            let opened = open(&kek(), "access", "k1", Algorithm::EdDSA, 1, &vec![0; length]);
            assert_eq!(opened.unwrap_err(), SealError::Open);
        }
    }

    #[test]
    fn a_key_file_is_raw_hexadecimal_or_base64() {
        let raw = [0xa7_u8; 32];
        let sealed = seal(
            &KeyEncryptionKey::from_bytes(raw),
            "access",
            "k1",
            Algorithm::EdDSA,
            1,
            b"x",
        )
        .unwrap();
        let hex = "a7".repeat(32);
        for text in [
            raw.to_vec(),
            hex.clone().into_bytes(),
            format!("{hex}\n").into_bytes(),
            STANDARD.encode(raw).into_bytes(),
            format!("{}\r\n", STANDARD.encode(raw)).into_bytes(),
        ] {
            let key = KeyEncryptionKey::parse(&text).unwrap();
            assert!(open(&key, "access", "k1", Algorithm::EdDSA, 1, &sealed).is_ok());
        }
        for text in [
            &b""[..],
            &[1; 31],
            &[b'z'; 64],
            &[b'*'; 44],
            &[1; 33],
            &[b'\n'; 33],
        ] {
            assert_eq!(KeyEncryptionKey::parse(text).unwrap_err(), SealError::KeyFormat);
        }
        assert!(!format!("{:?}", kek()).contains('7'));
    }
}
