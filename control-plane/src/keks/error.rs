//! Every way in which work on key-encryption keys fails, and what a client is told of it.

use custody::CustodyError;
use problem::{Problem, ProblemType, catalogue};

use crate::signing_keys::KeyError;

/// The settings have no version above the one that seals.
const KEK_NOT_NEWER: ProblemType = ProblemType::new(
    "kek-not-newer",
    409,
    "The settings have no newer version of the key-encryption key",
);
/// Something is sealed under the version, or it seals.
const KEK_IN_USE: ProblemType = ProblemType::new("kek-in-use", 409, "The key-encryption key is in use");

/// This process cannot seal.
const KEK_NOT_IN_SETTINGS: ProblemType = ProblemType::new(
    "kek-not-in-settings",
    409,
    "This control plane does not have the key-encryption key that seals",
);
/// A process that opens private keys could not open those that the version seals.
const KEK_NOT_EVERYWHERE: ProblemType = ProblemType::new(
    "kek-not-everywhere",
    409,
    "Not every process has the key-encryption key",
);
/// What keeps the key-encryption key does not answer.
const KEK_UNAVAILABLE: ProblemType = ProblemType::new(
    "keys-unavailable",
    503,
    "What keeps the key-encryption key does not answer",
);

/// Why work on key-encryption keys failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KekError {
    /// Nothing to rotate to.
    #[error("version {active} seals, and the settings have nothing newer")]
    NotNewer { active: i32 },
    /// Some who open private keys do not have it.
    #[error("{} do not have version {version}", .lacking.join(", "))]
    NotEverywhere { version: i32, lacking: Vec<String> },
    /// It seals new keys.
    #[error("version {version} seals")]
    Seals { version: i32 },
    /// Private keys need it.
    #[error("{sealed} private keys are sealed under version {version}")]
    InUse { version: i32, sealed: i64 },
    /// Nobody has ever heard of it.
    #[error("there is no version {version}")]
    Unknown { version: i32 },
    /// The version that seals is not in the settings of this process.
    #[error("kek: version {version} seals, and is not in the settings")]
    NotInSettings { version: i32 },
    /// The settings name another key under a version.
    #[error("kek: version {version} of the settings is not the key that seals here: {cause}")]
    OtherKey { version: i32, cause: CustodyError },
    /// There is no version that seals.
    #[error("no key-encryption key seals")]
    NoActive,
    /// The library, or a blob.
    #[error("sealing: {0}")]
    Custody(#[from] CustodyError),
    /// PostgreSQL.
    #[error("database failure")]
    Database(#[from] sqlx::Error),
}

impl From<KekError> for Problem {
    fn from(error: KekError) -> Self {
        match error {
            KekError::NotNewer { active } => Self::new(KEK_NOT_NEWER)
                .detail(format!(
                    "version {active} seals: make a secret of 32 bytes, name it in `keks` with version {} in the settings of control-plane and core-api, restart both, then rotate",
                    active.saturating_add(1)
                ))
                .member("active", active),
            KekError::NotEverywhere { version, lacking } => not_everywhere(version, &lacking),
            KekError::Seals { version } => Self::new(KEK_IN_USE)
                .detail(format!("version {version} seals new keys: rotate first; nothing was changed")),
            KekError::InUse { version, sealed } => Self::new(KEK_IN_USE)
                .detail(format!(
                    "{sealed} private keys are sealed under version {version}: rewrap first; nothing was changed"
                ))
                .member("sealed_keys", sealed),
            KekError::Unknown { version } => {
                Self::new(catalogue::NOT_FOUND).detail(format!("there is no version {version}"))
            }
            KekError::NotInSettings { version } => Self::new(KEK_NOT_IN_SETTINGS)
                .detail(format!(
                    "version {version} seals: name it in `keks` in the settings of this control plane, restart it, then try again; nothing was changed"
                ))
                .member("active", version),
            KekError::Custody(error) if error.is_unavailable() => unavailable(&error),
            KekError::Database(source) => KeyError::Database(source).into(),
            error => Self::internal(error),
        }
    }
}

/// Some processes could not open what the version seals.
pub(crate) fn not_everywhere(version: i32, lacking: &[String]) -> Problem {
    Problem::new(KEK_NOT_EVERYWHERE)
        .detail(format!(
            "{} could not open what version {version} seals: name it in `keks` in their settings and restart them; nothing was changed",
            lacking.join(", ")
        ))
        .member("version", version)
        .member("lacking", lacking)
}

/// Nobody answered who has the key-encryption key. What it said is for the log alone.
pub(crate) fn unavailable(cause: &(dyn std::error::Error + 'static)) -> Problem {
    tracing::warn!(%cause, "the key-encryption key is needed, and nobody answers who has it");
    Problem::new(KEK_UNAVAILABLE)
        .detail("nothing was changed; `portico kek status` says which version is needed, and the log what it answers")
        .retry_after(5)
}
