//! A gateway believes what was signed for it, once, and nothing else.

use keyring::{Algorithm, SigningKey};
use proptest::prelude::*;
use serde_json::value::RawValue;

use crate::envelope::{Envelope, Signature, to_be_signed};
use crate::{
    Member, Position, Refusal, Roots, RootsError, Statement, Stream, Target, Trust, TrustError, TrustedKey,
    Version, admit, readmit,
};

const NOW: i64 = 1_800_000_000;
const DAY: i64 = 86_400;

fn key() -> SigningKey {
    SigningKey::generate(Algorithm::EdDSA).unwrap()
}

fn sealed(payload_type: &str, payload: Vec<u8>, signers: &[&SigningKey]) -> Vec<u8> {
    let signed = to_be_signed(payload_type, &payload);
    let signatures = signers
        .iter()
        .map(|key| Signature {
            keyid: key.kid().to_owned(),
            sig: key.sign_bytes(&signed).unwrap(),
        })
        .collect();
    Envelope {
        payload_type: payload_type.to_owned(),
        payload,
        signatures,
    }
    .to_bytes()
}

fn member() -> Member<'static> {
    Member {
        fleet: "bank",
        environment: "production",
        name: "edge-1",
        version: Version(1, 2, 0),
        features: &["shadow"],
    }
}

fn statement() -> Statement {
    Statement {
        stream: Stream::Policy,
        position: "3.118".parse().unwrap(),
        previous: None,
        created_at: NOW,
        expires_at: NOW + DAY,
        target: Target {
            fleet: "bank".to_owned(),
            environment: "production".to_owned(),
            nodes: Vec::new(),
        },
        schema: Statement::SCHEMA,
        min_version: Version(1, 2, 0),
        features: vec!["shadow".to_owned()],
        change_id: "change-1".to_owned(),
        author: "ada".to_owned(),
        approvers: vec!["grace".to_owned()],
        content: RawValue::from_string("{}".to_owned()).unwrap(),
    }
}

fn trust(keys: &[&SigningKey]) -> Trust {
    Trust {
        version: 1,
        fleet: "bank".to_owned(),
        created_at: NOW - DAY,
        keys: keys
            .iter()
            .map(|key| TrustedKey::new(key.public(), NOW - DAY, NOW + 30 * DAY))
            .collect(),
    }
}

fn bytes(statement: &Statement, signers: &[&SigningKey]) -> Vec<u8> {
    let payload = serde_json::to_vec(statement).unwrap();
    sealed(statement.stream.payload_type(), payload, signers)
}

fn admitted(statement: &Statement, key: &SigningKey, now: i64) -> Result<Position, Refusal> {
    let reached = Some("3.117".parse().unwrap());
    admit(
        &bytes(statement, &[key]),
        Stream::Policy,
        &trust(&[key]),
        &member(),
        reached,
        now,
    )
    .map(|statement| statement.position)
}

#[test]
fn a_statement_is_taken_over_once() {
    let key = key();
    let offered = bytes(&statement(), &[&key]);
    let trust = trust(&[&key]);
    let take = |reached: Option<&str>| {
        let reached = reached.map(|reached| reached.parse().unwrap());
        admit(&offered, Stream::Policy, &trust, &member(), reached, NOW)
    };
    for below in [None, Some("3.117"), Some("2.9000")] {
        assert_eq!(take(below).unwrap().position.to_string(), "3.118");
    }
    for reached in ["3.118", "3.119", "4.1"] {
        assert_eq!(take(Some(reached)).unwrap_err().code(), "replayed", "{reached}");
    }
    // From the disk it comes again, at any time.
    assert!(readmit(&offered, Stream::Policy, &trust, &member()).is_ok());
}

#[test]
fn what_is_for_somebody_else_or_another_time_is_refused() {
    let key = key();
    let refused = |change: &dyn Fn(&mut Statement), now: i64| {
        let mut changed = statement();
        change(&mut changed);
        admitted(&changed, &key, now).unwrap_err().code()
    };
    assert!(admitted(&statement(), &key, NOW).is_ok());
    assert_eq!(
        refused(&|s| s.target.fleet = "other".to_owned(), NOW),
        "wrong_target"
    );
    assert_eq!(
        refused(&|s| s.target.environment = "test".to_owned(), NOW),
        "wrong_target"
    );
    assert_eq!(
        refused(&|s| s.target.nodes = vec!["edge-2".to_owned()], NOW),
        "wrong_target"
    );
    assert_eq!(refused(&|s| s.schema += 1, NOW), "unsupported");
    assert_eq!(refused(&|s| s.min_version = Version(1, 3, 0), NOW), "unsupported");
    assert_eq!(
        refused(&|s| s.features.push("teleport".to_owned()), NOW),
        "unsupported"
    );
    assert_eq!(refused(&|_| {}, NOW + DAY + 1), "expired");
    assert_eq!(refused(&|s| s.created_at = NOW + 301, NOW), "time_to_come");
    assert_eq!(refused(&|s| s.created_at = NOW - 2 * DAY, NOW), "key_not_valid");
    assert_eq!(
        refused(&|s| s.expires_at = NOW + 99 * DAY, NOW + 31 * DAY),
        "key_not_valid"
    );
    let mut named = statement();
    named.target.nodes = vec!["edge-2".to_owned(), "edge-1".to_owned()];
    assert!(admitted(&named, &key, NOW).is_ok());
}

