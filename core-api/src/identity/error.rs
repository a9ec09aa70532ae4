//! The refusals of the identity slice.

use problem::{Problem, ProblemType, catalogue};

use super::hash_pool::PoolError;
use super::keys::KeyError;
use super::tokens::CryptoFailure;
use crate::documentation::problems;

/// The address or the password is wrong, or the user is not active: which one, nobody is told.
pub(super) const INVALID_CREDENTIALS: ProblemType = ProblemType::new(
    "invalid-credentials",
    401,
    "The e-mail address or the password is wrong",
);
/// The refresh token is none that was ever given out.
pub(super) const INVALID_REFRESH_TOKEN: ProblemType =
    ProblemType::new("invalid-refresh-token", 401, "The refresh token is not valid");
/// Another request used this token a moment ago.
pub(super) const REFRESH_SUPERSEDED: ProblemType = ProblemType::new(
    "refresh-superseded",
    401,
    "The refresh token was just used by another request",
);
/// The token had been used before: taken for theft.
pub(super) const REFRESH_REUSED: ProblemType = ProblemType::new(
    "refresh-reused",
    401,
    "The refresh token was used before; the session has been ended",
);

problems! {
    /// What a log-in may be refused with.
    LoginErrors: INVALID_CREDENTIALS, catalogue::TOO_MANY_ATTEMPTS;
    /// What a refresh may be refused with.
    RefreshErrors: INVALID_REFRESH_TOKEN, REFRESH_SUPERSEDED, REFRESH_REUSED, super::caller::SESSION_ENDED,
        crate::idempotency::KEY_MALFORMED;
}

/// Too many passwords at once is for the client to try again; anything else is ours.
pub(super) fn hashing_busy(error: PoolError) -> Problem {
    match error {
        PoolError::Busy => Problem::new(catalogue::UNAVAILABLE)
            .detail("too many passwords are being checked")
            .retry_after(1),
        PoolError::Hash(error) => Problem::internal(error),
    }
}

/// There is no key to sign with: nothing was written.
pub(super) fn no_signing_key() -> Problem {
    tracing::error!("there is no active signing key in the ring `access`");
    Problem::new(catalogue::UNAVAILABLE)
        .detail("tokens cannot be issued now")
        .retry_after(1)
}

/// A token cannot be signed: 503 while nobody answers who has the key-encryption key.
pub(super) fn not_signed(error: KeyError) -> Problem {
    match error {
        KeyError::Custody(error) if error.is_unavailable() => {
            tracing::error!(%error, "the active signing key cannot be opened");
            Problem::new(catalogue::UNAVAILABLE)
                .detail("tokens cannot be issued now")
                .retry_after(1)
        }
        error => Problem::internal(error),
    }
}

pub(super) fn crypto_failure(error: CryptoFailure) -> Problem {
    Problem::internal(error)
}
