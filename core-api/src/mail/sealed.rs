//! What a mail in the queue says and to whom, sealed: the database alone tells neither.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{Addressee, Kind, Language, Mail, MailToken};

/// Seals and opens mails. Every core-api that shares the key-encryption key opens those of the others.
#[derive(Debug)]
pub(crate) struct Envelopes(Vec<Keys>);

struct Keys {
    seal: Zeroizing<Vec<u8>>,
    recipient: hmac::Key,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(…)")
    }
}

/// A mail cannot be sealed, or a sealed one is not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the mail cannot be sealed or opened")]
pub(crate) struct SealFailure;

/// The form inside.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    to: String,
    user: Option<Uuid>,
    language: Language,
    token: Option<String>,
    new_address: Option<String>,
}

impl Envelopes {
    /// Derives the keys from process secrets; labels keep them apart from every other use of these.
    pub(super) fn derive<'s>(secrets: impl IntoIterator<Item = &'s [u8]>) -> Self {
        let keys = secrets.into_iter().map(|secret| {
            let root = hmac::Key::new(hmac::HMAC_SHA256, secret);
            let recipient = hmac::sign(&root, b"portico mail recipient v1");
            Keys {
                seal: Zeroizing::new(hmac::sign(&root, b"portico mail seal v1").as_ref().to_vec()),
                recipient: hmac::Key::new(hmac::HMAC_SHA256, recipient.as_ref()),
            }
        });
        Self(keys.collect())
    }

    /// The keyed hash by which the mails of one address are counted.
    pub(super) fn recipient_key(&self, address: &str) -> Result<Vec<u8>, SealFailure> {
        let keys = self.0.first().ok_or(SealFailure)?;
        Ok(hmac::sign(&keys.recipient, address.as_bytes()).as_ref().to_vec())
    }

    /// Seals a mail for its row: it opens nowhere else.
    pub(super) fn seal(&self, job: Uuid, mail: &Mail) -> Result<Vec<u8>, SealFailure> {
        let content = Content {
            to: mail.to.clone(),
            user: match mail.addressee {
                Addressee::Address => None,
                Addressee::User(user) => Some(user),
            },
            language: mail.language,
            token: mail.token.as_ref().map(|token| token.to_text().to_string()),
            new_address: mail.new_address.clone(),
        };
        let mut text = serde_json::to_vec(&content).map_err(|_| SealFailure)?;
        let keys = self.0.first().ok_or(SealFailure)?;
        let nonce = keys
            .aead()?
            .seal_in_place_append_tag(Aad::from(job.as_bytes()), &mut text)
            .map_err(|_| SealFailure)?;
        let mut sealed = nonce.as_ref().to_vec();
        sealed.append(&mut text);
        Ok(sealed)
    }

    /// Opens what [`Self::seal`] made for this row under any of the secrets.
    pub(super) fn open(&self, job: Uuid, kind: Kind, sealed: &[u8]) -> Result<Mail, SealFailure> {
        let opened = self.0.iter().find_map(|keys| keys.open(job, sealed).ok());
        let content: Content =
            serde_json::from_slice(&opened.ok_or(SealFailure)?).map_err(|_| SealFailure)?;
        let token = match content.token.map(Zeroizing::new) {
            Some(text) => Some(MailToken::parse(&text).ok_or(SealFailure)?),
            None => None,
        };
        Ok(Mail {
            kind,
            to: content.to,
            addressee: content.user.map_or(Addressee::Address, Addressee::User),
            language: content.language,
            token,
            new_address: content.new_address,
        })
    }
}

impl Keys {
    fn aead(&self) -> Result<RandomizedNonceKey, SealFailure> {
        RandomizedNonceKey::new(&AES_256_GCM, &self.seal).map_err(|_| SealFailure)
    }

    fn open(&self, job: Uuid, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealFailure> {
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN).ok_or(SealFailure)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealFailure)?;
        let mut text = Zeroizing::new(text.to_vec());
        let length = self
            .aead()?
            .open_in_place(nonce, Aad::from(job.as_bytes()), &mut text)
            .map_err(|_| SealFailure)?
            .len();
        text.truncate(length);
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_opens_in_its_row_and_under_its_secret_also_when_that_is_not_the_first_any_more() {
        let mail = Mail {
            kind: Kind::PasswordReset,
            to: "alice@example.com".to_owned(),
            addressee: Addressee::Address,
            language: Language::French,
            token: MailToken::generate(),
            new_address: None,
        };
        let (old, new) = (b"the old secret".as_slice(), b"the new secret".as_slice());
        let (job, kind) = (Uuid::from_u128(7), Kind::PasswordReset);
        let sealed = Envelopes::derive([old]).seal(job, &mail).unwrap();
        assert!(!String::from_utf8_lossy(&sealed).contains("alice"));

        let both = Envelopes::derive([new, old]);
        let opened = both.open(job, kind, &sealed).unwrap();
        assert_eq!((opened.to, opened.language), (mail.to, mail.language));
        assert_eq!(
            opened.token.unwrap().to_text(),
            mail.token.as_ref().unwrap().to_text()
        );

        assert!(both.open(Uuid::from_u128(8), kind, &sealed).is_err());
        assert!(Envelopes::derive([new]).open(job, kind, &sealed).is_err());
        assert!(both.open(job, kind, &sealed[1..]).is_err());
        assert!(both.open(job, kind, &[]).is_err());
        assert_ne!(
            both.recipient_key("a@b.c").unwrap(),
            both.recipient_key("a@b.d").unwrap()
        );
    }
}
