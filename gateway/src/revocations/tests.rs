//! Lists that are newer, wrong, two at once; and who is in a blocked network.

use keyring::Revocation;

use super::*;

fn list(seq: u64, revocations: Vec<Revocation>) -> RevocationList {
    RevocationList { seq, revocations }
}

fn token(jti: &str) -> Revocation {
    Revocation::Token {
        issuer: "https://a.example".to_owned(),
        jti: jti.to_owned(),
        until: 100,
    }
}

const fn marks(jti: &str) -> Marks<'_> {
    Marks {
        issuer: "https://a.example",
        jti: Some(jti),
        sid: None,
        sub: "usr_1",
        client_id: None,
        kid: "k",
        issued_at: 1,
    }
}

fn network(address: &str, prefix: u8, until: i64) -> Revocation {
    Revocation::Network {
        address: address.parse().unwrap(),
        prefix,
        until,
    }
}

#[test]
fn j41_two_lists_are_in_force_together_and_each_is_replaced_whole() {
    let revocations = Revocations::none_yet();
    assert_eq!(revocations.silence(), None);
    revocations
        .take_over(Part::Revocations, list(5, vec![token("a")]))
        .unwrap();
    revocations
        .take_over(Part::Blocks, list(2, vec![network("203.0.113.0", 24, 100)]))
        .unwrap();
    assert_eq!(revocations.denies(marks("a")), Some(Revoked::Token));
    assert!(revocations.blocks("203.0.113.9".parse().unwrap(), 100));

    // The position of the statement is what counts, not the number in the list.
    revocations
        .take_over(Part::Revocations, list(1, vec![token("b")]))
        .unwrap();
    assert_eq!(revocations.denies(marks("a")), None, "taken back");
    assert_eq!(revocations.denies(marks("b")), Some(Revoked::Token));
    assert!(revocations.blocks("203.0.113.9".parse().unwrap(), 100));

    assert_eq!(
        revocations.silence(),
        None,
        "a list is no word of the control plane"
    );
    revocations.heard();
    assert!(revocations.silence().is_some());
}

#[test]
fn j41_a_wrong_list_changes_nothing() {
    let revocations = Revocations::none_yet();
    let good = list(1, vec![token("a")]);
    revocations.take_over(Part::Revocations, good).unwrap();
    let wrong = list(2, vec![token("")]);
    assert!(revocations.take_over(Part::Revocations, wrong).is_err());
    assert_eq!(revocations.denies(marks("a")), Some(Revoked::Token));
}

#[test]
fn j41_networks_are_blocked_until_their_time_is_over() {
    let revocations = Revocations::none_yet();
    let networks = vec![
        network("203.0.113.0", 24, 100),
        network("198.51.100.7", 32, 100),
        network("2001:db8:1::", 48, 200),
    ];
    revocations.take_over(Part::Blocks, list(1, networks)).unwrap();
    let blocks = |client: &str, now| revocations.blocks(client.parse().unwrap(), now);
    for inside in [
        "203.0.113.0",
        "203.0.113.255",
        "::ffff:203.0.113.9",
        "198.51.100.7",
        "2001:db8:1:ff::1",
    ] {
        assert!(blocks(inside, 100), "{inside}");
    }
    for outside in ["203.0.114.0", "198.51.100.8", "2001:db8:2::1", "::1"] {
        assert!(!blocks(outside, 100), "{outside}");
    }
    assert!(!blocks("203.0.113.0", 101) && blocks("2001:db8:1::1", 101));
}
