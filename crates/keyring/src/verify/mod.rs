//! Strict verification of access tokens: every rule has its own test, named after it.

#[cfg(test)]
mod tests;
mod unverified;
#[cfg(test)]
mod wycheproof;

pub use unverified::UnverifiedToken;

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use crate::binding::bound_to;
use crate::compact::Compact;
use crate::json::Object;
use crate::jwks::Jwks;
use crate::keyset::is_kid_of_any_issuer;
use crate::verification_key::PreparedKey;
use crate::{CertificateHash, Claims, ClaimsForm, KeySet, KeySetError, TokenAlgorithm, TokenRefusal};

/// Longest token that is looked at, in bytes (J2).
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// Largest clock allowance in seconds; a larger `leeway_s` counts as this (J26).
pub const MAX_LEEWAY_S: u32 = 120;

/// Header members that would let a token bring its own key (J12), or that say it is something else (J13).
const FORBIDDEN_MEMBERS: [&str; 8] = ["jku", "x5u", "jwk", "x5c", "x5t", "x5t#S256", "zip", "enc"];

/// What a token must be to be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectations {
    /// The exact `iss` (J28).
    pub issuer: String,
    /// The audiences this verifier is; `aud` must name one of them (J29).
    pub audiences: Vec<String>,
    /// The programs whose tokens are accepted; those of any, and of none, when it is empty (J33).
    pub clients: Vec<String>,
    /// The accepted algorithms (J7).
    pub algorithms: Vec<TokenAlgorithm>,
    /// The `typ`, without `application/`: `at+jwt` (J11).
    pub token_type: String,
    /// Longest accepted `exp - iat` in seconds, whatever the issuer did (J27).
    pub max_lifetime_s: u32,
    /// Clock allowance in seconds, 0 to [`MAX_LEEWAY_S`], applied once to each bound (J26).
    pub leeway_s: u32,
    /// How the issuer writes its claims.
    pub form: ClaimsForm,
}

/// A token that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedToken {
    /// What it says.
    pub claims: Claims,
    /// The key that signed it, as the verifier holds it.
    pub kid: Arc<str>,
    /// The Unix seconds at which the same key set gives the same answer: clock allowance and the end of the key included.
    pub good: Range<i64>,
    /// Whose certificate the sender must have shown, or the token is not the sender's to use (J33).
    pub bound_to: Option<CertificateHash>,
}

/// A key set made ready for verification. Immutable; a new set makes a new verifier.
#[derive(Debug)]
pub struct Verifier {
    keys: HashMap<Arc<str>, VerificationKey>,
    revoked: HashSet<String>,
    seq: u64,
}

#[derive(Debug)]
pub(crate) struct VerificationKey {
    algorithm: TokenAlgorithm,
    prepared: PreparedKey,
    sign_until: Option<i64>,
    verify_until: Option<i64>,
}

impl VerificationKey {
    /// A key that verifies for as long as it is published.
    pub(crate) const fn unbounded(algorithm: TokenAlgorithm, prepared: PreparedKey) -> Self {
        Self {
            algorithm,
            prepared,
            sign_until: None,
            verify_until: None,
        }
    }
}

impl Verifier {
    /// Validates the set and parses its keys, once.
    ///
    /// # Errors
    ///
    /// A set that breaks [`KeySet::validate`] is refused whole (J16).
    pub fn new(set: KeySet) -> Result<Self, KeySetError> {
        set.validate()?;
        let keys = set
            .keys
            .into_iter()
            .map(|key| {
                let prepared = key.parse()?;
                let ready = VerificationKey {
                    algorithm: key.algorithm.into(),
                    prepared,
                    sign_until: key.sign_until,
                    verify_until: key.verify_until,
                };
                Ok((key.kid.into(), ready))
            })
            .collect::<Result<_, KeySetError>>()?;
        Ok(Self {
            keys,
            revoked: set.revoked_kids.into_iter().collect(),
            seq: set.seq,
        })
    }

