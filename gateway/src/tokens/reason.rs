//! Why a token was not accepted: a closed list, for metrics and the log line (J48). Clients are told none of it (J43).

use keyring::TokenRefusal;

use crate::keys::VerificationFailure;
use crate::revocations::Revoked;

/// What the verification of a token came to when it was not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It breaks a rule.
    Refused(TokenRefusal),
    /// It, or what it belongs to, is revoked.
    Revoked(Revoked),
    /// There are no keys that count.
    NoKeys,
    /// Its key may be newer than the set.
    KeysPending,
}

/// The word of a route that asks for newer revocations than the gateway knows.
const STALE_REVOCATIONS: &str = "stale_revocations";
/// Words of the policy's own checks around a token.
const OF_POLICY: [&str; 2] = ["missing", STALE_REVOCATIONS];
/// A word that is none of the list: a bug, and no way for anyone to make labels.
const OTHER: &str = "other";

impl Reason {
    /// The stable word.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.as_str(),
            Self::Revoked(Revoked::Token) => "revoked_token",
            Self::Revoked(Revoked::Session) => "revoked_session",
            Self::Revoked(Revoked::Subject) => "revoked_subject",
            Self::Revoked(Revoked::Client) => "revoked_client",
            Self::Revoked(Revoked::Key) => TokenRefusal::RevokedKey.as_str(),
            Self::NoKeys => "no_keys",
            Self::KeysPending => "keys_pending",
        }
    }

    fn all() -> impl Iterator<Item = Self> {
        let others = [
            Self::Revoked(Revoked::Token),
            Self::Revoked(Revoked::Session),
            Self::Revoked(Revoked::Subject),
            Self::Revoked(Revoked::Client),
            Self::NoKeys,
            Self::KeysPending,
        ];
        TokenRefusal::ALL.into_iter().map(Self::Refused).chain(others)
    }
}

/// Every word that a metric can have, beside the one of good tokens.
pub(crate) fn words() -> impl Iterator<Item = &'static str> {
    Reason::all().map(Reason::as_str).chain(OF_POLICY).chain([OTHER])
}

/// The word for the answer: 503 when the token may be good at another time (J38), else 401.
pub(crate) fn result_of(word: &str) -> &'static str {
    match word {
        "no_keys" | "keys_pending" | STALE_REVOCATIONS => "unavailable",
        _ => "refused",
    }
}

/// The word of the list that this is.
pub(crate) fn listed(word: &str) -> &'static str {
    words().find(|known| *known == word).unwrap_or(OTHER)
}

impl From<VerificationFailure> for Reason {
    fn from(failure: VerificationFailure) -> Self {
        match failure {
            VerificationFailure::Refused(refusal) => Self::Refused(refusal),
            VerificationFailure::NoKeys => Self::NoKeys,
            VerificationFailure::KeysPending => Self::KeysPending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn j48_the_list_of_reasons_is_closed_and_every_one_has_its_own_word() {
        let mut all: Vec<_> = words().collect();
        all.sort_unstable();
        let count = all.len();
        all.dedup();
        assert_eq!(all.len(), count);
        assert!(all.iter().all(|word| listed(word) == *word));
        assert_eq!(listed("eyJhbGciOiJub25lIn0"), "other");
    }
}
