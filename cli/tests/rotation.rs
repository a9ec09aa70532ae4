//! A short form of `make rotation-drill`: keys rotate under load whatever fails, and INV-1 to INV-6 hold; done wrong, they break.

#![cfg(test)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use stand_ins::{Fake, KEY_ID, Kms, REGION, SECRET, TOKEN, Vault};
use trial::rotation::{Control, Invariant, Provider, Rotations, Terms, Turn};

/// Time is compressed: a token lives for six seconds, a key set is kept for two.
fn rotations() -> Rotations {
    Rotations {
        binary: env!("CARGO_BIN_EXE_portico").into(),
        terms: Terms {
            lifetime_s: 6,
            skew_s: 1,
            overlap_s: 1,
            revocation_s: 5,
            max_age_s: 90,
            rollback_s: 5,
        },
        cache_s: 2,
        rate: 90,
        connections: 3,
        log_ins: 9,
        quiet: Duration::ZERO,
        every: Duration::from_secs(2),
        turns: vec![Turn::Plain; 3],
        control: None,
        provider: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_valid_token_is_refused_and_no_ended_key_accepted_whatever_fails_during_rotations() {
    let mut rotations = rotations();
    rotations.turns = vec![
        Turn::TwoSchedulers,
        Turn::Crashes,
        Turn::Revocation,
        Turn::CrashAfterCommit,
        // Longer than N and S together: what it knew is wrong when it wakes.
        Turn::Stopped(Duration::from_secs(4)),
        Turn::DatabaseRestart,
        Turn::Reinstatement,
        Turn::UnknownKeys(1_000, Duration::from_secs(2)),
        Turn::Rewrap(6_000),
    ];
    let report = rotations.run(|line| println!("{line}")).await.unwrap();
    println!("{report}");
    assert_eq!(report.faults(), Vec::<String>::new());
    assert_eq!((report.rotations, report.crashes, report.called_back), (8, 6, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_killed_at_any_step_comes_back_with_the_right_keys_and_holds_nobody_up_for_ever() {
    let rotations = Rotations {
        turns: vec![Turn::GatewayCrashes, Turn::GatewayAway],
        ..rotations()
    };
    let report = rotations.run(|line| println!("{line}")).await.unwrap();
    println!("{report}");
    assert_eq!(report.faults(), Vec::<String>::new());
    assert_eq!((report.rotations, report.gateway_deaths), (11, 9));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_comes_back_with_its_disk_alone_refuses_valid_tokens_and_takes_those_of_ended_keys() {
    let rotations = Rotations {
        control: Some(Control::Deaf),
        turns: vec![Turn::GatewayAway],
        ..rotations()
    };
    let report = rotations.run(|line| println!("{line}")).await.unwrap();
    let broken = report.broken_at(0);
    for invariant in [
        Invariant::NoValidTokenRefused,
        Invariant::NoRetiredKeyAccepted,
        Invariant::PublishedBeforeActive,
    ] {
        assert!(broken.contains(&invariant), "{invariant} holds: {report}");
    }
    for other in [1, 2] {
        assert!(report.broken_at(other).is_empty(), "gateway {other}: {report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgresql_is_restarted_and_crashes_a_log_in_is_done_or_asked_to_come_again() {
    let rotations = Rotations {
        log_ins: 150,
        every: Duration::from_secs(1),
        turns: [Turn::DatabaseRestart, Turn::DatabaseCrash].repeat(3),
        ..rotations()
    };
    let report = rotations.run(|line| println!("{line}")).await.unwrap();
    println!("{report}");
    assert_eq!(report.faults(), Vec::<String>::new());
    let statuses: Vec<u16> = report.log_ins.into_keys().collect();
    assert_eq!(statuses, [200, 503]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_barrier_valid_tokens_are_refused_by_a_gateway_and_by_a_worker_that_lag() {
    let rotations = Rotations {
        control: Some(Control::NoBarrier),
        ..rotations()
    };
    let report = rotations.run(|line| println!("{line}")).await.unwrap();
    // The last gateway hears of every key late; the first, and the one after the last, take turns with it.
    let late = report.broken_at(2);
    assert!(late.contains(&Invariant::NoValidTokenRefused), "{report}");
    assert!(late.contains(&Invariant::PublishedBeforeActive), "{report}");
    assert!(
        report.broken_at(3).contains(&Invariant::NoValidTokenRefused),
        "{report}"
    );
    assert!(
        report.broken_at(0).is_empty(),
        "the first gateway hears at once: {report}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn with_keys_that_retire_before_their_tokens_end_valid_tokens_are_refused() {
    let rotations = Rotations {
        control: Some(Control::ShortVerification),
        turns: vec![Turn::Plain],
        ..rotations()
    };
    let report = rotations.run(|line| println!("{line}")).await.unwrap();
    let broken: Vec<Invariant> = report.broken().into_iter().collect();
    assert_eq!(broken, [Invariant::NoValidTokenRefused], "{report}");
}

/// Every secret is fetched each second, so that six seconds away are like half an hour where it is each five minutes.
fn provider(
    (name, section): (&str, Value),
    kek: &str,
    fake: Fake,
    keep: impl Fn(&str, &str) -> String + Send + Sync + 'static,
) -> Provider {
    Provider {
        settings: json!({ name: section, "refresh_every_s": 1 }),
        kek: kek.to_owned(),
        keep: Arc::new(keep),
        set_down: Arc::new(move |is_down| fake.set_down(is_down)),
    }
}

async fn vault(folder: &Path) -> Provider {
    let (vault, fake) = Vault::start().await;
    let token = folder.join("token");
    std::fs::write(&token, TOKEN).unwrap();
    let section = json!({"address": fake.url(), "ca_file": fake.ca.path(), "auth": {"token_file": token}});
    let keep = move |name: &str, secret: &str| vault.keep(name, secret);
    provider(("vault", section), "transit://transit/portico", fake, keep)
}

async fn aws(folder: &Path) -> Provider {
    let (kms, fake) = Kms::start().await;
    let path = folder.join("credentials");
    let credentials = format!("[bank]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {SECRET}\n");
    std::fs::write(&path, credentials).unwrap();
    let section = json!({
        "region": REGION, "secrets_manager_endpoint": fake.url(), "kms_endpoint": fake.url(), "ca_file": fake.ca.path(),
        "credentials": {"file": {"path": path, "profile": "bank"}},
    });
    let keep = move |name: &str, secret: &str| kms.keep(name, secret);
    provider(("aws", section), "awskms://alias/bank", fake, keep)
}

/// `OUTAGE_S` is another time than six seconds, has AWS go away as well, and rotates afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn while_nobody_answers_who_keeps_the_secrets_no_request_and_no_log_in_fails() {
    let folder = tempfile::tempdir().unwrap();
    let wanted: Option<u64> = secrets::variable("OUTAGE_S").map(|text| text.parse().unwrap());
    let mut turns = vec![Turn::Outage(Duration::from_secs(wanted.unwrap_or(6)))];
    let mut providers = vec![vault(folder.path()).await];
    if wanted.is_some() {
        turns.push(Turn::Plain);
        providers.push(aws(folder.path()).await);
    }
    for provider in providers {
        let rotations = Rotations {
            provider: Some(provider),
            turns: turns.clone(),
            ..rotations()
        };
        let report = rotations.run(|line| println!("{line}")).await.unwrap();
        println!("{report}");
        assert_eq!(report.faults(), Vec::<String>::new());
        assert_eq!((report.rotations, report.spells.len()), (turns.len() - 1, 1));
    }
}
