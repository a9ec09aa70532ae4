//! Keys that wrap data keys and never show themselves: envelope encryption with the wrapping key in Vault or in AWS.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
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
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for part in self.0.iter().flat_map(|(name, value)| [name, value]) {
            let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        bytes
    }
}

/// A key that wraps data keys and never shows itself. What is wrapped is kept as the provider gave it.
#[async_trait]
pub trait KeyWrapper: fmt::Debug + Send + Sync {
    /// Wraps a data key under the provider's newest version of the key.
    async fn wrap(&self, key: &[u8], context: &Context) -> Result<Vec<u8>, Fault>;

    /// Opens a wrapped key. [`Fault::Refused`] when the context differs, it was changed, or the provider does not open that
    /// version any more.
    async fn unwrap(&self, wrapped: &[u8], context: &Context) -> Result<Zeroizing<Vec<u8>>, Fault>;

    /// Makes a data key of 256 bits; the clear one is to be forgotten after use.
    async fn generate(&self, context: &Context) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), Fault> {
        let mut key = Zeroizing::new(vec![0; DATA_KEY_BYTES]);
        getrandom::fill(&mut key)
            .map_err(|_| Fault::Unavailable("the operating system gives no randomness".to_owned()))?;
        let wrapped = self.wrap(&key, context).await?;
        Ok((key, wrapped))
    }
}
