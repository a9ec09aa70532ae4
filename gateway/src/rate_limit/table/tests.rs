//! The table under load, in full, and in every interleaving.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000_000;
const MINUTE: Duration = Duration::from_secs(60);

fn unit<'u>(name: &'u str, key: &'u [u8], per_minute: u64) -> Unit<'u> {
    Unit {
        name,
        key,
        gcra: Limit::new(per_minute, MINUTE, per_minute).unwrap(),
        cost: 1,
        is_enforced: true,
        duty: Duty::Count,
    }
}

/// Whether all units were granted.
fn granted(limiter: &Table, units: &[Unit<'_>], now_ns: u64) -> bool {
    limiter
        .charge_at(units, now_ns)
        .iter()
        .all(|(_, decision)| decision.is_ok())
}

#[test]
fn a_key_gets_its_burst_and_then_one_at_a_time() {
    let limiter = Table::new(1_000);
    let alice = [unit("per-address", b"alice", 6)];
    let bob = [unit("per-address", b"bob", 6)];

    assert_eq!((0..10).filter(|_| granted(&limiter, &alice, SECOND)).count(), 6);
    assert!(
        granted(&limiter, &bob, SECOND),
        "another key has its own allowance"
    );
    assert!(
        !granted(&limiter, &alice, 10 * SECOND),
        "a unit comes back every 10 s"
    );
    assert!(granted(&limiter, &alice, 11 * SECOND));
}

#[test]
fn a_refused_batch_consumes_nothing() {
    let limiter = Table::new(1_000);
    let (wide, narrow) = (unit("wide", b"k-wide", 100), unit("narrow", b"k-narrow", 1));
    assert!(granted(&limiter, &[wide, narrow], SECOND));
    for _ in 0..500 {
        assert!(!granted(&limiter, &[wide, narrow], SECOND));
    }
    // One of the hundred is used, not 501.
    assert_eq!(
        (0..200).filter(|_| granted(&limiter, &[wide], SECOND)).count(),
        99
    );
}

#[test]
fn a_refund_makes_a_success_free() {
    let limiter = Table::new(1_000);
    let log_in = unit("log-in-failures", b"alice", 5);
    for _ in 0..50 {
        assert!(granted(&limiter, &[log_in], SECOND));
        limiter.refund_unit(log_in, 0);
    }
    assert_eq!(
        (0..10).filter(|_| granted(&limiter, &[log_in], SECOND)).count(),
        5
    );
}

#[test]
fn a_late_refund_gives_no_more_than_is_left_of_the_unit() {
    let limiter = Table::new(1_000);
    let log_in = unit("log-in-failures", b"alice", 5);
    assert!(granted(&limiter, &[log_in], SECOND));
    // A unit comes back in 12 s. Answered after 20 s, it has come back already: others must not get it too.
    let later = 21 * SECOND;
    for _ in 0..5 {
        assert!(granted(&limiter, &[log_in], later));
    }
    limiter.refund_unit(log_in, 20 * SECOND);
    assert!(!granted(&limiter, &[log_in], later));
}

#[test]
fn a_full_table_keeps_active_keys_and_lets_new_ones_share_a_bucket() {
    let limiter = Table::new(SHARDS);
    let victim = unit("login", b"victim", 3);
    assert_eq!((0..9).filter(|_| granted(&limiter, &[victim], SECOND)).count(), 3);

    // A flood of fresh keys: the table holds one key per shard, so nearly all share the overflow bucket of 3.
    let flood = (0..10_000_u64)
        .filter(|number| granted(&limiter, &[unit("login", &number.to_be_bytes(), 3)], SECOND))
        .count();
    assert!(flood <= SHARDS + 3, "{flood} of the flood got through");
    assert!(
        !granted(&limiter, &[victim], SECOND),
        "the flood must not give the victim's key a fresh allowance"
    );
}

#[test]
fn keys_at_rest_make_room() {
    let limiter = Table::new(SHARDS);
    for number in 0..1_000_u64 {
        granted(&limiter, &[unit("login", &number.to_be_bytes(), 60)], SECOND);
    }
    // Two minutes later every bucket is full again, so every key has room: no sharing.
    let later = 121 * SECOND;
    let mut own = 0;
    for number in 1_000..1_000 + SHARDS as u64 {
        let key = number.to_be_bytes();
        own += limiter
            .charge_at(&[unit("login", &key, 60)], later)
            .iter()
            .filter(|(at, _)| !at.is_overflow())
            .count();
    }
    assert!(own > SHARDS / 2, "only {own} keys of {SHARDS} found room");
}

#[test]
fn threads_together_get_no_more_than_the_limit() {
    let limiter = Arc::new(Table::new(1_000));
    let total = Arc::new(AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (limiter, total) = (limiter.clone(), total.clone());
            scope.spawn(move || {
                for _ in 0..1_000 {
                    // The second limit is taken in the opposite order by every other batch: no deadlock, no overshoot.
                    let units = [unit("a", b"shared-a", 100), unit("b", b"shared-b", 10_000)];
                    let reversed = [units[1], units[0]];
                    let n = u64::from(granted(&limiter, &units, SECOND))
                        + u64::from(granted(&limiter, &reversed, SECOND));
                    total.fetch_add(n, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(total.load(Ordering::Relaxed), 100);
}

proptest! {
    /// In any interval, a key is granted at most its burst and what came back since, whatever the interleaving.
    #[test]
    fn never_more_than_the_burst_and_the_refill(
        steps in prop::collection::vec((0_u64..3 * SECOND, 0_u8..4), 1..300),
        per_minute in 1_u64..200,
    ) {
        let limiter = Table::new(10_000);
        let mut now = SECOND;
        let mut counts = [0_u64; 4];
        for (wait, key) in steps {
            now += wait;
            if granted(&limiter, &[unit("p", &[key], per_minute)], now) {
                counts[usize::from(key)] += 1;
            }
        }
        let allowed = per_minute + (now - SECOND) * per_minute / (60 * SECOND) + 1;
        prop_assert!(counts.iter().all(|count| *count <= allowed), "{counts:?} > {allowed}");
    }
}
