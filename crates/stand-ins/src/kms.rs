//! AWS KMS: keys that wrap with an encryption context, and keys on P-256 that sign; and beside it Secrets Manager. Every
//! signature of a request is checked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::boxes::{Boxes, text};
use crate::{Fake, Seen, sigv4};

/// Whose requests it takes.
pub const KEY_ID: &str = "AKIDEXAMPLE";
/// With which secret they are signed.
pub const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
/// Where it is.
pub const REGION: &str = "eu-central-1";

/// The service. Every key that is named exists, and wraps; a signing key is made when it is first asked for.
#[derive(Debug, Default)]
pub struct Kms {
    boxes: Boxes,
    signing: Mutex<BTreeMap<String, EcdsaKeyPair>>,
    secrets: Mutex<BTreeMap<String, String>>,
}

impl Kms {
    /// A service, and the server that speaks for it.
    pub async fn start() -> (Arc<Self>, Fake) {
        let service = Arc::new(Self::default());
        let answering = service.clone();
        let fake = Fake::https(move |seen| answering.answer(seen)).await;
        (service, fake)
    }

    /// Puts another signing key behind a name.
    pub fn replace(&self, key: &str) {
        self.signing.lock().unwrap().insert(key.to_owned(), p256());
    }

    /// Keeps a secret in Secrets Manager; its reference.
    pub fn keep(&self, name: &str, secret: &str) -> String {
        let mut secrets = self.secrets.lock().unwrap();
        secrets.insert(name.to_owned(), secret.to_owned());
        format!("awssm://{name}")
    }

    fn answer(&self, seen: &Seen) -> (u16, String) {
        let target = seen.header("x-amz-target").unwrap();
        let service = match target {
            "secretsmanager.GetSecretValue" => "secretsmanager",
            _ => "kms",
        };
        if let Err(why) = sigv4::check(seen, KEY_ID, SECRET, REGION, service) {
            return refused("InvalidSignatureException", &why);
        }
        let body = seen.json();
        if service == "secretsmanager" {
            return match self.secrets.lock().unwrap().get(text(&body, "SecretId")) {
                Some(secret) => (200, json!({"VersionId": "1", "SecretString": secret}).to_string()),
                None => refused("ResourceNotFoundException", ""),
            };
        }
        if target == "TrentService.CreateKey" {
            return self.create(&body);
        }
        let (key, context) = (text(&body, "KeyId"), &body["EncryptionContext"]);
        let wrapped = |plaintext: &str| {
            let sealed = self.boxes.seal(key, context, plaintext);
            json!({"CiphertextBlob": STANDARD.encode(sealed)})
        };
        let answer = match target {
            "TrentService.Encrypt" => wrapped(text(&body, "Plaintext")),
            "TrentService.GenerateDataKey" => {
                assert_eq!(text(&body, "KeySpec"), "AES_256");
                let plaintext = STANDARD.encode(
                    aws_lc_rs::rand::generate::<[u8; 32]>(&aws_lc_rs::rand::SystemRandom::new())
                        .unwrap()
                        .expose(),
                );
                let mut answer = wrapped(&plaintext);
                answer["Plaintext"] = plaintext.into();
                answer
            }
            "TrentService.Decrypt" => {
                let blob = STANDARD.decode(text(&body, "CiphertextBlob")).unwrap();
                match self.boxes.open(key, context, &String::from_utf8_lossy(&blob)) {
                    Some(plaintext) => json!({"Plaintext": plaintext}),
                    None => return refused("InvalidCiphertextException", ""),
                }
            }
            "TrentService.GetPublicKey" => self.public_key(key),
            "TrentService.Sign" => self.sign(key, &body),
            other => panic!("{other}"),
        };
        (200, answer.to_string())
    }

    fn create(&self, body: &Value) -> (u16, String) {
        assert_eq!(
            (text(body, "KeySpec"), text(body, "KeyUsage")),
            ("ECC_NIST_P256", "SIGN_VERIFY")
        );
        let number = self.signing.lock().unwrap().len();
        let arn = format!("arn:aws:kms:{REGION}:111122223333:key/{number:08}");
        self.replace(&arn);
        (
            200,
            json!({"KeyMetadata": {"Arn": arn, "KeyId": number}}).to_string(),
        )
    }

    fn public_key(&self, key: &str) -> Value {
        let mut signing = self.signing.lock().unwrap();
        let pair = signing.entry(key.to_owned()).or_insert_with(p256);
        let info = pair.public_key().as_der().unwrap();
        json!({"PublicKey": STANDARD.encode(info.as_ref())})
    }

    fn sign(&self, key: &str, body: &Value) -> Value {
        assert_eq!(
            (text(body, "MessageType"), text(body, "SigningAlgorithm")),
            ("DIGEST", "ECDSA_SHA_256")
        );
        let digest = STANDARD.decode(text(body, "Message")).unwrap();
        let digest = Digest::import_less_safe(&digest, &SHA256).unwrap();
        let mut signing = self.signing.lock().unwrap();
        let pair = signing.entry(key.to_owned()).or_insert_with(p256);
        json!({"Signature": STANDARD.encode(pair.sign_digest(&digest).unwrap())})
    }
}

fn p256() -> EcdsaKeyPair {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap()
}

fn refused(kind: &str, message: &str) -> (u16, String) {
    (
        400,
        json!({"__type": format!("com.amazonaws#{kind}"), "message": message}).to_string(),
    )
}
