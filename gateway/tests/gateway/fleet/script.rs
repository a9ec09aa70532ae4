//! The scripts on a real Redis do what the algorithm of the policy says, for every sequence of calls.

use std::collections::HashMap;
use std::time::Duration;

use policy::gcra::Limit;
use proptest::prelude::*;
use redis::{Connection, Script};

use super::RedisServer;

const CHARGE: &str = include_str!("../../../src/rate_limit/store/charge.lua");
const REFUND: &str = include_str!("../../../src/rate_limit/store/refund.lua");
const TELL: &str = include_str!("../../../src/rate_limit/store/tell.lua");
const MEMBERS: &str = include_str!("../../../src/rate_limit/store/members.lua");

/// One limit of a request: which key, how much, and whether it refuses.
#[derive(Debug, Clone)]
struct Asked {
    key: usize,
    cost: u64,
    is_enforced: bool,
}

/// A request, and whether what it took is given back at once, later, or never.
#[derive(Debug, Clone)]
struct Step {
    asked: Vec<Asked>,
    given_back: Option<bool>,
}

/// What was taken from one key.
#[derive(Debug, Clone, Copy)]
struct Taken {
    key: usize,
    cost: u64,
    at_us: u64,
    born_us: u64,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let asked = (0..3_usize, 1..4_u64, prop::bool::weighted(0.8));
    let asked = asked.prop_map(|(key, cost, is_enforced)| Asked {
        key,
        cost,
        is_enforced,
    });
    let asked = prop::collection::vec(asked, 1..4).prop_map(|mut asked| {
        asked.sort_by_key(|asked| asked.key);
        asked.dedup_by_key(|asked| asked.key);
        asked
    });
    let step = (asked, prop::option::weighted(0.3, any::<bool>()));
    let step = step.prop_map(|(asked, given_back)| Step { asked, given_back });
    prop::collection::vec(step, 1..60)
}

fn limits() -> impl Strategy<Value = [Limit; 3]> {
    let limit = (1..20_u64, 1..9_u64).prop_map(|(interval_ms, burst)| {
        let limit = Limit::new(1, Duration::from_millis(interval_ms), burst).unwrap();
        limit.in_microseconds()
    });
    [limit.clone(), limit.clone(), limit]
}

fn charge(redis: &mut Connection, name: &str, limits: &[Limit; 3], asked: &[Asked]) -> Vec<u64> {
    let script = Script::new(CHARGE);
    let mut call = script.prepare_invoke();
    for Asked {
        key,
        cost,
        is_enforced,
    } in asked
    {
        let limit = limits[*key];
        call.key(format!("{name}:{key}"));
        call.arg(limit.interval_ns() / 1_000)
            .arg(limit.burst())
            .arg(*cost);
        call.arg(u8::from(*is_enforced)).arg(0);
    }
    call.invoke(redis).unwrap()
}

fn refund(redis: &mut Connection, name: &str, limits: &[Limit; 3], taken: Taken) {
    let script = Script::new(REFUND);
    let reserved = limits[taken.key].interval_ns() / 1_000 * taken.cost;
    let mut call = script.prepare_invoke();
    call.key(format!("{name}:{}", taken.key));
    call.arg(reserved).arg(taken.at_us).arg(taken.born_us);
    let _: i64 = call.invoke(redis).unwrap();
}

/// In every interval that the units kept of a key span, no more than the burst and what comes back in it.
fn assert_within(limit: Limit, kept: &[(u64, u64)]) -> Result<(), TestCaseError> {
    for (first, (start, _)) in kept.iter().enumerate() {
        let mut units = 0;
        for (end, cost) in kept.iter().skip(first) {
            units += cost;
            let most = limit.burst() + (end - start) / (limit.interval_ns() / 1_000);
            prop_assert!(units <= most, "{units} within {} µs", end - start);
        }
    }
    Ok(())
}

