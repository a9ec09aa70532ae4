//! TOTP secrets at rest: AES-256-GCM under a key derived from the pepper, for one person. The database alone opens none.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::totp::Secret;
use crate::identity::tokens::CryptoFailure;

/// Seals with the first key, opens with all: peppers change as they do for passwords.
pub(super) struct Sealer(Vec<Zeroizing<Vec<u8>>>);

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer(…)")
    }
}

/// A secret that was opened.
pub(super) struct Opened {
    pub(super) secret: Secret,
    /// Whether it is sealed under a pepper that makes nothing new any more.
    pub(super) is_outdated: bool,
}

impl Sealer {
    /// Derives the keys; the label keeps them apart from every other use of the peppers.
    pub(super) fn derive<'s>(peppers: impl IntoIterator<Item = &'s [u8]>) -> Self {
        let keys = peppers.into_iter().map(|pepper| {
            let root = hmac::Key::new(hmac::HMAC_SHA256, pepper);
            Zeroizing::new(hmac::sign(&root, b"portico totp seal v1").as_ref().to_vec())
        });
        Self(keys.collect())
    }

    /// Seals a secret for its owner: it opens for nobody else.
    pub(super) fn seal(&self, owner: Uuid, secret: &Secret) -> Result<Vec<u8>, CryptoFailure> {
        let key = self.0.first().ok_or(CryptoFailure)?;
        let mut text = secret.as_bytes().to_vec();
        let nonce = RandomizedNonceKey::new(&AES_256_GCM, key)
            .and_then(|key| key.seal_in_place_append_tag(Aad::from(owner.as_bytes()), &mut text))
            .map_err(|_| CryptoFailure)?;
        let mut sealed = nonce.as_ref().to_vec();
        sealed.append(&mut text);
        Ok(sealed)
    }

    /// Opens what [`Self::seal`] made for this owner under any of the peppers.
    pub(super) fn open(&self, owner: Uuid, sealed: &[u8]) -> Result<Opened, CryptoFailure> {
        let opened = self.0.iter().enumerate().find_map(|(place, key)| {
            let secret = open(key, owner, sealed)?;
            Some(Opened {
                secret,
                is_outdated: place > 0,
            })
        });
        opened.ok_or(CryptoFailure)
    }
}

fn open(key: &[u8], owner: Uuid, sealed: &[u8]) -> Option<Secret> {
    let (nonce, text) = sealed.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut text = Zeroizing::new(text.to_vec());
    let key = RandomizedNonceKey::new(&AES_256_GCM, key).ok()?;
    let text = key
        .open_in_place(nonce, Aad::from(owner.as_bytes()), &mut text)
        .ok()?;
    Secret::from_bytes(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_for_its_owner_and_under_its_pepper_also_when_that_is_not_the_first_any_more() {
        let (old, new) = (b"the old pepper".as_slice(), b"the new pepper".as_slice());
        let (owner, secret) = (Uuid::from_u128(7), Secret::generate().unwrap());
        let sealed = Sealer::derive([old]).seal(owner, &secret).unwrap();
        let opened = Sealer::derive([new, old]).open(owner, &sealed).unwrap();
        assert_eq!(opened.secret.as_bytes(), secret.as_bytes());
        assert!(opened.is_outdated);
        assert!(
            !Sealer::derive([old, new])
                .open(owner, &sealed)
                .unwrap()
                .is_outdated
        );
        assert!(Sealer::derive([old]).open(Uuid::from_u128(8), &sealed).is_err());
        assert!(Sealer::derive([new]).open(owner, &sealed).is_err());
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert!(Sealer::derive([old]).open(owner, &changed).is_err());
        }
        assert!(Sealer::derive([old]).open(owner, &[]).is_err());
    }
}
