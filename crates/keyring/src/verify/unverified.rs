//! What a token says of itself, for explanations: nobody is let in by it.

use super::{Expectations, MAX_LEEWAY_S, accepted_algorithm, check_parties, check_times, kid};
use crate::binding::bound_to;
use crate::compact::Compact;
use crate::json::Object;
use crate::{CertificateHash, Claims, ClaimsForm, TokenRefusal};

/// A token whose signature nobody has checked: anyone can have written it.
pub struct UnverifiedToken {
    header: Object,
    claims: Claims,
    bound_to: Result<Option<CertificateHash>, TokenRefusal>,
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
        let mut payload = compact.payload()?;
        let claims = Claims::read(&mut payload, form)?;
        Ok(Self {
            header: compact.header,
            claims,
            bound_to: bound_to(&payload, form),
        })
    }

    /// What the token claims.
    #[must_use]
    pub const fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Whether it would be accepted at `now_unix` (Unix seconds) if a key of the issuer had signed it: every rule of
    /// [`Verifier::verify`](crate::Verifier::verify) but those of the key and its signature. Gives whose
    /// certificate its sender must have shown (J33).
    ///
    /// # Errors
    ///
    /// The first rule that is broken.
    pub fn suppose_signed(
        &self,
        expectations: &Expectations,
        now_unix: i64,
    ) -> Result<Option<CertificateHash>, TokenRefusal> {
        accepted_algorithm(&self.header, expectations)?;
        check_parties(&self.claims, expectations)?;
        let leeway = i64::from(expectations.leeway_s.min(MAX_LEEWAY_S));
        check_times(&self.claims, expectations, leeway, now_unix)?;
        self.bound_to
    }
}
