//! The ring, event by event; `schedules.rs` has it under random schedules.

mod schedules;

use super::*;

const START: i64 = 1_800_000_000;

fn bounds() -> Bounds {
    Bounds {
        standby_dwell_s: 330,
        issuer_overlap_s: 5,
        token_lifetime_s: 600,
        skew_s: 30,
        rollback_window_s: 900,
    }
}

fn initial() -> Ring {
    let event = Event::Initialise {
        active: "k0".to_owned(),
        standby: "k1".to_owned(),
    };
    step(&Ring::default(), &event, START, &bounds()).unwrap()
}

fn rotate_to(kid: &str) -> Event {
    Event::Rotate {
        standby: kid.to_owned(),
        held_seq: None,
    }
}

#[test]
fn defaults_give_the_documented_windows() {
    assert_eq!(bounds().sign_window_s(), 5);
    assert_eq!(bounds().verify_window_s(), 665);
}

#[test]
fn g2_a_young_standby_does_not_sign() {
    let ring = initial();
    for (age, expected) in [(0, 330), (329, 1)] {
        assert_eq!(
            step(&ring, &rotate_to("k2"), START + age, &bounds()),
            Err(RingRefusal::StandbyTooYoung {
                retry_after_s: expected
            })
        );
    }
    let rotated = step(&ring, &rotate_to("k2"), START + 330, &bounds()).unwrap();
    assert_eq!(rotated.active().unwrap().kid, "k1");
    assert_eq!(rotated.standby().unwrap().kid, "k2");
    assert_eq!(rotated.seq, ring.seq + 1);
}

#[test]
fn g4_a_retiring_key_retires_at_verify_until_and_loses_its_private_part() {
    let rotated = step(&initial(), &rotate_to("k2"), START + 330, &bounds()).unwrap();
    let end = START + 330 + 665;

    let before = step(&rotated, &Event::Retire, end - 1, &bounds()).unwrap();
    assert_eq!(before, rotated);

    let after = step(&rotated, &Event::Retire, end, &bounds()).unwrap();
    assert_eq!(after.keys[0].state, KeyState::Retired);
    assert!(!after.keys[0].has_private && !after.keys[0].verifies_at(end));
}

#[test]
fn inv6_the_private_part_goes_with_the_rollback_window() {
    let short = Bounds {
        rollback_window_s: 60,
        ..bounds()
    };
    let rotated = step(&initial(), &rotate_to("k2"), START + 330, &short).unwrap();

    assert!(step(&rotated, &Event::Purge, START + 389, &short).unwrap().keys[0].has_private);
    let purged = step(&rotated, &Event::Purge, START + 390, &short).unwrap();
    assert!(!purged.keys[0].has_private && purged.keys[1].has_private);
    assert_eq!(purged.seq, rotated.seq);
}

#[test]
fn an_empty_ring_does_not_rotate_and_a_full_one_is_not_initialised_again() {
    assert_eq!(
        step(&Ring::default(), &rotate_to("k1"), START, &bounds()),
        Err(RingRefusal::NotInitialised)
    );
    let again = Event::Initialise {
        active: "x".to_owned(),
        standby: "y".to_owned(),
    };
    assert_eq!(
        step(&initial(), &again, START, &bounds()),
        Err(RingRefusal::Initialised)
    );
    assert_eq!(
        step(&initial(), &rotate_to("k0"), START + 400, &bounds()),
        Err(RingRefusal::KidInUse)
    );
}

#[test]
fn words_and_states_agree() {
    for state in KeyState::ALL {
        assert_eq!(state.as_str().parse(), Ok(state));
        assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        assert!(!state.may_become(state));
        for ended in [KeyState::Retired, KeyState::Aborted, KeyState::Revoked] {
            assert!(!ended.may_become(state));
        }
    }
}

fn event(ring: &Ring, event: &Event, now: i64) -> Result<Ring, RingRefusal> {
    step(ring, event, now, &bounds())
}

fn reinstate(kid: &str) -> Event {
    Event::Reinstate { kid: kid.to_owned() }
}

fn revoke(kid: &str, standby: &str) -> Event {
    Event::Revoke {
        kid: kid.to_owned(),
        standby: standby.to_owned(),
    }
}

fn abort(kid: &str, standby: &str) -> Event {
    Event::Abort {
        kid: kid.to_owned(),
        standby: standby.to_owned(),
    }
}

/// Rotated once: `k0` retires, `k1` signs, `k2` stands ready.
fn rotated() -> Ring {
    event(&initial(), &rotate_to("k2"), START + 330).unwrap()
}

fn state_of(ring: &Ring, kid: &str) -> KeyState {
    ring.key(kid).unwrap().state
}

#[test]
fn g2_a_gateway_that_is_behind_postpones_a_rotation() {
    let ring = initial();
    let held = |held_seq| Event::Rotate {
        standby: "k2".to_owned(),
        held_seq: Some(held_seq),
    };
    assert_eq!(
        event(&ring, &held(0), START + 330),
        Err(RingRefusal::GatewaysBehind {
            held_seq: 0,
            wanted_seq: 1
        })
    );
    assert_eq!(
        state_of(&event(&ring, &held(1), START + 330).unwrap(), "k1"),
        KeyState::Active
    );
}

