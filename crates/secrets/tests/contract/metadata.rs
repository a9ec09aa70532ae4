//! Credentials from the metadata of a machine (IMDSv2).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use secrets::{AwsCredentials, Fault, ProviderSettings, Providers, Reference};
use serde_json::json;

use crate::aws::{refused, settings};
use stand_ins::sigv4;
use stand_ins::{Fake, KEY_ID, REGION, SECRET, Seen};

/// A machine with a role, whose every key is another one.
fn machine(seen: &Seen, keys: &AtomicU32, life: &str) -> (u16, String) {
    if seen.target == "/latest/api/token" {
        assert_eq!(seen.method, "PUT");
        assert!(seen.header("x-aws-ec2-metadata-token-ttl-seconds").is_some());
        return (200, "imds-token".to_owned());
    }
    if seen.header("x-aws-ec2-metadata-token") != Some("imds-token") {
        return (401, String::new());
    }
    match seen.target.as_str() {
        "/latest/meta-data/iam/security-credentials/" => (200, "bank-core\n".to_owned()),
        "/latest/meta-data/iam/security-credentials/bank-core" => {
            let number = keys.fetch_add(1, Ordering::SeqCst) + 1;
            let answer = json!({"Code": "Success", "AccessKeyId": format!("{KEY_ID}{number}"), "SecretAccessKey": SECRET,
                                "Token": "session", "Expiration": life});
            (200, answer.to_string())
        }
        other => panic!("{other}"),
    }
}

/// A Secrets Manager that accepts the key of this number only.
fn manager(seen: &Seen, good: u32) -> (u16, String) {
    match sigv4::check(seen, &format!("{KEY_ID}{good}"), SECRET, REGION, "secretsmanager") {
        Ok(()) => (200, json!({"SecretString": "s3cret"}).to_string()),
        Err(_) => refused(
            "ExpiredTokenException",
            "The security token included in the request is expired",
        ),
    }
}

async fn ask(life: &'static str, good: u32, times: u32) -> (Vec<Result<(), Fault>>, u32) {
    let keys = Arc::new(AtomicU32::new(0));
    let given = keys.clone();
    let metadata = Fake::http(move |seen| machine(seen, &given, life)).await;
    let fake = Fake::https(move |seen| manager(seen, good)).await;
    let providers = Providers::new(&ProviderSettings {
        aws: Some(settings(
            &fake,
            AwsCredentials::Instance {
                endpoint: format!("http://{}", metadata.address),
            },
        )),
        ..ProviderSettings::default()
    });
    let db: Reference = "awssm://prod/db".parse().unwrap();
    let mut outcomes = Vec::new();
    for _ in 0..times {
        outcomes.push(providers.get(&db).await.map(drop));
    }
    (outcomes, keys.load(Ordering::SeqCst))
}

#[tokio::test]
async fn a_machines_role_is_used_and_kept_while_it_lasts() {
    let (outcomes, keys) = ask("2999-01-01T00:00:00Z", 1, 3).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(keys, 1);
}

#[tokio::test]
async fn credentials_that_ended_are_replaced_before_and_after_aws_says_so() {
    // AWS refuses the first: the second is fetched, and the question asked again.
    let (outcomes, keys) = ask("2999-01-01T00:00:00Z", 2, 1).await;
    assert!(outcomes[0].is_ok() && keys == 2, "{outcomes:?} {keys}");
    // Over by their own word: each question fetches new ones.
    let (outcomes, keys) = ask("2020-01-01T00:00:00Z", 1, 2).await;
    assert!(outcomes[0].is_ok() && outcomes[1].is_err(), "{outcomes:?}");
    assert!(keys >= 2, "{keys}");
}
