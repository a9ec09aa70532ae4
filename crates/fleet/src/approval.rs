//! The word of the person who makes a change, and of a second one: signed over what is to be published, where, by whom.

use serde::{Deserialize, Serialize};

use crate::Digest;
use crate::envelope::{Envelope, EnvelopeError};
use crate::trust::{decode_public, is_signed};

/// What an approver signs. Every part of it must be the one of the change: an approval counts for nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// The digest of the content, see [`crate::PolicyContent::digest`].
    pub content: Digest,
    /// The change.
    pub change_id: String,
    /// Where it is to be published, as `APP_ENV` spells it.
    pub environment: String,
    /// Who has made the change.
    pub author: String,
    /// Who agrees to it; never the author.
    pub approver: String,
}

/// Somebody who has a key: who may approve, or be an author.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approver {
    /// The name, as in approvals.
    pub name: String,
    /// 32 bytes Ed25519, base64url.
    pub public: String,
}

/// Why an approval counts for nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalError {
    /// No envelope.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Another document, or one that this build does not understand.
    #[error("not an approval")]
    Malformed,
    /// The name is on no list.
    #[error("{0} is not on the list")]
    Unknown(String),
    /// Not signed with the key that the list has for this name.
    #[error("the signature is not one of {0}")]
    Signature(String),
    /// It is about something else than what is to be published.
    #[error("it is for another {0}")]
    About(&'static str),
    /// The author has not signed, somebody else did in the author's place.
    #[error("{0} is not the author")]
    NotTheAuthor(String),
    /// The author approves.
    #[error("{0} is the author: a second person must agree")]
    Author(String),
}

impl Approval {
    /// The `payloadType` of its envelope.
    pub const PAYLOAD_TYPE: &str = "application/vnd.portico.approval+json";

    /// The `payloadType` of the envelope in which an author signs; `approver` is the author then.
    pub const AUTHORSHIP_TYPE: &str = "application/vnd.portico.authorship+json";

    /// Checks that an approver on the list has signed exactly this change (`approver` of `change` is not looked at), and
    /// is not its author. Gives the approver's name.
    ///
    /// # Errors
    ///
    /// The first rule that is broken.
    pub fn check(bytes: &[u8], approvers: &[Approver], change: &Self) -> Result<String, ApprovalError> {
        let said = Self::read(bytes, Self::PAYLOAD_TYPE, approvers, change)?;
        if said.approver == change.author {
            return Err(ApprovalError::Author(said.approver));
        }
        Ok(said.approver)
    }

    /// Checks that its author, who is on the list, has signed exactly this change.
    ///
    /// # Errors
    ///
    /// The first rule that is broken.
    pub fn check_author(bytes: &[u8], authors: &[Approver], change: &Self) -> Result<(), ApprovalError> {
        let said = Self::read(bytes, Self::AUTHORSHIP_TYPE, authors, change)?;
        if said.approver != change.author {
            return Err(ApprovalError::NotTheAuthor(said.approver));
        }
        Ok(())
    }

    fn read(
        bytes: &[u8],
        payload_type: &str,
        people: &[Approver],
        change: &Self,
    ) -> Result<Self, ApprovalError> {
        let envelope = Envelope::parse(bytes)?;
        if envelope.payload_type != payload_type {
            return Err(ApprovalError::Malformed);
        }
        let said: Self = serde_json::from_slice(&envelope.payload).map_err(|_| ApprovalError::Malformed)?;
        let person = people.iter().find(|person| person.name == said.approver);
        let person = person.ok_or_else(|| ApprovalError::Unknown(said.approver.clone()))?;
        if !person.has_signed(&envelope) {
            return Err(ApprovalError::Signature(said.approver));
        }
        said.is_about(change)?;
        Ok(said)
    }

    fn is_about(&self, change: &Self) -> Result<(), ApprovalError> {
        if self.content != change.content {
            return Err(ApprovalError::About("content: it was changed since"));
        }
        if self.change_id != change.change_id {
            return Err(ApprovalError::About("change"));
        }
        if self.environment != change.environment {
            return Err(ApprovalError::About("environment"));
        }
        if self.author != change.author {
            return Err(ApprovalError::About("author"));
        }
        Ok(())
    }
}

impl Approver {
    fn has_signed(&self, envelope: &Envelope) -> bool {
        let Some(public) = decode_public(&self.public) else {
            return false;
        };
        let signed = envelope.signed_bytes();
        envelope
            .signatures
            .iter()
            .any(|signature| is_signed(&public, &signed, &signature.sig))
    }

