//! The promises of the counters, over stories and over every sequence of events that chance comes upon.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const S: Millis = 1_000;
const MINUTE: Millis = 60 * S;

/// A name with its counters, and a clock.
struct Story {
    rules: Rules,
    counters: Counters,
    now: Millis,
    next: u64,
    happened: Vec<Happened>,
}

impl Story {
    fn begin() -> Self {
        Self {
            rules: Rules::default(),
            counters: Counters {
                networks: vec![(1, NetworkCounter::default())],
                ..Counters::default()
            },
            now: 1_700_000_000_000,
            next: 0,
            happened: Vec::new(),
        }
    }

    fn step(&mut self, event: Event) -> Verdict {
        let step = next_state(&self.rules, std::mem::take(&mut self.counters), event, self.now);
        self.counters = step.counters;
        self.happened.extend(step.happened);
        step.verdict
    }

    fn reserve(&mut self, client: Client) -> (u64, Verdict) {
        self.next += 1;
        let id = self.next;
        (id, self.step(Event::Reserve { id, client }))
    }

    /// One attempt from an address of its own.
    fn elsewhere(&mut self) {
        self.counters.pair = PairCounter::default();
        self.counters.networks = vec![(1, NetworkCounter::default())];
    }

    fn attempt(&mut self, client: Client, is_right: bool) -> Verdict {
        let (id, verdict) = self.reserve(client);
        if verdict != Verdict::Verify {
            return verdict;
        }
        let settled = if is_right {
            Event::Succeed { id, client }
        } else {
            Event::Fail { id, client, name: 7 }
        };
        self.step(settled)
    }

    #[track_caller]
    fn assert_refused(&mut self, client: Client, wanted: Cause, after: Millis) {
        let (_, verdict) = self.reserve(client);
        let Verdict::Refuse { cause, retry_after_s } = verdict else {
            panic!("{verdict:?}");
        };
        assert_eq!((cause, Millis::from(retry_after_s) * S), (wanted, after));
    }

    fn fail_elsewhere(&mut self, times: u32) {
        for _ in 0..times {
            self.elsewhere();
            assert_eq!(self.attempt(Client::Untrusted, false), Verdict::Settled);
        }
    }
}

#[test]
fn the_defaults_make_sense() {
    assert_eq!(Rules::default().faults(), []);
}

#[test]
fn l1_five_failures_lock_and_the_next_lock_is_longer() {
    let mut story = Story::begin();
    for minutes in [15, 30, 60, 60] {
        story.fail_elsewhere(5);
        story.elsewhere();
        story.assert_refused(Client::Untrusted, Cause::Locked, minutes * MINUTE);
        story.now += minutes * MINUTE - 1;
        story.assert_refused(Client::Untrusted, Cause::Locked, S);
        story.now += 1;
    }
    assert_eq!(
        story.happened,
        [900, 1800, 3600, 3600].map(|for_s| Happened::Locked { for_s })
    );
}

#[test]
fn l3_a_success_forgets_failures_and_locks() {
    let mut story = Story::begin();
    story.fail_elsewhere(5);
    story.now += 15 * MINUTE;
    story.fail_elsewhere(4);
    story.elsewhere();
    assert_eq!(story.attempt(Client::Untrusted, true), Verdict::Settled);
    assert_eq!(story.counters.name, NameCounter::default());
    assert_eq!(
        story.happened.pop(),
        Some(Happened::SucceededAfterFailures { failures: 9 })
    );
}

#[test]
fn l4_a_trusted_device_signs_in_while_others_are_locked_and_buys_them_nothing() {
    let mut story = Story::begin();
    story.fail_elsewhere(5);
    assert_eq!(story.attempt(Client::Device, true), Verdict::Settled);
    story.elsewhere();
    story.assert_refused(Client::Untrusted, Cause::Locked, 15 * MINUTE);
}

