//! Tokens that must be refused: forged, altered, or signed for something else.
//!
//! Where an attack leaves the signature alone, the issuer's own key signs it: only the rule in question can refuse it.

mod contents;
mod headers;
mod issuer;
mod shapes;
mod signatures;

use aws_lc_rs::error::Unspecified;

pub use issuer::{Algorithm, Issuer, Key};

/// Who can make a token that must be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Maker {
    /// Anybody: no key of the issuer has signed what it says. Who takes it lets everybody in.
    Anybody,
    /// Who has seen a good token, which says the same in other letters. Who takes it has two names for one token.
    Witness,
    /// The issuer alone: for another purpose, time or place, or in words that two readers may understand in two ways.
    Issuer,
}

/// A token that must be refused.
#[derive(Debug, Clone)]
pub struct Attack {
    /// The rule that it breaks: `J1` to `J48`.
    pub rule: &'static str,
    /// What is tried.
    pub name: String,
    /// Who can make it.
    pub maker: Maker,
    /// The token.
    pub token: String,
    /// The word under which Portico counts it.
    pub reason: &'static str,
}

impl Attack {
    fn by(
        maker: Maker,
        rule: &'static str,
        name: impl Into<String>,
        token: String,
        reason: &'static str,
    ) -> Self {
        Self {
            rule,
            name: name.into(),
            maker,
            token,
            reason,
        }
    }

    fn by_anybody(rule: &'static str, name: impl Into<String>, token: String, reason: &'static str) -> Self {
        Self::by(Maker::Anybody, rule, name, token, reason)
    }

    fn by_witness(rule: &'static str, name: impl Into<String>, token: String, reason: &'static str) -> Self {
        Self::by(Maker::Witness, rule, name, token, reason)
    }

    fn by_issuer(rule: &'static str, name: impl Into<String>, token: String, reason: &'static str) -> Self {
        Self::by(Maker::Issuer, rule, name, token, reason)
    }
}

/// Every attack on somebody who believes this issuer.
///
/// # Errors
/// When the library has no randomness.
pub fn attacks(issuer: &Issuer) -> Result<Vec<Attack>, Unspecified> {
    Ok([
        shapes::attacks(issuer)?,
        headers::attacks(issuer)?,
        signatures::attacks(issuer)?,
        contents::attacks(issuer)?,
    ]
    .concat())
}