    /// Whether the key is 32 bytes in base64url.
    #[must_use]
    pub fn has_a_key(&self) -> bool {
        decode_public(&self.public).is_some()
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use keyring::{Algorithm, SigningKey};

    use super::*;
    use crate::{Signature, to_be_signed};

    fn key() -> SigningKey {
        SigningKey::generate(Algorithm::EdDSA).unwrap()
    }

    fn change() -> Approval {
        Approval {
            content: Digest::of(b"routes"),
            change_id: "change-1".to_owned(),
            environment: "production".to_owned(),
            author: "ada".to_owned(),
            approver: "grace".to_owned(),
        }
    }

    fn signed(approval: &Approval, payload_type: &str, key: &SigningKey) -> Vec<u8> {
        let payload = serde_json::to_vec(approval).unwrap();
        let sig = key.sign_bytes(&to_be_signed(payload_type, &payload)).unwrap();
        let signatures = vec![Signature {
            keyid: key.kid().to_owned(),
            sig,
        }];
        Envelope {
            payload_type: payload_type.to_owned(),
            payload,
            signatures,
        }
        .to_bytes()
    }

    #[test]
    fn an_approval_counts_for_exactly_what_was_signed_by_somebody_else_on_the_list() {
        let (grace, ada) = (key(), key());
        let entry = |name: &str, key: &SigningKey| Approver {
            name: name.to_owned(),
            public: URL_SAFE_NO_PAD.encode(key.public()),
        };
        let list = [entry("grace", &grace), entry("ada", &ada)];
        let check = |approval: &Approval, key: &SigningKey| {
            Approval::check(&signed(approval, Approval::PAYLOAD_TYPE, key), &list, &change())
        };
        assert_eq!(check(&change(), &grace), Ok("grace".to_owned()));
        let differs = |edit: &dyn Fn(&mut Approval)| {
            let mut other = change();
            edit(&mut other);
            check(&other, &grace).unwrap_err()
        };
        assert!(
            matches!(differs(&|it| it.content = Digest::of(b"other")), ApprovalError::About(what) if what.starts_with("content"))
        );
        assert_eq!(
            differs(&|it| it.change_id = "2".to_owned()),
            ApprovalError::About("change")
        );
        assert_eq!(
            differs(&|it| it.environment = "test".to_owned()),
            ApprovalError::About("environment")
        );
        assert_eq!(
            differs(&|it| it.author = "eve".to_owned()),
            ApprovalError::About("author")
        );
        assert_eq!(
            differs(&|it| it.approver = "eve".to_owned()),
            ApprovalError::Unknown("eve".to_owned())
        );
        assert_eq!(
            check(&change(), &ada),
            Err(ApprovalError::Signature("grace".to_owned()))
        );
        let own = Approval {
            approver: "ada".to_owned(),
            ..change()
        };
        assert_eq!(check(&own, &ada), Err(ApprovalError::Author("ada".to_owned())));
        let as_policy = signed(&change(), crate::Stream::Policy.payload_type(), &grace);
        assert_eq!(
            Approval::check(&as_policy, &list, &change()),
            Err(ApprovalError::Malformed)
        );
    }

    #[test]
    fn an_author_signs_the_same_and_neither_signature_counts_as_the_other() {
        let (grace, ada) = (key(), key());
        let entry = |name: &str, key: &SigningKey| Approver {
            name: name.to_owned(),
            public: URL_SAFE_NO_PAD.encode(key.public()),
        };
        let list = [entry("grace", &grace), entry("ada", &ada)];
        let own = Approval {
            approver: "ada".to_owned(),
            ..change()
        };
        let by_the_author = |edit: &dyn Fn(&mut Approval), key: &SigningKey| {
            let mut said = own.clone();
            edit(&mut said);
            let bytes = signed(&said, Approval::AUTHORSHIP_TYPE, key);
            Approval::check_author(&bytes, &list, &change())
        };
        assert_eq!(by_the_author(&|_| (), &ada), Ok(()));
        assert_eq!(
            by_the_author(&|_| (), &grace),
            Err(ApprovalError::Signature("ada".to_owned()))
        );
        assert_eq!(
            by_the_author(&|it| it.approver = "grace".to_owned(), &grace),
            Err(ApprovalError::NotTheAuthor("grace".to_owned()))
        );
        assert_eq!(
            by_the_author(&|it| it.change_id = "2".to_owned(), &ada),
            Err(ApprovalError::About("change"))
        );
        let as_approval = signed(&own, Approval::PAYLOAD_TYPE, &ada);
        assert_eq!(
            Approval::check_author(&as_approval, &list, &change()),
            Err(ApprovalError::Malformed)
        );
    }
}
