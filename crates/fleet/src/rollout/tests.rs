//! A roll-out goes on when all is well, and stops at the first sign of harm.

use proptest::prelude::*;

use super::*;

const RULES: Rules = Rules {
    bake_s: 300,
    silence_s: 30,
    patience_s: 120,
    least_requests: 200,
    failures_rise: 5,
    denials_rise: 10,
    denials_fall: 10,
    latency_percent: 120,
};

/// 1,000 requests, of which so many failed and so many were refused; all take about as long.
fn traffic(failures: u64, denied: u64, bucket: usize) -> Traffic {
    let mut latency = vec![0; LATENCY_BOUNDS_US.len() + 1];
    latency[bucket] = 1_000;
    Traffic {
        requests: 1_000,
        failures,
        denied,
        latency,
    }
}

fn node(name: &str, traffic: Traffic) -> RolloutNode {
    RolloutNode {
        name: name.to_owned(),
        silent_s: 1,
        is_healthy: true,
        objection: None,
        traffic,
        shadow: None,
    }
}

fn after(since_s: i64, group: &[RolloutNode], rest: &[RolloutNode]) -> Next {
    step(Phase::Canary, since_s, group, rest, &Traffic::default(), &RULES)
}

fn halts(next: &Next, with: &str) -> bool {
    matches!(next, Next::Halt(why) if why.contains(with))
}

#[test]
fn a_healthy_group_advances_when_it_was_watched_long_enough() {
    let rest = [node("b", traffic(2, 30, 3))];
    let group = [node("a", traffic(2, 30, 3))];
    assert_eq!(
        after(299, &group, &rest),
        Next::Wait("1 s of watching are left".to_owned())
    );
    assert_eq!(after(300, &group, &rest), Next::Advance(Phase::Quarter));
    let mut late = group.clone();
    late[0].is_healthy = false;
    assert_eq!(
        after(60, &late, &rest),
        Next::Wait("a is not healthy yet".to_owned())
    );
    assert!(halts(&after(121, &late, &rest), "not healthy after 121 s"));
}

#[test]
fn an_objection_and_silence_stop_it_at_once() {
    let mut refusing = node("a", traffic(0, 0, 3));
    refusing.objection = Some(Objection {
        code: "compile".to_owned(),
        path: None,
        message: "routes.yaml:3:1: unknown key".to_owned(),
    });
    assert!(halts(
        &after(1, &[refusing], &[]),
        "a refuses it: routes.yaml:3:1"
    ));
    let mut silent = node("a", traffic(0, 0, 3));
    silent.silent_s = 31;
    assert!(halts(&after(1, &[silent], &[]), "silent for 31 s"));
}

#[test]
fn failures_denials_and_latency_are_compared_with_those_who_have_the_old_policy() {
    let rest = [node("b", traffic(2, 30, 3))];
    let judged = |traffic: Traffic| after(300, &[node("a", traffic)], &rest);
    for good in [
        traffic(7, 30, 3),
        traffic(0, 40, 3),
        traffic(2, 20, 3),
        traffic(2, 30, 1),
    ] {
        assert_eq!(judged(good), Next::Advance(Phase::Quarter));
    }
    assert!(halts(
        &judged(traffic(8, 30, 3)),
        "8 of 1,000 requests fail, 2 before"
    ));
    assert!(halts(
        &judged(traffic(2, 41, 3)),
        "41 of 1,000 requests are refused, 30 before"
    ));
    assert!(halts(
        &judged(traffic(2, 19, 3)),
        "19 of 1,000 requests are refused, 30 before"
    ));
    assert!(halts(
        &judged(traffic(2, 30, 4)),
        "takes 1990 µs or more, 995 µs before"
    ));
    // Harm is not waited for.
    assert!(halts(&after(3, &[node("a", traffic(100, 30, 3))], &rest), "fail"));
}

#[test]
fn when_all_have_it_the_time_before_is_the_measure_and_too_little_traffic_is_none() {
    let group = [node("a", traffic(100, 0, 3)), node("b", traffic(0, 0, 3))];
    let all = |before: &Traffic| step(Phase::All, 300, &group, &[], before, &RULES);
    assert!(halts(
        &all(&traffic(0, 0, 3)),
        "50 of 1,000 requests fail, 0 before"
    ));
    assert_eq!(all(&Traffic::default()), Next::Advance(Phase::Done));
}

#[test]
fn in_shadow_it_is_judged_by_what_it_would_have_done() {
    let shadow = |judged, newly_denied, newly_permitted| {
        let mut node = node("a", traffic(0, 0, 3));
        node.shadow = Some(ShadowCounts {
            judged,
            newly_denied,
            newly_permitted,
            ..ShadowCounts::default()
        });
        step(Phase::Shadow, 300, &[node], &[], &Traffic::default(), &RULES)
    };
    assert_eq!(shadow(1_000, 10, 10), Next::Advance(Phase::Canary));
    assert!(halts(&shadow(1_000, 11, 0), "refuse 11 of 1000"));
    assert!(halts(&shadow(1_000, 0, 11), "let 11 of 1000"));
    assert_eq!(shadow(100, 100, 0), Next::Advance(Phase::Canary));
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
}
