//! The versions of the key-encryption key of a process, each in it or elsewhere.

use std::collections::BTreeMap;

use keyring::{DataKey, KeyEncryptionKeys, SealError, SealedFor, SealedPrivateKey};
use secrets::{Context, RemoteKey, WrappingKey};
use zeroize::Zeroizing;

use crate::held::Held;
use crate::{CustodyError, VersionedKey};

/// What a check value wraps; its secrecy does not matter, its length is that of a data key.
const CHECK_TEXT: &[u8; 32] = b"portico: is this the right key? ";

/// The key-encryption keys of a process: several at once, so that one can follow another. Each opens what it wrapped.
#[derive(Debug)]
pub struct Keks {
    local: Option<KeyEncryptionKeys>,
    remote: BTreeMap<i32, RemoteKey>,
    held: Held,
}

impl Keks {
    /// Takes the versions of the settings: one that stands alone, if it is given, and those of a list.
    ///
    /// # Errors
    ///
    /// [`SealError::KeyFormat`] for a secret that is no key; [`SealError::Versions`] for none at all, a version below 1, or
    /// one that is there twice.
    pub fn new(single: (i32, &WrappingKey), listed: &[VersionedKey]) -> Result<Self, SealError> {
        let mut local: Vec<(i32, &[u8])> = Vec::new();
        let mut remote = BTreeMap::new();
        let listed = listed.iter().map(|key| (key.version, &key.secret));
        for (version, key) in std::iter::once(single).chain(listed) {
            match key {
                WrappingKey::Secret(secret) if secret.expose().is_empty() => {}
                WrappingKey::Secret(secret) => local.push((version, secret.expose())),
                WrappingKey::Remote(key) => {
                    if version < 1 || remote.insert(version, key.clone()).is_some() {
                        return Err(SealError::Versions);
                    }
                }
            }
        }
        let is_twice = local.iter().any(|(version, _)| remote.contains_key(version));
        if is_twice || (local.is_empty() && remote.is_empty()) {
            return Err(SealError::Versions);
        }
        let local = (!local.is_empty()).then(|| KeyEncryptionKeys::parse(local));
        Ok(Self {
            local: local.transpose()?,
            remote,
            held: Held::default(),
        })
    }

    /// The versions, lowest first.
    #[must_use]
    pub fn versions(&self) -> Vec<i32> {
        let local = self.local.iter().flat_map(KeyEncryptionKeys::versions);
        let mut versions: Vec<i32> = local.chain(self.remote.keys().copied()).collect();
        versions.sort_unstable();
        versions
    }

    /// Whether this version is here.
    #[must_use]
    pub fn has(&self, version: i32) -> bool {
        self.is_remote(version) || self.local.as_ref().is_some_and(|local| local.has(version))
    }

    /// Whether this version stays elsewhere.
    #[must_use]
    pub fn is_remote(&self, version: i32) -> bool {
        self.remote.contains_key(&version)
    }

    /// Where a version that stays elsewhere is.
    #[must_use]
    pub fn place(&self, version: i32) -> Option<&str> {
        self.remote.get(&version).map(RemoteKey::name)
    }

    /// Seals a private key (PKCS#8) for one row, under a new data key that this version wraps.
    ///
    /// # Errors
    ///
    /// See [`CustodyError`].
    pub async fn seal(
        &self,
        version: i32,
        row: SealedFor<'_>,
        private: &[u8],
    ) -> Result<SealedPrivateKey, CustodyError> {
        let Some(key) = self.remote.get(&version) else {
            return Ok(self.local(version)?.seal(version, row, private)?);
        };
        let context = context(version, row);
        let made = key.wrapper().generate(&context).await;
        let (data_key, wrapped) = made.map_err(|fault| CustodyError::Provider { version, fault })?;
        let data_key = DataKey::from_slice(&data_key)?;
        self.held.keep(&context, &wrapped, &data_key);
        Ok(SealedPrivateKey {
            kek_version: version,
            wrapped_data_key: Some(wrapped),
            ciphertext: data_key.seal(row, private)?,
        })
    }

