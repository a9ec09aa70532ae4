//! Private keys in this process: made, tested, sealed, and opened again to see that they can be.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use custody::{CustodyError, Keks, PrivateKey, algorithm_of};
use keyring::{
    Algorithm, Claims, ClaimsForm, Expectations, KeySet, KeyState, RingName, SealedFor, SealedPrivateKey,
    Verifier,
};
use service_runtime::settings::{Providers, SigningPlace};

/// Makes and opens the private keys of rings.
#[derive(Debug)]
pub(crate) struct Vault {
    keks: Keks,
    algorithm: Algorithm,
    /// Where private keys of a ring are made, when it is not here.
    places: BTreeMap<RingName, SigningPlace>,
    /// Who keeps the private keys that are not here.
    providers: Arc<Providers>,
    /// A key for each ring that is made and sealed already: the next standby, whoever is down when it is needed.
    spares: Mutex<BTreeMap<RingName, SealedKey>>,
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
    #[error("sealing or signing: {0}")]
    Custody(#[from] CustodyError),
    #[error("the row names an unknown algorithm")]
    Algorithm,
    #[error("the private part is not that of the kid")]
    OtherKey,
    #[error("the self-test failed")]
    SelfTest,
}

impl VaultError {
    /// Whether nobody answered who has the key-encryption key.
    pub(crate) const fn is_unavailable(&self) -> bool {
        matches!(self, Self::Custody(error) if error.is_unavailable())
    }
}

impl SealedKey {
    /// What it is sealed for, and what is sealed.
    fn parts(&self, ring: RingName) -> Result<(SealedFor<'_>, SealedPrivateKey), VaultError> {
        let sealed_for = SealedFor {
            ring: ring.as_str(),
            kid: &self.kid,
            algorithm: self.algorithm.parse().map_err(|_| VaultError::Algorithm)?,
        };
        let sealed = SealedPrivateKey {
            kek_version: self.kek_version,
            wrapped_data_key: self.wrapped_data_key.clone(),
            ciphertext: self.sealed_private_key.clone(),
        };
        Ok((sealed_for, sealed))
    }
}

impl Vault {
    /// A vault that opens with these keys, and makes keys of this algorithm where a ring has no other.
    pub(crate) const fn new(keks: Keks, algorithm: Algorithm, providers: Arc<Providers>) -> Self {
        Self {
            keks,
            algorithm,
            places: BTreeMap::new(),
            providers,
            spares: Mutex::new(BTreeMap::new()),
        }
    }

    /// The same, with places where the private keys of some rings are made and stay.
    pub(crate) fn with_places(self, places: BTreeMap<RingName, SigningPlace>) -> Self {
        Self { places, ..self }
    }

    /// The key-encryption keys of this process.
    pub(crate) const fn keks(&self) -> &Keks {
        &self.keks
    }

    /// The spare key of a ring, if there is one that is sealed under this version. It stays the spare one until another is
    /// made: whether it was used up, the database knows.
    pub(super) fn spare(&self, ring: RingName, kek_version: i32) -> Option<SealedKey> {
        let spare = self.spares().get(&ring).cloned();
        spare.filter(|spare| spare.kek_version == kek_version)
    }

    /// Makes the spare key of a ring, where the version that seals is not in this process and may be out of reach later. None
    /// where private keys are made elsewhere: each start would leave a key there that nobody uses, and pays for.
    pub(super) async fn make_spare(&self, ring: RingName, kek_version: i32) -> Result<(), VaultError> {
        if self.keks.is_remote(kek_version) && !self.places.contains_key(&ring) {
            self.make_and_hold(ring, kek_version).await?;
        }
        Ok(())
    }

    /// A new key that stays the spare one until it has a row: who tries again after a transaction has failed takes the same.
    pub(super) async fn make_and_hold(
        &self,
        ring: RingName,
        kek_version: i32,
    ) -> Result<SealedKey, VaultError> {
        let made = self.make(ring, kek_version).await?;
        self.spares().insert(ring, made.clone());
        Ok(made)
    }

