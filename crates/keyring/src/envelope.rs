//! Key-encryption keys by version, and private keys sealed in an envelope: a data key for each row, wrapped by one of them.

use std::collections::BTreeMap;

use aws_lc_rs::rand;
use zeroize::Zeroizing;

use crate::seal::{bind, open_bytes, seal_bytes};
use crate::{Algorithm, KeyEncryptionKey, SealError, open};

const DATA_KEY_BYTES: usize = 32;
/// What a check value seals; its secrecy does not matter.
const CHECK_TEXT: &[u8] = b"portico key-encryption key";

/// The key-encryption keys of a process: several at once, so that one can follow another. Each opens what it wrapped.
#[derive(Debug, Clone)]
pub struct KeyEncryptionKeys(BTreeMap<i32, KeyEncryptionKey>);

/// The row that a private key is sealed for; it opens in no other.
#[derive(Debug, Clone, Copy)]
pub struct SealedFor<'a> {
    /// Name of the ring.
    pub ring: &'a str,
    /// Name of the key.
    pub kid: &'a str,
    /// Its algorithm.
    pub algorithm: Algorithm,
}

/// A private key at rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedPrivateKey {
    /// The version of the key-encryption key that it takes to open it.
    pub kek_version: i32,
    /// The key of this row alone, wrapped. Without one, the private part is sealed under the key-encryption key itself, as
    /// rows of before data keys are.
    pub wrapped_data_key: Option<Vec<u8>>,
    /// The sealed private part.
    pub ciphertext: Vec<u8>,
}

impl KeyEncryptionKeys {
    /// Reads the keys as they stand in secret files, each with its version, from 1.
    ///
    /// # Errors
    ///
    /// [`SealError::KeyFormat`] for text that is no key, [`SealError::Versions`] for none at all, a version below 1, or one
    /// that is there twice.
    pub fn parse<'t>(texts: impl IntoIterator<Item = (i32, &'t [u8])>) -> Result<Self, SealError> {
        let mut keys = BTreeMap::new();
        for (version, text) in texts {
            if version < 1 || keys.insert(version, KeyEncryptionKey::parse(text)?).is_some() {
                return Err(SealError::Versions);
            }
        }
        if keys.is_empty() {
            return Err(SealError::Versions);
        }
        Ok(Self(keys))
    }

    /// The versions, lowest first.
    pub fn versions(&self) -> impl Iterator<Item = i32> {
        self.0.keys().copied()
    }

    /// Whether this version is here.
    #[must_use]
    pub fn has(&self, version: i32) -> bool {
        self.0.contains_key(&version)
    }

    fn key(&self, version: i32) -> Result<&KeyEncryptionKey, SealError> {
        self.0.get(&version).ok_or(SealError::UnknownVersion(version))
    }

    /// Seals a private key (PKCS#8) for one row, under a new data key that this version wraps.
    ///
    /// # Errors
    ///
    /// [`SealError::UnknownVersion`], [`SealError::Context`] for a ring or kid outside `[A-Za-z0-9._-]`, [`SealError::Seal`]
    /// when the library fails.
    pub fn seal(
        &self,
        version: i32,
        row: SealedFor<'_>,
        private: &[u8],
    ) -> Result<SealedPrivateKey, SealError> {
        let data_key = DataKey::generate()?;
        Ok(SealedPrivateKey {
            kek_version: version,
            wrapped_data_key: Some(self.wrap(version, row, &data_key)?),
            ciphertext: data_key.seal(row, private)?,
        })
    }

    /// Opens a private key in its own row, with the version that the row names.
    ///
    /// # Errors
    ///
    /// [`SealError::UnknownVersion`]; [`SealError::Open`] when the row, the key or a bit of it differs.
    pub fn open(
        &self,
        row: SealedFor<'_>,
        sealed: &SealedPrivateKey,
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        match &sealed.wrapped_data_key {
            Some(wrapped) => self
                .unwrap(sealed.kek_version, row, wrapped)?
                .open(row, &sealed.ciphertext),
            None => open(
                self.key(sealed.kek_version)?,
                row.ring,
                row.kid,
                row.algorithm,
                sealed.kek_version,
                &sealed.ciphertext,
            ),
        }
    }

    /// Wraps the data key of a row.
    ///
    /// # Errors
    ///
    /// Those of [`Self::seal`].
    pub fn wrap(&self, version: i32, row: SealedFor<'_>, data_key: &DataKey) -> Result<Vec<u8>, SealError> {
        seal_bytes(self.key(version)?, &bind(row, Some(version))?, data_key.bytes())
    }

    /// Opens the data key of a row that this version wrapped.
    ///
    /// # Errors
    ///
    /// Those of [`Self::open`].
    pub fn unwrap(&self, version: i32, row: SealedFor<'_>, wrapped: &[u8]) -> Result<DataKey, SealError> {
        DataKey::from_slice(&open_bytes(
            self.key(version)?,
            &bind(row, Some(version))?,
            wrapped,
        )?)
    }

    /// A known text sealed by this version, from which another process learns whether it has the same key.
    ///
    /// # Errors
    ///
    /// [`SealError::UnknownVersion`], [`SealError::Seal`].
    pub fn check_value(&self, version: i32) -> Result<Vec<u8>, SealError> {
        seal_bytes(self.key(version)?, &check_context(version), CHECK_TEXT)
    }

    /// Whether our key of this version is the one that made the check value.
    ///
    /// # Errors
    ///
    /// [`SealError::UnknownVersion`]; [`SealError::Open`] when it is another key.
    pub fn check(&self, version: i32, check_value: &[u8]) -> Result<(), SealError> {
        open_bytes(self.key(version)?, &check_context(version), check_value).map(drop)
    }
}

