//! Keys that stay in Vault or AWS: what is sent, what is bound, what is refused. The fakes really encrypt and sign.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED, ED25519, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, ParsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrets::{
    Aws, Context, Fault, KeyVersions, KeyWrapper, KmsSigner, KmsWrapper, LocalWrapper, RemoteSigner,
    TransitSigner, TransitWrapper, Vault, WrappedKey,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::aws::{KEY_ID, REGION, SECRET, credentials, refused, settings as aws_settings};
use crate::fake::{Fake, Seen, Trouble};
use crate::sigv4;
use crate::vault::{lookup, settings as vault_settings, token_file};

fn row(kid: &str) -> Context {
    Context::of([("ring", "access"), ("kid", kid)])
}

/// What holds for every wrapper, wherever its key is.
async fn keeps_its_promises(wrapper: &dyn KeyWrapper) {
    let (key, wrapped) = wrapper.generate(&row("k1")).await.unwrap();
    assert_eq!(key.len(), 32);
    assert!(!wrapped.blob.windows(32).any(|window| window == key.as_slice()));
    assert_eq!(wrapper.unwrap(&wrapped, &row("k1")).await.unwrap(), key);
    for other in [row("k2"), Context::of([("ring", "access")]), Context::default()] {
        let fault = wrapper.unwrap(&wrapped, &other).await.unwrap_err();
        assert!(matches!(fault, Fault::Refused(_)), "{fault}");
    }
    let mut damaged = wrapped.clone();
    *damaged.blob.last_mut().unwrap() ^= 1;
    assert!(wrapper.unwrap(&damaged, &row("k1")).await.is_err());

    let given = wrapper.wrap(&[9; 32], &row("k1")).await.unwrap();
    let anew = wrapper.rewrap(&given, &row("k1")).await.unwrap();
    assert_ne!(anew.blob, given.blob);
    assert_eq!(
        wrapper.unwrap(&anew, &row("k1")).await.unwrap().as_slice(),
        [9; 32]
    );
    assert!(wrapper.rewrap(&given, &row("k2")).await.is_err());
}

#[tokio::test]
async fn a_key_in_this_process_wraps_and_its_old_versions_open() {
    let version = |byte: u8| zeroize::Zeroizing::new(vec![byte; 32]);
    let old = LocalWrapper::new(&BTreeMap::from([(1, version(1))])).unwrap();
    let both = LocalWrapper::new(&BTreeMap::from([(1, version(1)), (2, version(2))])).unwrap();
    let new = LocalWrapper::new(&BTreeMap::from([(2, version(2))])).unwrap();
    keeps_its_promises(&both).await;

    let wrapped = old.wrap(&[9; 32], &row("k1")).await.unwrap();
    let anew = both.rewrap(&wrapped, &row("k1")).await.unwrap();
    assert_eq!((wrapped.version, anew.version), (1, 2));
    assert_eq!(new.unwrap(&anew, &row("k1")).await.unwrap().as_slice(), [9; 32]);
    assert!(matches!(
        new.unwrap(&wrapped, &row("k1")).await,
        Err(Fault::Refused(_))
    ));
    let relabelled = WrappedKey {
        version: 2,
        ..wrapped
    };
    assert!(matches!(
        both.unwrap(&relabelled, &row("k1")).await,
        Err(Fault::Refused(_))
    ));
    assert_eq!(
        both.versions().await.unwrap(),
        KeyVersions {
            latest: 2,
            oldest_usable: 1
        }
    );
    assert!(LocalWrapper::new(&BTreeMap::new()).is_err());
    assert!(LocalWrapper::new(&BTreeMap::from([(1, zeroize::Zeroizing::new(vec![1; 31]))])).is_err());
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name]
        .as_str()
        .unwrap_or_else(|| panic!("{name} in {value}"))
}

/// Encrypts for a test: what was given, in base64, with a number so that no two are alike.
fn seal(boxes: &Mutex<Vec<(String, Value)>>, plaintext: &str, context: &Value) -> String {
    let mut boxes = boxes.lock().unwrap();
    boxes.push((plaintext.to_owned(), context.clone()));
    format!("sealed-{:08}", boxes.len() - 1)
}