    fn spares(&self) -> MutexGuard<'_, BTreeMap<RingName, SealedKey>> {
        self.spares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new key for a ring, sealed under this version. It is published only once its row has been proved.
    pub(super) async fn make(&self, ring: RingName, kek_version: i32) -> Result<SealedKey, VaultError> {
        let place = self.places.get(&ring);
        let algorithm = place.map_or(self.algorithm, |place| algorithm_of(place.algorithm()));
        let key = PrivateKey::make(ring.algorithm(algorithm), place).await?;
        let row = SealedFor {
            ring: ring.as_str(),
            kid: key.kid(),
            algorithm: key.algorithm(),
        };
        let sealed = self.keks.seal(kek_version, row, &key.document()?).await?;
        Ok(SealedKey {
            kid: key.kid().to_owned(),
            algorithm: key.algorithm().to_string(),
            public_key: key.public().to_vec(),
            sealed_private_key: sealed.ciphertext,
            wrapped_data_key: sealed.wrapped_data_key,
            kek_version,
        })
    }

    /// Whether another process could open a row now: its key-encryption key is asked for, whatever this process holds.
    pub(super) async fn probe(&self, ring: RingName, row: &SealedKey) -> Result<(), VaultError> {
        let (sealed_for, sealed) = row.parts(ring)?;
        Ok(self.keks.probe(sealed_for, &sealed).await?)
    }

    /// Opens a row's private part and proves that it signs for the row's kid, and that the signature verifies (guard G1).
    pub(super) async fn prove(&self, ring: RingName, row: &SealedKey) -> Result<(), VaultError> {
        let key = self.open(ring, row).await?;
        let claims = self_test_claims();
        let token = key.sign(&claims).await?;
        let set = KeySet {
            seq: 0,
            keys: vec![key.public_key(KeyState::Active)],
            revoked_kids: Vec::new(),
        };
        let verifier = Verifier::new(set).map_err(|_| VaultError::SelfTest)?;
        let expectations = Expectations {
            issuer: claims.iss.clone(),
            audiences: claims.aud.clone(),
            clients: Vec::new(),
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
    pub(super) async fn open(&self, ring: RingName, row: &SealedKey) -> Result<PrivateKey, VaultError> {
        let (sealed_for, sealed) = row.parts(ring)?;
        let private = self.keks.open(sealed_for, &sealed).await?;
        let key = PrivateKey::read(sealed_for.algorithm, &private, &self.providers).await?;
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
    use service_runtime::settings::WrappingKey;

    use super::*;

    fn vault(kek: u8, kek_version: i32, algorithm: Algorithm) -> Vault {
        let key = WrappingKey::from(vec![kek; 32]);
        Vault::new(
            Keks::new((kek_version, &key), &[]).unwrap(),
            algorithm,
            Arc::default(),
        )
    }

    async fn made() -> SealedKey {
        let vault = vault(1, 1, Algorithm::EdDSA);
        vault.make(RingName::Access, 1).await.unwrap()
    }

    async fn proved(vault: &Vault, ring: RingName, key: &SealedKey) -> Result<(), VaultError> {
        vault.prove(ring, key).await
    }

    #[tokio::test]
    async fn g1_a_key_is_proved_and_a_foreign_one_is_not() {
        let sealed = made().await;
        let right = vault(1, 1, Algorithm::EdDSA);
        assert!(proved(&right, RingName::Access, &sealed).await.is_ok());
        for wrong in [vault(2, 1, Algorithm::EdDSA), vault(1, 2, Algorithm::EdDSA)] {
            let proved = proved(&wrong, RingName::Access, &sealed).await;
            assert!(matches!(proved, Err(VaultError::Custody(_))));
        }
        let elsewhere = proved(&right, RingName::Stepup, &sealed).await;
        assert!(matches!(elsewhere, Err(VaultError::Custody(_))));

        let other = made().await;
        let moved = SealedKey {
            sealed_private_key: other.sealed_private_key.clone(),
            wrapped_data_key: other.wrapped_data_key.clone(),
            ..sealed.clone()
        };
        let moved = proved(&right, RingName::Access, &moved).await;
        assert!(matches!(moved, Err(VaultError::Custody(_))));
        let swapped = SealedKey {
            public_key: other.public_key,
            ..sealed
        };
        let swapped = proved(&right, RingName::Access, &swapped).await;
        assert!(matches!(swapped, Err(VaultError::OtherKey)));
    }

    #[tokio::test]
    async fn g1_both_algorithms_work() {
        let es256 = vault(1, 1, Algorithm::ES256);
        for (ring, length) in [(RingName::Access, 65), (RingName::Bundle, 32)] {
            let key = es256.make(ring, 1).await.unwrap();
            assert_eq!(key.public_key.len(), length);
            es256.prove(ring, &key).await.unwrap();
        }
    }
}