/// The key of one row, under which its private part is sealed. Wiped from memory when dropped, never printed.
#[derive(Debug, Clone)]
pub struct DataKey(KeyEncryptionKey);

impl DataKey {
    /// Makes one.
    ///
    /// # Errors
    ///
    /// [`SealError::Seal`] when there is no randomness.
    pub fn generate() -> Result<Self, SealError> {
        let mut bytes = Zeroizing::new([0_u8; DATA_KEY_BYTES]);
        rand::fill(bytes.as_mut_slice()).map_err(|_| SealError::Seal)?;
        Ok(Self(KeyEncryptionKey::from_bytes(*bytes)))
    }

    /// Takes the 32 bytes of one; the caller's copy is the caller's to wipe.
    ///
    /// # Errors
    ///
    /// [`SealError::Open`] for another length.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, SealError> {
        let mut copy = Zeroizing::new([0_u8; DATA_KEY_BYTES]);
        if bytes.len() != DATA_KEY_BYTES {
            return Err(SealError::Open);
        }
        copy.copy_from_slice(bytes);
        Ok(Self(KeyEncryptionKey::from_bytes(*copy)))
    }

    /// Its bytes, to be wrapped.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// Seals the private part of its row.
    ///
    /// # Errors
    ///
    /// [`SealError::Context`] for a ring or kid outside `[A-Za-z0-9._-]`, [`SealError::Seal`] when the library fails.
    pub fn seal(&self, row: SealedFor<'_>, private: &[u8]) -> Result<Vec<u8>, SealError> {
        seal_bytes(&self.0, &bind(row, None)?, private)
    }

    /// Opens the private part of its row.
    ///
    /// # Errors
    ///
    /// [`SealError::Open`] when the row, the key or a bit of it differs.
    pub fn open(&self, row: SealedFor<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        open_bytes(&self.0, &bind(row, None)?, sealed)
    }
}

fn check_context(version: i32) -> String {
    format!("check|{version}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::seal;

    const ROW: SealedFor<'_> = SealedFor {
        ring: "access",
        kid: "k1",
        algorithm: Algorithm::EdDSA,
    };

    fn keys() -> KeyEncryptionKeys {
        KeyEncryptionKeys::parse([(1, &[7; 32][..]), (2, &[8; 32][..])]).unwrap()
    }

    proptest! {
        #[test]
        fn a_key_opens_in_its_own_row_with_its_own_version_and_in_no_other_way(
            private in proptest::collection::vec(any::<u8>(), 0..200),
            flip in any::<prop::sample::Index>(),
            bit in 0_u8..8,
        ) {
            let sealed = keys().seal(1, ROW, &private).unwrap();
            prop_assert_eq!(&*keys().open(ROW, &sealed).unwrap(), &private);
            for row in [
                SealedFor { ring: "stepup", ..ROW },
                SealedFor { kid: "k2", ..ROW },
                SealedFor { algorithm: Algorithm::ES256, ..ROW },
            ] {
                prop_assert_eq!(keys().open(row, &sealed).unwrap_err(), SealError::Open);
                let wrapped = sealed.wrapped_data_key.as_ref().unwrap();
                prop_assert_eq!(keys().unwrap(1, row, wrapped).unwrap_err(), SealError::Open);
            }
            for version in [2, 3] {
                let moved = SealedPrivateKey { kek_version: version, ..sealed.clone() };
                prop_assert!(keys().open(ROW, &moved).is_err());
            }
            let mut changed = sealed.clone();
            changed.ciphertext[flip.index(sealed.ciphertext.len())] ^= 1 << bit;
            prop_assert_eq!(keys().open(ROW, &changed).unwrap_err(), SealError::Open);
            let mut changed = sealed.clone();
            let wrapped = changed.wrapped_data_key.as_mut().unwrap();
            let at = flip.index(wrapped.len());
            wrapped[at] ^= 1 << bit;
            prop_assert_eq!(keys().open(ROW, &changed).unwrap_err(), SealError::Open);
        }
    }

    #[test]
    fn a_row_of_before_data_keys_opens() {
        let kek = KeyEncryptionKey::from_bytes([7; 32]);
        let old = SealedPrivateKey {
            kek_version: 1,
            wrapped_data_key: None,
            ciphertext: seal(&kek, "access", "k1", Algorithm::EdDSA, 1, b"private").unwrap(),
        };
        assert_eq!(keys().open(ROW, &old).unwrap().as_slice(), b"private");
    }

    #[test]
    fn another_secret_under_the_same_version_is_found_out() {
        let check = keys().check_value(2).unwrap();
        assert_eq!(keys().check(2, &check), Ok(()));
        let other = KeyEncryptionKeys::parse([(2, &[9; 32][..])]).unwrap();
        assert_eq!(other.check(2, &check), Err(SealError::Open));
        assert_eq!(keys().check(1, &check), Err(SealError::Open));
        assert_eq!(other.check(1, &check), Err(SealError::UnknownVersion(1)));
    }

    #[test]
    fn versions_are_named_once_from_one() {
        let key = &[7; 32][..];
        for wrong in [vec![], vec![(0, key)], vec![(1, key), (1, key)]] {
            assert_eq!(KeyEncryptionKeys::parse(wrong).unwrap_err(), SealError::Versions);
        }
        let short = KeyEncryptionKeys::parse([(1, &[7; 31][..])]);
        assert_eq!(short.unwrap_err(), SealError::KeyFormat);
        assert_eq!(keys().versions().collect::<Vec<_>>(), [1, 2]);
    }
}
