//! Keys that stay in Vault or AWS: what is sent, what is bound, what is refused. The stand-ins really wrap and sign.

use std::sync::Arc;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey};
use secrets::{
    Aws, Context, Fault, KeyWrapper, KmsSigner, KmsWrapper, RemoteSigner, TransitSigner, TransitWrapper,
    Vault,
};
use serde_json::json;
use stand_ins::{Fake, KEY_ID, Kms, SECRET, Transit, Trouble};
use tempfile::TempDir;

use crate::aws::{credentials, settings as aws_settings};
use crate::vault::{settings as vault_settings, token_file};

fn row(kid: &str) -> Context {
    Context::of([("ring", "access"), ("kid", kid)])
}

/// What holds for every wrapper, wherever its key is.
async fn keeps_its_promises(wrapper: &dyn KeyWrapper) {
    let (key, wrapped) = wrapper.generate(&row("k1")).await.unwrap();
    assert_eq!(key.len(), 32);
    assert!(!wrapped.windows(32).any(|window| window == key.as_slice()));
    assert_eq!(wrapper.unwrap(&wrapped, &row("k1")).await.unwrap(), key);
    for other in [row("k2"), Context::of([("ring", "access")]), Context::default()] {
        let fault = wrapper.unwrap(&wrapped, &other).await.unwrap_err();
        assert!(matches!(fault, Fault::Refused(_)), "{fault}");
    }
    let mut damaged = wrapped.clone();
    *damaged.last_mut().unwrap() ^= 1;
    assert!(wrapper.unwrap(&damaged, &row("k1")).await.is_err());

    let given = wrapper.wrap(&[9; 32], &row("k1")).await.unwrap();
    assert_ne!(given, wrapped);
    let opened = wrapper.unwrap(&given, &row("k1")).await.unwrap();
    assert_eq!(opened.as_slice(), [9; 32]);
}

async fn transit() -> (Arc<Transit>, Fake, Arc<Vault>, TempDir) {
    let folder = TempDir::new().unwrap();
    let (engine, fake) = Transit::start().await;
    let vault = Arc::new(Vault::new(&vault_settings(&fake, token_file(folder.path()))).unwrap());
    (engine, fake, vault, folder)
}

#[tokio::test]
async fn a_key_in_vault_wraps_and_what_an_ended_version_wrapped_does_not_open() {
    let (engine, fake, vault, _folder) = transit().await;
    let wrapper = TransitWrapper::new(vault, "transit", "kek");
    keeps_its_promises(&wrapper).await;

    let wrapped = wrapper.wrap(&[9; 32], &row("k1")).await.unwrap();
    *engine.latest.lock().unwrap() = 3;
    let anew = wrapper.wrap(&[9; 32], &row("k1")).await.unwrap();
    assert!(anew.starts_with(b"vault:v3:"));
    *engine.oldest.lock().unwrap() = 2;
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
    let foreign = wrapper.unwrap(&[1, 2, 3], &row("k1")).await;
    assert!(matches!(foreign, Err(Fault::Refused(_))));
}

#[tokio::test]
async fn a_key_in_vault_signs_and_a_version_that_is_swapped_is_noticed() {
    let (engine, fake, vault, _folder) = transit().await;
    engine.rotate("tokens");
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
    engine.rotate("tokens");
    assert!(signer.sign(b"header.claims").await.is_ok());
    engine
        .signing
        .lock()
        .unwrap()
        .get_mut("tokens")
        .unwrap()
        .swap(0, 1);
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

async fn kms() -> (Arc<Kms>, Fake, Arc<Aws>, TempDir) {
    let folder = TempDir::new().unwrap();
    let (service, fake) = Kms::start().await;
    let aws = Aws::new(&aws_settings(&fake, credentials(folder.path(), KEY_ID, SECRET))).unwrap();
    (service, fake, Arc::new(aws), folder)
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
    service.replace("alias/bank");
    let fault = signer.sign(b"x").await.unwrap_err();
    assert!(matches!(fault, Fault::Malformed(_)), "{fault}");
}
