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
        lends: None,
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

/// One limit of a request: which key of four, how many units, and whether it refuses.
#[derive(Debug, Clone, Copy)]
struct Asked {
    key: u8,
    cost: u64,
    is_enforced: bool,
}

/// A request after so much time, and whether what it took is given back before the next one.
#[derive(Debug, Clone)]
struct Step {
    wait_ns: u64,
    asked: Vec<Asked>,
    is_given_back: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let asked = (0..4_u8, 1..4_u64, prop::bool::weighted(0.8));
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
    let step = (0..3 * SECOND, asked, prop::bool::weighted(0.2));
    let step = step.prop_map(|(wait_ns, asked, is_given_back)| Step {
        wait_ns,
        asked,
        is_given_back,
    });
    prop::collection::vec(step, 1..150)
}

/// In every interval that the units of one counter span, no more than the burst and what comes back in it.
fn assert_within(limit: Limit, taken: &[(u64, u64)]) -> Result<(), TestCaseError> {
    for (first, (start, _)) in taken.iter().enumerate() {
        let mut units = 0;
        for (end, cost) in &taken[first..] {
            units += cost;
            let most = limit.burst() + (end - start) / limit.interval_ns();
            prop_assert!(units <= most, "{units} within {} ns", end - start);
        }
    }
    Ok(())
}

proptest! {
    /// In any interval, a counter grants at most its burst and what comes back, whatever is asked together, refused,
    /// watched or given back; also the bucket of those that found no room.
    #[test]
    fn never_more_than_the_burst_and_the_refill(
        steps in steps(),
        per_minute in 1_u64..200,
        max_keys in prop::sample::select(vec![1_usize, 10_000]),
    ) {
        let table = Table::new(max_keys);
        // The table may be full before it begins.
        for number in 0..200_u64 {
            granted(&table, &[unit("others", &number.to_be_bytes(), 1)], SECOND);
        }
        let mut now = SECOND;
        let mut taken: HashMap<(usize, Key), Vec<(u64, u64)>> = HashMap::new();
        let gcra = unit("p", b"", per_minute).gcra;
        for Step { wait_ns, mut asked, is_given_back } in steps {
            now += wait_ns;
            if max_keys == 1 {
                // Limits of one request have names of their own: no two of them share a bucket.
                asked.truncate(1);
            }
            let keys: Vec<[u8; 1]> = asked.iter().map(|asked| [asked.key]).collect();
            let units: Vec<Unit<'_>> = asked.iter().zip(&keys).map(|(asked, key)| Unit {
                cost: asked.cost,
                is_enforced: asked.is_enforced,
                ..unit("p", key, per_minute)
            }).collect();
            let decisions = table.charge_at(&units, now);
            let is_refused = asked.iter().zip(&decisions).any(|(asked, (_, decision))| asked.is_enforced && decision.is_err());
            if is_refused {
                continue;
            }
            for (unit, (place, decision)) in units.iter().zip(&decisions) {
                if decision.is_err() {
                    continue;
                }
                if is_given_back {
                    table.refund_at(*place, (unit.gcra, unit.cost), 0);
                } else {
                    taken.entry((place.shard, place.key)).or_default().push((now, unit.cost));
                }
            }
        }
        for taken in taken.values() {
            assert_within(gcra, taken)?;
        }
    }
}

