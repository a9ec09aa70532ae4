//! Each invariant with what just keeps it and what just breaks it.

use super::*;
use crate::rotation::evidence::{Absence, CutOff, Dump, Held, Snapshot, Terms};

/// The moment this second begins.
const fn at(second: i64) -> Micros {
    second * SECOND
}

fn key(kid: &str, activated_s: i64, retiring_s: Option<i64>) -> Key {
    Key {
        kid: kid.to_owned(),
        ring: "access".to_owned(),
        published: Some(at(activated_s - 10)),
        published_seq: Some(activated_s / 100),
        activated: Some(at(activated_s)),
        retiring: retiring_s.map(at),
        sign_until_s: retiring_s.map(|second| second + 1),
        verify_until_s: retiring_s.map(|second| second + 23),
        revoked: None,
    }
}

fn token(kid: &str, issued_at_s: i64, origin: Origin) -> Token {
    Token {
        hash: [7; 32],
        kid: kid.to_owned(),
        issued_at_s,
        expires_at_s: issued_at_s + 20,
        session: "ses_1".to_owned(),
        origin,
    }
}

fn request(token: usize, sent: Micros, status: u16) -> Request {
    Request {
        token,
        gateway: 0,
        target: Target::Gateway,
        sent,
        received: sent + 1_000,
        status,
        code: "",
    }
}

/// A run without a fault: `old` signs from 100 to 200, `new` from 200 on; one token of each.
fn good() -> Evidence {
    Evidence {
        terms: Terms {
            lifetime_s: 20,
            skew_s: 1,
            overlap_s: 1,
            revocation_s: 5,
            max_age_s: 90,
            rollback_s: 30,
        },
        tokens: vec![
            token("old", 195, Origin::Issued),
            token("new", 205, Origin::Issued),
        ],
        requests: vec![request(0, at(210), 200), request(1, at(210), 200)],
        keys: vec![key("old", 100, Some(200)), key("new", 200, None)],
        called_back: Vec::new(),
        held: vec![
            Held {
                gateway: 0,
                seq: 1,
                at: at(50),
            },
            Held {
                gateway: 0,
                seq: 2,
                at: at(191),
            },
        ],
        log_ins: Vec::new(),
        cut_off: Vec::new(),
        absences: Vec::new(),
        ended_sessions: Vec::new(),
        snapshots: vec![Snapshot {
            ring: "access".to_owned(),
            active: 1,
            at: at(199),
        }],
        dump: Some(Dump {
            at: at(220),
            opened: vec!["new".to_owned(), "old".to_owned()],
        }),
    }
}

fn dump(run: &mut Evidence) -> &mut Dump {
    run.dump.as_mut().unwrap()
}

/// The ids of what is broken after a change to the good run.
fn broken(change: impl FnOnce(&mut Evidence)) -> Vec<&'static str> {
    let mut evidence = good();
    change(&mut evidence);
    let violations = judge(&evidence);
    violations
        .iter()
        .map(|violation| violation.invariant.id())
        .collect()
}

#[test]
fn a_good_run_has_no_violation() {
    assert_eq!(judge(&good()), Vec::new());
}

#[test]
fn inv_1_a_valid_token_that_is_refused_is_seen_and_one_that_is_over_may_be_refused() {
    assert_eq!(
        broken(|run| run.requests.push(request(0, at(210), 401))),
        ["INV-1"]
    );
    // Received in the very second of `exp`, which is 215.
    let last = at(215) - 1_001;
    assert_eq!(broken(|run| run.requests.push(request(0, last, 401))), ["INV-1"]);
    assert!(broken(|run| run.requests.push(request(0, last + 1, 401))).is_empty());
}

