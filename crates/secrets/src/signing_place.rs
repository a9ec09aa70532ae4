//! Where private keys that sign are made and stay: in Vault or in AWS KMS, and how one of them is found again.

use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::wrapping_key::transit_names;
use crate::{Fault, KmsSigner, Providers, RemoteSigner, SignatureAlgorithm, TransitSigner, source};

/// Where the private keys of a ring are made: `transit://mount/key`, whose versions are its keys, or `awskms://`, where each is a
/// key of its own.
#[derive(Debug, Clone)]
pub struct SigningPlace {
    place: Place,
    providers: Arc<Providers>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Transit { mount: String, key: String },
    Kms,
}

/// A private key that was made elsewhere and stays there.
#[derive(Debug, Clone)]
pub struct RemoteSigningKey {
    name: String,
    signer: Arc<dyn RemoteSigner>,
}

impl SigningPlace {
    /// What its keys sign with.
    #[must_use]
    pub const fn algorithm(&self) -> SignatureAlgorithm {
        match self.place {
            Place::Transit { .. } => SignatureAlgorithm::Ed25519,
            Place::Kms => SignatureAlgorithm::P256,
        }
    }

    /// Has a key made.
    ///
    /// # Errors
    /// What the provider said.
    pub async fn make(&self) -> Result<RemoteSigningKey, Fault> {
        match &self.place {
            Place::Transit { mount, key } => {
                let signer = TransitSigner::make(self.providers.vault()?.clone(), mount, key).await?;
                Ok(RemoteSigningKey {
                    name: format!("transit://{mount}/{key}?version={}", signer.version()),
                    signer: Arc::new(signer),
                })
            }
            Place::Kms => {
                let signer = KmsSigner::make(self.providers.aws()?.clone()).await?;
                Ok(RemoteSigningKey {
                    name: format!("awskms://{}", signer.key()),
                    signer: Arc::new(signer),
                })
            }
        }
    }
}

impl RemoteSigningKey {
    /// Whether bytes are the name of such a key, and not a key.
    #[must_use]
    pub fn is_meant(bytes: &[u8]) -> bool {
        bytes.starts_with(b"transit://") || bytes.starts_with(b"awskms://")
    }

    /// Finds the key of a name that [`SigningPlace::make`] gave.
    ///
    /// # Errors
    /// When there is no such key, or its provider does not answer.
    pub async fn find(name: &str, providers: &Providers) -> Result<Self, Fault> {
        let malformed = || Fault::Malformed("the name of a signing key cannot be read".to_owned());
        let signer: Arc<dyn RemoteSigner> = if let Some(rest) = name.strip_prefix("transit://") {
            let (place, version) = rest.split_once("?version=").ok_or_else(malformed)?;
            let (mount, key) = transit_names(place).ok_or_else(malformed)?;
            let version = version.parse().map_err(|_| malformed())?;
            Arc::new(TransitSigner::of(providers.vault()?.clone(), mount, key, version).await?)
        } else {
            let key = name.strip_prefix("awskms://").ok_or_else(malformed)?;
            Arc::new(KmsSigner::of(providers.aws()?.clone(), key).await?)
        };
        Ok(Self {
            name: name.to_owned(),
            signer,
        })
    }

    /// The name by which it is found again; no secret.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What signs with it.
    #[must_use]
    pub fn signer(&self) -> &dyn RemoteSigner {
        self.signer.as_ref()
    }
}

impl<'de> Deserialize<'de> for SigningPlace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let providers = source::providers_at_hand();
        let transit = text.strip_prefix("transit://").and_then(transit_names);
        let place = match (transit, text.as_str()) {
            (Some((mount, key)), _) => {
                providers.vault().map_err(D::Error::custom)?;
                Place::Transit {
                    mount: mount.to_owned(),
                    key: key.to_owned(),
                }
            }
            (None, "awskms://") => {
                providers.aws().map_err(D::Error::custom)?;
                Place::Kms
            }
            _ => {
                return Err(D::Error::custom(
                    "signing keys are made in `transit://mount/key` or in `awskms://`",
                ));
            }
        };
        Ok(Self { place, providers })
    }
}
