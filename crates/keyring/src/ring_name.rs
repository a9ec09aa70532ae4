//! The rings of signing keys, one for each purpose: a leak of one does not touch the others.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Algorithm;

/// A ring of signing keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RingName {
    /// Signs access tokens; gateways and core-api verify.
    #[default]
    Access,
    /// Signs one-shot tokens that confirm a single act; core-api verifies.
    Stepup,
    /// Signs what is stated to gateways: policies, key sets, revocations, blocks.
    Bundle,
    /// Signs the heads of the audit trail; auditors verify, years later.
    Audit,
    /// Signs what is sent to other people's servers; they verify.
    Webhook,
}

/// A word that is no ring.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown ring; the rings are access, stepup, bundle, audit, webhook")]
pub struct UnknownRing;

impl RingName {
    /// Every ring.
    pub const ALL: [Self; 5] = [
        Self::Access,
        Self::Stepup,
        Self::Bundle,
        Self::Audit,
        Self::Webhook,
    ];

    /// The word in the database, in documents, in metric labels, and in what a sealed key is bound to.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Stepup => "stepup",
            Self::Bundle => "bundle",
            Self::Audit => "audit",
            Self::Webhook => "webhook",
        }
    }

    /// What its keys sign, for people.
    #[must_use]
    pub const fn purpose(self) -> &'static str {
        match self {
            Self::Access => "access tokens",
            Self::Stepup => "one-shot tokens that confirm a single act",
            Self::Bundle => "what is stated to gateways",
            Self::Audit => "the audit trail",
            Self::Webhook => "what is sent to other servers",
        }
    }

    /// The algorithm of its new keys, where `preferred` is what the settings say. What gateways are told is Ed25519 alone:
    /// the trust document knows nothing else.
    #[must_use]
    pub const fn algorithm(self, preferred: Algorithm) -> Algorithm {
        match self {
            Self::Bundle => Algorithm::EdDSA,
            Self::Access | Self::Stepup | Self::Audit | Self::Webhook => preferred,
        }
    }
}

impl fmt::Display for RingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RingName {
    type Err = UnknownRing;

    fn from_str(word: &str) -> Result<Self, UnknownRing> {
        Self::ALL
            .into_iter()
            .find(|ring| ring.as_str() == word)
            .ok_or(UnknownRing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_has_one_name_and_bundles_are_signed_with_ed25519() {
        for ring in RingName::ALL {
            assert_eq!(ring.as_str().parse(), Ok(ring));
            assert_eq!(serde_json::to_value(ring).unwrap(), ring.as_str());
            assert!(UnknownRing.to_string().contains(ring.as_str()));
            let expected = if ring == RingName::Bundle {
                Algorithm::EdDSA
            } else {
                Algorithm::ES256
            };
            assert_eq!(ring.algorithm(Algorithm::ES256), expected);
        }
        for wrong in ["", "Access", "tokens", "access "] {
            assert_eq!(wrong.parse::<RingName>(), Err(UnknownRing), "{wrong:?}");
        }
    }
}