#[test]
fn a_key_that_was_called_back_signs_again_once_verifiers_know_it() {
    let back = event(&rotated(), &reinstate("k0"), START + 400).unwrap();
    let key = back.key("k0").unwrap();
    assert_eq!(
        (key.state, key.sign_until, key.published_seq),
        (KeyState::Published, None, Some(3))
    );
    assert_eq!(state_of(&back, "k1"), KeyState::Active);
    // A verifier that has not heard of it would call its new tokens forged.
    assert_eq!(
        event(&back, &rotate_to("k3"), START + 729),
        Err(RingRefusal::StandbyTooYoung { retry_after_s: 1 })
    );
    let again = event(&back, &rotate_to("k3"), START + 730).unwrap();
    assert_eq!(
        [
            state_of(&again, "k0"),
            state_of(&again, "k1"),
            state_of(&again, "k2")
        ],
        [KeyState::Active, KeyState::Retiring, KeyState::Published]
    );
    assert!(again.key("k3").is_none(), "the standby was not used up");
}

#[test]
fn a_key_is_called_back_within_its_window_only_and_one_at_a_time() {
    let ring = rotated();
    assert_eq!(
        event(&ring, &reinstate("k1"), START + 400),
        Err(RingRefusal::WrongState(KeyState::Active))
    );
    assert_eq!(
        event(&ring, &reinstate("k9"), START + 400),
        Err(RingRefusal::UnknownKid)
    );
    let end = START + 330 + 665;
    assert!(event(&ring, &reinstate("k0"), end - 1).is_ok());
    assert_eq!(event(&ring, &reinstate("k0"), end), Err(RingRefusal::WindowOver));
    let short = Bounds {
        rollback_window_s: 60,
        ..bounds()
    };
    let late = step(&ring, &reinstate("k0"), START + 390, &short);
    assert_eq!(late, Err(RingRefusal::WindowOver));

    let twice = event(&ring, &rotate_to("k3"), START + 660).unwrap();
    let back = event(&twice, &reinstate("k0"), START + 700).unwrap();
    assert_eq!(
        event(&back, &reinstate("k1"), START + 701),
        Err(RingRefusal::Reinstating)
    );
}

#[test]
fn an_emergency_has_a_successor_at_once() {
    let revoked = event(&initial(), &revoke("k0", "k2"), START + 1).unwrap();
    assert_eq!(
        [
            state_of(&revoked, "k0"),
            state_of(&revoked, "k1"),
            state_of(&revoked, "k2")
        ],
        [KeyState::Revoked, KeyState::Active, KeyState::Published]
    );
    assert!(!revoked.key("k0").unwrap().has_private && revoked.seq == 2);
    // Once more by a second pair of hands: it must not cost the new key.
    assert_eq!(event(&revoked, &revoke("k0", "k3"), START + 2), Ok(revoked));
}

#[test]
fn a_key_that_does_not_sign_is_revoked_or_aborted_without_changing_the_one_that_does() {
    let ring = rotated();
    let standby = event(&ring, &revoke("k2", "k3"), START + 400).unwrap();
    assert_eq!(
        (state_of(&standby, "k1"), state_of(&standby, "k3"), standby.seq),
        (KeyState::Active, KeyState::Published, 3)
    );
    let old = event(&ring, &revoke("k0", "k3"), START + 400).unwrap();
    assert_eq!((state_of(&old, "k0"), old.seq), (KeyState::Revoked, 3));
    assert!(old.key("k3").is_none());

    let aborted = event(&ring, &abort("k2", "k3"), START + 400).unwrap();
    assert_eq!(
        (state_of(&aborted, "k2"), state_of(&aborted, "k3"), aborted.seq),
        (KeyState::Aborted, KeyState::Published, 3)
    );
    for (kid, state) in [("k0", KeyState::Retiring), ("k1", KeyState::Active)] {
        let refused = event(&ring, &abort(kid, "k3"), START + 400);
        assert_eq!(refused, Err(RingRefusal::WrongState(state)), "{kid} has signed");
    }
    let refused = event(&aborted, &revoke("k2", "k4"), START + 400);
    assert_eq!(refused, Err(RingRefusal::WrongState(KeyState::Aborted)));
}

#[test]
fn a_key_that_nobody_was_told_of_is_set_aside_in_silence() {
    let generate = Event::Generate { kid: "k9".to_owned() };
    let ring = event(&initial(), &generate, START).unwrap();
    assert!(!ring.key("k9").unwrap().verifies_at(START));
    let aborted = event(&ring, &abort("k9", "unused"), START).unwrap();
    assert_eq!((state_of(&aborted, "k9"), aborted.seq), (KeyState::Aborted, 1));
    assert!(aborted.key("unused").is_none());
}