#[test]
fn inv_1_the_end_of_a_session_and_of_its_key_excuse_a_refusal_from_then_on() {
    let refused = |run: &mut Evidence| run.requests.push(request(0, at(210), 401));
    for (ended, expected) in [(at(210) + 1_000, 0), (at(210) + 1_001, 1)] {
        let seen = broken(|run| {
            refused(run);
            run.ended_sessions.push(("ses_1".to_owned(), ended));
        });
        assert_eq!(seen.len(), expected, "{ended}");
        let seen = broken(|run| {
            run.requests = vec![request(0, at(210), 401)];
            run.keys[0].revoked = Some(ended);
            dump(run).opened.retain(|kid| kid != "old");
        });
        assert_eq!(seen.len(), expected, "{ended}");
    }
}

#[test]
fn inv_1_only_a_gateway_that_was_cut_off_for_too_long_may_say_that_it_does_not_know() {
    let unknown = |run: &mut Evidence| run.requests.push(request(0, at(210), 503));
    assert_eq!(broken(unknown), ["INV-1"]);
    for (from_s, expected) in [(120, 0), (121, 1)] {
        let seen = broken(|run| {
            unknown(run);
            run.cut_off.push(CutOff {
                gateway: 0,
                from: at(from_s),
                to: at(211),
            });
        });
        assert_eq!(seen.len(), expected, "cut off at {from_s}");
    }
    let of_core = |run: &mut Evidence| {
        unknown(run);
        run.requests[2].target = Target::Core;
    };
    assert!(
        broken(of_core).is_empty(),
        "what is behind the gateway may be down"
    );
}

#[test]
fn inv_1_a_forged_token_may_be_refused() {
    let forged = |run: &mut Evidence| {
        run.tokens.push(token("old", 195, Origin::Forged));
        run.requests.push(request(2, at(210), 401));
    };
    assert!(broken(forged).is_empty());
}

#[test]
fn inv_2_a_key_verifies_until_its_time_and_two_skews_and_no_longer() {
    // verify_until is 223.
    assert!(broken(|run| run.requests.push(request(0, at(225), 200))).is_empty());
    assert_eq!(
        broken(|run| run.requests.push(request(0, at(225) + 1, 200))),
        ["INV-2"]
    );
}

#[test]
fn inv_2_a_revoked_key_verifies_for_five_seconds_at_most() {
    let revoked = |run: &mut Evidence| {
        run.keys[0].revoked = Some(at(203));
        dump(run).opened.retain(|kid| kid != "old");
        run.requests = vec![request(0, at(208), 200)];
    };
    assert!(broken(revoked).is_empty());
    let later = |run: &mut Evidence| {
        revoked(run);
        run.requests[0].sent += 1;
    };
    assert_eq!(broken(later), ["INV-2"]);
}

#[test]
fn inv_3_a_token_forged_after_the_key_stopped_signing_is_never_accepted() {
    // sign_until is 201, and S is 1.
    for (issued_at_s, expected) in [(202, 0), (203, 1)] {
        let seen = broken(|run| {
            run.tokens.push(token("old", issued_at_s, Origin::Forged));
            run.requests.push(request(2, at(210), 200));
        });
        assert_eq!(seen.len(), expected, "{issued_at_s}");
        assert!(seen.iter().all(|id| *id == "INV-3"));
    }
}

#[test]
fn inv_4_two_active_keys_none_and_a_gap_between_them_are_seen() {
    for active in [0, 2] {
        assert_eq!(broken(|run| run.snapshots[0].active = active), ["INV-4"]);
    }
    assert_eq!(broken(|run| run.keys[1].activated = Some(at(200) + 1)), ["INV-4"]);
    let ended = |run: &mut Evidence| {
        run.keys[1].revoked = Some(at(215));
        dump(run).opened.clear();
    };
    assert!(
        broken(ended).contains(&"INV-4"),
        "nobody signs after a revocation without a successor"
    );
}

#[test]
fn inv_4_a_token_of_a_key_that_did_not_sign_at_its_time_is_seen() {
    // `old` signed until 200 and N is 1: a token of the second 201 may still be its, one of 202 may not.
    for (kid, issued_at_s, expected) in [("old", 201, 0), ("old", 202, 1), ("new", 198, 0), ("new", 197, 1)] {
        let seen = broken(|run| run.tokens.push(token(kid, issued_at_s, Origin::Issued)));
        assert_eq!(seen.len(), expected, "{kid} at {issued_at_s}");
    }
    assert_eq!(
        broken(|run| run.tokens.push(token("nobody's", 205, Origin::Issued))),
        ["INV-4"]
    );
}

