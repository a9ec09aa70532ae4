//! A short form of `make rotation-drill`: keys rotate under load whatever fails, and INV-1 to INV-6 hold; done wrong, they break.

#![cfg(test)]

use std::time::Duration;

use trial::rotation::{Control, Invariant, Rotations, Terms, Turn};

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
        Turn::Stopped(Duration::from_secs(2)),
        Turn::DatabaseRestart,
        Turn::Reinstatement,
    ];
    let report = rotations.run(|line| println!("{line}")).await.unwrap();
    println!("{report}");
    assert_eq!(report.faults(), Vec::<String>::new());
    assert_eq!((report.rotations, report.crashes, report.called_back), (8, 6, 1));
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