    /// Opens a private key in its own row, with the version that the row names. What this process has opened or sealed
    /// before opens without a provider.
    ///
    /// # Errors
    ///
    /// See [`CustodyError`].
    pub async fn open(
        &self,
        row: SealedFor<'_>,
        sealed: &SealedPrivateKey,
    ) -> Result<Zeroizing<Vec<u8>>, CustodyError> {
        let version = sealed.kek_version;
        let Some(wrapped) = sealed
            .wrapped_data_key
            .as_ref()
            .filter(|_| self.is_remote(version))
        else {
            return Ok(self.local(version)?.open(row, sealed)?);
        };
        let data_key = match self.held.get(&context(version, row), wrapped) {
            Some(held) => held,
            None => self.unwrap_and_hold(version, row, wrapped).await?,
        };
        Ok(data_key.open(row, &sealed.ciphertext)?)
    }

    /// Asks the provider of a row's version to open its data key, whatever is held here: whether another process could.
    ///
    /// # Errors
    ///
    /// See [`CustodyError`].
    pub async fn probe(&self, row: SealedFor<'_>, sealed: &SealedPrivateKey) -> Result<(), CustodyError> {
        let version = sealed.kek_version;
        match &sealed.wrapped_data_key {
            Some(wrapped) if self.is_remote(version) => {
                self.unwrap_and_hold(version, row, wrapped).await.map(drop)
            }
            _ => Ok(()),
        }
    }

    /// The same private key with its data key wrapped by another version; a row of before data keys gets one. The private
    /// part of all others stays sealed on the way.
    ///
    /// # Errors
    ///
    /// See [`CustodyError`].
    pub async fn rewrap(
        &self,
        version: i32,
        row: SealedFor<'_>,
        sealed: &SealedPrivateKey,
    ) -> Result<SealedPrivateKey, CustodyError> {
        let Some(wrapped) = &sealed.wrapped_data_key else {
            let private = self.open(row, sealed).await?;
            return self.seal(version, row, &private).await;
        };
        let data_key = self.unwrap(sealed.kek_version, row, wrapped).await?;
        Ok(SealedPrivateKey {
            kek_version: version,
            wrapped_data_key: Some(self.wrap(version, row, &data_key).await?),
            ciphertext: sealed.ciphertext.clone(),
        })
    }

    /// A known text under this version, from which another process learns whether it has the same key.
    ///
    /// # Errors
    ///
    /// See [`CustodyError`].
    pub async fn check_value(&self, version: i32) -> Result<Vec<u8>, CustodyError> {
        match self.remote.get(&version) {
            Some(key) => key
                .wrapper()
                .wrap(CHECK_TEXT, &check_context(version))
                .await
                .map_err(|fault| CustodyError::Provider { version, fault }),
            None => Ok(self.local(version)?.check_value(version)?),
        }
    }

    /// Whether our key of this version is the one that made the check value.
    ///
    /// # Errors
    ///
    /// See [`CustodyError`].
    pub async fn check(&self, version: i32, check_value: &[u8]) -> Result<(), CustodyError> {
        match self.remote.get(&version) {
            Some(key) => key
                .wrapper()
                .unwrap(check_value, &check_context(version))
                .await
                .map(drop)
                .map_err(|fault| CustodyError::Provider { version, fault }),
            None => Ok(self.local(version)?.check(version, check_value)?),
        }
    }

    fn local(&self, version: i32) -> Result<&KeyEncryptionKeys, SealError> {
        self.local.as_ref().ok_or(SealError::UnknownVersion(version))
    }

    async fn wrap(
        &self,
        version: i32,
        row: SealedFor<'_>,
        data_key: &DataKey,
    ) -> Result<Vec<u8>, CustodyError> {
        match self.remote.get(&version) {
            Some(key) => key
                .wrapper()
                .wrap(data_key.bytes(), &context(version, row))
                .await
                .map_err(|fault| CustodyError::Provider { version, fault }),
            None => Ok(self.local(version)?.wrap(version, row, data_key)?),
        }
    }

    async fn unwrap(
        &self,
        version: i32,
        row: SealedFor<'_>,
        wrapped: &[u8],
    ) -> Result<DataKey, CustodyError> {
        let Some(key) = self.remote.get(&version) else {
            return Ok(self.local(version)?.unwrap(version, row, wrapped)?);
        };
        let opened = key.wrapper().unwrap(wrapped, &context(version, row)).await;
        let bytes = opened.map_err(|fault| CustodyError::Provider { version, fault })?;
        Ok(DataKey::from_slice(&bytes)?)
    }

