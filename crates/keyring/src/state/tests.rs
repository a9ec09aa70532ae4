//! The ring under random schedules.

use proptest::prelude::*;

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
        assert!(!KeyState::Retired.may_become(state) && !KeyState::Revoked.may_become(state));
    }
}

#[derive(Debug, Clone)]
enum Act {
    Rotate,
    Retire,
    Purge,
}

fn schedule() -> impl Strategy<Value = Vec<(Act, i64)>> {
    let act = prop_oneof![Just(Act::Rotate), Just(Act::Retire), Just(Act::Purge)];
    proptest::collection::vec((act, 0_i64..500), 1..60)
}

fn any_bounds() -> impl Strategy<Value = Bounds> {
    (0_u32..400, 0_u32..10, 1_u32..900, 0_u32..60, 0_u32..1200).prop_map(
        |(standby_dwell_s, issuer_overlap_s, token_lifetime_s, skew_s, rollback_window_s)| Bounds {
            standby_dwell_s,
            issuer_overlap_s,
            token_lifetime_s,
            skew_s,
            rollback_window_s,
        },
    )
}

fn count(ring: &Ring, state: KeyState) -> usize {
    ring.keys.iter().filter(|key| key.state == state).count()
}

/// Every key moved only as its state allows, and every activation waited for its dwell (INV-5).
fn check_transition(before: &Ring, after: &Ring, now: i64, bounds: &Bounds) -> Result<(), TestCaseError> {
    prop_assert!(after.seq >= before.seq);
    prop_assert!(after.keys.len() >= before.keys.len());
    for (old, new) in before.keys.iter().zip(&after.keys) {
        prop_assert_eq!(&old.kid, &new.kid);
        prop_assert!(old.state == new.state || old.state.may_become(new.state));
        prop_assert!(
            old.state == new.state || after.seq > before.seq,
            "verifiers would not learn of it"
        );
        prop_assert!(old.has_private || !new.has_private, "a destroyed key came back");
        if new.state == KeyState::Active && old.state != KeyState::Active {
            prop_assert!(now >= old.published_at + i64::from(bounds.standby_dwell_s));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn inv4_one_active_one_standby_and_no_retired_key_verifies(acts in schedule(), bounds in any_bounds()) {
        let mut ring = initial();
        let mut now = START;
        // What every active key has signed last: it must verify for the whole life of that token (INV-1).
        let mut last_signed: Vec<(String, i64)> = Vec::new();

        for (number, (act, wait)) in acts.into_iter().enumerate() {
            last_signed.push((ring.active().unwrap().kid.clone(), now));
            now += wait;
            last_signed.push((ring.active().unwrap().kid.clone(), now));
            let event = match act {
                Act::Rotate => rotate_to(&format!("n{number}")),
                Act::Retire => Event::Retire,
                Act::Purge => Event::Purge,
            };
            if let Ok(next) = step(&ring, &event, now, &bounds) {
                check_transition(&ring, &next, now, &bounds)?;
                ring = next;
            }

            prop_assert_eq!(count(&ring, KeyState::Active), 1);
            prop_assert_eq!(count(&ring, KeyState::Published), 1);
            prop_assert!(ring.active().unwrap().has_private && ring.standby().unwrap().has_private);
            for key in &ring.keys {
                prop_assert!(key.state != KeyState::Retired || (!key.verifies_at(now) && !key.has_private));
            }
            for (kid, iat) in &last_signed {
                let alive = now < iat + i64::from(bounds.token_lifetime_s);
                let key = ring.keys.iter().find(|key| &key.kid == kid).unwrap();
                prop_assert!(!alive || key.verifies_at(now), "a living token of {} is refused", kid);
                prop_assert!(key.sign_until.is_none_or(|until| *iat <= until), "{} would look stolen", kid);
            }
        }
    }
}
