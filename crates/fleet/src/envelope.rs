//! A payload with its signatures: DSSE, the dead simple signing envelope (protocol version 1.0.2).
//!
//! What is signed are the bytes of the payload and the name of its type, never a document that somebody writes anew: a
//! holder keeps the envelope as it came, and checks those bytes again.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Largest envelope that is read, in bytes: a bundle of 2 MiB of policy files fits, written as JSON and base64.
pub const MAX_ENVELOPE_BYTES: usize = 8 * 1024 * 1024;
/// Most signatures that are looked at: each costs a verification.
const MAX_SIGNATURES: usize = 8;

/// A payload and who signed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// What the payload is; it is signed with it, so that one kind of document is never taken for another.
    #[serde(rename = "payloadType")]
    pub payload_type: String,
    /// The signed bytes.
    #[serde(with = "base64_bytes")]
    pub payload: Vec<u8>,
    /// The signatures; more than one where several people must sign.
    pub signatures: Vec<Signature>,
}

/// One signature over [`to_be_signed`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// The RFC 7638 thumbprint of the key. A hint where to look, and no more: it is not signed.
    pub keyid: String,
    /// Ed25519 (RFC 8032), 64 bytes.
    #[serde(with = "base64_bytes")]
    pub sig: Vec<u8>,
}

/// Bytes that are no envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// More than [`MAX_ENVELOPE_BYTES`].
    #[error("the envelope has more than {MAX_ENVELOPE_BYTES} bytes")]
    TooLarge,
    /// Not a DSSE envelope, or one with more signatures than are looked at.
    #[error("not a DSSE envelope of 1 to {MAX_SIGNATURES} signatures")]
    Malformed,
}

impl Envelope {
    /// Reads an envelope. Nothing in it is believed yet.
    ///
    /// # Errors
    ///
    /// When the bytes are too many, or no envelope.
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        if bytes.len() > MAX_ENVELOPE_BYTES {
            return Err(EnvelopeError::TooLarge);
        }
        let envelope: Self = serde_json::from_slice(bytes).map_err(|_| EnvelopeError::Malformed)?;
        if (1..=MAX_SIGNATURES).contains(&envelope.signatures.len()) {
            Ok(envelope)
        } else {
            Err(EnvelopeError::Malformed)
        }
    }

    /// The bytes to keep and to hand on: they are what [`crate::Digest`] names.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // A struct of strings and numbers always has a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// What the signatures are over.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        to_be_signed(&self.payload_type, &self.payload)
    }
}

/// What is signed: the type and the payload, each after its length, so that no byte can move from one to the other (PAE).
#[must_use]
pub fn to_be_signed(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

/// Bytes as base64 with padding (RFC 4648 §4).
pub(crate) mod base64_bytes {
    use super::{Deserialize, Deserializer, Engine, STANDARD, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_that_of_the_dsse_protocol() {
        // The example of the protocol document.
        assert_eq!(
            to_be_signed("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn an_envelope_comes_back_as_it_was_and_nothing_else_is_one() {
        let envelope = Envelope {
            payload_type: "application/vnd.portico.policy+json".to_owned(),
            payload: b"{}".to_vec(),
            signatures: vec![Signature {
                keyid: "a".to_owned(),
                sig: vec![7; 64],
            }],
        };
        let bytes = envelope.to_bytes();
        assert_eq!(Envelope::parse(&bytes), Ok(envelope.clone()));
        let unsigned = Envelope {
            signatures: Vec::new(),
            ..envelope.clone()
        };
        let crowded = Envelope {
            signatures: vec![envelope.signatures[0].clone(); MAX_SIGNATURES + 1],
            ..envelope
        };
        let text = String::from_utf8(bytes.clone()).unwrap();
        for wrong in [
            unsigned.to_bytes(),
            crowded.to_bytes(),
            text.replacen('{', r#"{"more":1,"#, 1).into_bytes(),
            text.replace("e30=", "e30").into_bytes(),
            bytes[1..].to_vec(),
        ] {
            assert_eq!(Envelope::parse(&wrong), Err(EnvelopeError::Malformed));
        }
        let huge = vec![b' '; MAX_ENVELOPE_BYTES + 1];
        assert_eq!(Envelope::parse(&huge), Err(EnvelopeError::TooLarge));
    }
}
