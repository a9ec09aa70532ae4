//! Private keys in this process: made, tested, sealed, and opened again to see that they can be.

use keyring::{
    Algorithm, Claims, ClaimsForm, Expectations, KeyEncryptionKeys, KeySet, KeyState, RingName, SealError,
    SealedFor, SealedPrivateKey, SigningError, SigningKey, Verifier,
};

/// Makes and opens the private keys of rings.
#[derive(Debug)]
pub(crate) struct Vault {
    keks: KeyEncryptionKeys,
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
    /// The data key that it is sealed under, wrapped; none in a row of before data keys.
    pub(super) wrapped_data_key: Option<Vec<u8>>,
    /// Under which key-encryption key.
    pub(super) kek_version: i32,
}

/// Why a key cannot be made or opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VaultError {
    #[error("sealing: {0}")]
    Seal(#[from] SealError),
    #[error("signing: {0}")]
    Signing(#[from] SigningError),
    #[error("the row names an unknown algorithm")]
    Algorithm,
    #[error("the private part is not that of the kid")]
    OtherKey,
    #[error("the self-test failed")]
    SelfTest,
}

impl Vault {
    /// A vault that opens with these keys, and makes keys of this algorithm where a ring has no other.
    pub(crate) const fn new(keks: KeyEncryptionKeys, algorithm: Algorithm) -> Self {
        Self { keks, algorithm }
    }

    /// The key-encryption keys of this process.
    pub(crate) const fn keks(&self) -> &KeyEncryptionKeys {
        &self.keks
    }

    /// Makes a key for a ring, sealed under this version. It is published only once its row has been proved.
    pub(super) fn make(&self, ring: RingName, kek_version: i32) -> Result<SealedKey, VaultError> {
        let key = SigningKey::generate(ring.algorithm(self.algorithm))?;
        let row = SealedFor {
            ring: ring.as_str(),
            kid: key.kid(),
            algorithm: key.algorithm(),
        };
        let sealed = self.keks.seal(kek_version, row, &key.to_pkcs8()?)?;
        Ok(SealedKey {
            kid: key.kid().to_owned(),
            algorithm: key.algorithm().to_string(),
            public_key: key.public().to_vec(),
            sealed_private_key: sealed.ciphertext,
            wrapped_data_key: sealed.wrapped_data_key,
            kek_version,
        })
    }

    /// Opens a row's private part and proves that it signs for the row's kid, and that the signature verifies (guard G1).
    pub(super) fn prove(&self, ring: RingName, row: &SealedKey) -> Result<(), VaultError> {
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

    /// Opens a row's private part.
    pub(super) fn open(&self, ring: RingName, row: &SealedKey) -> Result<SigningKey, VaultError> {
        let algorithm: Algorithm = row.algorithm.parse().map_err(|_| VaultError::Algorithm)?;
        let sealed_for = SealedFor {
            ring: ring.as_str(),
            kid: &row.kid,
            algorithm,
        };
        let sealed = SealedPrivateKey {
            kek_version: row.kek_version,
            wrapped_data_key: row.wrapped_data_key.clone(),
            ciphertext: row.sealed_private_key.clone(),
        };
        let private = self.keks.open(sealed_for, &sealed)?;
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
        let keks = KeyEncryptionKeys::parse([(kek_version, [kek; 32].as_slice())]).unwrap();
        Vault::new(keks, Algorithm::EdDSA)
    }

    fn made() -> SealedKey {
        vault(1, 1).make(RingName::Access, 1).unwrap()
    }

    #[test]
    fn g1_a_key_is_proved_and_a_foreign_one_is_not() {
        let sealed = made();
        assert!(vault(1, 1).prove(RingName::Access, &sealed).is_ok());
        for wrong in [vault(2, 1), vault(1, 2)] {
            let proved = wrong.prove(RingName::Access, &sealed);
            assert!(matches!(proved, Err(VaultError::Seal(_))));
        }
        let proved = vault(1, 1).prove(RingName::Stepup, &sealed);
        assert!(matches!(proved, Err(VaultError::Seal(_))));

        let other = made();
        let moved = SealedKey {
            sealed_private_key: other.sealed_private_key.clone(),
            wrapped_data_key: other.wrapped_data_key.clone(),
            ..sealed.clone()
        };
        let proved = vault(1, 1).prove(RingName::Access, &moved);
        assert!(matches!(proved, Err(VaultError::Seal(_))));
        let swapped = SealedKey {
            public_key: other.public_key,
            ..sealed
        };
        let proved = vault(1, 1).prove(RingName::Access, &swapped);
        assert!(matches!(proved, Err(VaultError::OtherKey)));
    }

    #[test]
    fn g1_both_algorithms_work() {
        let keks = KeyEncryptionKeys::parse([(1, [1; 32].as_slice())]).unwrap();
        let es256 = Vault::new(keks, Algorithm::ES256);
        for (ring, length) in [(RingName::Access, 65), (RingName::Bundle, 32)] {
            let key = es256.make(ring, 1).unwrap();
            assert_eq!(key.public_key.len(), length);
            es256.prove(ring, &key).unwrap();
        }
    }
}
