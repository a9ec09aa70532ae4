//! Why a token is refused: a closed list, so that metrics and alerts can rely on it (J48).

use std::fmt;

/// Why a token is refused. Nothing of the token is kept: a refusal may be logged (J43).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TokenRefusal {
    /// Not a compact JWS of strict base64url and strict JSON, or a header member that no key may come from.
    Malformed,
    /// `alg` is not accepted, or is not the algorithm of the key (J7, J8).
    Algorithm,
    /// `typ` is not the expected token type, or `cty` is present (J11, J13).
    Type,
    /// `crit` or `b64` is present: an extension that this verifier does not know (J10).
    Critical,
    /// No key of the set has this `kid` (J14).
    UnknownKey,
    /// The key was revoked.
    RevokedKey,
    /// The key is past its `verify_until`.
    RetiredKey,
    /// The signature is genuine, but was made after the key stopped signing: somebody else holds the private key.
    /// Raise an alarm (INV-3).
    SignedAfterRetirement,
    /// The signature is not of this key over these bytes.
    Signature,
    /// `iss` is not exactly the expected issuer (J28).
    Issuer,
    /// `aud` names none of the expected audiences (J29).
    Audience,
    /// `client_id` or `azp` names none of the expected programs (J33).
    Client,
    /// `exp` is in the past.
    Expired,
    /// `nbf` is in the future.
    NotYetValid,
    /// `iat` is in the future.
    IssuedInFuture,
    /// `exp - iat` is longer than any token may live, or not positive (J27).
    Lifetime,
    /// A claim is missing or has the wrong form.
    Claims,
    /// `cnf` binds it in a way that cannot be checked here, or is missing where it is asked for (J33).
    Binding,
    /// It is bound to a certificate that its sender has not shown (J33).
    Unproven,
}

impl TokenRefusal {
    /// Every reason, for documentation and for registering metrics.
    pub const ALL: [Self; 19] = [
        Self::Malformed,
        Self::Algorithm,
        Self::Type,
        Self::Critical,
        Self::UnknownKey,
        Self::RevokedKey,
        Self::RetiredKey,
        Self::SignedAfterRetirement,
        Self::Signature,
        Self::Issuer,
        Self::Audience,
        Self::Client,
        Self::Expired,
        Self::NotYetValid,
        Self::IssuedInFuture,
        Self::Lifetime,
        Self::Claims,
        Self::Binding,
        Self::Unproven,
    ];

    /// The stable word for logs and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::Type => "type",
            Self::Critical => "critical",
            Self::UnknownKey => "unknown_key",
            Self::RevokedKey => "revoked_key",
            Self::RetiredKey => "retired_key",
            Self::SignedAfterRetirement => "signed_after_retirement",
            Self::Signature => "signature",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Client => "client",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::IssuedInFuture => "issued_in_future",
            Self::Lifetime => "lifetime",
            Self::Claims => "claims",
            Self::Binding => "binding",
            Self::Unproven => "unproven",
        }
    }
}

impl fmt::Display for TokenRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn j48_every_reason_has_its_own_word() {
        let mut words: Vec<_> = TokenRefusal::ALL.iter().map(|refusal| refusal.as_str()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), TokenRefusal::ALL.len());
    }
}