fn open(boxes: &Mutex<Vec<(String, Value)>>, sealed: &str, context: &Value) -> Option<String> {
    let number: usize = sealed.strip_prefix("sealed-")?.parse().ok()?;
    let boxes = boxes.lock().unwrap();
    let (plaintext, bound) = boxes.get(number)?;
    (bound == context).then(|| plaintext.clone())
}

/// A transit engine whose key can be rotated, and its old versions forbidden.
#[derive(Default)]
struct Transit {
    boxes: Mutex<Vec<(String, Value)>>,
    latest: Mutex<u32>,
    oldest: Mutex<u32>,
    signing: Mutex<Vec<Ed25519KeyPair>>,
}

impl Transit {
    fn answer(&self, seen: &Seen) -> (u16, String) {
        if seen.target == "/v1/auth/token/lookup-self" {
            return lookup(0);
        }
        let said_no = |why: &str| (400, json!({"errors": [why]}).to_string());
        let (latest, oldest) = (*self.latest.lock().unwrap(), *self.oldest.lock().unwrap());
        let body = if seen.body.is_empty() {
            Value::Null
        } else {
            seen.json()
        };
        let context = &body["associated_data"];
        let ciphertext = |sealed: String| {
            (
                200,
                json!({"data": {"ciphertext": format!("vault:v{latest}:{sealed}")}}).to_string(),
            )
        };
        let opened = || {
            let whole = text(&body, "ciphertext").strip_prefix("vault:v")?;
            let (version, sealed) = whole.split_once(':')?;
            if version.parse::<u32>().ok()? < oldest {
                return None;
            }
            open(&self.boxes, sealed, context)
        };
        match seen.target.as_str() {
            "/v1/transit/encrypt/kek" => ciphertext(seal(&self.boxes, text(&body, "plaintext"), context)),
            "/v1/transit/rewrap/kek" => match opened() {
                Some(plaintext) => ciphertext(seal(&self.boxes, &plaintext, context)),
                None => said_no("cipher: message authentication failed"),
            },
            "/v1/transit/decrypt/kek" => match opened() {
                Some(plaintext) => (200, json!({"data": {"plaintext": plaintext}}).to_string()),
                None => said_no("ciphertext or signature version is disallowed by policy (too old)"),
            },
            "/v1/transit/keys/kek" => (
                200,
                json!({"data": {"type": "aes256-gcm96", "latest_version": latest, "min_decryption_version": oldest}}).to_string(),
            ),
            "/v1/transit/keys/tokens" => {
                let keys: BTreeMap<String, Value> = self.signing.lock().unwrap().iter().zip(1..)
                    .map(|(key, version): (&Ed25519KeyPair, u32)| (version.to_string(), json!({"public_key": STANDARD.encode(key.public_key())})))
                    .collect();
                (200, json!({"data": {"type": "ed25519", "keys": keys}}).to_string())
            }
            "/v1/transit/sign/tokens" => {
                let version = usize::try_from(body["key_version"].as_u64().unwrap()).unwrap();
                let message = STANDARD.decode(text(&body, "input")).unwrap();
                let keys = self.signing.lock().unwrap();
                let signature = STANDARD.encode(keys[version - 1].sign(&message));
                (200, json!({"data": {"signature": format!("vault:v{version}:{signature}")}}).to_string())
            }
            other => (404, json!({"errors": [other]}).to_string()),
        }
    }
}

async fn transit() -> (Arc<Transit>, Fake, Arc<Vault>, TempDir) {
    let folder = TempDir::new().unwrap();
    let transit = Arc::new(Transit::default());
    *transit.latest.lock().unwrap() = 1;
    *transit.oldest.lock().unwrap() = 1;
    let engine = transit.clone();
    let fake = Fake::https(move |seen| engine.answer(seen)).await;
    let vault = Arc::new(Vault::new(&vault_settings(&fake, token_file(folder.path()))).unwrap());
    (transit, fake, vault, folder)
}

