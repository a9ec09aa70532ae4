//! Lists that are newer, wrong, two at once, in pages; and who is in a blocked network.

use fleet::StatedList;
use keyring::{MAX_REVOCATIONS, Revocation};
use proptest::prelude::*;

use super::*;

fn list(seq: u64, revocations: Vec<Revocation>) -> Denied {
    try_list(seq, revocations).unwrap()
}

fn try_list(seq: u64, revocations: Vec<Revocation>) -> anyhow::Result<Denied> {
    let pages = Vec::new();
    let stated = StatedList {
        seq,
        pages,
        revocations,
    };
    Denied::new(stated, Vec::new())
}

/// The same list in pages, each of which ends with one of these entries.
fn in_pages(seq: u64, revocations: &[Revocation], ends: &[usize]) -> Denied {
    let mut ends: Vec<_> = ends.iter().map(|end| (*end).min(revocations.len())).collect();
    ends.sort_unstable();
    let (mut pages, mut from) = (Vec::new(), 0);
    for end in ends {
        pages.push(Arc::new(Entries::new(revocations[from..end].to_vec()).unwrap()));
        from = end;
    }
    let stated = StatedList {
        seq,
        pages: Vec::new(),
        revocations: revocations[from..].to_vec(),
    };
    Denied::new(stated, pages).unwrap()
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
    revocations.take_over(Part::Revocations, list(5, vec![token("a")]));
    revocations.take_over(Part::Blocks, list(2, vec![network("203.0.113.0", 24, 100)]));
    assert_eq!(revocations.denies(marks("a")), Some(Revoked::Token));
    assert!(revocations.blocks("203.0.113.9".parse().unwrap(), 100));

    // The position of the statement is what counts, not the number in the list.
    revocations.take_over(Part::Revocations, list(1, vec![token("b")]));
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
fn j41_a_wrong_list_is_none() {
    assert!(try_list(2, vec![token("a"), token("")]).is_err());
    assert!(Entries::new(vec![token("a"), token("")]).is_err(), "of a page");
    let page = Arc::new(Entries::new(vec![token("a"); MAX_REVOCATIONS / 2]).unwrap());
    let together = |revocations| {
        let stated = StatedList {
            seq: 1,
            pages: Vec::new(),
            revocations,
        };
        Denied::new(stated, vec![page.clone(), page.clone()])
    };
    assert!(together(Vec::new()).is_ok());
    assert!(together(vec![token("b")]).is_err(), "too many");
}

#[test]
fn a_list_holds_its_pages_and_no_others() {
    let revocations = Revocations::none_yet();
    let page = |jti: &str| Arc::new(Entries::new(vec![token(jti)]).unwrap());
    let of = |pages| {
        let stated = StatedList {
            seq: 1,
            pages: Vec::new(),
            revocations: Vec::new(),
        };
        Denied::new(stated, pages).unwrap()
    };
    let (stays, goes) = (page("stays"), page("goes"));
    let [weak_stays, weak_goes] = [&stays, &goes].map(Arc::downgrade);
    revocations.take_over(Part::Revocations, of(vec![stays.clone(), goes]));
    assert!(weak_goes.upgrade().is_some());
    revocations.take_over(Part::Revocations, of(vec![stays]));
    assert!(weak_goes.upgrade().is_none() && weak_stays.upgrade().is_some());
    assert_eq!(revocations.denies(marks("stays")), Some(Revoked::Token));
    assert_eq!(revocations.denies(marks("goes")), None);
}

#[test]
fn a_list_without_pages_has_the_fingerprint_that_older_gateways_give_it() {
    let revocations = vec![token("a")];
    let json =
        r#"{"seq":7,"revocations":[{"kind":"token","issuer":"https://a.example","jti":"a","until":100}]}"#;
    assert_eq!(
        list(7, revocations).fingerprint(),
        fleet::Digest::of(json.as_bytes()).to_string()
    );
}

#[test]
fn j41_networks_are_blocked_until_their_time_is_over() {
    let revocations = Revocations::none_yet();
    let networks = vec![
        network("203.0.113.0", 24, 100),
        network("198.51.100.7", 32, 100),
        network("2001:db8:1::", 48, 200),
    ];
    revocations.take_over(Part::Blocks, list(1, networks));
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

/// Entries of every kind about few things, so that many are about the same.
fn entries() -> impl Strategy<Value = Vec<Revocation>> {
    let text = || prop::sample::select(vec!["a", "b", "c"]).prop_map(str::to_owned);
    let entry = (0..7_u8, text(), text(), 0..4_i64).prop_map(|(kind, issuer, name, time)| match kind {
        0 => Revocation::Token {
            issuer,
            jti: name,
            until: time,
        },
        1 => Revocation::Session {
            issuer,
            sid: name,
            until: time,
        },
        2 => Revocation::Key {
            issuer,
            kid: name,
            until: time,
        },
        3 => Revocation::Subject {
            issuer,
            sub: name,
            issued_until: time,
            until: time,
        },
        4 => Revocation::Client {
            issuer,
            client_id: name,
            issued_until: time,
            until: time,
        },
        5 => network(&format!("{issuer}::"), 16, time),
        _ => Revocation::SignIn {
            address: format!("{name}::").parse().unwrap(),
            prefix: 16,
            until: time,
        },
    });
    prop::collection::vec(entry, 0..40)
}

/// By what a token is revoked, entry by entry.
fn scanned(list: &[Revocation], marks: Marks<'_>) -> Option<Revoked> {
    let met = |entry: &Revocation| match entry {
        Revocation::Token { issuer, jti, .. } => {
            (issuer == marks.issuer && marks.jti == Some(jti)).then_some(Revoked::Token)
        }
        Revocation::Session { issuer, sid, .. } => {
            (issuer == marks.issuer && marks.sid == Some(sid)).then_some(Revoked::Session)
        }
        Revocation::Key { issuer, kid, .. } => {
            (issuer == marks.issuer && kid == marks.kid).then_some(Revoked::Key)
        }
        Revocation::Subject {
            issuer,
            sub,
            issued_until,
            ..
        } => (issuer == marks.issuer && sub == marks.sub && marks.issued_at <= *issued_until)
            .then_some(Revoked::Subject),
        Revocation::Client {
            issuer,
            client_id,
            issued_until,
            ..
        } => {
            (issuer == marks.issuer && marks.client_id == Some(client_id) && marks.issued_at <= *issued_until)
                .then_some(Revoked::Client)
        }
        Revocation::Network { .. } | Revocation::SignIn { .. } => None,
    };
    let all: Vec<_> = list.iter().filter_map(met).collect();
    let order = [
        Revoked::Key,
        Revoked::Token,
        Revoked::Session,
        Revoked::Subject,
        Revoked::Client,
    ];
    order.into_iter().find(|kind| all.contains(kind))
}

/// The latest end of what is blocked of `client` (`a::` to `d::`).
fn scanned_end(list: &[Revocation], client: IpAddr, signs_in: bool) -> Option<i64> {
    let until = |entry: &Revocation| match entry {
        Revocation::Network { address, until, .. } => (!signs_in && *address == client).then_some(*until),
        Revocation::SignIn { address, until, .. } => (signs_in && *address == client).then_some(*until),
        _ => None,
    };
    list.iter().filter_map(until).max()
}

proptest! {
    #[test]
    fn j41_a_list_answers_as_if_every_entry_were_asked_however_it_is_divided(
        entries in entries(),
        ends in prop::collection::vec(0..40_usize, 0..6),
        shown in prop::array::uniform6(prop::sample::select(vec!["a", "b", "c", "d"])),
        are_shown in prop::array::uniform3(any::<bool>()),
        now in 0..5_i64,
    ) {
        let denied = in_pages(1, &entries, &ends);
        let [issuer, jti, sid, sub, client_id, kid] = shown;
        let [jti, sid, client_id] = [(jti, 0), (sid, 1), (client_id, 2)].map(|(name, at)| are_shown[at].then_some(name));
        let marks = Marks { issuer, jti, sid, sub, client_id, kid, issued_at: now };
        prop_assert_eq!(denied.token(marks), scanned(&entries, marks));
        prop_assert_eq!(denied.count_metric(), i64::try_from(entries.len()).unwrap());

        let client: IpAddr = format!("{sub}::").parse().unwrap();
        let is_blocked = scanned_end(&entries, client, false).is_some_and(|end| now <= end);
        prop_assert_eq!(denied.client(client, now), is_blocked);
        let may_not_sign_in = scanned_end(&entries, client, true).is_some_and(|end| now <= end);
        prop_assert_eq!(denied.sign_in(client, now).is_some(), may_not_sign_in);
    }

    #[test]
    fn a_fingerprint_tells_a_list_from_one_with_an_entry_less(
        entries in entries().prop_filter("none is less than none", |entries| !entries.is_empty()),
        without in any::<prop::sample::Index>(),
        end in 0..40_usize,
    ) {
        let fingerprint = |seq, entries: &[Revocation]| in_pages(seq, entries, &[end]).fingerprint().to_owned();
        let mut shorter = entries.clone();
        shorter.remove(without.index(entries.len()));
        prop_assert_eq!(fingerprint(1, &entries), fingerprint(1, &entries));
        prop_assert_ne!(fingerprint(1, &entries), fingerprint(2, &entries));
        prop_assert_ne!(fingerprint(1, &entries), fingerprint(1, &shorter));
    }
}