#[test]
fn a_key_that_is_not_trusted_any_more_ends_what_it_signed_on_the_disk_too() {
    let (old, new) = (key(), key());
    let offered = bytes(&statement(), &[&old]);
    let read = |trust: &Trust| readmit(&offered, Stream::Policy, trust, &member()).map(|s| s.position);
    assert!(read(&trust(&[&old, &new])).is_ok());
    assert_eq!(read(&trust(&[&new])), Err(Refusal::Unsigned));
    // Another key in a trusted name, and a signature by two of whom one counts.
    let mut forged = Envelope::parse(&bytes(&statement(), &[&new])).unwrap();
    forged.signatures[0].keyid = old.kid().to_owned();
    let trusted = trust(&[&old]);
    let read = |bytes: &[u8]| readmit(bytes, Stream::Policy, &trusted, &member()).map(|s| s.position);
    assert_eq!(
        read(&forged.to_bytes()),
        Err(Refusal::Signature(old.kid().to_owned()))
    );
    assert!(read(&bytes(&statement(), &[&new, &old])).is_ok());
}

#[test]
fn an_envelope_of_one_stream_is_none_of_another() {
    let key = key();
    let offered = bytes(&statement(), &[&key]);
    let read = |bytes: &[u8], stream| readmit(bytes, stream, &trust(&[&key]), &member()).map(|s| s.stream);
    assert_eq!(read(&offered, Stream::Keyset), Err(Refusal::Stream));
    // Signed as a key set, and saying that it is a policy.
    let payload = serde_json::to_vec(&statement()).unwrap();
    let mixed = sealed(Stream::Keyset.payload_type(), payload, &[&key]);
    assert_eq!(read(&mixed, Stream::Keyset), Err(Refusal::Stream));
    assert_eq!(read(&mixed, Stream::Policy), Err(Refusal::Stream));
    // A member that this build does not know.
    let mut unknown = serde_json::to_value(statement()).unwrap();
    unknown["more"] = 1.into();
    let unknown = sealed(
        Stream::Policy.payload_type(),
        unknown.to_string().into_bytes(),
        &[&key],
    );
    assert_eq!(read(&unknown, Stream::Policy).unwrap_err().code(), "malformed");
}

#[test]
fn trust_comes_from_enough_different_roots() {
    let (one, two, three, other) = (key(), key(), key(), key());
    let publics = [&one, &two, &three].map(|key| TrustedKey::new(key.public(), 0, 0).public);
    let roots = Roots::new(publics.iter().map(String::as_str), 2).unwrap();
    let trust = trust(&[&other]);
    let payload = serde_json::to_vec(&trust).unwrap();
    let signed = |signers: &[&SigningKey]| sealed(Trust::PAYLOAD_TYPE, payload.clone(), signers);
    let read = |bytes: &[u8]| roots.read(bytes, "bank", 0);
    assert_eq!(read(&signed(&[&one, &three])), Ok(trust));
    for too_few in [vec![&one], vec![&one, &one], vec![&one, &other]] {
        assert_eq!(read(&signed(&too_few)), Err(TrustError::Unsigned));
    }
    let both = signed(&[&one, &two]);
    assert_eq!(roots.read(&both, "other", 0), Err(TrustError::Fleet));
    assert_eq!(roots.read(&both, "bank", 2), Err(TrustError::Replayed));
    assert!(roots.read(&both, "bank", 1).is_ok());
    let as_policy = sealed(Stream::Policy.payload_type(), payload.clone(), &[&one, &two]);
    assert_eq!(read(&as_policy), Err(TrustError::Unsigned));

    assert_eq!(
        Roots::new(publics.iter().map(String::as_str), 4),
        Err(RootsError::Threshold)
    );
    assert_eq!(Roots::new([publics[0].as_str(); 2], 1), Err(RootsError::Key));
    assert_eq!(Roots::new(["short"], 1), Err(RootsError::Key));
}

proptest! {
    /// Whatever one byte of an envelope becomes, the statement in it is the one that was signed, or it is refused.
    #[test]
    fn a_changed_byte_changes_nothing_that_is_believed(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let key = key();
        let mut changed = bytes(&statement(), &[&key]);
        let at = at.index(changed.len());
        changed[at] ^= 1 << bit;
        if let Ok(read) = readmit(&changed, Stream::Policy, &trust(&[&key]), &member()) {
            prop_assert_eq!(serde_json::to_string(&read).unwrap(), serde_json::to_string(&statement()).unwrap());
        }
    }

    /// No bytes make it panic.
    #[test]
    fn any_bytes_are_refused_in_peace(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(readmit(&bytes, Stream::Policy, &trust(&[&key()]), &member()).is_err());
    }
}