#[tokio::test]
async fn a_key_in_vault_wraps_and_is_rotated_rewrapped_and_retired() {
    let (engine, fake, vault, _folder) = transit().await;
    let wrapper = TransitWrapper::new(vault, "transit", "kek");
    keeps_its_promises(&wrapper).await;

    let wrapped = wrapper.wrap(&[9; 32], &row("k1")).await.unwrap();
    assert_eq!(wrapped.version, 1);
    *engine.latest.lock().unwrap() = 3;
    let anew = wrapper.rewrap(&wrapped, &row("k1")).await.unwrap();
    assert_eq!(anew.version, 3);
    *engine.oldest.lock().unwrap() = 2;
    assert_eq!(
        wrapper.versions().await.unwrap(),
        KeyVersions {
            latest: 3,
            oldest_usable: 2
        }
    );
    let fault = wrapper.unwrap(&wrapped, &row("k1")).await.unwrap_err();
    assert!(
        matches!(fault, Fault::Refused(_)) && fault.to_string().contains("too old"),
        "{fault}"
    );
    fake.seen();
    assert_eq!(
        wrapper.unwrap(&anew, &row("k1")).await.unwrap().as_slice(),
        [9; 32]
    );
    let asked = fake.seen();
    assert_eq!(
        (asked[0].method.as_str(), asked[0].target.as_str()),
        ("POST", "/v1/transit/decrypt/kek")
    );

    let foreign = WrappedKey {
        version: 1,
        blob: vec![1, 2, 3],
    };
    assert!(matches!(
        wrapper.unwrap(&foreign, &row("k1")).await,
        Err(Fault::Refused(_))
    ));
}

#[tokio::test]
async fn a_key_in_vault_signs_and_a_version_that_is_swapped_is_noticed() {
    let (engine, fake, vault, _folder) = transit().await;
    engine
        .signing
        .lock()
        .unwrap()
        .push(Ed25519KeyPair::generate().unwrap());
    let signer = TransitSigner::of(vault.clone(), "transit", "tokens", 1)
        .await
        .unwrap();
    let signature = signer.sign(b"header.claims").await.unwrap();
    assert_eq!((signature.len(), signer.public().len()), (64, 32));
    let key = ParsedPublicKey::new(&ED25519, signer.public()).unwrap();
    assert!(key.verify_sig(b"header.claims", &signature).is_ok());
    assert!(key.verify_sig(b"header.other", &signature).is_err());

    fake.trouble([Trouble::Status(503), Trouble::CutOff]);
    assert!(signer.sign(b"header.claims").await.is_ok(), "asked again");
    // Rotated: the old version still signs, as a key identifier names one version.
    engine
        .signing
        .lock()
        .unwrap()
        .push(Ed25519KeyPair::generate().unwrap());
    assert!(signer.sign(b"header.claims").await.is_ok());
    engine.signing.lock().unwrap().swap(0, 1);
    let fault = signer.sign(b"header.claims").await.unwrap_err();
    assert!(matches!(fault, Fault::Malformed(_)), "{fault}");
    for (key, version) in [("tokens", 9), ("kek", 1), ("none", 1)] {
        assert!(
            TransitSigner::of(vault.clone(), "transit", key, version)
                .await
                .is_err(),
            "{key}"
        );
    }
}

struct Kms {
    boxes: Mutex<Vec<(String, Value)>>,
    signing: Mutex<EcdsaKeyPair>,
}

/// A SubjectPublicKeyInfo of a P-256 point.
fn public_key_info(key: &EcdsaKeyPair) -> Vec<u8> {
    use aws_lc_rs::encoding::AsDer as _;
    key.public_key().as_der().unwrap().as_ref().to_vec()
}

