//! A second person's word for a change: signed over what is to be published, where, by whom.

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

/// Somebody who may approve.
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
    #[error("{0} is no approver")]
    Unknown(String),
    /// Not signed with the key that the list has for this name.
    #[error("the signature is not one of {0}")]
    Signature(String),
    /// It is about something else than what is to be published.
    #[error("it is for another {0}")]
    About(&'static str),
    /// The author approves.
    #[error("{0} is the author: a second person must agree")]
    Author(String),
}

impl Approval {
    /// The `payloadType` of its envelope.
    pub const PAYLOAD_TYPE: &str = "application/vnd.portico.approval+json";

    /// Checks that an approver on the list has signed exactly this change (`approver` of `change` is not looked at), and
    /// is not its author. Gives the approver's name.
    ///
    /// # Errors
    ///
    /// The first rule that is broken.
    pub fn check(bytes: &[u8], approvers: &[Approver], change: &Self) -> Result<String, ApprovalError> {
        let envelope = Envelope::parse(bytes)?;
        if envelope.payload_type != Self::PAYLOAD_TYPE {
            return Err(ApprovalError::Malformed);
        }
        let said: Self = serde_json::from_slice(&envelope.payload).map_err(|_| ApprovalError::Malformed)?;
        let approver = approvers
            .iter()
            .find(|approver| approver.name == said.approver)
            .ok_or_else(|| ApprovalError::Unknown(said.approver.clone()))?;
        if !approver.has_signed(&envelope) {
            return Err(ApprovalError::Signature(said.approver));
        }
        said.is_about(change)?;
        Ok(said.approver)
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
        if self.approver == change.author {
            return Err(ApprovalError::Author(self.approver.clone()));
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
}
