//! Tests of the algorithm, its laws included.

use super::Limit;
use proptest::prelude::*;
use std::time::Duration;

const SECOND: u64 = 1_000_000_000;

fn five_per_minute() -> Limit {
    Limit::new(5, Duration::from_mins(1), 5).expect("a limit")
}

#[test]
fn a_burst_passes_and_the_next_waits_one_interval() {
    let limit = five_per_minute();
    let mut tat = 0;
    for left in (0..5).rev() {
        let granted = limit.decide(tat, SECOND, 1).expect("within the burst");
        assert_eq!(granted.remaining, left);
        tat = granted.tat_ns;
    }
    let denied = limit.decide(tat, SECOND, 1).expect_err("the sixth");
    assert_eq!((denied.remaining, denied.retry_after_ns), (0, 12 * SECOND));
    assert_eq!(denied.reset_ns, 60 * SECOND);
    assert!(limit.decide(tat, 13 * SECOND - 1, 1).is_err());
    assert!(limit.decide(tat, 13 * SECOND, 1).is_ok());
}

#[test]
fn a_cost_above_the_burst_never_passes() {
    let denied = five_per_minute().decide(0, 0, 6).expect_err("too much");
    assert_eq!((denied.retry_after_ns, denied.remaining), (u64::MAX, 5));
}

#[test]
fn limits_that_cannot_be() {
    for (limit, period, burst) in [(0, 60, 1), (1, 0, 1), (1, 60, 0), (1, u64::MAX, 1)] {
        assert_eq!(Limit::new(limit, Duration::from_secs(period), burst), None);
    }
}

/// Most requests that may be granted within `dt`: the burst, and one for each whole interval.
fn most(limit: &Limit, dt: u64) -> u64 {
    limit.burst() + dt / limit.interval_ns()
}

fn assert_within(limit: &Limit, granted: &[u64]) -> Result<(), TestCaseError> {
    for (first, start) in granted.iter().enumerate() {
        for (last, end) in granted.iter().enumerate().skip(first) {
            let count = (last - first + 1) as u64;
            prop_assert!(
                count <= most(limit, end - start),
                "{count} within {} ns",
                end - start
            );
        }
    }
    Ok(())
}

fn limits() -> impl Strategy<Value = Limit> {
    (1_u64..50, 1_u64..120, 1_u64..12).prop_map(|(limit, seconds, burst)| {
        Limit::new(limit, Duration::from_secs(seconds), burst).expect("a limit")
    })
}

#[test]
fn a_divided_limit_goes_on_from_what_is_used_of_the_whole() {
    let limit = Limit::new(1, Duration::from_hours(1), 10).expect("a limit");
    // Four of ten are used: of three parts each has two of the six that are left.
    let part = limit.divided(3);
    let mut tat = 4 * limit.interval_ns();
    for left in [1, 0] {
        let granted = part.decide(tat, 0, 1).expect("within the part");
        assert_eq!(granted.remaining, left);
        tat = granted.tat_ns;
    }
    assert!(part.decide(tat, 0, 1).is_err());
    assert_eq!(part.refund(tat, 1), 7 * limit.interval_ns());
    assert_eq!(limit.divided(1), limit);
    assert_eq!(limit.divided(0), limit);
}

#[test]
fn a_part_of_less_than_one_request_is_one() {
    let limit = five_per_minute().divided(8);
    let granted = limit.decide(0, 0, 1).expect("one");
    assert_eq!(granted.remaining, 0);
    let denied = limit.decide(granted.tat_ns, 0, 1).expect_err("the second");
    assert_eq!(denied.retry_after_ns, 8 * 12 * SECOND);
    assert!(limit.decide(0, 0, 5).is_ok(), "one that costs the whole burst");
    assert!(limit.decide(0, 0, 6).is_err());
}

proptest! {
    /// Counters that know nothing of each other, each with its part: together within the limit, or one each.
    #[test]
    fn divided_counters_together_hold_the_limit(
        limit in limits(),
        parts in 1_usize..9,
        steps in proptest::collection::vec((0_u64..4 * SECOND, any::<proptest::sample::Index>(), 1_usize..6), 1..120),
    ) {
        let part = limit.divided(parts as u64);
        let (mut now, mut tats, mut granted) = (0, vec![0; parts], Vec::new());
        for (gap, index, asked) in steps {
            now += gap;
            let tat = &mut tats[index.index(parts)];
            for _ in 0..asked {
                if let Ok(next) = part.decide(*tat, now, 1) {
                    *tat = next.tat_ns;
                    granted.push(now);
                }
            }
        }
        let burst = limit.burst().max(parts as u64);
        for (first, start) in granted.iter().enumerate() {
            for (last, end) in granted.iter().enumerate().skip(first) {
                let count = (last - first + 1) as u64;
                prop_assert!(count <= burst + (end - start) / limit.interval_ns(), "{count} within {} ns", end - start);
            }
        }
    }

    #[test]
    fn no_interval_ever_holds_more_than_burst_and_rate(
        limit in limits(),
        gaps in proptest::collection::vec(0_u64..4 * SECOND, 1..120),
    ) {
        let (mut now, mut tat, mut granted) = (0, 0, Vec::new());
        for gap in gaps {
            now += gap;
            let decision = limit.decide(tat, now, 1);
            // What was announced as left is exactly what passes now.
            let announced = decision.map_or(0, |granted| granted.remaining + 1);
            let (mut probe, mut passes) = (tat, 0);
            while let Ok(next) = limit.decide(probe, now, 1) {
                probe = next.tat_ns;
                passes += 1;
            }
            prop_assert_eq!(announced, passes);
            match decision {
                Ok(next) => {
                    tat = next.tat_ns;
                    granted.push(now);
                }
                Err(denied) => {
                    prop_assert!(limit.decide(tat, now + denied.retry_after_ns, 1).is_ok());
                    prop_assert!(limit.decide(tat, now + denied.retry_after_ns - 1, 1).is_err());
                }
            }
        }
        assert_within(&limit, &granted)?;
    }

    #[test]
    fn a_refund_at_once_is_as_if_it_never_was(limit in limits(), tat in 0_u64..200 * SECOND, now in 0_u64..100 * SECOND) {
        if let Ok(granted) = limit.decide(tat, now, 1) {
            let refunded = limit.refund(granted.tat_ns, 1);
            prop_assert_eq!(refunded, tat.max(now));
            prop_assert_eq!(limit.decide(refunded, now, 1), limit.decide(tat, now, 1));
        }
    }

    /// Some are refunded, late and in any order: the others stay within the limit.
    #[test]
    fn late_refunds_never_let_the_others_exceed_the_limit(
        limit in limits(),
        steps in proptest::collection::vec((0_u64..4 * SECOND, any::<bool>(), any::<proptest::sample::Index>()), 1..120),
    ) {
        let (mut now, mut tat, mut kept, mut held) = (0, 0, Vec::new(), Vec::new());
        for (gap, keep, index) in steps {
            now += gap;
            if let Ok(granted) = limit.decide(tat, now, 1) {
                tat = granted.tat_ns;
                if keep { kept.push(now) } else { held.push(now) }
            }
            if !held.is_empty() && index.index(3) == 0 {
                let since = held.swap_remove(index.index(held.len()));
                tat = limit.refund_after(tat, 1, now - since);
            }
        }
        assert_within(&limit, &kept)?;
    }
}
