//! A roll-out goes on when all is well, and stops at the first sign of harm.

use super::*;

pub(super) const RULES: Rules = Rules {
    bake_s: 300,
    silence_s: 30,
    patience_s: 120,
    least_requests: 200,
    evidence_s: 0,
    failures_rise: 5,
    denials_rise: 10,
    denials_fall: 15,
    latency_percent: 120,
};

/// 1,000 requests, of which so many failed and so many were refused; all take about as long.
pub(super) fn traffic(failures: u64, denied: u64, bucket: usize) -> Traffic {
    let mut latency = vec![0; LATENCY_BOUNDS_US.len() + 1];
    latency[bucket] = 1_000;
    Traffic {
        requests: 1_000,
        failures,
        denied,
        latency,
    }
}

pub(super) fn node(name: &str, traffic: Traffic) -> RolloutNode {
    RolloutNode {
        name: name.to_owned(),
        silent_s: 1,
        is_healthy: true,
        unhealthy_s: 0,
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
    let waits = Next::Wait("a is not healthy yet".to_owned());
    assert_eq!(after(60, &late, &rest), waits);
    let behind = [node("c", traffic(2, 30, 3)), late[0].clone()];
    assert_eq!(after(60, &behind, &rest), waits, "whichever of the group it is");
    late[0].unhealthy_s = 120;
    assert_eq!(after(900, &late, &rest), waits, "the patience is not over");
    let short = Rules { bake_s: 60, ..RULES };
    let later = step(Phase::Canary, 100, &late, &rest, &Traffic::default(), &short);
    assert_eq!(later, waits, "the time is over, and it is not healthy");
    late[0].unhealthy_s = 121;
    assert!(halts(
        &after(121, &late, &rest),
        "a has not been healthy for 121 s"
    ));
    late[0].is_healthy = true;
    assert_eq!(after(300, &late, &rest), Next::Advance(Phase::Quarter));
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
    assert!(halts(&after(1, &[silent.clone()], &[]), "silent for 31 s"));
    // Whichever of the group it is; one that has not the policy may be silent.
    let good = || node("b", traffic(0, 0, 3));
    assert!(halts(
        &after(300, &[good(), silent.clone()], &[]),
        "silent for 31 s"
    ));
    assert_eq!(
        after(300, &[good()], &[silent.clone()]),
        Next::Advance(Phase::Quarter)
    );
    silent.silent_s = 30;
    assert!(matches!(after(300, &[silent], &[]), Next::Wait(_)));
}

#[test]
fn what_is_over_stays_as_it_is_whatever_is_said_of_it() {
    let mut ill = node("a", traffic(1_000, 1_000, 10));
    ill.silent_s = 1_000;
    ill.is_healthy = false;
    for phase in [Phase::Done, Phase::Halted] {
        let next = step(phase, 1_000, &[ill.clone()], &[], &traffic(0, 0, 1), &RULES);
        assert_eq!(next, Next::Wait(format!("the roll-out is {phase}")));
    }
}

#[test]
fn phases_follow_each_other_and_grow() {
    let order = [
        Phase::Shadow,
        Phase::Canary,
        Phase::Quarter,
        Phase::All,
        Phase::Done,
    ];
    for pair in order.windows(2) {
        assert_eq!(pair[0].next(), pair[1]);
        let next = step(
            pair[0],
            300,
            &[node("a", traffic(0, 0, 3))],
            &[],
            &Traffic::default(),
            &RULES,
        );
        let expected = match pair[0] {
            Phase::Done => Next::Wait("the roll-out is done".to_owned()),
            _ => Next::Advance(pair[1]),
        };
        assert_eq!(next, expected);
    }
    assert_eq!(
        (Phase::Done.next(), Phase::Halted.next()),
        (Phase::Done, Phase::Halted)
    );
    for (gateways, canary, quarter) in [
        (1, 1, 1),
        (4, 1, 1),
        (5, 1, 2),
        (20, 1, 5),
        (21, 2, 6),
        (100, 5, 25),
    ] {
        let sizes = Phase::ALL.map(|phase| phase.size(gateways));
        assert_eq!(
            sizes,
            [canary, canary, quarter, gateways, gateways, 0],
            "of {gateways}"
        );
    }
}

#[test]
fn failures_denials_and_latency_are_compared_with_those_who_have_the_old_policy() {
    let rest = [node("b", traffic(2, 30, 3))];
    let judged = |traffic: Traffic| after(300, &[node("a", traffic)], &rest);
    for good in [
        traffic(7, 30, 3),
        traffic(0, 40, 3),
        traffic(2, 15, 3),
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
        &judged(traffic(2, 14, 3)),
        "14 of 1,000 requests are refused, 30 before"
    ));
    assert!(halts(
        &judged(traffic(2, 30, 4)),
        "806 of 1000 requests take more than 1194 µs; one in a hundred took 995 µs or more before"
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

/// So many requests that take at most 1 ms, and so many that take at most 2 ms.
fn taking(fast: u64, slow: u64) -> Traffic {
    let mut traffic = traffic(0, 0, 3);
    traffic.requests = fast + slow;
    (traffic.latency[3], traffic.latency[4]) = (fast, slow);
    traffic
}

#[test]
fn the_slowest_hundredth_is_counted_over_the_group_and_borne_up_to_its_bound() {
    assert_eq!(p99_us(&taking(990, 10)), Some(1_000));
    assert_eq!(p99_us(&taking(989, 11)), Some(1_090));
    let mut apart = taking(990, 0);
    apart.latency[6] = 10;
    assert_eq!(
        p99_us(&apart),
        Some(1_000),
        "the rest may take as long as it wants"
    );
    assert_eq!(p99_us(&taking(198, 3)), Some(1_333), "of 201 it is the 199th");

    let rest = [node("c", taking(1_000, 0))];
    let next = |one, other| after(300, &[node("a", one), node("b", other)], &rest);
    // 995 µs before: 1,194 are borne, and 10 of 1,000 beyond them with 17 more by chance.
    assert_eq!(
        next(taking(466, 34), taking(500, 0)),
        Next::Advance(Phase::Quarter)
    );
    assert!(halts(
        &next(taking(465, 35), taking(500, 0)),
        "28 of 1000 requests take more than 1194 µs"
    ));
    let strict = Rules {
        latency_percent: 100,
        ..RULES
    };
    let same = step(Phase::Canary, 300, &rest, &rest, &Traffic::default(), &strict);
    assert_eq!(same, Next::Advance(Phase::Quarter), "as slow is not slower");
}

#[test]
fn a_few_slow_ones_among_few_requests_are_chance_and_the_same_share_of_many_is_not() {
    let next = |requests: u64, slow: u64| {
        let rest = [node("b", taking(requests, 0))];
        after(300, &[node("a", taking(requests - slow, slow))], &rest)
    };
    // A twentieth and more, of which four fifths are beyond the bound.
    assert_eq!(next(200, 13), Next::Advance(Phase::Quarter));
    assert!(halts(&next(200, 14), "11 of 200 requests"));
    assert!(halts(&next(2_000, 60), "of 2000 requests"));
    assert!(halts(&next(200_000, 3_500), "of 200000 requests"));
}

/// Two gateways that do the same are not compared to one's harm: of many roll-outs of a policy that changes nothing next to none
/// is halted, however few requests there are.
#[test]
fn chance_halts_next_to_nothing() {
    let mut state = 7_u64;
    let mut random = |below: u64| {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut halted = 0;
    for round in 0..4_000_u64 {
        let mut draw = |requests: u64| {
            let mut drawn = of(requests, false);
            drawn.latency.fill(0);
            for _ in 0..requests {
                // Most around a millisecond, a long tail.
                let bucket = match random(1_000) {
                    0..300 => 2,
                    300..800 => 3,
                    800..960 => 4,
                    960..985 => 5,
                    985..994 => 7,
                    994..998 => 9,
                    _ => 11,
                };
                drawn.latency[bucket] += 1;
            }
            drawn
        };
        let (served, others) = (draw(200 + round % 500), draw(200 + round % 700));
        let default = Rules::default();
        let next = step(
            Phase::Canary,
            300,
            &[node("a", served)],
            &[node("b", others)],
            &Traffic::default(),
            &default,
        );
        halted += u32::from(matches!(next, Next::Halt(_)));
    }
    assert!(halted <= 8, "{halted} of 4,000");
}

#[test]
fn a_phase_that_has_seen_little_is_watched_longer_and_goes_on_in_the_end() {
    let rules = Rules {
        evidence_s: 600,
        ..RULES
    };
    let next = |phase, since_s, requests| {
        let mut node = node("a", of(requests, false));
        node.shadow = Some(ShadowCounts {
            judged: requests,
            ..ShadowCounts::default()
        });
        step(phase, since_s, &[node], &[], &Traffic::default(), &rules)
    };
    for phase in [Phase::Shadow, Phase::Canary, Phase::Quarter, Phase::All] {
        let goes_on = Next::Advance(phase.next());
        assert_eq!(next(phase, 300, 200), goes_on);
        let waits = "199 of 200 requests were seen; it goes on without more in 600 s";
        assert_eq!(next(phase, 300, 199), Next::Wait(waits.to_owned()));
        assert!(matches!(next(phase, 899, 0), Next::Wait(_)));
        assert_eq!(next(phase, 900, 0), goes_on);
    }
}

#[test]
fn when_half_of_a_few_requests_are_refused_that_is_seen_where_there_is_something_to_compare_with() {
    let refused = |denied, requests| Traffic {
        denied,
        ..of(requests, false)
    };
    let next = |served: Traffic, others: Traffic, before: &Traffic, rules: &Rules| {
        let (group, rest) = ([node("a", served)], [node("b", others)]);
        step(Phase::Canary, 300, &group, &rest, before, rules)
    };
    let (nobody, goes_on) = (Traffic::default(), Next::Advance(Phase::Quarter));
    assert!(halts(
        &next(refused(10, 20), refused(1, 20), &nobody, &RULES),
        "10 of 20 requests are refused"
    ));
    assert!(halts(
        &next(refused(150, 150), nobody.clone(), &refused(0, 500), &RULES),
        "150 of 150 requests are refused"
    ));
    assert_eq!(
        next(refused(9, 20), refused(0, 20), &nobody, &RULES),
        goes_on,
        "fewer than half"
    );
    assert_eq!(
        next(refused(20, 20), refused(20, 20), &nobody, &RULES),
        goes_on,
        "an attack on everybody"
    );
    assert_eq!(
        next(refused(20, 20), nobody.clone(), &nobody, &RULES),
        goes_on,
        "nobody knows what was refused before"
    );
    let meant = Rules {
        denials_rise: 600,
        ..RULES
    };
    assert_eq!(next(refused(12, 20), refused(0, 20), &nobody, &meant), goes_on);
}

/// So many requests, all of which failed, or none.
fn of(requests: u64, all_fail: bool) -> Traffic {
    let mut traffic = traffic(0, 0, 3);
    traffic.latency[3] = requests;
    (traffic.requests, traffic.failures) = (requests, if all_fail { requests } else { 0 });
    traffic
}

#[test]
fn who_has_the_old_policy_is_the_measure_while_that_is_enough_and_the_time_before_otherwise() {
    let ill = [node("a", of(1_000, true))];
    let next = |others: &Traffic, before: &Traffic| {
        step(
            Phase::Canary,
            300,
            &ill,
            &[node("b", others.clone())],
            before,
            &RULES,
        )
    };
    // The service is ill for everybody, now or then.
    assert_eq!(
        next(&of(200, true), &of(1_000, false)),
        Next::Advance(Phase::Quarter)
    );
    assert!(halts(&next(&of(199, true), &of(200, false)), "fail"));
    assert_eq!(
        next(&of(19, false), &of(200, true)),
        Next::Advance(Phase::Quarter)
    );
    assert!(halts(
        &next(&of(199, false), &of(200, true)),
        "1000 of 1000 requests fail"
    ));
    assert!(halts(&next(&of(200, false), &of(1_000, true)), "fail"));
}

/// So many failures of so many requests.
fn failing(failures: u64, requests: u64) -> Traffic {
    Traffic {
        failures,
        ..of(requests, false)
    }
}

#[test]
fn when_half_of_a_few_requests_fail_no_comparison_is_waited_for() {
    let nobody = Traffic::default();
    let next = |served: Traffic, others: Traffic, before: &Traffic| {
        let (group, rest) = ([node("a", served)], [node("b", others)]);
        step(Phase::Canary, 300, &group, &rest, before, &RULES)
    };
    let goes_on = Next::Advance(Phase::Quarter);
    assert!(halts(
        &next(of(199, true), of(1_000, false), &nobody),
        "199 of 199 requests fail"
    ));
    assert!(halts(
        &next(failing(10, 20), nobody.clone(), &nobody),
        "10 of 20 requests fail"
    ));
    assert_eq!(
        next(failing(9, 20), nobody.clone(), &nobody),
        goes_on,
        "fewer than half"
    );
    assert_eq!(
        next(of(19, true), nobody.clone(), &nobody),
        goes_on,
        "too few of them"
    );
    // The service behind is ill: for the others now, or for all before.
    assert_eq!(next(of(30, true), of(20, true), &of(500, false)), goes_on);
    assert_eq!(next(of(30, true), of(19, false), &of(500, true)), goes_on);
    assert!(halts(
        &next(of(30, true), of(19, true), &nobody),
        "30 of 30 requests fail"
    ));
}

#[test]
fn a_group_is_judged_from_its_two_hundredth_request_on_and_as_a_whole() {
    let rest = [node("c", of(1_000, false))];
    let next = |one, other| {
        let group = [
            node("a", failing(one / 3, one)),
            node("b", failing(other / 3, other)),
        ];
        after(1, &group, &rest)
    };
    assert!(matches!(next(100, 99), Next::Wait(_)));
    assert!(halts(&next(100, 100), "330 of 1,000 requests fail, 0 before"));
    // Well beside ill: 5 of 1,000 are borne, 6 are not.
    let next = |ill| {
        after(
            1,
            &[node("a", of(ill, true)), node("b", of(2_000 - ill, false))],
            &rest,
        )
    };
    assert!(
        matches!(next(11), Next::Wait(_)),
        "5.5 of 1,000 are not more than 5"
    );
    assert!(halts(&next(12), "6 of 1,000 requests fail"));
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
    assert_eq!(shadow(1_000, 10, 15), Next::Advance(Phase::Canary));
    assert!(halts(&shadow(1_000, 11, 0), "refuse 11 of 1000"));
    assert!(halts(&shadow(1_000, 0, 16), "let 16 of 1000"));
    assert_eq!(shadow(199, 199, 0), Next::Advance(Phase::Canary));
    assert!(halts(&shadow(200, 3, 0), "refuse 3 of 200"));
}

#[test]
fn in_shadow_all_that_try_it_count_together_and_what_they_serve_is_the_old_policys() {
    let shadow = |name, denied| {
        let mut node = node(name, traffic(1_000, 1_000, 10));
        node.shadow = Some(ShadowCounts {
            judged: 500,
            newly_denied: denied,
            ..ShadowCounts::default()
        });
        node
    };
    let next = |one, other| {
        let group = [shadow("a", one), node("b", traffic(0, 0, 3)), shadow("c", other)];
        step(
            Phase::Shadow,
            300,
            &group,
            &[node("d", traffic(0, 0, 1))],
            &traffic(0, 0, 1),
            &RULES,
        )
    };
    assert_eq!(next(0, 10), Next::Advance(Phase::Canary));
    assert!(halts(&next(5, 6), "refuse 11 of 1000"));
}

/// A canary that dies just before its phase is over has not been seen to live with the policy.
#[test]
fn nothing_goes_on_while_a_gateway_that_has_the_policy_says_nothing() {
    let rest = [node("b", traffic(2, 30, 3))];
    let mut group = [node("a", traffic(2, 30, 3))];
    for phase in [Phase::Shadow, Phase::Canary, Phase::Quarter, Phase::All] {
        let mut next = |silent_s| {
            group[0].silent_s = silent_s;
            group[0].shadow = None;
            step(phase, 300, &group, &rest, &Traffic::default(), &RULES)
        };
        assert_eq!(next(9), Next::Advance(phase.next()));
        assert_eq!(next(10), Next::Wait("a has been silent for 10 s".to_owned()));
        assert!(halts(&next(31), "a has been silent for 31 s"));
    }
}

/// Whatever clients see while gateways go back, they see of the harm that this ends.
#[test]
fn a_rollback_is_halted_by_nothing_and_waits_for_those_who_speak() {
    let harmed = traffic(900, 900, 10);
    let mut group = [node("a", harmed.clone()), node("b", harmed)];
    let next = |group: &[RolloutNode]| step_back(Phase::All, group, &RULES);
    assert_eq!(next(&group), Next::Advance(Phase::Done));
    group[0].silent_s = 31;
    group[0].is_healthy = false;
    assert_eq!(
        next(&group),
        Next::Advance(Phase::Done),
        "a dead one is told when it is back"
    );
    group[1].is_healthy = false;
    group[1].unhealthy_s = 10_000;
    assert_eq!(next(&group), Next::Wait("b is not healthy yet".to_owned()));
    group[1].objection = Some(Objection {
        code: "compile".to_owned(),
        path: None,
        message: "no such key".to_owned(),
    });
    assert_eq!(next(&group), Next::Wait("b refuses it: no such key".to_owned()));
    assert_eq!(
        step_back(Phase::Halted, &group, &RULES),
        Next::Wait("the roll-out is halted".to_owned())
    );
}
