//! The two tokens of a session: a signed access token of minutes, and an opaque refresh token that is used once.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::{digest, hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use keyring::Claims;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::keys::{KeyError, Keys};
use crate::ids::{SessionId, TenantId, TokenId, UserId};

const REFRESH_VERSION: &str = "rt1";
/// The same token as the cookie of a browser. Its hash is another one: neither is good in the place of the other.
const BROWSER_VERSION: &str = "bs1";
const SECRET_BYTES: usize = 32;

/// What a log-in or a refresh gives.
#[derive(Serialize, ToSchema)]
pub(super) struct TokenPair {
    /// Send it as `Authorization: Bearer …`.
    #[schema(
        example = "eyJhbGciOiJFZERTQSIsImtpZCI6IuKApiIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiJ1c3JfIn0.c2lnbmF0dXJl"
    )]
    pub(super) access_token: String,
    /// Send it to `/api/v1/auth/refresh` once, to get the next pair.
    #[schema(example = "rt1.01kafpwz0zfmx9tpr6z5qgyf0h.mZ1b0rWJ0kq3w1Vn4V0m8b7c6d5e4f3g2h1i0jKLMNO")]
    pub(super) refresh_token: String,
    /// Always `Bearer`.
    #[schema(example = "Bearer")]
    pub(super) token_type: &'static str,
    /// Lifetime of the access token, seconds.
    #[schema(example = 600)]
    pub(super) expires_in: u32,
}

/// Whom an access token speaks for, and what it says.
pub(super) struct AccessGrant {
    pub(super) user: UserId,
    pub(super) session: SessionId,
    pub(super) tenant: TenantId,
    pub(super) token: TokenId,
    /// From the database, in the statement that wrote the session row.
    pub(super) issued_at: DateTime<Utc>,
    pub(super) authentication: Authentication,
}

/// How a person showed who he is, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Authentication {
    /// Methods by their names in RFC 8176 §2.
    pub(super) amr: Vec<String>,
    pub(super) auth_time: DateTime<Utc>,
}

impl Authentication {
    /// The authentication context class: `mfa` with a second factor, else `pwd`.
    fn acr(&self) -> &'static str {
        if self.amr.iter().any(|method| method == MFA) {
            MFA
        } else {
            "pwd"
        }
    }
}

/// Several factors (RFC 8176 §2).
const MFA: &str = "mfa";

/// The claims of an access token with those of OpenID Connect Core §2 that say how its subject signed in (RFC 9068 §2.2.1).
#[derive(Serialize)]
struct AccessClaims<'a> {
    #[serde(flatten)]
    claims: Claims,
    amr: &'a [String],
    acr: &'static str,
    auth_time: i64,
}

/// What every token of this process says.
#[derive(Debug, Clone)]
pub(crate) struct TokenTerms {
    pub(crate) issuer: String,
    pub(crate) audience: String,
    pub(crate) lifetime_s: u32,
    pub(crate) scopes: Vec<String>,
}

impl TokenTerms {
    /// Signs the access token of a grant with the key that the database named.
    pub(super) async fn sign(&self, keys: &Keys, kid: &str, grant: &AccessGrant) -> Result<String, KeyError> {
        let issued_at = grant.issued_at.timestamp();
        let claims = Claims {
            iss: self.issuer.clone(),
            sub: grant.user.to_string(),
            aud: vec![self.audience.clone()],
            exp: issued_at.saturating_add(i64::from(self.lifetime_s)),
            iat: issued_at,
            nbf: None,
            jti: Some(grant.token.to_string()),
            sid: Some(grant.session.to_string()),
            tid: Some(grant.tenant.to_string()),
            client_id: None,
            scope: self.scopes.clone(),
        };
        let claims = AccessClaims {
            claims,
            amr: &grant.authentication.amr,
            acr: grant.authentication.acr(),
            auth_time: grant.authentication.auth_time.timestamp(),
        };
        Ok(keys.signer(kid).await?.sign(&claims).await?)
    }

    /// The answer with both tokens.
    pub(super) fn pair(&self, access_token: String, refresh: &RefreshToken) -> TokenPair {
        TokenPair {
            access_token,
            refresh_token: refresh.to_text().to_string(),
            token_type: "Bearer",
            expires_in: self.lifetime_s,
        }
    }
}

/// A refresh token, `rt1.<jti>.<secret>`. Only the SHA-256 of the secret is stored.
pub(super) struct RefreshToken {
    id: TokenId,
    secret: Zeroizing<[u8; SECRET_BYTES]>,
}

/// The library has no randomness, or does not seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cryptographic library refused")]
pub(super) struct CryptoFailure;

impl RefreshToken {
    /// A new token with 256 bits of randomness.
    pub(super) fn generate(now: DateTime<Utc>) -> Result<Self, CryptoFailure> {
        let mut secret = Zeroizing::new([0_u8; SECRET_BYTES]);
        rand::fill(secret.as_mut_slice()).map_err(|_| CryptoFailure)?;
        Ok(Self {
            id: TokenId::new(now),
            secret,
        })
    }

