//! What a token says of itself, for explanations: nobody is let in by it.

use super::{Expectations, MAX_LEEWAY_S, accepted_algorithm, check_parties, check_times, kid};
use crate::compact::Compact;
use crate::json::Object;
use crate::{Claims, ClaimsForm, TokenRefusal};

/// A token whose signature nobody has checked: anyone can have written it.
pub struct UnverifiedToken {
    header: Object,
    claims: Claims,
}

impl UnverifiedToken {
    /// Reads a token of an issuer that writes its claims so, with the rules of
    /// [`Verifier::verify`](crate::Verifier::verify) for its form.
    ///
    /// # Errors
    ///
    /// The rule of its form that is broken.
    pub fn read(token: &str, form: ClaimsForm) -> Result<Self, TokenRefusal> {
        let compact = Compact::parse(token)?;
        kid(&compact.header)?;
        let claims = Claims::read(&mut compact.payload()?, form)?;
        Ok(Self {
            header: compact.header,
            claims,
        })
    }

    /// What the token claims.
    #[must_use]
    pub const fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Whether it would be accepted at `now_unix` (Unix seconds) if a key of the issuer had signed it: every rule of
    /// [`Verifier::verify`](crate::Verifier::verify) but those of the key and its signature.
    ///
    /// # Errors
    ///
    /// The first rule that is broken.
    pub fn suppose_signed(&self, expectations: &Expectations, now_unix: i64) -> Result<(), TokenRefusal> {
        accepted_algorithm(&self.header, expectations)?;
        check_parties(&self.claims, expectations)?;
        let leeway = i64::from(expectations.leeway_s.min(MAX_LEEWAY_S));
        check_times(&self.claims, expectations, leeway, now_unix)
    }
}
