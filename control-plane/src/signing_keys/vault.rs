//! Private keys in this process: made, tested, sealed, and opened again to see that they can be.

use keyring::{
    Algorithm, Claims, ClaimsForm, Expectations, KeyEncryptionKey, KeySet, KeyState, SealError, SigningError,
    SigningKey, Verifier, open, seal,
};

/// Makes and opens the private keys of rings.
#[derive(Debug)]
pub(crate) struct Vault {
    kek: KeyEncryptionKey,
    kek_version: i32,
    algorithm: Algorithm,
}

/// A key as its row holds it; no private part in the clear.
#[derive(Debug, Clone)]
pub(super) struct SealedKey {
    /// Thumbprint of the public part.
    pub(super) kid: String,
    /// Name of the algorithm as the database knows it.
    pub(super) algorithm: String,
    /// The raw public part.
    pub(super) public_key: Vec<u8>,
    /// The private part, sealed for its ring and kid.
    pub(super) sealed_private_key: Vec<u8>,
    /// Under which key-encryption key.
    pub(super) kek_version: i32,
}

/// Why a key cannot be made or opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum VaultError {
    #[error("sealing: {0}")]
    Seal(#[from] SealError),
    #[error("signing: {0}")]
    Signing(#[from] SigningError),
    #[error("sealed under key-encryption key version {found}, this process has {ours}")]
    KekVersion { found: i32, ours: i32 },
    #[error("the row names an unknown algorithm")]
    Algorithm,
    #[error("the private part is not that of the kid")]
    OtherKey,
    #[error("the self-test failed")]
    SelfTest,
}

impl Vault {
    /// A vault that seals under this key, and makes keys of this algorithm.
    pub(crate) const fn new(kek: KeyEncryptionKey, kek_version: i32, algorithm: Algorithm) -> Self {
        Self {
            kek,
            kek_version,
            algorithm,
        }
    }

    /// Makes a key for a ring and proves that it works: sealed, opened again, it signs, and the signature verifies
    /// (guard G1). Only then may it be published.
    pub(super) fn make(&self, ring: &str) -> Result<SealedKey, VaultError> {
        let key = SigningKey::generate(self.algorithm)?;
        let private = key.to_pkcs8()?;
        let sealed = SealedKey {
            kid: key.kid().to_owned(),
            algorithm: self.algorithm.to_string(),
            public_key: key.public().to_vec(),
            sealed_private_key: seal(
                &self.kek,
                ring,
                key.kid(),
                self.algorithm,
                self.kek_version,
                &private,
            )?,
            kek_version: self.kek_version,
        };
        self.prove(ring, &sealed)?;
        Ok(sealed)
    }

    /// Opens a row's private part and proves that it signs for the row's kid.
    pub(super) fn prove(&self, ring: &str, row: &SealedKey) -> Result<(), VaultError> {
        let key = self.open(ring, row)?;
        let claims = self_test_claims();
        let token = key.sign(&claims)?;
        let set = KeySet {
            seq: 0,
            keys: vec![key.public_key(KeyState::Active)],
            revoked_kids: Vec::new(),
        };
        let verifier = Verifier::new(set).map_err(|_| VaultError::SelfTest)?;
        let expectations = Expectations {
            issuer: claims.iss.clone(),
            audiences: claims.aud.clone(),
            algorithms: vec![key.algorithm().into()],
            token_type: "at+jwt".to_owned(),
            max_lifetime_s: 1,
            leeway_s: 0,
            form: ClaimsForm::default(),
        };
        match verifier.verify(&token, &expectations, claims.iat) {
            Ok(read) if read == claims => Ok(()),
            _ => Err(VaultError::SelfTest),
        }
    }

    fn open(&self, ring: &str, row: &SealedKey) -> Result<SigningKey, VaultError> {
        if row.kek_version != self.kek_version {
            return Err(VaultError::KekVersion {
                found: row.kek_version,
                ours: self.kek_version,
            });
        }
        let algorithm: Algorithm = row.algorithm.parse().map_err(|_| VaultError::Algorithm)?;
        let private = open(
            &self.kek,
            ring,
            &row.kid,
            algorithm,
            row.kek_version,
            &row.sealed_private_key,
        )?;
        let key = SigningKey::from_pkcs8(algorithm, &private)?;
        if key.kid() == row.kid && key.public() == row.public_key {
            Ok(key)
        } else {
            Err(VaultError::OtherKey)
        }
    }
}

/// Claims that no verifier outside this file accepts.
fn self_test_claims() -> Claims {
    let nobody = "portico:key-self-test".to_owned();
    Claims {
        iss: nobody.clone(),
        sub: nobody.clone(),
        aud: vec![nobody.clone()],
        exp: 1,
        iat: 0,
        nbf: None,
        jti: Some(nobody),
        sid: None,
        tid: None,
        client_id: None,
        scope: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(kek: u8, kek_version: i32) -> Vault {
        Vault::new(
            KeyEncryptionKey::from_bytes([kek; 32]),
            kek_version,
            Algorithm::EdDSA,
        )
    }

    #[test]
    fn g1_a_key_is_proved_and_a_foreign_one_is_not() {
        let sealed = vault(1, 1).make("access").unwrap();
        assert!(vault(1, 1).prove("access", &sealed).is_ok());

        assert!(matches!(
            vault(2, 1).prove("access", &sealed),
            Err(VaultError::Seal(_))
        ));
        assert!(matches!(
            vault(1, 2).prove("access", &sealed),
            Err(VaultError::KekVersion { found: 1, ours: 2 })
        ));
        assert!(matches!(
            vault(1, 1).prove("stepup", &sealed),
            Err(VaultError::Seal(_))
        ));
        let other = vault(1, 1).make("access").unwrap();
        let moved = SealedKey {
            sealed_private_key: other.sealed_private_key,
            ..sealed.clone()
        };
        assert!(matches!(
            vault(1, 1).prove("access", &moved),
            Err(VaultError::Seal(_))
        ));
        let swapped = SealedKey {
            public_key: other.public_key,
            ..sealed
        };
        assert!(matches!(
            vault(1, 1).prove("access", &swapped),
            Err(VaultError::OtherKey)
        ));
    }

    #[test]
    fn g1_both_algorithms_work() {
        let es256 = Vault::new(KeyEncryptionKey::from_bytes([1; 32]), 1, Algorithm::ES256);
        assert_eq!(es256.make("access").unwrap().public_key.len(), 65);
    }
}