    /// Reads a token; anything that is not exactly one is None.
    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::parse_as(REFRESH_VERSION, text)
    }

    /// The same for the cookie of a browser.
    pub(super) fn parse_cookie(text: &str) -> Option<Self> {
        Self::parse_as(BROWSER_VERSION, text)
    }

    fn parse_as(wanted: &str, text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let (version, id, secret) = (parts.next()?, parts.next()?, parts.next()?);
        if version != wanted || parts.next().is_some() {
            return None;
        }
        let id = format!("tok_{id}").parse().ok()?;
        let decoded = Zeroizing::new(URL_SAFE_NO_PAD.decode(secret).ok()?);
        let secret = Zeroizing::new(decoded.as_slice().try_into().ok()?);
        Some(Self { id, secret })
    }

    /// The token as the client keeps it.
    pub(super) fn to_text(&self) -> Zeroizing<String> {
        self.to_text_as(REFRESH_VERSION)
    }

    /// The same as the cookie of a browser.
    pub(super) fn to_cookie(&self) -> Zeroizing<String> {
        self.to_text_as(BROWSER_VERSION)
    }

    fn to_text_as(&self, version: &str) -> Zeroizing<String> {
        let id = self.id.to_string();
        let id = id.trim_start_matches("tok_");
        let secret = Zeroizing::new(URL_SAFE_NO_PAD.encode(self.secret.as_slice()));
        Zeroizing::new(format!("{version}.{id}.{}", secret.as_str()))
    }

    /// Its `jti`.
    pub(super) const fn id(&self) -> Uuid {
        self.id.uuid()
    }

    /// SHA-256 of the secret.
    pub(super) fn secret_hash(&self) -> Vec<u8> {
        digest::digest(&digest::SHA256, self.secret.as_slice())
            .as_ref()
            .to_vec()
    }

    /// What is stored of a browser's: of another text, so that a cookie buys no tokens where refresh tokens do.
    pub(super) fn browser_hash(&self) -> Vec<u8> {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"portico browser v1");
        context.update(self.secret.as_slice());
        context.finish().as_ref().to_vec()
    }

    /// What the forms of a browser are signed with.
    pub(super) fn form_key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.secret.as_slice())
    }

    /// Seals a successor under a key that only the holder of this token's secret can derive: a repeated request can be
    /// given the same answer, and the database alone cannot open it.
    pub(super) fn seal(&self, successor: &Self) -> Result<Vec<u8>, CryptoFailure> {
        let mut text = successor.to_text().as_bytes().to_vec();
        let nonce = self
            .replay_key()?
            .seal_in_place_append_tag(Aad::from(self.id().as_bytes()), &mut text)
            .map_err(|_| CryptoFailure)?;
        let mut sealed = nonce.as_ref().to_vec();
        sealed.append(&mut text);
        Ok(sealed)
    }

    /// Opens what [`Self::seal`] made with the same token.
    pub(super) fn open(&self, sealed: &[u8]) -> Result<Self, CryptoFailure> {
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN).ok_or(CryptoFailure)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| CryptoFailure)?;
        let mut text = Zeroizing::new(text.to_vec());
        let text = self
            .replay_key()?
            .open_in_place(nonce, Aad::from(self.id().as_bytes()), &mut text)
            .map_err(|_| CryptoFailure)?;
        std::str::from_utf8(text)
            .ok()
            .and_then(Self::parse)
            .ok_or(CryptoFailure)
    }

    fn replay_key(&self) -> Result<RandomizedNonceKey, CryptoFailure> {
        let root = hmac::Key::new(hmac::HMAC_SHA256, self.secret.as_slice());
        let key = hmac::sign(&root, b"portico refresh replay v1");
        RandomizedNonceKey::new(&AES_256_GCM, key.as_ref()).map_err(|_| CryptoFailure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn token() -> RefreshToken {
        RefreshToken::generate(DateTime::UNIX_EPOCH).unwrap()
    }

    #[test]
    fn a_token_survives_its_text() {
        let token = token();
        let again = RefreshToken::parse(&token.to_text()).unwrap();
        assert_eq!(
            (again.id(), again.secret_hash()),
            (token.id(), token.secret_hash())
        );
    }

    #[test]
    fn a_cookie_and_a_refresh_token_are_not_good_for_each_other() {
        let token = token();
        let cookie = token.to_cookie();
        assert_eq!(RefreshToken::parse_cookie(&cookie).unwrap().id(), token.id());
        assert!(RefreshToken::parse(&cookie).is_none());
        assert!(RefreshToken::parse_cookie(&token.to_text()).is_none());
        assert_ne!(token.browser_hash(), token.secret_hash());
    }

    #[test]
    fn a_sealed_successor_opens_with_the_presented_token_only() {
        let (presented, successor) = (token(), token());
        let sealed = presented.seal(&successor).unwrap();
        assert_eq!(presented.open(&sealed).unwrap().to_text(), successor.to_text());
        assert!(successor.open(&sealed).is_err());
        let mut changed = sealed.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert!(presented.open(&changed).is_err());
        assert!(presented.open(&[]).is_err());
    }

    proptest! {
        #[test]
        fn text_that_is_no_token_is_refused(text in "(rt1\\.)?.{0,80}") {
            if let Some(token) = RefreshToken::parse(&text) {
                prop_assert_eq!(token.to_text().to_string(), text);
            }
        }
    }
}