#[test]
fn l8_a_device_guesses_ten_times_and_is_a_stranger_then() {
    let mut story = Story::begin();
    for _ in 0..10 {
        assert_eq!(story.attempt(Client::Device, false), Verdict::Settled);
    }
    assert_eq!(story.happened, [Happened::DeviceDistrusted]);
    for _ in 0..10 {
        assert_eq!(story.attempt(Client::Device, false), Verdict::Settled);
    }
    story.assert_refused(Client::Device, Cause::Shut, 60 * MINUTE);
    // What devices used up is not what the others have left.
    story.fail_elsewhere(1);
}

#[test]
fn eighty_failures_shut_the_name_and_leave_the_devices_theirs() {
    let mut story = Story::begin();
    for _ in 0..16 {
        story.fail_elsewhere(5);
        story.now += 60 * MINUTE;
    }
    assert_eq!(story.happened.last(), Some(&Happened::Shut));
    story.elsewhere();
    story.assert_refused(Client::Untrusted, Cause::Shut, 60 * MINUTE);
    story.now += 1_000 * 60 * MINUTE;
    story.assert_refused(Client::Untrusted, Cause::Shut, 60 * MINUTE);
    assert_eq!(story.attempt(Client::Device, true), Verdict::Settled);
    assert_eq!(story.attempt(Client::Untrusted, true), Verdict::Settled);
}

#[test]
fn l7_an_address_is_blocked_after_ten_names_or_twenty_failures_longer_each_time() {
    for (names, failures) in [(true, 10), (false, 20)] {
        let mut story = Story::begin();
        for (place, seconds) in [600, 3_600, 86_400, 86_400].into_iter().enumerate() {
            for name in 0..failures {
                // Each name has counters of its own.
                story.counters.name = NameCounter::default();
                story.counters.pair = PairCounter::default();
                let client = Client::Untrusted;
                let (id, verdict) = story.reserve(client);
                assert_eq!(verdict, Verdict::Verify, "{name}");
                let name = if names { name } else { 0 };
                story.step(Event::Fail { id, client, name });
            }
            story.assert_refused(Client::Untrusted, Cause::Network, seconds * S);
            assert_eq!(story.attempt(Client::Device, true), Verdict::Settled);
            story.now += seconds * S;
            assert_eq!(
                story.counters.networks[0].1.blocks,
                u32::try_from(place).unwrap() + 1
            );
        }
        // After a quiet day it begins again with the shortest.
        story.now += 86_400 * S;
        let client = Client::Untrusted;
        for name in 0..failures {
            story.counters.name = NameCounter::default();
            story.counters.pair = PairCounter::default();
            let (id, _) = story.reserve(client);
            story.step(Event::Fail { id, client, name });
        }
        story.assert_refused(client, Cause::Network, 600 * S);
    }
}

#[test]
fn a_success_of_an_address_forgives_it_nothing() {
    let mut story = Story::begin();
    for _ in 0..20 {
        story.counters.pair = PairCounter::default();
        story.counters.name = NameCounter::default();
        assert_eq!(story.attempt(Client::Untrusted, false), Verdict::Settled);
        if story.happened.is_empty() {
            assert_eq!(story.attempt(Client::Untrusted, true), Verdict::Settled);
            story.happened.clear();
        }
    }
    story.assert_refused(Client::Untrusted, Cause::Network, 600 * S);
}

#[test]
fn one_address_guesses_at_one_name_five_times_a_minute() {
    let mut story = Story::begin();
    story.rules.name.after = 80;
    for _ in 0..5 {
        assert_eq!(story.attempt(Client::Untrusted, false), Verdict::Settled);
        story.now += 2 * S;
    }
    story.assert_refused(Client::Untrusted, Cause::Pair, 50 * S);
    story.now += 50 * S;
    assert_eq!(story.attempt(Client::Untrusted, false), Verdict::Settled);
    story.assert_refused(Client::Untrusted, Cause::Pair, 2 * S);
}