fn run(redis: &mut Connection, name: &str, limits: [Limit; 3], steps: &[Step]) -> Result<(), TestCaseError> {
    let mut held: Vec<Taken> = Vec::new();
    let mut kept: HashMap<usize, Vec<(u64, u64)>> = HashMap::new();
    for step in steps {
        let answer = charge(redis, name, &limits, &step.asked);
        let (is_taken, at_us) = (answer[0] == 1, answer[1]);
        let backlogs = answer[2..].chunks(2);
        let decisions: Vec<_> = step
            .asked
            .iter()
            .zip(backlogs)
            .map(|(asked, backlog)| {
                let granted = limits[asked.key]
                    .decide(backlog[0] * 1_000, 0, asked.cost)
                    .is_ok();
                (asked, granted, backlog[1])
            })
            .collect();
        let is_refused = decisions
            .iter()
            .any(|(asked, granted, _)| asked.is_enforced && !granted);
        prop_assert_eq!(is_taken, !is_refused, "{:?} {:?}", step, answer);
        if is_refused {
            continue;
        }
        for (asked, _, born_us) in decisions.into_iter().filter(|(_, granted, _)| *granted) {
            let taken = Taken {
                key: asked.key,
                cost: asked.cost,
                at_us,
                born_us,
            };
            match step.given_back {
                None => kept.entry(asked.key).or_default().push((at_us, asked.cost)),
                Some(true) => refund(redis, name, &limits, taken),
                Some(false) => held.push(taken),
            }
        }
        if held.len() > 3 {
            refund(redis, name, &limits, held.remove(0));
        }
    }
    for (key, kept) in kept {
        assert_within(limits[key], &kept)?;
    }
    Ok(())
}

#[tokio::test]
async fn never_more_than_burst_and_rate_whatever_is_charged_refused_and_given_back() {
    let redis = RedisServer::start().await;
    let mut connection = redis.connection();
    let mut cases = 0;
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(64)
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let connection = std::cell::RefCell::new(&mut connection);
    let cases = std::cell::Cell::new(&mut cases);
    let cases = std::cell::RefCell::new(cases.into_inner());
    runner
        .run(&(limits(), steps()), |(limits, steps)| {
            **cases.borrow_mut() += 1;
            let name = format!("case-{}", **cases.borrow());
            run(&mut connection.borrow_mut(), &name, limits, &steps)
        })
        .unwrap();
}

#[tokio::test]
async fn what_is_told_as_left_is_exactly_what_passes() {
    let redis = RedisServer::start().await;
    let mut connection = redis.connection();
    let hourly = Limit::new(1, Duration::from_hours(1), 7)
        .unwrap()
        .in_microseconds();
    let asked = |cost| {
        [Asked {
            key: 0,
            cost,
            is_enforced: true,
        }]
    };
    let limits = [hourly; 3];
    let mut granted = 0;
    for cost in [1, 2, 3] {
        let answer = charge(&mut connection, "left", &limits, &asked(cost));
        let told = hourly.decide(answer[2] * 1_000, 0, cost).unwrap();
        granted += cost;
        assert_eq!(told.remaining, 7 - granted);
    }
    assert_eq!(charge(&mut connection, "left", &limits, &asked(2))[0], 0);
    assert_eq!(charge(&mut connection, "left", &limits, &asked(1))[0], 1);
    assert_eq!(charge(&mut connection, "left", &limits, &asked(1))[0], 0);
}

#[tokio::test]
async fn a_clock_that_goes_back_locks_nobody_out_for_longer_than_the_burst() {
    let redis = RedisServer::start().await;
    let mut connection = redis.connection();
    let secondly = Limit::new(1, Duration::from_secs(1), 5)
        .unwrap()
        .in_microseconds();
    let now: Vec<u64> = redis.ask(&["TIME"]);
    let tomorrow = (now[0] + 86_400) * 1_000_000;
    let _: () = redis.ask(&["SET", "step:0", &format!("{tomorrow} {tomorrow}")]);
    let asked = [Asked {
        key: 0,
        cost: 1,
        is_enforced: true,
    }];
    let answer = charge(&mut connection, "step", &[secondly; 3], &asked);
    assert_eq!(
        (answer[0], answer[2]),
        (0, 5_000_000),
        "the whole burst is used, not a day of it"
    );
}

#[tokio::test]
async fn a_reservation_of_another_life_of_the_key_gives_nothing_back() {
    let redis = RedisServer::start().await;
    let mut connection = redis.connection();
    let hourly = Limit::new(1, Duration::from_hours(1), 2)
        .unwrap()
        .in_microseconds();
    let (limits, asked) = (
        [hourly; 3],
        [Asked {
            key: 0,
            cost: 1,
            is_enforced: true,
        }],
    );
    let first = charge(&mut connection, "life", &limits, &asked);
    let _: i64 = redis.ask(&["DEL", "life:0"]);
    for _ in 0..2 {
        assert_eq!(charge(&mut connection, "life", &limits, &asked)[0], 1);
    }
    let taken = Taken {
        key: 0,
        cost: 1,
        at_us: first[1],
        born_us: first[3],
    };
    refund(&mut connection, "life", &limits, taken);
    // What drained in between is never given back, so the next charge would be refused anyway: the backlog tells.
    let answer = charge(&mut connection, "life", &limits, &asked);
    let hours = (answer[2] + 1_800_000_000) / 3_600_000_000;
    assert_eq!((answer[0], hours), (0, 2));

    let own = Taken {
        at_us: answer[1],
        born_us: answer[3],
        ..taken
    };
    refund(&mut connection, "life", &limits, own);
    let answer = charge(&mut connection, "life", &limits, &asked);
    let hours = (answer[2] + 1_800_000_000) / 3_600_000_000;
    assert_eq!(hours, 1, "one of this life is given back");
}

