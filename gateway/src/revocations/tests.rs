//! Lists that are newer, older, wrong, kept; and who is in a blocked network.

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

fn marks(jti: &str) -> Marks {
    Marks {
        issuer: "https://a.example".to_owned(),
        jti: Some(jti.to_owned()),
        sid: None,
        sub: "usr_1".to_owned(),
        client_id: None,
        kid: "k".to_owned(),
        issued_at: 1,
    }
}

#[test]
fn j41_what_is_revoked_stays_so_across_a_restart_and_an_older_list() {
    let folder = tempfile::tempdir().unwrap();
    let revocations = Revocations::open(folder.path());
    assert_eq!(revocations.adopt(list(5, vec![token("a")])), Ok(true));
    assert_eq!(
        revocations.adopt(list(4, Vec::new())),
        Ok(false),
        "a restored control plane"
    );
    assert_eq!(revocations.adopt(list(5, Vec::new())), Ok(false));
    assert_eq!(revocations.denies(&marks("a")), Some(Revoked::Token));

    let restarted = Revocations::open(folder.path());
    assert_eq!(restarted.seq(), 5);
    assert_eq!(restarted.denies(&marks("a")), Some(Revoked::Token));
    assert_eq!(restarted.denies(&marks("b")), None);
    assert_eq!(
        restarted.silence(),
        None,
        "a copy is no word of the control plane"
    );
    restarted.heard();
    assert!(restarted.silence().is_some());

    assert_eq!(restarted.adopt(list(6, Vec::new())), Ok(true));
    assert_eq!(restarted.denies(&marks("a")), None, "taken back");
}

#[test]
fn j41_a_wrong_list_and_a_damaged_copy_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let revocations = Revocations::open(folder.path());
    revocations.adopt(list(1, vec![token("a")])).unwrap();
    assert!(revocations.adopt(list(2, vec![token("")])).is_err());
    assert_eq!(revocations.seq(), 1);
    assert_eq!(revocations.denies(&marks("a")), Some(Revoked::Token));

    std::fs::write(folder.path().join("revocations.json"), b"{\"seq\":9,").unwrap();
    let restarted = Revocations::open(folder.path());
    assert_eq!((restarted.seq(), restarted.silence()), (0, None));
}

#[test]
fn j41_networks_are_blocked_until_their_time_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let revocations = Revocations::open(folder.path());
    let network = |address: &str, prefix, until| Revocation::Network {
        address: address.parse().unwrap(),
        prefix,
        until,
    };
    let networks = vec![
        network("203.0.113.0", 24, 100),
        network("198.51.100.7", 32, 100),
        network("2001:db8:1::", 48, 200),
    ];
    revocations.adopt(list(1, networks)).unwrap();
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
