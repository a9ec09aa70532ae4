//! Keys that wrap data keys: envelope encryption, with the wrapping key in this process, in Vault or in AWS.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use zeroize::Zeroizing;

use crate::Fault;

/// Bytes of a data key.
pub(crate) const DATA_KEY_BYTES: usize = 32;

/// What a wrapped key is bound to, such as table, column and row: it unwraps with the same context and no other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Context(BTreeMap<String, String>);

impl Context {
    /// The context of these names and values. They are no secrets: providers write them into their logs.
    #[must_use]
    pub fn of<const N: usize>(pairs: [(&str, &str); N]) -> Self {
        Self(
            pairs
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    pub(crate) const fn pairs(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// The one byte form of this context: each part with its length before it, in the order of the names.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for part in self.0.iter().flat_map(|(name, value)| [name, value]) {
            let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        bytes
    }
}

/// A data key that only its wrapping key opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedKey {
    /// Which version of the wrapping key, as far as the provider tells.
    pub version: u32,
    /// The ciphertext, in the provider's form.
    pub blob: Vec<u8>,
}

/// The versions of a wrapping key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyVersions {
    /// What wraps now.
    pub latest: u32,
    /// The oldest version that still unwraps.
    pub oldest_usable: u32,
}

/// A key that wraps data keys and never shows itself.
#[async_trait]
pub trait KeyWrapper: Send + Sync {
    /// Wraps a data key under the latest version.
    async fn wrap(&self, key: &[u8], context: &Context) -> Result<WrappedKey, Fault>;

    /// Opens a wrapped key. [`Fault::Refused`] when the context differs, the blob was changed, or its version is too old.
    async fn unwrap(&self, wrapped: &WrappedKey, context: &Context) -> Result<Zeroizing<Vec<u8>>, Fault>;

    /// Wraps the same data key under the latest version.
    async fn rewrap(&self, wrapped: &WrappedKey, context: &Context) -> Result<WrappedKey, Fault>;

    /// Which versions there are.
    async fn versions(&self) -> Result<KeyVersions, Fault>;

    /// Makes a data key of 256 bits; the clear one is to be forgotten after use.
    async fn generate(&self, context: &Context) -> Result<(Zeroizing<Vec<u8>>, WrappedKey), Fault> {
        let mut key = Zeroizing::new(vec![0; DATA_KEY_BYTES]);
        getrandom::fill(&mut key)
            .map_err(|_| Fault::Unavailable("the operating system gives no randomness".to_owned()))?;
        let wrapped = self.wrap(&key, context).await?;
        Ok((key, wrapped))
    }
}

/// Wrapping keys in this process, by version: AES-256-GCM, the context and the version bound to each blob.
pub struct LocalWrapper {
    keys: BTreeMap<u32, RandomizedNonceKey>,
    latest: u32,
}

impl LocalWrapper {
    /// Takes the versions of a key, each with its 32 bytes; the highest wraps.
    ///
    /// # Errors
    /// [`Fault::Unconfigured`] when there is none, or one has another length.
    pub fn new(versions: &BTreeMap<u32, Zeroizing<Vec<u8>>>) -> Result<Self, Fault> {
        let latest = *versions
            .keys()
            .next_back()
            .ok_or_else(|| Fault::Unconfigured("there is no wrapping key".to_owned()))?;
        let keys = versions
            .iter()
            .map(|(version, bytes)| {
                RandomizedNonceKey::new(&AES_256_GCM, bytes)
                    .map(|key| (*version, key))
                    .map_err(|_| {
                        Fault::Unconfigured(format!("version {version} of the wrapping key is not 32 bytes"))
                    })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { keys, latest })
    }

    fn key(&self, version: u32) -> Result<&RandomizedNonceKey, Fault> {
        self.keys.get(&version).ok_or_else(|| {
            Fault::Refused(format!(
                "this process has no version {version} of the wrapping key"
            ))
        })
    }
}

fn additional_data(version: u32, context: &Context) -> Vec<u8> {
    let mut data = version.to_be_bytes().to_vec();
    data.append(&mut context.bytes());
    data
}

#[async_trait]
impl KeyWrapper for LocalWrapper {
    async fn wrap(&self, key: &[u8], context: &Context) -> Result<WrappedKey, Fault> {
        // Room for the tag: a vector that grows leaves its old bytes behind.
        let mut sealed = Zeroizing::new(Vec::with_capacity(
            key.len().saturating_add(AES_256_GCM.tag_len()),
        ));
        sealed.extend_from_slice(key);
        let nonce = self
            .key(self.latest)?
            .seal_in_place_append_tag(Aad::from(additional_data(self.latest, context)), &mut *sealed)
            .map_err(|_| Fault::Malformed("the key cannot be wrapped".to_owned()))?;
        let mut blob = nonce.as_ref().to_vec();
        blob.extend_from_slice(&sealed);
        Ok(WrappedKey {
            version: self.latest,
            blob,
        })
    }

    async fn unwrap(&self, wrapped: &WrappedKey, context: &Context) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let refused = || Fault::Refused("the wrapped key does not open".to_owned());
        let (nonce, sealed) = wrapped.blob.split_at_checked(NONCE_LEN).ok_or_else(refused)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| refused())?;
        let mut buffer = Zeroizing::new(sealed.to_vec());
        let length = self
            .key(wrapped.version)?
            .open_in_place(
                nonce,
                Aad::from(additional_data(wrapped.version, context)),
                &mut buffer,
            )
            .map_err(|_| refused())?
            .len();
        buffer.truncate(length);
        Ok(buffer)
    }

    async fn rewrap(&self, wrapped: &WrappedKey, context: &Context) -> Result<WrappedKey, Fault> {
        let key = self.unwrap(wrapped, context).await?;
        self.wrap(&key, context).await
    }

    async fn versions(&self) -> Result<KeyVersions, Fault> {
        Ok(KeyVersions {
            latest: self.latest,
            oldest_usable: self.keys.keys().next().copied().unwrap_or(self.latest),
        })
    }
}
