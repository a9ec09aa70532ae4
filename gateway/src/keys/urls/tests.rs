//! What a token with an unknown key gets, and when a set counts no longer.

use std::time::Duration;

use keyring::{Algorithm, KeySet, KeyState, SigningKey};

use super::*;

const NOW: i64 = 1_800_000_000;

fn set(folder: &Path) -> RemoteSet {
    let url = KeyUrl {
        host: "idp.example".to_owned(),
        port: 443,
        target: "/jwks.json".to_owned(),
        refresh: Duration::from_mins(5),
        stale_for: Duration::from_hours(1),
        addresses: Vec::new(),
    };
    RemoteSet::new(&Arc::new(url), folder)
}

fn document() -> Vec<u8> {
    let key = SigningKey::generate(Algorithm::EdDSA).unwrap();
    let keys = vec![key.public_key(KeyState::Active)];
    let set = KeySet {
        seq: 1,
        keys,
        revoked_kids: Vec::new(),
    };
    set.to_jwks().to_string().into_bytes()
}

/// As the follower does it.
fn fetched(set: &RemoteSet, now: i64) {
    set.attempted_at.store(now, Ordering::Relaxed);
    set.adopt(document(), now).unwrap();
}

const REFUSED: VerificationFailure = VerificationFailure::Refused(TokenRefusal::UnknownKey);

#[test]
fn j37_an_unknown_key_is_pending_once_and_then_refused() {
    let folder = tempfile::tempdir().unwrap();
    let set = set(folder.path());
    fetched(&set, NOW);
    assert_eq!(set.judge_unknown(Some("new"), NOW + 29), REFUSED);
    assert_eq!(
        set.judge_unknown(Some("newer"), NOW + 30),
        VerificationFailure::KeysPending
    );
    assert_eq!(
        set.judge_unknown(Some("new"), NOW + 30),
        REFUSED,
        "asked for in vain a second ago"
    );
    // The answer is on its way: the key may be in it.
    set.is_asking.store(true, Ordering::Release);
    set.attempted_at.store(NOW + 31, Ordering::Relaxed);
    assert_eq!(
        set.judge_unknown(Some("newer"), NOW + 31),
        VerificationFailure::KeysPending
    );
    fetched(&set, NOW + 31);
    set.is_asking.store(false, Ordering::Release);
    assert_eq!(set.judge_unknown(Some("newer"), NOW + 31), REFUSED);
    assert_eq!(set.judge_unknown(None, NOW + 99), REFUSED);
    // A clock that was set back must not silence the question for ever.
    assert_eq!(
        set.judge_unknown(Some("x"), NOW - 3_600),
        VerificationFailure::KeysPending
    );
}

#[test]
fn j38_while_fetching_fails_nobody_can_say_that_a_key_does_not_exist() {
    let folder = tempfile::tempdir().unwrap();
    let set = set(folder.path());
    fetched(&set, NOW);
    set.is_failing.store(true, Ordering::Relaxed);
    assert_eq!(
        set.judge_unknown(Some("new"), NOW + 1),
        VerificationFailure::NoKeys
    );
}

#[test]
fn j38_a_set_counts_until_it_is_stale_and_its_copy_no_longer() {
    let folder = tempfile::tempdir().unwrap();
    let first = set(folder.path());
    fetched(&first, NOW);
    let counts = |set: &RemoteSet, now| set.with_keys(now, |_| ()).is_some();
    assert!(counts(&first, NOW + 3_600) && !counts(&first, NOW + 3_601));
    assert!(counts(&first, NOW - 3_600), "a clock that was set back");

    let restarted = set(folder.path());
    restarted.read_last_copy(NOW + 3_600);
    assert!(counts(&restarted, NOW + 3_600) && !counts(&restarted, NOW + 3_601));
}

#[test]
fn j38_whether_a_key_is_good_is_not_known_with_a_stale_set() {
    let folder = tempfile::tempdir().unwrap();
    let set = Arc::new(set(folder.path()));
    fetched(&set, NOW);
    let urls = KeyUrls::new(folder.path(), folder.path(), Clock::system());
    assert_eq!(
        urls.knows(&set.url, "another", NOW),
        None,
        "an issuer that was never named"
    );
    urls.sets.store(Arc::new(vec![set.clone()]));
    assert_eq!(urls.knows(&set.url, "another", NOW + 3_600), Some(false));
    assert_eq!(urls.knows(&set.url, "another", NOW + 3_601), None);
}

#[test]
fn j16_a_wrong_document_changes_nothing_and_the_same_one_is_no_other_set() {
    let folder = tempfile::tempdir().unwrap();
    let set = set(folder.path());
    let good = document();
    set.adopt(good.clone(), NOW).unwrap();
    let generation = set.with_keys(NOW, IssuerKeys::generation);
    assert!(set.adopt(b"{\"keys\":[]}".to_vec(), NOW + 60).is_err());
    assert_eq!(set.fetched_at.load(Ordering::Relaxed), NOW);
    set.adopt(good, NOW + 120).unwrap();
    assert_eq!(set.with_keys(NOW + 120, IssuerKeys::generation), generation);
    assert_eq!(set.fetched_at.load(Ordering::Relaxed), NOW + 120);
}

#[test]
fn a_copy_of_another_address_or_a_damaged_one_is_no_copy() {
    let folder = tempfile::tempdir().unwrap();
    let first = set(folder.path());
    fetched(&first, NOW);
    for wrong in [
        "{\"url\":",
        "{\"url\":\"https://evil.example/\",\"fetched_at\":1800000000,\"document\":\"\"}",
    ] {
        std::fs::write(&first.file, wrong).unwrap();
        let restarted = set(folder.path());
        restarted.read_last_copy(NOW);
        assert!(restarted.with_keys(NOW, |_| ()).is_none(), "{wrong}");
    }
}
