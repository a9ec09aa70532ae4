//! AWS KMS: a wrapping key and a signing key that never leave it.

use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{Aws, Service};
use crate::document::wipe;
use crate::signer::checked;
use crate::wrapper::DATA_KEY_BYTES;
use crate::{Context, Fault, KeyWrapper, RemoteSigner, SignatureAlgorithm};

/// Before the 65 bytes of a P-256 point in a SubjectPublicKeyInfo (RFC 5480).
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// Bytes of `r` and of `s`.
const SCALAR_BYTES: usize = 32;

/// A symmetric key of KMS; the context is its encryption context, which CloudTrail shows.
#[derive(Debug, Clone)]
pub struct KmsWrapper {
    aws: Arc<Aws>,
    key: String,
}

impl KmsWrapper {
    /// The key of this id, ARN or alias.
    #[must_use]
    pub fn new(aws: Arc<Aws>, key: &str) -> Self {
        Self {
            aws,
            key: key.to_owned(),
        }
    }

    async fn ask(&self, operation: &str, mut question: Value) -> Result<Value, Fault> {
        let answer = self.aws.ask(Service::Kms, operation, &question).await;
        wipe(&mut question);
        answer
    }
}

#[async_trait]
impl KeyWrapper for KmsWrapper {
    async fn wrap(&self, key: &[u8], context: &Context) -> Result<Vec<u8>, Fault> {
        let question = json!({
            "KeyId": self.key,
            "Plaintext": STANDARD.encode(key),
            "EncryptionContext": context.pairs(),
        });
        bytes(&self.ask("Encrypt", question).await?, "CiphertextBlob")
    }

    async fn unwrap(&self, wrapped: &[u8], context: &Context) -> Result<Zeroizing<Vec<u8>>, Fault> {
        // With the key's name, KMS opens nothing that another key wrapped.
        let question = json!({
            "KeyId": self.key,
            "CiphertextBlob": STANDARD.encode(wrapped),
            "EncryptionContext": context.pairs(),
        });
        let mut answer = self.ask("Decrypt", question).await?;
        let key = bytes(&answer, "Plaintext").map(Zeroizing::new);
        wipe(&mut answer);
        key
    }

    async fn generate(&self, context: &Context) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), Fault> {
        let question = json!({
            "KeyId": self.key,
            "KeySpec": "AES_256",
            "EncryptionContext": context.pairs(),
        });
        let mut answer = self.ask("GenerateDataKey", question).await?;
        let key = bytes(&answer, "Plaintext").map(Zeroizing::new);
        let wrapped = bytes(&answer, "CiphertextBlob");
        wipe(&mut answer);
        let key = key?;
        if key.len() == DATA_KEY_BYTES {
            Ok((key, wrapped?))
        } else {
            Err(Fault::Malformed(
                "the data key that came is not 256 bits".to_owned(),
            ))
        }
    }
}

fn bytes(answer: &Value, name: &str) -> Result<Vec<u8>, Fault> {
    answer
        .get(name)
        .and_then(Value::as_str)
        .and_then(|text| STANDARD.decode(text).ok())
        .ok_or_else(|| Fault::Malformed(format!("the answer has no {name} in base64")))
}

/// A P-256 key of KMS (`ECC_NIST_P256`, `SIGN_VERIFY`). Such keys do not rotate behind their id.
#[derive(Debug, Clone)]
pub struct KmsSigner {
    aws: Arc<Aws>,
    key: String,
    public: Vec<u8>,
}

impl KmsSigner {
    /// Has KMS make a key.
    ///
    /// # Errors
    /// When AWS refuses it or does not answer.
    pub async fn make(aws: Arc<Aws>) -> Result<Self, Fault> {
        let question = json!({
            "KeySpec": "ECC_NIST_P256",
            "KeyUsage": "SIGN_VERIFY",
            "Description": "a signing key of Portico",
        });
        let answer = aws.ask(Service::Kms, "CreateKey", &question).await?;
        let arn = answer.pointer("/KeyMetadata/Arn").and_then(Value::as_str);
        let arn = arn.ok_or_else(|| Fault::Malformed("the answer has no ARN".to_owned()))?;
        Self::of(aws, arn).await
    }

