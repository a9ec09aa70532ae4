//! Why a secret cannot be had, in words that an operator can act on and that hold no secret.

/// Why a provider gave no secret, no key, no signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// There is nothing of this name, version or field.
    #[error("{0}")]
    Missing(String),
    /// The provider knows who asks and says no.
    #[error("{0}")]
    Refused(String),
    /// No answer, or one that says “later”: it may work in a moment.
    #[error("{0}")]
    Unavailable(String),
    /// What came is not what was expected, or what is there has the wrong form.
    #[error("{0}")]
    Malformed(String),
    /// The settings do not say how to reach the provider.
    #[error("{0}")]
    Unconfigured(String),
}

impl Fault {
    /// Whether the same question may be answered in a moment.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}
