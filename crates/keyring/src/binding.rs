//! Tokens that only the holder of a certificate may use (RFC 7800, RFC 8705 §3; J33).

use std::fmt;

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::json::{Json, Object};
use crate::{ClaimsForm, TokenRefusal};

/// SHA-256 of a certificate in DER: `x5t#S256` of a `cnf` claim (RFC 8705 §3.1). Shown in base64url, as in a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateHash([u8; SHA256_OUTPUT_LEN]);

impl CertificateHash {
    /// The hash of a certificate in DER.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Self {
        let mut hash = [0; SHA256_OUTPUT_LEN];
        hash.copy_from_slice(digest(&SHA256, certificate).as_ref());
        Self(hash)
    }
}

impl fmt::Display for CertificateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

/// The certificate that a token is bound to, if it is. One that is bound in another way too, as with DPoP's `jkt`, is
/// refused: nothing here can check that, and taken as a bearer token it would be worth more than its issuer meant.
pub(crate) fn bound_to(payload: &Object, form: ClaimsForm) -> Result<Option<CertificateHash>, TokenRefusal> {
    match payload.get("cnf") {
        None if form.requires_cnf => Err(TokenRefusal::Binding),
        None => Ok(None),
        Some(Json::Object(methods)) => match methods.only("x5t#S256") {
            Some(Json::String(hash)) => read(hash).map(Some).ok_or(TokenRefusal::Binding),
            _ => Err(TokenRefusal::Binding),
        },
        Some(_) => Err(TokenRefusal::Binding),
    }
}

/// Canonical base64url of 32 bytes.
fn read(hash: &str) -> Option<CertificateHash> {
    let bytes = URL_SAFE_NO_PAD.decode(hash).ok()?;
    bytes.try_into().ok().map(CertificateHash)
}