impl Kms {
    fn answer(&self, seen: &Seen) -> (u16, String) {
        if let Err(why) = sigv4::check(seen, KEY_ID, SECRET, REGION, "kms") {
            return refused("InvalidSignatureException", &why);
        }
        let body = seen.json();
        let wrapped = |name: &str, plaintext: &str| {
            let sealed = seal(&self.boxes, plaintext, &body[name]);
            json!({"CiphertextBlob": STANDARD.encode(sealed)})
        };
        let opened = |name: &str| {
            let blob = STANDARD.decode(text(&body, "CiphertextBlob")).ok()?;
            open(&self.boxes, std::str::from_utf8(&blob).ok()?, &body[name])
        };
        let invalid = || refused("InvalidCiphertextException", "");
        let answer = match seen.header("x-amz-target").unwrap() {
            "TrentService.Encrypt" => wrapped("EncryptionContext", text(&body, "Plaintext")),
            "TrentService.GenerateDataKey" => {
                assert_eq!(text(&body, "KeySpec"), "AES_256");
                let plaintext = STANDARD.encode([5; 32]);
                let mut answer = wrapped("EncryptionContext", &plaintext);
                answer["Plaintext"] = plaintext.into();
                answer
            }
            "TrentService.Decrypt" => match opened("EncryptionContext") {
                Some(plaintext) => json!({"Plaintext": plaintext}),
                None => return invalid(),
            },
            "TrentService.ReEncrypt" => match opened("SourceEncryptionContext") {
                Some(plaintext) => wrapped("DestinationEncryptionContext", &plaintext),
                None => return invalid(),
            },
            "TrentService.GetPublicKey" => {
                json!({"PublicKey": STANDARD.encode(public_key_info(&self.signing.lock().unwrap()))})
            }
            "TrentService.Sign" => {
                assert_eq!(
                    (text(&body, "MessageType"), text(&body, "SigningAlgorithm")),
                    ("DIGEST", "ECDSA_SHA_256")
                );
                let digest = STANDARD.decode(text(&body, "Message")).unwrap();
                let digest =
                    aws_lc_rs::digest::Digest::import_less_safe(&digest, &aws_lc_rs::digest::SHA256).unwrap();
                let key = self.signing.lock().unwrap();
                json!({"Signature": STANDARD.encode(key.sign_digest(&digest).unwrap())})
            }
            other => panic!("{other}"),
        };
        assert!(
            body["KeyId"] == "alias/bank" || body["DestinationKeyId"] == "alias/bank",
            "{body}"
        );
        (200, answer.to_string())
    }
}

fn p256() -> EcdsaKeyPair {
    let document =
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new()).unwrap();
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref()).unwrap()
}

async fn kms() -> (Arc<Kms>, Fake, Arc<Aws>, TempDir) {
    let folder = TempDir::new().unwrap();
    let kms = Arc::new(Kms {
        boxes: Mutex::default(),
        signing: Mutex::new(p256()),
    });
    let service = kms.clone();
    let fake = Fake::https(move |seen| service.answer(seen)).await;
    let aws = Aws::new(&aws_settings(&fake, credentials(folder.path(), KEY_ID, SECRET))).unwrap();
    (kms, fake, Arc::new(aws), folder)
}

#[tokio::test]
async fn a_key_in_kms_wraps_with_its_context() {
    let (_, fake, aws, _folder) = kms().await;
    let wrapper = KmsWrapper::new(aws, "alias/bank");
    keeps_its_promises(&wrapper).await;
    fake.seen();
    fake.trouble([Trouble::Status(500)]);
    wrapper.generate(&row("k1")).await.unwrap();
    let asked = fake.seen();
    assert_eq!(asked.len(), 2);
    assert_eq!(
        asked[1].json()["EncryptionContext"],
        json!({"ring": "access", "kid": "k1"})
    );
}

#[tokio::test]
async fn a_key_in_kms_signs_as_jws_wants_it_and_a_key_that_is_swapped_is_noticed() {
    let (service, fake, aws, _folder) = kms().await;
    let signer = KmsSigner::of(aws, "alias/bank").await.unwrap();
    let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, signer.public()).unwrap();
    // Many, as the lengths of r and s in DER differ from one signature to the next.
    for number in 0..64 {
        let message = format!("header.claims{number}");
        let signature = signer.sign(message.as_bytes()).await.unwrap();
        assert_eq!(signature.len(), 64);
        assert!(key.verify_sig(message.as_bytes(), &signature).is_ok());
    }
    fake.trouble([Trouble::Status(429), Trouble::CutShort]);
    assert!(signer.sign(b"x").await.is_ok());
    *service.signing.lock().unwrap() = p256();
    let fault = signer.sign(b"x").await.unwrap_err();
    assert!(matches!(fault, Fault::Malformed(_)), "{fault}");
}
