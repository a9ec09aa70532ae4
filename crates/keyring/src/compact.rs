//! The compact serialisation of a signed token (RFC 7515 §7.1), taken apart without tolerance.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::json::Object;
use crate::verify::MAX_TOKEN_BYTES;
use crate::{TokenAlgorithm, TokenRefusal};

/// The three parts of a compact token; only the header is decoded before the signature has been verified (J19).
pub(crate) struct Compact<'a> {
    /// The protected header.
    pub(crate) header: Object,
    /// What the signature covers: `header.payload` as sent.
    pub(crate) signing_input: &'a str,
    payload: &'a str,
    signature: &'a str,
}

impl<'a> Compact<'a> {
    /// Takes a token apart: at most 8 KiB (J2), exactly two dots (J3, J6), canonical base64url (J4), a strict JSON header
    /// (J5).
    pub(crate) fn parse(token: &'a str) -> Result<Self, TokenRefusal> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenRefusal::Malformed);
        }
        let (signing_input, signature) = token.rsplit_once('.').ok_or(TokenRefusal::Malformed)?;
        let (header, payload) = signing_input.split_once('.').ok_or(TokenRefusal::Malformed)?;
        // A third dot stays in the payload and fails there as a character outside the alphabet: checked now, before
        // any key is looked up.
        if payload.is_empty() || signature.is_empty() || !payload.bytes().all(is_base64url) {
            return Err(TokenRefusal::Malformed);
        }
        Ok(Self {
            header: decode_object(header)?,
            signing_input,
            payload,
            signature,
        })
    }

    /// The signature bytes: 64 of them on curves (J20); of RSA, as many as the modulus has, which the library knows.
    pub(crate) fn signature(&self, algorithm: TokenAlgorithm) -> Result<Vec<u8>, TokenRefusal> {
        let bytes = decode(self.signature)?;
        let is_possible = match algorithm {
            TokenAlgorithm::EdDSA | TokenAlgorithm::ES256 => bytes.len() == 64,
            TokenAlgorithm::RS256 | TokenAlgorithm::PS256 => true,
        };
        if is_possible {
            Ok(bytes)
        } else {
            Err(TokenRefusal::Signature)
        }
    }

    /// The payload as a strict JSON object (J5).
    pub(crate) fn payload(&self) -> Result<Object, TokenRefusal> {
        decode_object(self.payload)
    }
}

const fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

fn decode_object(part: &str) -> Result<Object, TokenRefusal> {
    Object::parse(&decode(part)?).ok_or(TokenRefusal::Malformed)
}

/// Canonical base64url: no padding, no foreign character, unused bits zero (J3, J4).
fn decode(part: &str) -> Result<Vec<u8>, TokenRefusal> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenRefusal::Malformed)
}