    async fn unwrap_and_hold(
        &self,
        version: i32,
        row: SealedFor<'_>,
        wrapped: &[u8],
    ) -> Result<DataKey, CustodyError> {
        let data_key = self.unwrap(version, row, wrapped).await?;
        self.held.keep(&context(version, row), wrapped, &data_key);
        Ok(data_key)
    }
}

/// What a wrapped data key is bound to, by name: providers write it into their logs.
fn context(version: i32, row: SealedFor<'_>) -> Context {
    Context::of([
        ("ring", row.ring),
        ("kid", row.kid),
        ("algorithm", row.algorithm.as_str()),
        ("kek_version", &version.to_string()),
    ])
}

fn check_context(version: i32) -> Context {
    Context::of([
        ("check", "key-encryption key"),
        ("kek_version", &version.to_string()),
    ])
}

#[cfg(test)]
mod tests {
    use keyring::Algorithm;

    use super::*;

    const ROW: SealedFor<'_> = SealedFor {
        ring: "access",
        kid: "k1",
        algorithm: Algorithm::EdDSA,
    };

    fn secret(byte: u8) -> WrappingKey {
        WrappingKey::from(vec![byte; 32])
    }

    fn listed(versions: &[(i32, u8)]) -> Vec<VersionedKey> {
        let versions = versions.iter();
        let key = |(version, byte): &(i32, u8)| VersionedKey {
            version: *version,
            secret: secret(*byte),
        };
        versions.map(key).collect()
    }

    #[test]
    fn versions_are_named_once_from_one() {
        let nothing = WrappingKey::default();
        assert!(Keks::new((1, &secret(7)), &listed(&[(2, 8)])).is_ok());
        assert!(Keks::new((1, &nothing), &listed(&[(2, 8)])).is_ok());
        for (single, more) in [
            ((1, &nothing), listed(&[])),
            ((0, &secret(7)), listed(&[])),
            ((1, &secret(7)), listed(&[(1, 8)])),
        ] {
            assert_eq!(Keks::new(single, &more).unwrap_err(), SealError::Versions);
        }
        let short = WrappingKey::from(vec![7; 31]);
        assert_eq!(Keks::new((1, &short), &[]).unwrap_err(), SealError::KeyFormat);
    }

    #[tokio::test]
    async fn a_rewrapped_key_needs_the_new_version_alone_and_its_private_part_was_not_opened() {
        let both = Keks::new((1, &secret(7)), &listed(&[(2, 8)])).unwrap();
        let sealed = both.seal(1, ROW, b"private").await.unwrap();
        let rewrapped = both.rewrap(2, ROW, &sealed).await.unwrap();
        assert_eq!(rewrapped.ciphertext, sealed.ciphertext);
        let newest = Keks::new((2, &secret(8)), &[]).unwrap();
        assert_eq!(newest.open(ROW, &rewrapped).await.unwrap().as_slice(), b"private");
        let refusal = newest.open(ROW, &sealed).await.unwrap_err();
        assert_eq!(refusal, SealError::UnknownVersion(1).into());
        let other = SealedFor { kid: "k2", ..ROW };
        assert_eq!(
            both.rewrap(2, other, &sealed).await.unwrap_err(),
            SealError::Open.into()
        );
    }

    #[tokio::test]
    async fn a_row_of_before_data_keys_gets_one() {
        let keks = Keks::new((1, &secret(7)), &listed(&[(2, 8)])).unwrap();
        let kek = keyring::KeyEncryptionKey::from_bytes([7; 32]);
        let old = SealedPrivateKey {
            kek_version: 1,
            wrapped_data_key: None,
            ciphertext: keyring::seal(&kek, "access", "k1", Algorithm::EdDSA, 1, b"private").unwrap(),
        };
        let rewrapped = keks.rewrap(2, ROW, &old).await.unwrap();
        assert!(rewrapped.wrapped_data_key.is_some());
        assert_eq!(keks.open(ROW, &rewrapped).await.unwrap().as_slice(), b"private");
    }
}