#[test]
fn l13_failures_are_forgotten_after_a_quiet_quarter_of_an_hour() {
    let mut story = Story::begin();
    story.fail_elsewhere(4);
    story.now += 15 * MINUTE;
    story.fail_elsewhere(4);
    story.now += 15 * MINUTE - 1;
    story.fail_elsewhere(1);
    story.elsewhere();
    story.assert_refused(Client::Untrusted, Cause::Locked, 15 * MINUTE);
}

#[test]
fn l5_what_is_being_verified_counts_until_it_is_settled_or_takes_too_long() {
    let mut story = Story::begin();
    story.fail_elsewhere(2);
    let held: Vec<_> = (0..3).map(|_| story.reserve(Client::Untrusted)).collect();
    assert!(held.iter().all(|(_, verdict)| *verdict == Verdict::Verify));
    assert_eq!(story.reserve(Client::Untrusted).1, Verdict::Wait);
    story.step(Event::Release { id: held[0].0 });
    let (fourth, verdict) = story.reserve(Client::Untrusted);
    assert_eq!(verdict, Verdict::Verify);
    story.now += Millis::from(RESERVED_S) * S;
    // Too late: nobody is told whether it was right, so it was no guess.
    for event in [
        Event::Succeed {
            id: fourth,
            client: Client::Untrusted,
        },
        Event::Fail {
            id: fourth,
            client: Client::Untrusted,
            name: 7,
        },
    ] {
        let before = story.counters.clone();
        assert_eq!(story.step(event), Verdict::Late);
        assert_eq!(story.counters.name.untrusted, before.name.untrusted);
    }
    story.fail_elsewhere(3);
}

#[test]
fn an_unlock_forgets_everything_but_what_is_under_way() {
    let mut story = Story::begin();
    let (id, client) = (story.reserve(Client::Untrusted).0, Client::Untrusted);
    story.fail_elsewhere(4);
    assert_eq!(story.step(Event::Unlock), Verdict::Settled);
    assert_eq!(story.step(Event::Fail { id, client, name: 7 }), Verdict::Settled);
    let wanted = NameCounter {
        failures: 1,
        failed_at_ms: story.now,
        untrusted: 1,
        ..NameCounter::default()
    };
    assert_eq!(story.counters.name, wanted);
}

#[test]
fn nonsense_is_refused_with_the_key_that_it_is_about() {
    let wrong = |change: fn(&mut Rules)| {
        let mut rules = Rules::default();
        change(&mut rules);
        rules
            .faults()
            .into_iter()
            .map(|fault| fault.key)
            .collect::<Vec<_>>()
    };
    assert_eq!(wrong(|rules| rules.name.after = 0), ["name.after"]);
    assert_eq!(wrong(|rules| rules.name.steps_s = vec![]), ["name.steps"]);
    assert_eq!(wrong(|rules| rules.name.steps_s = vec![900; 9]), ["name.steps"]);
    assert_eq!(wrong(|rules| rules.name.steps_s = vec![0]), ["name.steps"]);
    assert_eq!(
        wrong(|rules| rules.name.steps_s = vec![1_800, 900]),
        ["name.steps"]
    );
    // 21,900 days: a wait that once overflowed elsewhere, and ended the lock.
    assert_eq!(
        wrong(|rules| rules.name.steps_s = vec![1_892_160_000]),
        ["name.steps"]
    );
    assert_eq!(wrong(|rules| rules.name.decay_s = u32::MAX), ["name.decay"]);
    assert_eq!(wrong(|rules| rules.pair.per_s = 0), ["pair.per"]);
    assert_eq!(
        wrong(|rules| rules.device.trusted_for_s = 0),
        ["device.trusted_for"]
    );
    assert_eq!(
        wrong(|rules| rules.address.block_s = vec![u32::MAX]),
        ["address.block"]
    );
    assert_eq!(wrong(|rules| rules.total.untrusted = 81), ["total.untrusted"]);
    assert_eq!(wrong(|rules| rules.total.untrusted = 4), ["total.untrusted"]);
    assert_eq!(wrong(|rules| rules.total.trusted = 9), ["total.trusted"]);
    let all = |rules: &mut Rules| (rules.name.after, rules.pair.failures, rules.address.names) = (0, 0, 0);
    assert_eq!(wrong(all), ["name.after", "pair.failures", "address.names"]);
}

