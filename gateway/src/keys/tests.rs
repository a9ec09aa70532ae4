//! Key sets that are old, damaged, revoked or missing.

use keyring::{Algorithm, Claims, ClaimsForm, KeyState, SigningKey, TokenAlgorithm};

use super::*;

fn set(seq: u64, keys: &[&SigningKey], revoked: &[&str]) -> KeySet {
    KeySet {
        seq,
        keys: keys.iter().map(|key| key.public_key(KeyState::Active)).collect(),
        revoked_kids: revoked.iter().map(|&kid| kid.to_owned()).collect(),
    }
}

fn key() -> SigningKey {
    SigningKey::generate(Algorithm::EdDSA).unwrap()
}

fn expectations() -> Expectations {
    Expectations {
        issuer: "https://issuer.example".to_owned(),
        audiences: vec!["core-api".to_owned()],
        clients: Vec::new(),
        algorithms: vec![TokenAlgorithm::EdDSA],
        token_type: "at+jwt".to_owned(),
        max_lifetime_s: 900,
        leeway_s: 0,
        form: ClaimsForm::default(),
    }
}

fn token(key: &SigningKey) -> String {
    let claims = serde_json::json!({
        "iss": "https://issuer.example", "aud": "core-api", "sub": "usr_1", "jti": "j-1", "iat": 1_000, "exp": 1_600,
    });
    key.sign(&claims).unwrap()
}

fn verify(store: &KeyStore, token: &str) -> Result<Claims, VerificationFailure> {
    let examined = store.examine(token, &expectations(), 1_100)?;
    Ok(examined.token.claims)
}

#[test]
fn the_copy_on_disk_is_signed_by_nobody_and_only_what_it_revokes_counts() {
    let dir = tempfile::tempdir().unwrap();
    let (stolen, other) = (key(), key());
    let before = KeyStore::open(dir.path());
    before.take_over(set(3, &[&other], &[stolen.kid()])).unwrap();
    before.write_down();

    let restarted = KeyStore::open(dir.path());
    assert!(restarted.current().is_none());
    restarted.take_over(set(1, &[&other, &stolen], &[])).unwrap();
    assert!(verify(&restarted, &token(&other)).is_ok());
    assert_eq!(
        verify(&restarted, &token(&stolen)),
        Err(VerificationFailure::Refused(TokenRefusal::RevokedKey))
    );
}

#[test]
fn the_copy_is_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let store = KeyStore::open(dir.path());
    store.take_over(set(1, &[&key()], &[])).unwrap();
    store.write_down();
    let mode = std::fs::metadata(dir.path().join("keyset.json"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_revoked_key_stays_revoked_when_the_control_plane_forgets_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = KeyStore::open(dir.path());
    let (stolen, other) = (key(), key());
    store.take_over(set(1, &[&other], &[stolen.kid()])).unwrap();
    store.take_over(set(2, &[&other, &stolen], &[])).unwrap();

    assert_eq!(
        verify(&store, &token(&stolen)),
        Err(VerificationFailure::Refused(TokenRefusal::RevokedKey))
    );
}

#[test]
fn j16_an_invalid_set_leaves_the_old_one_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let store = KeyStore::open(dir.path());
    let good = key();
    store.take_over(set(1, &[&good], &[])).unwrap();

    assert!(store.take_over(set(2, &[], &[])).is_err());
    assert!(verify(&store, &token(&good)).is_ok());
}

#[test]
fn j40_without_keys_nothing_is_verified() {
    let dir = tempfile::tempdir().unwrap();
    let store = KeyStore::open(dir.path());
    assert_eq!(verify(&store, &token(&key())), Err(VerificationFailure::NoKeys));
}

#[test]
fn an_unknown_key_is_invalid_only_while_the_control_plane_is_heard() {
    let dir = tempfile::tempdir().unwrap();
    let store = KeyStore::open(dir.path());
    store.take_over(set(1, &[&key()], &[])).unwrap();
    let foreign = token(&key());

    assert_eq!(verify(&store, &foreign), Err(VerificationFailure::NoKeys));
    store.heard();
    assert_eq!(
        verify(&store, &foreign),
        Err(VerificationFailure::Refused(TokenRefusal::UnknownKey))
    );
}

#[test]
fn a_damaged_copy_is_no_key_set() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("keyset.json"), b"{\"seq\":1,\"keys\":[").unwrap();
    assert!(KeyStore::open(dir.path()).current().is_none());
}