    /// Reads the JWK Set (RFC 7517 §5) of another issuer, and says of each key that was left out why (J15 to J18).
    ///
    /// Nothing tells the age of such a set: keep its `seq`, which is 0, out of comparisons.
    ///
    /// # Errors
    ///
    /// The first rule that is broken; the holder keeps the set it has.
    pub fn from_jwks(document: &[u8]) -> Result<(Self, Vec<String>), KeySetError> {
        let jwks = Jwks::parse(document)?;
        let verifier = Self {
            keys: jwks
                .keys
                .into_iter()
                .map(|(kid, key)| (kid.into(), key))
                .collect(),
            revoked: HashSet::new(),
            seq: 0,
        };
        Ok((verifier, jwks.skipped))
    }

    /// How many keys verify.
    #[must_use]
    pub fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// Whether a token of this key can be good.
    #[must_use]
    pub fn knows(&self, kid: &str) -> bool {
        self.keys.contains_key(kid) && !self.revoked.contains(kid)
    }

    /// The `seq` of the key set behind this verifier.
    #[must_use]
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// Verifies a bearer token at `now_unix` (Unix seconds) and gives its claims. A token that is bound to a key is none
    /// (J33).
    ///
    /// The order is: shape, header, key, signature, and only then claims (J19).
    ///
    /// # Errors
    ///
    /// The first rule that is broken. Nothing of a refused token is returned.
    pub fn verify(
        &self,
        token: &str,
        expectations: &Expectations,
        now_unix: i64,
    ) -> Result<Claims, TokenRefusal> {
        let token = self.examine(token, expectations, now_unix)?;
        match token.bound_to {
            None => Ok(token.claims),
            Some(_) => Err(TokenRefusal::Unproven),
        }
    }

    /// As [`Verifier::verify`], and says which key signed, for how long the answer holds with this key set, and whose
    /// certificate the sender must have shown.
    ///
    /// # Errors
    ///
    /// The first rule that is broken.
    pub fn examine(
        &self,
        token: &str,
        expectations: &Expectations,
        now_unix: i64,
    ) -> Result<VerifiedToken, TokenRefusal> {
        let leeway = i64::from(expectations.leeway_s.min(MAX_LEEWAY_S));
        let compact = Compact::parse(token)?;
        let algorithm = accepted_algorithm(&compact.header, expectations)?;
        let (kid, key) = self.key(&compact.header, algorithm, now_unix)?;
        let signature = compact.signature(algorithm)?;
        if !key
            .prepared
            .has_signed(compact.signing_input.as_bytes(), &signature)
        {
            return Err(TokenRefusal::Signature);
        }

        let mut payload = compact.payload()?;
        let claims = Claims::read(&mut payload, expectations.form)?;
        // First of the claims: a stolen old key must raise its alarm whatever else is wrong with the token (INV-3).
        if key
            .sign_until
            .is_some_and(|sign_until| claims.iat > sign_until.saturating_add(leeway))
        {
            return Err(TokenRefusal::SignedAfterRetirement);
        }
        check_parties(&claims, expectations)?;
        check_times(&claims, expectations, leeway, now_unix)?;
        let bound_to = bound_to(&payload, expectations.form)?;
        let until = claims.exp.saturating_add(leeway);
        Ok(VerifiedToken {
            kid: kid.clone(),
            good: claims.nbf.unwrap_or(0).max(claims.iat).saturating_sub(leeway)
                ..key
                    .verify_until
                    .map_or(until, |last| until.min(last.saturating_add(1))),
            claims,
            bound_to,
        })
    }

    /// Finds the key a header names; a map lookup and nothing else (J14).
    fn key(
        &self,
        header: &Object,
        algorithm: TokenAlgorithm,
        now_unix: i64,
    ) -> Result<(&Arc<str>, &VerificationKey), TokenRefusal> {
        let kid = kid(header)?;
        if self.revoked.contains(kid) {
            return Err(TokenRefusal::RevokedKey);
        }
        let (name, key) = self.keys.get_key_value(kid).ok_or(TokenRefusal::UnknownKey)?;
        if key.algorithm != algorithm {
            return Err(TokenRefusal::Algorithm);
        }
        if key
            .verify_until
            .is_some_and(|verify_until| now_unix > verify_until)
        {
            return Err(TokenRefusal::RetiredKey);
        }
        Ok((name, key))
    }
}