#[tokio::test]
async fn a_key_goes_on_from_the_larger_of_what_the_store_has_and_the_gateway_knows() {
    const HOUR_US: u64 = 3_600_000_000;
    let redis = RedisServer::start().await;
    let mut connection = redis.connection();
    let script = Script::new(CHARGE);
    // Of a burst of seven, by the hour: what is known, and the whole hours of backlog that are answered.
    let mut charge = |known_us: u64| {
        let mut call = script.prepare_invoke();
        call.key("known").arg(HOUR_US).arg(7).arg(1).arg(1).arg(known_us);
        let answer: Vec<u64> = call.invoke(&mut connection).unwrap();
        (answer[0], answer[2].div_ceil(HOUR_US))
    };
    assert_eq!(charge(3 * HOUR_US), (1, 3), "the store has nothing");
    assert_eq!(charge(2 * HOUR_US), (1, 4), "the store has more");
    assert_eq!(charge(6 * HOUR_US), (1, 6), "the gateway knows more");
    assert_eq!(
        charge(99 * HOUR_US),
        (0, 7),
        "nobody is locked out for longer than the burst"
    );
}

#[tokio::test]
async fn edg5_what_gateways_granted_is_added_to_what_the_store_has_or_they_know() {
    const HOUR_US: u64 = 3_600_000_000;
    let redis = RedisServer::start().await;
    let mut connection = redis.connection();
    let (tell, charge) = (Script::new(TELL), Script::new(CHARGE));
    let mut left = |told: &[(u64, u64)]| {
        let _: i64 = redis.ask(&["DEL", "told"]);
        for (known, granted) in told {
            let mut call = tell.prepare_invoke();
            call.key("told").arg(HOUR_US).arg(7);
            call.arg(known * HOUR_US).arg(granted * HOUR_US);
            let _: i64 = call.invoke(&mut connection).unwrap();
        }
        let mut granted = 0;
        loop {
            let mut call = charge.prepare_invoke();
            call.key("told").arg(HOUR_US).arg(7).arg(1).arg(1).arg(0);
            let answer: Vec<u64> = call.invoke(&mut connection).unwrap();
            if answer[0] == 0 {
                return granted;
            }
            granted += 1;
        }
    };
    assert_eq!(left(&[(0, 0)]), 7);
    assert_eq!(left(&[(0, 1), (0, 2), (0, 1)]), 3, "each has granted some");
    assert_eq!(left(&[(2, 1), (2, 2)]), 2, "both know of the same two");
    assert_eq!(left(&[(0, 3), (2, 1)]), 3, "the store has more");
    assert_eq!(left(&[(7, 7), (0, 7)]), 0);
    let lives_ms: u64 = redis.ask(&["PTTL", "told"]);
    assert!(lives_ms <= 7 * 3_600_000, "never more than the burst: {lives_ms}");
}

#[tokio::test]
async fn edg5_whoever_has_spoken_of_late_counts_once_and_nobody_else() {
    let redis = RedisServer::start().await;
    let mut connection = redis.connection();
    let script = Script::new(MEMBERS);
    let mut speak = |name: &str| -> u64 {
        let mut call = script.prepare_invoke();
        call.key("members").arg(name).arg(60);
        call.invoke(&mut connection).unwrap()
    };
    assert_eq!(speak("aa"), 1);
    assert_eq!((speak("bb"), speak("bb"), speak("aa")), (2, 2, 2));

    let now: Vec<u64> = redis.ask(&["TIME"]);
    let now = now[0];
    // In the future nobody has spoken: the clock went back since.
    let (gone, late, wrong) = (now - 61, now - 30, now + 30);
    let _: () = redis.ask(&["SET", "members", &format!("c0 {gone} c1 {late} c2 {wrong}")]);
    assert_eq!(speak("aa"), 2);
    let list: String = redis.ask(&["GET", "members"]);
    let names: Vec<&str> = list.split(' ').step_by(2).collect();
    assert_eq!(names, ["aa", "c1"], "{list}");
    let lives_s: u64 = redis.ask(&["TTL", "members"]);
    assert!((1..=60).contains(&lives_s), "{lives_s}");
}