#[test]
fn what_is_kept_can_be_read_again_and_other_things_cannot() {
    let mut story = Story::begin();
    story.fail_elsewhere(3);
    story.reserve(Client::Device);
    let text = serde_json::to_string(&story.counters.name).unwrap();
    assert_eq!(
        serde_json::from_str::<NameCounter>(&text).unwrap(),
        story.counters.name
    );
    assert_eq!(
        serde_json::from_str::<NameCounter>("{}").unwrap(),
        NameCounter::default()
    );
    assert!(serde_json::from_str::<NameCounter>(r#"{"failure": 3}"#).is_err());
}

#[test]
fn what_says_nothing_is_not_kept_for_long() {
    let mut story = Story::begin();
    assert!(story.counters.name.is_empty());
    story.reserve(Client::Untrusted);
    assert_eq!(story.counters.name.kept_s(&story.rules), RESERVED_S);
    story.fail_elsewhere(1);
    assert_eq!(story.counters.name.kept_s(&story.rules), 366 * 86_400);
    assert_eq!(story.counters.pair.kept_s(&story.rules), 60);
    assert_eq!(
        story.counters.networks[0].1.kept_s(&story.rules),
        2 * 86_400 + 600
    );
}

fn some_rules() -> impl Strategy<Value = Rules> {
    (
        (1..20_u32, vec(1..5_000_u32, 1..5), 60..4_000_u32),
        (1..20_u32, 1..200_u32),
        1..20_u32,
        (1..60_u32, 1..20_u32),
        (1..30_u32, 1..30_u32, vec(1..100_000_u32, 1..4)),
    )
        .prop_map(|(name, pair, device, total, address)| {
            let (mut steps_s, mut block_s) = (name.1, address.2);
            steps_s.sort_unstable();
            block_s.sort_unstable();
            Rules {
                name: NameRules {
                    after: name.0,
                    steps_s,
                    decay_s: name.2,
                },
                pair: PairRules {
                    failures: pair.0,
                    per_s: pair.1,
                },
                device: DeviceRules {
                    after: device,
                    ..Rules::default().device
                },
                total: TotalRules {
                    untrusted: total.0.max(name.0),
                    trusted: total.1.max(device),
                },
                address: AddressRules {
                    failures: address.0,
                    names: address.1,
                    per_s: 600,
                    block_s,
                },
            }
        })
}

/// What an attacker, an owner and time may do.
#[derive(Debug, Clone)]
enum Act {
    /// Begin an attempt from this address.
    Begin(u8, Client),
    /// End the attempt that began so many ago.
    End(usize, bool),
    Hang(usize),
    /// The owner signs in with a passkey.
    SignIn,
    Wait(u32),
}

fn some_acts() -> impl Strategy<Value = Vec<Act>> {
    let client = prop_oneof![4 => Just(Client::Untrusted), 1 => Just(Client::Device)];
    let act = prop_oneof![
        6 => (0..4_u8, client).prop_map(|(address, client)| Act::Begin(address, client)),
        6 => (0..8_usize, prop::bool::weighted(0.03)).prop_map(|(ago, is_right)| Act::End(ago, is_right)),
        1 => (0..8_usize).prop_map(Act::Hang),
        1 => Just(Act::SignIn),
        2 => (0..2_000_u32).prop_map(Act::Wait),
    ];
    vec(act, 1..300)
}

fn under_way_of(name: &NameCounter, now: Millis) -> usize {
    name.reserved.iter().filter(|held| held.until_ms > now).count()
}

/// Moments, with those at which arithmetic breaks.
fn some_moment() -> impl Strategy<Value = Millis> {
    prop_oneof![Just(Millis::MAX), Just(Millis::MIN), Just(0), any::<Millis>()]
}

fn some_count() -> impl Strategy<Value = u32> {
    prop_oneof![Just(u32::MAX), Just(0), any::<u32>()]
}

const fn is_lock(happened: &Happened) -> bool {
    matches!(happened, Happened::Locked { .. })
}

proptest! {
    /// Guesses in a lock period, guesses until the owner signs in, and devices that nobody else locks.
    #[test]
    fn l14_the_guarantee_holds_for_every_sequence(rules in some_rules(), acts in some_acts()) {
        prop_assert_eq!(rules.faults(), vec![]);
        let (mut name, mut device) = (NameCounter::default(), DeviceCounter::default());
        let mut addresses: BTreeMap<u8, (PairCounter, NetworkCounter)> = BTreeMap::new();
        let mut under_way: Vec<(u64, u8, Client)> = Vec::new();
        let (mut now, mut next): (Millis, u64) = (1_700_000_000_000, 0);
        // A model of the promise: guesses that were answered since the last lock or quiet time, since the owner signed in,
        // and until when nobody may guess.
        let (mut in_period, mut untrusted, mut trusted) = (0_u32, 0_u32, 0_u32);
        let (mut last_guess, mut locked_until) = (now, now);
        let quiet = Millis::from(rules.name.decay_s) * S;
        for act in acts {
            let (address, event) = match act {
                Act::Begin(address, client) => {
                    next += 1;
                    (address, Event::Reserve { id: next, client })
                }
                Act::End(ago, is_right) => {
                    if under_way.is_empty() { continue }
                    let (id, address, client) = under_way.remove(ago % under_way.len());
                    let event = if is_right {
                        Event::Succeed { id, client }
                    } else {
                        Event::Fail { id, client, name: 1 }
                    };
                    (address, event)
                }
                Act::Hang(ago) => {
                    if !under_way.is_empty() { under_way.remove(ago % under_way.len()); }
                    continue;
                }
                Act::SignIn => (0, Event::SignedIn),
                Act::Wait(seconds) => { now += Millis::from(seconds) * S; continue }
            };
            let (pair, network) = addresses.remove(&address).unwrap_or_default();
            let before = name.clone();
            let counters = Counters { name, pair, device, networks: vec![(1, network)] };
            let step = next_state(&rules, counters, event, now);
            match (event, step.verdict) {
                (Event::Reserve { id, client }, Verdict::Verify) => {
                    prop_assert!(client == Client::Device || locked_until <= now);
                    under_way.push((id, address, client));
                }
                (Event::Reserve { client: Client::Device, .. }, Verdict::Refuse { cause, .. }) => {
                    // Only what devices did shuts devices out.
                    prop_assert_eq!(cause, Cause::Shut);
                    prop_assert_eq!(before.trusted, rules.total.trusted);
                }
                (Event::Reserve { .. }, Verdict::Refuse { cause, retry_after_s }) => {
                    prop_assert!(retry_after_s >= 1);
                    // It is true what the client is told.
                    let later = now + Millis::from(retry_after_s) * S;
                    if cause != Cause::Shut {
                        let again = next_state(&rules, step.counters.clone(), event, later);
                        let is_same = matches!(again.verdict, Verdict::Refuse { cause: other, .. } if other == cause);
                        prop_assert!(!is_same, "{:?}", again.verdict);
                    }
                }
                (Event::Fail { client: Client::Untrusted, .. }, Verdict::Settled) => {
                    if now - last_guess >= quiet { in_period = 0 }
                    (in_period, untrusted, last_guess) = (in_period + 1, untrusted + 1, now);
                    prop_assert!(in_period <= rules.name.after);
                    prop_assert!(untrusted <= rules.total.untrusted);
                    prop_assert_eq!(in_period == rules.name.after, step.happened.iter().any(is_lock));
                    for happened in step.happened.iter().filter(|happened| is_lock(happened)) {
                        if let Happened::Locked { for_s } = happened {
                            (in_period, locked_until) = (0, now + Millis::from(*for_s) * S);
                        }
                    }
                }
                (Event::Fail { client: Client::Device, .. }, Verdict::Settled) => {
                    trusted += 1;
                    prop_assert!(trusted <= rules.total.trusted);
                }
                (Event::Succeed { client, .. }, Verdict::Settled) => {
                    (untrusted, trusted) = (0, 0);
                    if client == Client::Untrusted { (in_period, locked_until) = (0, now) }
                }
                (Event::SignedIn, _) => {
                    (untrusted, trusted) = (0, 0);
                    // It neither frees nor holds up whoever guesses.
                    prop_assert_eq!(step.counters.name.locked_until_ms, before.locked_until_ms);
                    prop_assert_eq!(step.counters.name.failures, before.failures);
                    prop_assert_eq!(step.counters.name.reserved.len(), under_way_of(&before, now));
                }
                _ => {}
            }
            let counters = step.counters;
            (name, device) = (counters.name, counters.device);
            addresses.insert(address, (counters.pair, counters.networks.into_iter().next().unwrap().1));
        }
    }

    /// Whatever stands in a policy that was not checked and in a counter: it ends, and never frees anybody by overflow.
    #[test]
    fn l14_nothing_overflows(
        numbers in vec(prop_oneof![Just(0), Just(1), Just(u32::MAX), any::<u32>()], 12),
        steps in vec(any::<u32>(), 0..3),
        state in (some_count(), some_moment(), some_count(), some_moment(), some_count(), some_count()),
        now in some_moment(),
        kind in 0..6_u8,
        is_device in any::<bool>(),
    ) {
        let n = |place: usize| numbers[place];
        let rules = Rules {
            name: NameRules { after: n(0), steps_s: steps.clone(), decay_s: n(1) },
            pair: PairRules { failures: n(2), per_s: n(3) },
            device: DeviceRules { after: n(4), trusted_for_s: n(5), most: n(6) },
            total: TotalRules { untrusted: n(7), trusted: n(8) },
            address: AddressRules { failures: n(9), names: n(10), per_s: n(11), block_s: steps },
        };
        let client = if is_device { Client::Device } else { Client::Untrusted };
        let counters = Counters {
            name: NameCounter {
                failures: state.0, failed_at_ms: state.1, locks: state.2, locked_until_ms: state.3,
                untrusted: state.4, trusted: state.5,
                reserved: vec![Reservation { id: 1, client, until_ms: Millis::MAX }],
            },
            pair: PairCounter { failed_at_ms: vec![state.1, state.3] },
            device: DeviceCounter { failures: state.0 },
            networks: vec![(state.2, NetworkCounter {
                failed_at_ms: vec![state.1], names: vec![(1, state.3)], blocks: state.0, blocked_until_ms: state.3,
            })],
        };
        let locked_until = counters.name.locked_until_ms;
        let event = match kind {
            0 => Event::Reserve { id: 2, client },
            1 => Event::Fail { id: 1, client, name: 1 },
            2 => Event::Succeed { id: 1, client },
            3 => Event::Release { id: 1 },
            4 => Event::SignedIn,
            _ => Event::Unlock,
        };
        let step = next_state(&rules, counters, event, now);
        if matches!(event, Event::Fail { .. }) {
            prop_assert!(step.counters.name.locked_until_ms >= locked_until);
        }
        for happened in step.happened {
            if let Happened::Locked { for_s } | Happened::NetworkBlocked { for_s, .. } = happened {
                prop_assert!(for_s >= 1);
            }
        }
        let name = &step.counters.name;
        let _ = (name.kept_s(&rules), step.counters.networks[0].1.kept_s(&rules));
    }
}