#[test]
fn inv_5_every_gateway_holds_a_key_before_it_is_activated() {
    assert_eq!(broken(|run| run.held[1].at = at(200)), ["INV-5"]);
    let another = |run: &mut Evidence| {
        run.held.push(Held {
            gateway: 1,
            seq: 1,
            at: at(60),
        });
    };
    assert_eq!(broken(another), ["INV-5"], "the second gateway lags");
    let a_late_one = |run: &mut Evidence| {
        run.held.push(Held {
            gateway: 1,
            seq: 2,
            at: at(205),
        });
    };
    assert!(broken(a_late_one).is_empty(), "it verified nothing before");
    let other_ring = |run: &mut Evidence| {
        run.held[1].at = at(200);
        run.keys.iter_mut().for_each(|key| key.ring = "audit".to_owned());
    };
    assert!(broken(other_ring).is_empty(), "gateways verify nothing of it");
}

#[test]
fn inv_5_a_gateway_that_was_dead_holds_a_key_before_it_answers() {
    // Dead when `new` takes over at 200, and started again at 207: it answers the request of 210.
    let dead = |from: i64, held: &'static [(i64, i64)]| {
        broken(move |run| {
            run.absences.push(Absence {
                gateway: 0,
                from: at(from),
                to: at(207),
            });
            let held = held.iter().map(|(seq, second)| Held {
                gateway: 0,
                seq: *seq,
                at: at(*second),
            });
            run.held = held.collect();
        })
    };
    assert!(dead(195, &[(1, 50), (1, 208), (2, 210)]).is_empty());
    assert_eq!(
        dead(195, &[(1, 50), (1, 208), (2, 211)]),
        ["INV-5"],
        "it answered before"
    );
    assert_eq!(
        dead(195, &[(1, 50), (2, 194), (1, 208)]),
        ["INV-5"],
        "the process before knew"
    );
    assert_eq!(
        dead(201, &[(1, 50), (1, 208)]),
        ["INV-5"],
        "it lived when the key was activated"
    );
    let silent = broken(|run| {
        run.held.truncate(1);
        run.requests.clear();
        run.absences.push(Absence {
            gateway: 0,
            from: at(195),
            to: at(207),
        });
    });
    assert!(silent.is_empty(), "it has answered nothing since");
}

#[test]
fn inv_6_no_private_part_outlives_its_window() {
    // `old` retired at 200, the window is 30, and 5 may pass until the next look.
    assert!(broken(|run| dump(run).at = at(235)).is_empty());
    assert_eq!(broken(|run| dump(run).at = at(235) + 1), ["INV-6"]);
    assert_eq!(
        broken(|run| dump(run).opened.clear()),
        ["INV-6"],
        "a blind search"
    );
    assert!(broken(|run| run.keys[0].revoked = Some(at(215))).contains(&"INV-6"));
}

#[test]
fn inv_4_a_key_that_was_called_back_signs_twice_and_both_times_count() {
    let called_back = |run: &mut Evidence| {
        run.called_back = vec![key("old", 100, Some(200))];
        run.keys = vec![key("old", 220, None), key("new", 200, Some(220))];
        dump(run).opened = vec!["old".to_owned()];
    };
    assert!(broken(called_back).is_empty());
    // Without the first time, a token of it was signed by a key that was not active.
    let forgotten = broken(|run| {
        called_back(run);
        run.called_back.clear();
    });
    assert_eq!(forgotten, ["INV-4"]);
    // In between it must not sign.
    let in_between = broken(|run| {
        called_back(run);
        run.tokens.push(token("old", 210, Origin::Issued));
    });
    assert_eq!(in_between, ["INV-4"]);
}
