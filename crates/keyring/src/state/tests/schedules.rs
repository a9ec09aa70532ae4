//! The ring under random schedules of events, beside gateways that hear late or never.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Act {
    Rotate,
    Retire,
    Purge,
    Abort,
    Generate,
    /// The number chooses the key.
    Reinstate(usize),
    Revoke(usize),
    /// This gateway takes the key set over.
    Hear(usize),
    /// This gateway goes away or comes back.
    Toggle(usize),
}

const GATEWAYS: usize = 3;

/// A gateway, and the ring as it holds it.
#[derive(Debug, Clone)]
struct Gateway {
    is_live: bool,
    ring: Ring,
}

fn schedule() -> impl Strategy<Value = Vec<(Act, i64)>> {
    let act = prop_oneof![
        6 => Just(Act::Rotate),
        2 => Just(Act::Retire),
        2 => Just(Act::Purge),
        1 => Just(Act::Abort),
        1 => Just(Act::Generate),
        3 => (0_usize..8).prop_map(Act::Reinstate),
        1 => (0_usize..8).prop_map(Act::Revoke),
        12 => (0..GATEWAYS).prop_map(Act::Hear),
        2 => (0..GATEWAYS).prop_map(Act::Toggle),
    ];
    proptest::collection::vec((act, 0_i64..300), 1..100)
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

fn count(ring: &Ring, is_it: impl Fn(&RingKey) -> bool) -> usize {
    ring.keys.iter().filter(|key| is_it(key)).count()
}

/// The kid of the newest key but `number`, for acts that choose one.
fn chosen(ring: &Ring, number: usize) -> String {
    let key = ring.keys.iter().rev().nth(number).or(ring.keys.last());
    key.unwrap().kid.clone()
}

fn held_seq(gateways: &[Gateway]) -> Option<u64> {
    let live = gateways.iter().filter(|gateway| gateway.is_live);
    live.map(|gateway| gateway.ring.seq).min()
}

/// Every key moved only as its state allows; verifiers are told of every move that concerns them.
fn check_transition(before: &Ring, after: &Ring) -> Result<(), TestCaseError> {
    prop_assert!(after.seq >= before.seq && after.seq <= before.seq + 1);
    prop_assert!(after.keys.len() >= before.keys.len());
    for (old, new) in before.keys.iter().zip(&after.keys) {
        prop_assert_eq!(&old.kid, &new.kid);
        prop_assert!(old.state == new.state || old.state.may_become(new.state));
        let concerns_verifiers = old.state.is_verifying() || new.state.is_verifying();
        prop_assert!(
            old.state == new.state || !concerns_verifiers || after.seq > before.seq,
            "verifiers would not learn of it"
        );
        prop_assert!(old.has_private || !new.has_private, "a destroyed key came back");
    }
    Ok(())
}

/// INV-5: a key signs only after its dwell time, and when every live gateway holds it as a key that may sign.
fn check_activation(
    before: &Ring,
    after: &Ring,
    gateways: &[Gateway],
    now: i64,
    bounds: &Bounds,
) -> Result<(), TestCaseError> {
    let kid = &after.active().unwrap().kid;
    if before.active().unwrap().kid == *kid {
        return Ok(());
    }
    let published_at = before.key(kid).unwrap().published_at.unwrap();
    prop_assert!(now >= published_at + i64::from(bounds.standby_dwell_s));
    for gateway in gateways.iter().filter(|gateway| gateway.is_live) {
        let held = gateway.ring.key(kid);
        prop_assert!(
            held.is_some_and(|held| held.verifies_at(now) && held.sign_until.is_none()),
            "a gateway at {} does not know {}",
            gateway.ring.seq,
            kid
        );
    }
    Ok(())
}

/// What holds of a ring at every moment.
fn check_ring(ring: &Ring, now: i64) -> Result<(), TestCaseError> {
    prop_assert_eq!(count(ring, |key| key.state == KeyState::Active), 1);
    prop_assert_eq!(count(ring, RingKey::is_standby), 1);
    prop_assert!(count(ring, |key| key.state == KeyState::Published) <= 2);
    for key in &ring.keys {
        match key.state {
            KeyState::Generated | KeyState::Published | KeyState::Active => prop_assert!(key.has_private),
            KeyState::Retiring => {}
            KeyState::Retired | KeyState::Aborted | KeyState::Revoked => {
                prop_assert!(!key.has_private && !key.verifies_at(now));
            }
        }
    }
    Ok(())
}

/// INV-1, INV-3: what a key has signed verifies as long as it lives, and never looks stolen; but for keys that were revoked.
fn check_tokens(
    ring: &Ring,
    signed: &[(String, i64)],
    now: i64,
    bounds: &Bounds,
) -> Result<(), TestCaseError> {
    for (kid, iat) in signed {
        let key = ring.key(kid).unwrap();
        if key.state == KeyState::Revoked {
            continue;
        }
        let is_alive = now < iat + i64::from(bounds.token_lifetime_s);
        prop_assert!(
            !is_alive || key.verifies_at(now),
            "a living token of {} is refused",
            kid
        );
        prop_assert!(
            key.sign_until.is_none_or(|until| *iat <= until),
            "{} would look stolen",
            kid
        );
    }
    Ok(())
}

/// 2,000 schedules, or as many as `PROPTEST_CASES` asks for beyond: `make schedules` asks for a million.
fn config() -> ProptestConfig {
    let config = ProptestConfig::default();
    ProptestConfig {
        cases: config.cases.max(2_000),
        ..config
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn inv4_one_active_one_standby_and_no_retired_key_verifies(acts in schedule(), bounds in any_bounds()) {
        let (mut ring, mut now) = (initial(), START);
        let mut gateways = vec![Gateway { is_live: true, ring: ring.clone() }; GATEWAYS];
        let mut signed: Vec<(String, i64)> = Vec::new();
        for (number, (act, wait)) in acts.into_iter().enumerate() {
            signed.push((ring.active().unwrap().kid.clone(), now));
            now += wait;
            signed.push((ring.active().unwrap().kid.clone(), now));
            let new = format!("n{number}");
            let event = match act {
                Act::Rotate => Event::Rotate { standby: new, held_seq: held_seq(&gateways) },
                Act::Retire => Event::Retire,
                Act::Purge => Event::Purge,
                Act::Abort => Event::Abort { kid: ring.standby().unwrap().kid.clone(), standby: new },
                Act::Generate => Event::Generate { kid: new },
                Act::Reinstate(which) => Event::Reinstate { kid: chosen(&ring, which) },
                Act::Revoke(which) => Event::Revoke { kid: chosen(&ring, which), standby: new },
                Act::Hear(which) => {
                    gateways[which].ring = ring.clone();
                    continue;
                }
                Act::Toggle(which) => {
                    gateways[which].is_live = !gateways[which].is_live;
                    continue;
                }
            };
            if let Ok(next) = step(&ring, &event, now, &bounds) {
                check_transition(&ring, &next)?;
                if matches!(event, Event::Rotate { .. }) {
                    check_activation(&ring, &next, &gateways, now, &bounds)?;
                }
                ring = next;
            }
            check_ring(&ring, now)?;
            check_tokens(&ring, &signed, now, &bounds)?;
        }
    }
}
