//! What holds of every roll-out, whatever its gateways say.

use proptest::prelude::*;

use super::tests::{RULES, node, traffic};
use super::*;

/// A histogram, and what of its requests failed and was refused.
fn any_traffic() -> impl Strategy<Value = Traffic> {
    let buckets = prop::collection::vec(0_u64..2_000, LATENCY_BOUNDS_US.len() + 1);
    (buckets, 0_u64..=1_000, 0_u64..=1_000).prop_map(|(latency, failures, denied)| {
        let requests: u64 = latency.iter().sum();
        Traffic {
            requests,
            failures: requests * failures / 1_000,
            denied: requests * denied / 1_000,
            latency,
        }
    })
}

fn canary(group: &[RolloutNode], rest: &[RolloutNode]) -> Next {
    step(Phase::Canary, 300, group, rest, &Traffic::default(), &RULES)
}

/// The same traffic in two parts.
fn halves(whole: &Traffic) -> [Traffic; 2] {
    let low = |of: &dyn Fn(u64) -> u64| Traffic {
        requests: of(whole.requests),
        failures: of(whole.failures),
        denied: of(whole.denied),
        latency: whole.latency.iter().map(|&count| of(count)).collect(),
    };
    [low(&|count| count / 3), low(&|count| count - count / 3)]
}

proptest! {
    /// Each phase has all gateways of the phase before it, a canary exists, and at most a twentieth is one.
    #[test]
    fn a_phase_only_adds_gateways(names in prop::collection::btree_set("[a-z]{1,8}", 1..60), change in "[a-z]{1,8}") {
        let of = |phase| members(phase, names.iter().map(String::as_str), &change);
        let (canary, quarter, all) = (of(Phase::Canary), of(Phase::Quarter), of(Phase::All));
        prop_assert!(!canary.is_empty() && canary.len() <= names.len().div_ceil(20));
        prop_assert_eq!(&of(Phase::Shadow), &canary);
        prop_assert!(canary.is_subset(&quarter) && quarter.is_subset(&all));
        prop_assert_eq!(all.len(), names.len());
        prop_assert!(of(Phase::Halted).is_empty());
    }

    /// Whatever the gateways say, nothing that objected or fell silent goes on, and nothing that is over moves.
    #[test]
    fn nothing_advances_against_an_objection(
        phase in 0_usize..6,
        since_s in 0_i64..1_000,
        objects in any::<bool>(),
        silent_s in 0_i64..100,
        is_healthy in any::<bool>(),
        failures in 0_u64..1_000,
    ) {
        let phase = Phase::ALL[phase];
        let mut one = node("a", traffic(failures, 0, 3));
        one.silent_s = silent_s;
        one.is_healthy = is_healthy;
        one.objection = objects.then(|| Objection { code: "x".to_owned(), path: None, message: "x".to_owned() });
        let next = step(phase, since_s, &[one], &[], &traffic(0, 0, 3), &RULES);
        if let Next::Advance(to) = next {
            prop_assert!(!phase.is_over() && to == phase.next());
            prop_assert!(!objects && is_healthy && silent_s <= 30 && since_s >= 300);
            prop_assert!(phase == Phase::Shadow || failures <= 5);
        }
    }

    /// An ill service, and an attack, are no fault of the policy: who fares as all others do is not halted.
    #[test]
    fn what_befalls_everybody_halts_nothing(fate in any_traffic()) {
        let next = canary(&[node("a", fate.clone())], &[node("b", fate)]);
        prop_assert_eq!(next, Next::Advance(Phase::Quarter));
    }

    /// How many gateways served it, and which of them is named first, plays no part.
    #[test]
    fn a_group_counts_as_one(served in any_traffic(), others in any_traffic()) {
        let whole = canary(&[node("a", served.clone())], &[node("b", others.clone())]);
        let ([one, two], [three, four]) = (halves(&served), halves(&others));
        let rest = [node("c", three), node("d", four)];
        prop_assert_eq!(&canary(&[node("a", one.clone()), node("b", two.clone())], &rest), &whole);
        prop_assert_eq!(&canary(&[node("b", two), node("a", one)], &rest), &whole);
    }

    /// More failures never make a roll-out go on that was halted, nor does a better neighbour.
    #[test]
    fn worse_is_never_better(served in any_traffic(), others in any_traffic(), more in 0_u64..1_000) {
        let judged = |served: &Traffic, others: &Traffic| {
            canary(&[node("a", served.clone())], &[node("b", others.clone())])
        };
        let mut worse = served.clone();
        worse.failures = (worse.failures + more).min(worse.requests);
        let mut better = others.clone();
        better.failures = better.failures.saturating_sub(more);
        if matches!(judged(&served, &others), Next::Halt(_)) {
            prop_assert!(matches!(judged(&worse, &others), Next::Halt(_)));
            prop_assert!(matches!(judged(&served, &better), Next::Halt(_)));
        }
    }

    /// It lies in the bucket in which the histogram reaches ninety-nine of a hundred.
    #[test]
    fn the_slowest_hundredth_is_where_the_histogram_has_it(served in any_traffic()) {
        let Some(found) = p99_us(&served) else {
            prop_assert_eq!(served.requests, 0);
            return Ok(());
        };
        let ends = LATENCY_BOUNDS_US.into_iter().chain([2 * 4_096_000]);
        let (mut passed, mut low) = (0, 0);
        for (count, high) in served.latency.iter().zip(ends) {
            passed += count;
            if passed * 100 >= served.requests * 99 {
                prop_assert!((low..=high).contains(&found), "{} is not of {}..={}", found, low, high);
                return Ok(());
            }
            low = high;
        }
        prop_assert!(false, "a histogram ends with all of it");
    }

    /// Slower is slower: who shifts a request to a later bucket is never told to be faster.
    #[test]
    fn the_slowest_hundredth_grows_with_what_is_slow(served in any_traffic(), from in 0_usize..15, count in 1_u64..2_000) {
        let mut slower = served.clone();
        let moved = count.min(slower.latency[from]);
        slower.latency[from] -= moved;
        slower.latency[from + 1] += moved;
        prop_assert!(p99_us(&slower) >= p99_us(&served));
        let bound = p99_us(&served).unwrap_or(1_000);
        prop_assert!(slower_than(&slower, bound) >= slower_than(&served, bound));
        prop_assert!(slower_than(&served, bound) * 100 <= served.requests);
    }

    /// The honour of being the canary goes round, and the order in which gateways are named plays no part.
    #[test]
    fn the_canary_depends_on_the_change_alone(names in prop::collection::vec("[a-z]{1,8}", 2..40)) {
        let of = |names: &[String], change: &str| -> Vec<String> {
            let chosen = members(Phase::Canary, names.iter().map(String::as_str), change);
            chosen.into_iter().map(str::to_owned).collect()
        };
        let names: Vec<String> = names.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        let turned: Vec<String> = names.iter().rev().cloned().collect();
        let mut chosen = BTreeSet::new();
        for change in 0..64 {
            let change = change.to_string();
            prop_assert_eq!(of(&names, &change), of(&turned, &change));
            chosen.extend(of(&names, &change));
        }
        prop_assert!(names.len() == 1 || chosen.len() > 1, "always {:?}", chosen);
    }
}
