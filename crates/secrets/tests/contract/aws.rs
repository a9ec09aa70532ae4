//! AWS Secrets Manager: the wire format, the signature, stages, and credentials that are replaced.

use std::path::Path;

use secrets::{AwsCredentials, AwsSettings, Fault, ProviderSettings, Providers, Reference};
use serde_json::json;
use tempfile::TempDir;

use stand_ins::sigv4;
use stand_ins::{Fake, KEY_ID, REGION, SECRET, Seen, Trouble};

pub(crate) fn credentials(folder: &Path, id: &str, secret: &str) -> AwsCredentials {
    let path = folder.join("credentials");
    std::fs::write(
        &path,
        format!("[bank]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\naws_session_token = session\n"),
    )
    .unwrap();
    AwsCredentials::File {
        path,
        profile: "bank".to_owned(),
    }
}

pub(crate) fn settings(fake: &Fake, credentials: AwsCredentials) -> AwsSettings {
    AwsSettings {
        region: REGION.to_owned(),
        credentials,
        secrets_manager_endpoint: Some(fake.url()),
        kms_endpoint: Some(fake.url()),
        ca_file: Some(fake.ca.path().to_owned()),
    }
}

fn providers(fake: &Fake, credentials: AwsCredentials) -> Providers {
    Providers::new(&ProviderSettings {
        aws: Some(settings(fake, credentials)),
        ..ProviderSettings::default()
    })
}

fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

pub(crate) fn refused(kind: &str, message: &str) -> (u16, String) {
    (
        400,
        json!({"__type": format!("com.amazonaws#{kind}"), "message": message}).to_string(),
    )
}

/// A Secrets Manager with one secret, which checks every signature.
fn manager(seen: &Seen) -> (u16, String) {
    if let Err(why) = sigv4::check(seen, KEY_ID, SECRET, REGION, "secretsmanager") {
        return refused("InvalidSignatureException", &why);
    }
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/"));
    assert_eq!(seen.header("x-amz-target"), Some("secretsmanager.GetSecretValue"));
    assert_eq!(seen.header("content-type"), Some("application/x-amz-json-1.1"));
    let question = seen.json();
    let answer = |version: &str, text: &str| {
        (
            200,
            json!({"ARN": "arn", "Name": "prod/db", "VersionId": version, "SecretString": text,
                   "VersionStages": [question["VersionStage"]], "CreatedDate": 1_772_359_200.25})
            .to_string(),
        )
    };
    match (
        question["SecretId"].as_str().unwrap(),
        question["VersionStage"].as_str().unwrap(),
    ) {
        ("prod/db", "AWSCURRENT") => answer("v2", r#"{"login": {"password": "current"}}"#),
        ("prod/db", "AWSPENDING") => answer("v3", r#"{"login": {"password": "pending"}}"#),
        ("prod/db", "AWSPREVIOUS") => answer("v1", r#"{"login": {"password": "previous"}}"#),
        ("prod/kek", "AWSCURRENT") => (200, json!({"VersionId": "b", "SecretBinary": "BwcH"}).to_string()),
        ("prod/denied", _) => refused(
            "AccessDeniedException",
            "User: arn:aws:sts::1:x is not authorized",
        ),
        _ => refused(
            "ResourceNotFoundException",
            "Secrets Manager can't find the specified secret.",
        ),
    }
}

#[tokio::test]
async fn a_secret_is_asked_for_with_a_signature_that_aws_would_accept() {
    let (folder, fake) = (TempDir::new().unwrap(), Fake::https(manager).await);
    let providers = providers(&fake, credentials(folder.path(), KEY_ID, SECRET));

    let found = providers
        .get(&reference("awssm://prod/db#login.password"))
        .await
        .unwrap();
    assert_eq!(found.bytes.as_slice(), b"current");
    assert_eq!(found.version.as_deref(), Some("v2"));
    assert_eq!(found.since.unwrap().timestamp(), 1_772_359_200);
    let seen = fake.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].header("x-amz-security-token"), Some("session"));

    let pending = providers
        .get(&reference("awssm://prod/db#login.password?stage=AWSPENDING"))
        .await;
    assert_eq!(pending.unwrap().bytes.as_slice(), b"pending");
    let whole = providers.get(&reference("awssm://prod/db")).await.unwrap();
    assert_eq!(whole.bytes.as_slice(), br#"{"login": {"password": "current"}}"#);
    let binary = providers.get(&reference("awssm://prod/kek")).await.unwrap();
    assert_eq!(binary.bytes.as_slice(), [7, 7, 7]);
    let around = providers
        .neighbours(&reference("awssm://prod/db#login.password"), None)
        .await;
    let around: Vec<&[u8]> = around.iter().map(|fetched| fetched.bytes.as_slice()).collect();
    assert_eq!(around, [b"pending".as_slice(), b"previous"]);
}

#[tokio::test]
async fn a_wrong_key_is_refused_and_a_new_one_in_the_file_is_taken() {
    let (folder, fake) = (TempDir::new().unwrap(), Fake::https(manager).await);
    let providers = providers(&fake, credentials(folder.path(), KEY_ID, "another"));
    let db = reference("awssm://prod/db#login.password");
    let fault = providers.get(&db).await.unwrap_err();
    assert!(
        matches!(fault, Fault::Refused(_)) && fault.to_string().contains("the signature is another one"),
        "{fault}"
    );
    assert!(!fault.to_string().contains("another\""), "{fault}");

    credentials(folder.path(), KEY_ID, SECRET);
    assert!(
        providers.get(&db).await.is_ok(),
        "the file is read again after a refusal"
    );
}

#[tokio::test]
async fn what_aws_refuses_is_told_in_its_words() {
    let (folder, fake) = (TempDir::new().unwrap(), Fake::https(manager).await);
    let providers = providers(&fake, credentials(folder.path(), KEY_ID, SECRET));
    for (text, says) in [
        ("awssm://prod/none", "ResourceNotFoundException"),
        ("awssm://prod/denied", "AccessDeniedException"),
        ("awssm://prod/db#login.user", "no field `login.user`"),
    ] {
        let fault = providers.get(&reference(text)).await.unwrap_err().to_string();
        assert!(fault.contains(says), "{text}: {fault}");
        assert!(!fault.contains("current") && !fault.contains(SECRET), "{fault}");
    }
}

#[tokio::test]
async fn trouble_that_passes_is_waited_out_and_trouble_that_stays_is_told() {
    let (folder, fake) = (TempDir::new().unwrap(), Fake::https(manager).await);
    let providers = providers(&fake, credentials(folder.path(), KEY_ID, SECRET));
    let db = reference("awssm://prod/db#login.password");
    for trouble in [
        Trouble::Status(429),
        Trouble::Status(500),
        Trouble::CutOff,
        Trouble::CutShort,
    ] {
        fake.trouble([trouble, trouble]);
        let found = providers.get(&db).await;
        assert_eq!(found.unwrap().bytes.as_slice(), b"current", "{trouble:?}");
        fake.trouble([trouble, trouble, trouble]);
        let fault = providers.get(&db).await.unwrap_err();
        assert!(fault.is_transient(), "{trouble:?}: {fault}");
    }
}
