//! Every way in which key work fails, and what a client is told of it.

use keyring::KeyState;
use problem::{Problem, ProblemType, catalogue};

use super::vault::VaultError;
use crate::database_problem;
use crate::keks::{self, KekError};

/// The standby has not been published long enough: some verifier may not know it yet.
const ROTATION_TOO_EARLY: ProblemType = ProblemType::new(
    "rotation-too-early",
    409,
    "The standby key has not been published long enough",
);
/// The standby cannot be opened, so it must not become the key that signs.
const STANDBY_UNUSABLE: ProblemType =
    ProblemType::new("standby-unusable", 409, "The standby key cannot be opened");
/// The standby may not sign for gateways yet.
const STANDBY_UNTRUSTED: ProblemType = ProblemType::new(
    "standby-untrusted",
    409,
    "The trust document in force does not name the standby key",
);
/// A live gateway does not know the key that signs next.
const ROTATION_POSTPONED: ProblemType = ProblemType::new(
    "rotation-postponed",
    409,
    "A live gateway does not know the key that signs next",
);
/// The key verifies nothing any more, so there is nothing to revoke.
const KEY_FINISHED: ProblemType = ProblemType::new("key-finished", 409, "The key verifies nothing any more");
/// The key signs, or has signed what may still be valid.
const KEY_IN_USE: ProblemType = ProblemType::new("key-in-use", 409, "The key signs, or has signed");
/// The key cannot be called back.
const NOT_REINSTATABLE: ProblemType =
    ProblemType::new("not-reinstatable", 409, "The key cannot be reinstated");

/// Why key work failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// Guard G2.
    #[error("the standby may be activated in {retry_after_s} s")]
    TooEarly { retry_after_s: u64 },
    /// Guard G2, the gateways' part.
    #[error("live gateways do not know the successor: {}", .gateways.join(", "))]
    Postponed { gateways: Vec<String> },
    /// Guard G2, the cores' other part: they could not open the successor.
    #[error("live processes do not have version {version} of the key-encryption key: {}", .lacking.join(", "))]
    KekNotEverywhere { version: i32, lacking: Vec<String> },
    /// No key of the ring has this kid.
    #[error("the ring has no such key")]
    UnknownKey,
    /// It is at its end.
    #[error("the key is {state}")]
    Finished { state: KeyState },
    /// It signs or has signed.
    #[error("the key is {state}")]
    InUse { state: KeyState },
    /// It cannot be called back.
    #[error("not reinstatable: {why}")]
    NotReinstatable { why: &'static str },
    /// Another control plane does what is due now.
    #[error("the lease is another control plane's")]
    LeaseLost,
    /// The sealed standby does not open under our key-encryption key.
    #[error("the standby key cannot be opened")]
    StandbyUnusable(#[source] VaultError),
    /// The roots have not named the standby.
    #[error("the trust document in force does not name the standby key")]
    StandbyUntrusted,
    /// The ring has no key that signs, or no standby.
    #[error("the key ring is not initialised")]
    NotInitialised,
    /// A row breaks a rule that only this service could have broken.
    #[error("inconsistent key ring: {0}")]
    Inconsistent(String),
    /// A new key cannot be made.
    #[error("a key cannot be made")]
    Vault(#[from] VaultError),
    /// The key-encryption key that seals is not at hand.
    #[error("the key-encryption key that seals is not at hand")]
    Kek(#[from] KekError),
    /// PostgreSQL.
    #[error("database failure")]
    Database(#[from] sqlx::Error),
}

impl KeyError {
    /// Whether nobody answered who keeps keys, or has the key-encryption key.
    pub(super) const fn is_unavailable(&self) -> bool {
        match self {
            Self::Vault(error) | Self::StandbyUnusable(error) => error.is_unavailable(),
            Self::Kek(KekError::Custody(error)) => error.is_unavailable(),
            Self::Kek(KekError::NotInSettings { .. }) => true,
            _ => false,
        }
    }
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::TooEarly { retry_after_s } => Self::new(ROTATION_TOO_EARLY)
                .detail("verifiers may still hold a key set without it; nothing was changed")
                .retry_after(retry_after_s),
            KeyError::Postponed { gateways } => postponed(&gateways),
            KeyError::KekNotEverywhere { version, lacking } => keks::not_everywhere(version, &lacking),
            KeyError::UnknownKey => Self::new(catalogue::NOT_FOUND)
                .detail("the ring has no key with this kid; `portico keys list --ring …` shows those it has"),
            KeyError::Finished { state } => Self::new(KEY_FINISHED)
                .detail(format!("it is {state}; nothing was changed")),
            KeyError::InUse { state } => Self::new(KEY_IN_USE).detail(format!(
                "it is {state}: rotate to hand over in peace, or revoke it if it is stolen; nothing was changed"
            )),
            KeyError::NotReinstatable { why } => {
                Self::new(NOT_REINSTATABLE).detail(format!("{why}; nothing was changed"))
            }
            KeyError::StandbyUnusable(cause) | KeyError::Vault(cause) if cause.is_unavailable() => {
                keks::unavailable(&cause)
            }
            KeyError::StandbyUnusable(cause) => standby_unusable(&cause),
            KeyError::StandbyUntrusted => Self::new(STANDBY_UNTRUSTED)
                .detail("sign a document that names it with `portico trust sign`; nothing was changed"),
            KeyError::NotInitialised => Self::new(catalogue::UNAVAILABLE)
                .detail("the key ring has no key that signs, or none that could sign next: it is made as soon as it can be")
                .retry_after(1),
            KeyError::Kek(error) => error.into(),
            KeyError::Database(source) => database_problem::of(source),
            error => Self::internal(Chain(error)),
        }
    }
}

/// Names in one answer, at most; the count says how many there are.
const NAMED_GATEWAYS: usize = 20;

fn postponed(gateways: &[String]) -> Problem {
    let named: Vec<&str> = gateways.iter().take(NAMED_GATEWAYS).map(String::as_str).collect();
    Problem::new(ROTATION_POSTPONED)
        .detail(format!(
            "{} would refuse its tokens: gateways are mended or evicted, a core reads the ring again within seconds; nothing was changed",
            named.join(", ")
        ))
        .member("gateways", named)
        .member("gateways_behind", gateways.len())
}

fn standby_unusable(cause: &VaultError) -> Problem {
    tracing::error!(%cause, "the standby key cannot be opened: is the key-encryption key the right one?");
    Problem::new(STANDBY_UNUSABLE).detail("check the key-encryption key; nothing was changed")
}

/// Shows an error with its sources: what the log needs, and no client sees.
#[derive(Debug)]
struct Chain(KeyError);

impl std::fmt::Display for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = std::error::Error::source(&self.0);
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}