    /// The name that it was asked for by.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Asks for the public part.
    ///
    /// # Errors
    /// When there is no such key, it is not on P-256, or AWS does not answer.
    pub async fn of(aws: Arc<Aws>, key: &str) -> Result<Self, Fault> {
        let answer = aws
            .ask(Service::Kms, "GetPublicKey", &json!({"KeyId": key}))
            .await?;
        let info = bytes(&answer, "PublicKey")?;
        match info.strip_prefix(P256_PREFIX.as_slice()) {
            Some(point) if point.len() == 65 => Ok(Self {
                aws,
                key: key.to_owned(),
                public: point.to_vec(),
            }),
            _ => Err(Fault::Refused(format!("`{key}` is not a key on P-256"))),
        }
    }
}

#[async_trait]
impl RemoteSigner for KmsSigner {
    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::P256
    }

    fn public(&self) -> &[u8] {
        &self.public
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Fault> {
        let question = json!({
            "KeyId": self.key,
            "Message": STANDARD.encode(digest(&SHA256, message)),
            "MessageType": "DIGEST",
            "SigningAlgorithm": "ECDSA_SHA_256",
        });
        let answer = self.aws.ask(Service::Kms, "Sign", &question).await?;
        let signature = fixed(&bytes(&answer, "Signature")?).ok_or_else(|| {
            Fault::Malformed("the signature that came is no ECDSA signature on P-256".to_owned())
        })?;
        checked(SignatureAlgorithm::P256, &self.public, message, signature)
    }
}

/// `r‖s` from `SEQUENCE { INTEGER r, INTEGER s }` in DER (RFC 3279 §2.2.3).
fn fixed(der: &[u8]) -> Option<Vec<u8>> {
    let (inside, rest) = element(der, 0x30)?;
    let (r, after) = element(inside, 0x02)?;
    let (s, end) = element(after, 0x02)?;
    if !rest.is_empty() || !end.is_empty() {
        return None;
    }
    let mut signature = scalar(r)?;
    signature.extend(scalar(s)?);
    Some(signature)
}

/// The content of an element with this tag, and what follows. A signature on P-256 has short lengths only.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (header, rest) = der.split_at_checked(2)?;
    match header {
        [found, length] if *found == tag && *length < 0x80 => rest.split_at_checked(usize::from(*length)),
        _ => None,
    }
}

/// An unsigned INTEGER as 32 bytes; negative and needlessly long ones are no DER.
fn scalar(integer: &[u8]) -> Option<Vec<u8>> {
    let digits = match integer {
        [0, second, ..] if *second >= 0x80 => integer.get(1..)?,
        [first, ..] if *first > 0 && *first < 0x80 => integer,
        _ => return None,
    };
    let padding = SCALAR_BYTES.checked_sub(digits.len())?;
    let mut bytes = vec![0; padding];
    bytes.extend_from_slice(digits);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn integer(scalar: &[u8]) -> Vec<u8> {
        let digits: Vec<u8> = scalar.iter().copied().skip_while(|byte| *byte == 0).collect();
        let mut out = if digits[0] >= 0x80 { vec![0] } else { vec![] };
        out.extend(digits);
        [vec![2, u8::try_from(out.len()).unwrap()], out].concat()
    }

    proptest! {
        #[test]
        fn a_signature_in_der_is_the_same_signature(mut r in any::<[u8; 32]>(), mut s in any::<[u8; 32]>(), zeros in 0_usize..31) {
            r[..zeros].fill(0);
            r[31] |= 1;
            s[31] |= 1;
            let inside = [integer(&r), integer(&s)].concat();
            let der = [vec![0x30, u8::try_from(inside.len()).unwrap()], inside].concat();
            prop_assert_eq!(fixed(&der), Some([r, s].concat()));
            prop_assert_eq!(fixed(&[der.as_slice(), &[0]].concat()), None);
            prop_assert_eq!(fixed(&der[..der.len() - 1]), None);
        }

        #[test]
        fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(fixed(&bytes).is_none_or(|signature| signature.len() == 64));
        }
    }

    #[test]
    fn what_is_no_der_is_refused() {
        for wrong in [
            &[0x30, 6, 2, 1, 0x80, 2, 1, 1][..],
            &[0x30, 7, 2, 2, 0, 1, 2, 1, 1],
            &[0x30, 6, 2, 1, 0, 2, 1, 1],
            &[0x31, 6, 2, 1, 1, 2, 1, 1],
            &[0x30, 5, 2, 0, 2, 1, 1],
        ] {
            assert_eq!(fixed(wrong), None, "{wrong:?}");
        }
        assert!(fixed(&[0x30, 6, 2, 1, 1, 2, 1, 1]).is_some());
    }
}
