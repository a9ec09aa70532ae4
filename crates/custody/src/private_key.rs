//! A private key that signs: one of this process, or one that stays in Vault or in AWS KMS.

use keyring::{Algorithm, KeyState, PublicKey, SigningKey, UnsignedToken, thumbprint};
use secrets::{Fault, Providers, RemoteSigningKey, SignatureAlgorithm, SigningPlace};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::CustodyError;

/// A private key. What is sealed of one that stays elsewhere is its name: its row lives like any other, and no private part
/// ever comes here.
#[derive(Debug)]
pub enum PrivateKey {
    /// It is here.
    Here(SigningKey),
    /// It stays where it was made.
    Elsewhere {
        /// Its kid.
        kid: String,
        /// The key.
        key: RemoteSigningKey,
    },
}

impl PrivateKey {
    /// Makes a key, here or in the place where keys of its ring are made.
    ///
    /// # Errors
    ///
    /// See [`CustodyError`].
    pub async fn make(algorithm: Algorithm, place: Option<&SigningPlace>) -> Result<Self, CustodyError> {
        match place {
            None => Ok(Self::Here(SigningKey::generate(algorithm)?)),
            Some(place) => Ok(Self::elsewhere(place.make().await.map_err(CustodyError::Signer)?)),
        }
    }

    /// Reads what [`Self::document`] gave.
    ///
    /// # Errors
    ///
    /// See [`CustodyError`].
    pub async fn read(
        algorithm: Algorithm,
        document: &[u8],
        providers: &Providers,
    ) -> Result<Self, CustodyError> {
        if !RemoteSigningKey::is_meant(document) {
            return Ok(Self::Here(SigningKey::from_pkcs8(algorithm, document)?));
        }
        let name = std::str::from_utf8(document).map_err(|_| CustodyError::Algorithm)?;
        let found = RemoteSigningKey::find(name, providers).await;
        let key = Self::elsewhere(found.map_err(CustodyError::Signer)?);
        if key.algorithm() == algorithm {
            Ok(key)
        } else {
            Err(CustodyError::Algorithm)
        }
    }

    fn elsewhere(key: RemoteSigningKey) -> Self {
        let signer = key.signer();
        Self::Elsewhere {
            kid: thumbprint(algorithm_of(signer.algorithm()), signer.public()),
            key,
        }
    }

    /// What is sealed of it: its PKCS#8 document, or its name.
    ///
    /// # Errors
    ///
    /// See [`CustodyError`].
    pub fn document(&self) -> Result<Zeroizing<Vec<u8>>, CustodyError> {
        match self {
            Self::Here(key) => Ok(key.to_pkcs8()?),
            Self::Elsewhere { key, .. } => Ok(Zeroizing::new(key.name().as_bytes().to_vec())),
        }
    }

    /// The name of the key: the thumbprint of its public part.
    #[must_use]
    pub fn kid(&self) -> &str {
        match self {
            Self::Here(key) => key.kid(),
            Self::Elsewhere { kid, .. } => kid,
        }
    }

    /// Its algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Here(key) => key.algorithm(),
            Self::Elsewhere { key, .. } => algorithm_of(key.signer().algorithm()),
        }
    }

    /// The raw public part.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        match self {
            Self::Here(key) => key.public(),
            Self::Elsewhere { key, .. } => key.signer().public(),
        }
    }

    /// The public part as an entry of a key set, in this state.
    #[must_use]
    pub fn public_key(&self, state: KeyState) -> PublicKey {
        PublicKey::new(self.algorithm(), self.public(), state)
    }

    /// Signs claims: a compact JWS with the header `alg`, `kid`, `typ: at+jwt`.
    ///
    /// # Errors
    ///
    /// See [`CustodyError`].
    pub async fn sign(&self, claims: &(impl Serialize + Sync)) -> Result<String, CustodyError> {
        match self {
            Self::Here(key) => Ok(key.sign(claims)?),
            Self::Elsewhere { kid, .. } => {
                let token = UnsignedToken::new(self.algorithm(), kid, claims)?;
                let signature = self.sign_bytes(token.bytes()).await?;
                Ok(token.signed(&signature))
            }
        }
    }

    /// Signs bytes as they are.
    ///
    /// # Errors
    ///
    /// See [`CustodyError`].
    pub async fn sign_bytes(&self, bytes: &[u8]) -> Result<Vec<u8>, CustodyError> {
        match self {
            Self::Here(key) => Ok(key.sign_bytes(bytes)?),
            Self::Elsewhere { key, .. } => {
                let signed: Result<Vec<u8>, Fault> = key.signer().sign(bytes).await;
                signed.map_err(CustodyError::Signer)
            }
        }
    }
}

/// The algorithm of tokens for one of signatures.
#[must_use]
pub const fn algorithm_of(algorithm: SignatureAlgorithm) -> Algorithm {
    match algorithm {
        SignatureAlgorithm::Ed25519 => Algorithm::EdDSA,
        SignatureAlgorithm::P256 => Algorithm::ES256,
    }
}