/// A limit of the store, as a request is charged for it.
fn shared(count: &str) -> Charge {
    let text =
        format!("{{ limit: 6/min, burst: 6, key: [address], count_in: store, on_store_down: local{count} }}");
    let policy = include_str!("../../../../docs/policy-language.md");
    let whole = policy.split("## A whole bundle").nth(1).unwrap();
    let whole = whole
        .split("```yaml\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let whole = whole.replace("{ limit: 100/min, burst: 100, key: [address] }", &text);
    let plan = policy::compile(&[policy::SourceFile::new("base.yaml", whole)], "production").unwrap();
    Charge {
        limit: plan.floor().rate[0].clone(),
        cost: 1,
        key: b"alice".as_slice().into(),
    }
}

/// What a store says that has granted so many of six.
fn told(charge: &Charge, used: u64) -> LimitState {
    let interval_ns = charge.limit.gcra.interval_ns();
    LimitState::after(
        charge.limit.clone(),
        charge.limit.gcra.decide((used - 1) * interval_ns, 0, 1),
    )
}

#[test]
fn what_the_store_called_exhausted_is_refused_here_until_a_unit_comes_back() {
    let (table, charge) = (Table::new(1_000), shared(""));
    let unit = [Unit::of(&charge)];
    for used in 1..6 {
        table.learn(&charge, &told(&charge, used), SECOND);
        assert!(granted(&table, &unit, SECOND), "{used} of six");
    }
    table.learn(&charge, &told(&charge, 6), SECOND);
    assert!(!granted(&table, &unit, SECOND));
    assert!(!granted(&table, &unit, 11 * SECOND - 1));
    assert!(granted(&table, &unit, 11 * SECOND));
    assert!(
        granted(&table, &unit, 11 * SECOND),
        "to be asked is not to be counted"
    );

    table.learn(&charge, &told(&charge, 1), SECOND);
    assert!(!granted(&table, &unit, SECOND), "an older answer changes nothing");
}

#[test]
fn failures_and_shadows_are_always_asked() {
    for count in [", count: failures", ", mode: shadow"] {
        let (table, charge) = (Table::new(1_000), shared(count));
        table.learn(&charge, &told(&charge, 6), SECOND);
        assert!(granted(&table, &[Unit::of(&charge)], SECOND), "{count}");
        let here = [Unit::counted_here(&charge, 1)];
        let decisions = table.charge_at(&here, SECOND);
        assert!(
            decisions[0].1.is_err(),
            "without the store it goes on from what it heard: {count}"
        );
    }
}

#[test]
fn what_was_charged_as_a_part_is_given_back_as_that_part() {
    let (table, charge) = (Table::new(1_000), shared(", count: failures"));
    let granted = |parts| {
        let states = table.charge_here(std::slice::from_ref(&charge), parts, &[]);
        states.iter().all(|state| state.granted)
    };
    // Of six units, each request takes one of every gateway.
    assert!(granted(3) && granted(3));
    assert!(!granted(3));
    table.refund(&charge, 3, Duration::ZERO);
    assert!(granted(3));
    assert!(!granted(3) && !granted(1));
}

/// One of several gateways without their store.
struct Alone {
    table: Table,
    counter: Counter,
    parts: u64,
}

impl Alone {
    /// The store has said that so many are used.
    fn new(gcra: Limit, parts: u64, used: u64) -> Self {
        let alone = Self {
            table: Table::new(1_000),
            counter: Counter {
                key: "alice".into(),
                gcra,
            },
            parts,
        };
        let said_ns = SECOND + used * gcra.interval_ns();
        alone.with_shard(|shard, key| shard.arrivals.insert(key, said_ns));
        alone
    }

    fn with_shard<T>(&self, act: impl FnOnce(&mut Shard, Key) -> T) -> T {
        let place = self.table.place(b"alice");
        act(&mut self.table.lock(place.shard), place.key)
    }

    fn grants(&self, now_ns: u64, is_told: bool) -> bool {
        let lends = Lends {
            counter: &self.counter,
            parts: self.parts,
            is_told,
        };
        let unit = Unit {
            gcra: self.counter.gcra.divided(self.parts),
            lends: Some(lends),
            ..unit("local", b"alice", 1)
        };
        granted(&self.table, &[unit], now_ns)
    }

    fn said_ns(&self) -> u64 {
        self.with_shard(|shard, key| shard.said_ns(key)).unwrap()
    }

    /// Tells a store with this arrival time, as `tell.lua` has it.
    fn tell(&self, store_ns: &mut u64, now_ns: u64) {
        for debt in self.table.debts(now_ns) {
            let backlog = store_ns.saturating_sub(now_ns).max(debt.known_ns) + debt.lent_ns;
            *store_ns = now_ns + backlog;
        }
    }
}

proptest! {
    /// Whatever gateways grant without their store, and whether that comes back with its data or without: with what they
    /// tell, it grants no more than the limit, and where no time has passed no less.
    #[test]
    fn edg5_what_gateways_granted_alone_is_told_as_what_it_was(
        (parts, per_minute, burst) in (1_u64..6, 1_u64..200, 6_u64..40),
        used in 0_u64..40,
        asked in prop::collection::vec((any::<prop::sample::Index>(), 0..2 * SECOND), 0..80),
        is_standing: bool,
        has_lost_data: bool,
    ) {
        let gcra = Limit::new(per_minute, MINUTE, burst).unwrap();
        let used = used.min(burst);
        let mut taken = vec![(SECOND, used)];
        let gateways: Vec<Alone> = (0..parts).map(|_| Alone::new(gcra, parts, used)).collect();
        let mut now = SECOND;
        for (gateway, wait_ns) in asked {
            now += if is_standing { 0 } else { wait_ns };
            if gateway.get(&gateways).grants(now, false) {
                taken.push((now, 1));
            }
        }
        let mut store_ns = if has_lost_data { 0 } else { SECOND + used * gcra.interval_ns() };
        for gateway in &gateways {
            gateway.tell(&mut store_ns, now);
        }
        // A charge brings what its gateway knows.
        store_ns = store_ns.max(gateways[0].said_ns());
        while let Ok(granted) = gcra.decide(store_ns, now, 1) {
            store_ns = granted.tat_ns;
            taken.push((now, 1));
        }
        assert_within(gcra, &taken)?;
        if is_standing {
            let all: u64 = taken.iter().map(|(_, cost)| cost).sum();
            prop_assert_eq!(all, burst, "what nobody used is there");
        }
    }
}

#[test]
fn what_could_not_be_told_is_told_again_and_what_the_store_counted_is_not() {
    let hourly = Limit::new(1, Duration::from_hours(1), 10).unwrap();
    let hour = hourly.interval_ns();
    let gateway = Alone::new(hourly, 3, 1);
    assert!(gateway.grants(SECOND, false) && gateway.grants(SECOND, false));
    assert_eq!(gateway.said_ns(), SECOND + hour, "the store knows of one");
    for _ in 0..2 {
        let debts = gateway.table.debts(SECOND);
        let told: Vec<_> = debts.iter().map(|debt| (debt.known_ns, debt.lent_ns)).collect();
        assert_eq!(told, [(hour, 2 * hour)]);
        assert!(gateway.table.debts(SECOND).is_empty(), "once");
        gateway.table.untell(&debts);
    }
    assert_eq!(gateway.table.debts(SECOND).len(), 1);
    assert_eq!(gateway.said_ns(), SECOND + 3 * hour);

    // For a while its part holds beside the store, which is asked for each.
    assert!(gateway.grants(SECOND, true));
    assert!(!gateway.grants(SECOND, true), "of ten, 1 and 3 times 3 are used");
    gateway.table.settle(SECOND);
    assert!(gateway.table.debts(SECOND).is_empty());
    assert_eq!(gateway.said_ns(), SECOND + 3 * hour, "as far as it was told");
}

#[test]
fn what_was_granted_and_not_told_yet_is_not_settled() {
    let hourly = Limit::new(1, Duration::from_hours(1), 10).unwrap();
    let gateway = Alone::new(hourly, 3, 0);
    assert!(gateway.grants(SECOND, true) && gateway.grants(SECOND, false));
    gateway.table.settle(SECOND);
    let lent: Vec<u64> = gateway
        .table
        .debts(SECOND)
        .iter()
        .map(|debt| debt.lent_ns)
        .collect();
    assert_eq!(lent, [hourly.interval_ns()]);
}
