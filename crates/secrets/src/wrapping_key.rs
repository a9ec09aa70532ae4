//! Where a wrapping key is, as settings name it: a secret that comes into this process, or a key that stays in Vault or AWS.

use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use crate::{Fault, KeyWrapper, KmsWrapper, Providers, SecretBytes, TransitWrapper, source};

const TRANSIT: &str =
    "a key of Vault's transit engine is `transit://mount/key`, with letters, digits and `._-` only";
const KMS: &str = "a key of AWS KMS is `awskms://` and its id or ARN, such as `awskms://arn:aws:kms:eu-central-1:111122223333:key/…`";

/// A wrapping key: 32 bytes at a [reference](crate::Reference), `transit://mount/key` or `awskms://key`.
#[derive(Debug, Clone)]
pub enum WrappingKey {
    /// Its bytes come into this process.
    Secret(SecretBytes),
    /// It stays where it is.
    Remote(RemoteKey),
}

impl Default for WrappingKey {
    /// Nothing was given.
    fn default() -> Self {
        Self::Secret(SecretBytes::default())
    }
}

impl From<Vec<u8>> for WrappingKey {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Secret(SecretBytes::from(bytes))
    }
}

/// A wrapping key that stays where it is.
#[derive(Debug, Clone)]
pub struct RemoteKey {
    name: String,
    wrapper: Arc<dyn KeyWrapper>,
}

impl RemoteKey {
    /// Its name in settings; no secret.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What wraps with it.
    #[must_use]
    pub fn wrapper(&self) -> &dyn KeyWrapper {
        self.wrapper.as_ref()
    }

    /// Reads the name of a key that stays elsewhere; nothing when the text means no such key. Nobody is asked yet.
    fn read(text: &str, providers: &Providers) -> Option<Result<Self, Fault>> {
        let wrapper = if let Some(rest) = text.strip_prefix("transit://") {
            transit(rest, providers)
        } else if let Some(key) = text.strip_prefix("awskms://") {
            kms(key, providers)
        } else {
            return None;
        };
        Some(wrapper.map(|wrapper| Self {
            name: text.to_owned(),
            wrapper,
        }))
    }
}

/// Mount and name of a key of the transit engine.
pub(crate) fn transit_names(text: &str) -> Option<(&str, &str)> {
    let is_name = |text: &str| {
        !matches!(text, "" | "." | "..")
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    text.split_once('/')
        .filter(|(mount, key)| is_name(mount) && is_name(key))
}

fn transit(rest: &str, providers: &Providers) -> Result<Arc<dyn KeyWrapper>, Fault> {
    let (mount, key) = transit_names(rest).ok_or_else(|| Fault::Malformed(TRANSIT.to_owned()))?;
    let vault = providers.vault()?.clone();
    Ok(Arc::new(TransitWrapper::new(vault, mount, key)))
}

fn kms(key: &str, providers: &Providers) -> Result<Arc<dyn KeyWrapper>, Fault> {
    let is_key = (1..=2048).contains(&key.len())
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "/_:-".contains(c));
    if !is_key {
        return Err(Fault::Malformed(KMS.to_owned()));
    }
    Ok(Arc::new(KmsWrapper::new(providers.aws()?.clone(), key)))
}

impl<'de> Deserialize<'de> for WrappingKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        match RemoteKey::read(&text, &source::providers_at_hand()) {
            Some(remote) => remote.map(Self::Remote).map_err(D::Error::custom),
            None => SecretBytes::at(&text).map(Self::Secret).map_err(D::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_means_no_key_is_refused_and_a_provider_must_be_described() {
        let read = |text: &str| serde_yaml::from_str::<WrappingKey>(text).unwrap_err().to_string();
        for wrong in [
            "transit://transit",
            "transit://a/../b",
            "transit:///kek",
            "transit://a/b/c",
        ] {
            assert!(read(wrong).contains("transit://mount/key"), "{wrong}");
        }
        assert!(read("awskms://").contains("awskms://"));
        assert!(read("awskms://a?b").contains("awskms://"));
        assert!(read("transit://transit/kek").contains("secrets.vault"));
        assert!(read("awskms://alias/bank").contains("secrets.aws"));
        assert!(read("hunter2").contains("not written here"));
    }
}