/// The key that a token says signed it, if its header has the form for that; nothing is verified.
#[must_use]
pub fn key_name(token: &str) -> Option<String> {
    let compact = Compact::parse(token).ok()?;
    kid(&compact.header).ok().map(str::to_owned)
}

/// The name of the key (J14).
fn kid(header: &Object) -> Result<&str, TokenRefusal> {
    header
        .text("kid")
        .filter(|kid| is_kid_of_any_issuer(kid))
        .ok_or(TokenRefusal::Malformed)
}

/// Checks the header (J7, J10–J13) and gives the algorithm it names, which must then be that of the key (J8).
fn accepted_algorithm(header: &Object, expectations: &Expectations) -> Result<TokenAlgorithm, TokenRefusal> {
    check_members(header)?;
    if header.contains("cty") || !is_type(header.text("typ"), &expectations.token_type) {
        return Err(TokenRefusal::Type);
    }
    named_algorithm(header, &expectations.algorithms)
}

/// Members that must not be there, whatever they say (J10, J12, J13).
fn check_members(header: &Object) -> Result<(), TokenRefusal> {
    if header.contains("crit") || header.contains("b64") {
        return Err(TokenRefusal::Critical);
    }
    if FORBIDDEN_MEMBERS.iter().any(|name| header.contains(name)) {
        return Err(TokenRefusal::Malformed);
    }
    Ok(())
}

/// The algorithm that the header names, if it is one of these (J7).
fn named_algorithm(header: &Object, accepted: &[TokenAlgorithm]) -> Result<TokenAlgorithm, TokenRefusal> {
    header
        .text("alg")
        .and_then(|name| name.parse().ok())
        .filter(|algorithm| accepted.contains(algorithm))
        .ok_or(TokenRefusal::Algorithm)
}

/// Media types compare without case, and `application/` may be left out (RFC 7515 §4.1.9).
fn is_type(found: Option<&str>, expected: &str) -> bool {
    const PREFIX: &str = "application/";
    found.is_some_and(|found| {
        let short = match found.split_at_checked(PREFIX.len()) {
            Some((prefix, rest)) if prefix.eq_ignore_ascii_case(PREFIX) => rest,
            _ => found,
        };
        short.eq_ignore_ascii_case(expected)
    })
}

/// `iss`, `aud` and the program by exact comparison (J28, J29, J33).
fn check_parties(claims: &Claims, expectations: &Expectations) -> Result<(), TokenRefusal> {
    if claims.iss != expectations.issuer {
        return Err(TokenRefusal::Issuer);
    }
    if !claims
        .aud
        .iter()
        .any(|audience| expectations.audiences.contains(audience))
    {
        return Err(TokenRefusal::Audience);
    }
    let is_expected = |client: &String| expectations.clients.contains(client);
    if !expectations.clients.is_empty() && !claims.client_id.as_ref().is_some_and(is_expected) {
        return Err(TokenRefusal::Client);
    }
    Ok(())
}

/// `exp`, `nbf`, `iat` and the lifetime (J24–J27). RFC 7519 §4.1.4: on or after `exp` a token is refused.
fn check_times(
    claims: &Claims,
    expectations: &Expectations,
    leeway: i64,
    now_unix: i64,
) -> Result<(), TokenRefusal> {
    let lifetime = claims.exp.saturating_sub(claims.iat);
    if lifetime <= 0 || lifetime > i64::from(expectations.max_lifetime_s) {
        return Err(TokenRefusal::Lifetime);
    }
    if now_unix >= claims.exp.saturating_add(leeway) {
        return Err(TokenRefusal::Expired);
    }
    if claims
        .nbf
        .is_some_and(|nbf| nbf > now_unix.saturating_add(leeway))
    {
        return Err(TokenRefusal::NotYetValid);
    }
    if claims.iat > now_unix.saturating_add(leeway) {
        return Err(TokenRefusal::IssuedInFuture);
    }
    Ok(())
}
