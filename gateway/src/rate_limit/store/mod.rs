//! The store in which several gateways count together: Redis, or Redis Cluster.
//!
//! **Invariant:** a store that failed is not asked again before it has answered a probe, so that an outage costs one
//! timeout, not one for each request. What it holds are keyed hashes and times, no personal data.
//!
//! Against one Redis, a request is one call, which charges all of its limits or none. In a cluster, limits that count
//! by the same parts lie in one slot and are one call; where a request has several, they are made at once, and when one
//! refuses the others are given back.
//!
//! What gateways granted while it was down they tell it before they ask it again.

mod connection;
mod keys;
mod members;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use policy::{Charge, LimitState, Mode};
use redis::{Script, ScriptInvocation};
use service_runtime::shutdown::Shutdown;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::table::{Counter, Debt, Table};
use crate::metrics::METRICS;
use crate::settings::LimitStoreSettings;
use connection::Connection;
use keys::Keys;
use members::{MEMORY, Members};

/// How often a store that is up is asked whether it still is, and one that is down whether it is back.
pub(super) const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// How long making a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Within this time after this gateway, every other one is back that can be, and has told what it granted: they all try
/// once in [`PROBE_INTERVAL`], for at most [`CONNECT_TIMEOUT`] and some calls.
const SETTLING: Duration = Duration::from_secs(3);
/// Counters that the store is told of in one call.
const TOLD_AT_ONCE: usize = 200;

/// The store cannot be asked, or did not answer in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unavailable;

/// What is needed to give back what was charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Receipt {
    /// When it was charged, in microseconds on the clock of the store.
    at_us: i64,
    /// The life of the key in which it was charged.
    born_us: i64,
}

/// The answer for one charge.
pub(super) struct Charged {
    pub(super) state: LimitState,
    pub(super) receipt: Receipt,
}

/// A store, up or down.
pub(crate) struct LimitStore {
    settings: LimitStoreSettings,
    keys: Keys,
    charge: Script,
    refund: Script,
    tell: Script,
    members: Script,
    known: Members,
    /// `None` while it is down.
    connection: ArcSwapOption<Connection>,
    /// Until when others may not have told what they granted.
    settles_until: ArcSwapOption<Instant>,
    has_failed: Notify,
}

fn note_whether_up(is_up: bool) {
    METRICS
        .limit_store_up
        .with_label_values::<&str>(&[])
        .set(i64::from(is_up));
}

impl LimitStore {
    /// A store that nobody has asked yet; `None` without an address.
    ///
    /// # Errors
    /// When the file with the hash key cannot be used, or there are no random numbers.
    pub(crate) fn open(settings: &LimitStoreSettings) -> anyhow::Result<Option<Arc<Self>>> {
        if settings.addresses.is_empty() {
            return Ok(None);
        }
        note_whether_up(false);
        Ok(Some(Arc::new(Self {
            keys: Keys::read(&settings.hash_key_file, &settings.prefix)?,
            settings: settings.clone(),
            charge: Script::new(include_str!("charge.lua")),
            refund: Script::new(include_str!("refund.lua")),
            tell: Script::new(include_str!("tell.lua")),
            members: Script::new(include_str!("members.lua")),
            known: Members::new(settings.gateways)?,
            connection: ArcSwapOption::empty(),
            settles_until: ArcSwapOption::empty(),
            has_failed: Notify::new(),
        })))
    }

    /// Charges all, or none when one refuses; one answer for each, in the same order. `known_ns` is the backlog of each that
    /// the caller knows of: a store that has lost its data goes on from there.
    ///
    /// # Errors
    /// When that cannot be known. Units may have been taken all the same: they come back by themselves.
    pub(super) async fn charge(
        &self,
        charges: &[&Charge],
        known_ns: &[u64],
    ) -> Result<Vec<Charged>, Unavailable> {
        let mut groups: Vec<(String, Vec<usize>)> = Vec::new();
        for (index, charge) in charges.iter().enumerate() {
            let group = if self.settings.cluster {
                self.keys.tag(charge)
            } else {
                String::new()
            };
            match groups.iter_mut().find(|(other, _)| *other == group) {
                Some((_, members)) => members.push(index),
                None => groups.push((group, vec![index])),
            }
        }
        let calls = groups.iter().map(|(_, members)| {
            let members = members
                .iter()
                .filter_map(|index| Some((*charges.get(*index)?, *known_ns.get(*index)?)));
            self.charge_together(members.collect())
        });
        let answers = futures::future::join_all(calls).await;
        let answers: Vec<_> = answers.into_iter().collect::<Result<_, _>>()?;
        if answers.iter().any(|(is_taken, _)| !is_taken) {
            for ((_, members), (_, charged)) in
                groups.iter().zip(&answers).filter(|(_, (is_taken, _))| *is_taken)
            {
                let charged = members.iter().zip(charged);
                let given_back: Vec<_> = charged
                    .filter_map(|(index, charged)| Some((*charges.get(*index)?, charged.receipt)))
                    .collect();
                self.refund(&given_back).await;
            }
        }
        let mut placed: Vec<(usize, Charged)> = groups
            .into_iter()
            .zip(answers)
            .flat_map(|((_, members), (_, charged))| members.into_iter().zip(charged))
            .collect();
        placed.sort_by_key(|(index, _)| *index);
        Ok(placed.into_iter().map(|(_, charged)| charged).collect())
    }

    /// One call: whether the units were taken, and what is said of each limit.
    async fn charge_together(
        &self,
        charges: Vec<(&Charge, u64)>,
    ) -> Result<(bool, Vec<Charged>), Unavailable> {
        let mut call = self.charge.prepare_invoke();
        for (charge, known_ns) in &charges {
            call.key(self.keys.of(charge));
            call.arg(interval_us(charge));
            call.arg(charge.limit.burst);
            call.arg(charge.cost);
            call.arg(u8::from(charge.limit.mode == Mode::Enforce));
            call.arg(self.certain_us(*known_ns));
        }
        let answer: Vec<i64> = self.ask(&call).await?;
        let charges: Vec<&Charge> = charges.iter().map(|(charge, _)| *charge).collect();
        decode(&answer, &charges).ok_or_else(|| {
            tracing::error!("the limit store gave an answer that is none");
            Unavailable
        })
    }

    /// What is known of a backlog, less what a call may take: of a store that has all its data nothing may be beyond that. In
    /// a cluster nothing is certain, as another gateway may have given back what was counted in.
    fn certain_us(&self, known_ns: u64) -> u64 {
        if self.settings.cluster {
            return 0;
        }
        (known_ns / 1_000).saturating_sub(self.settings.timeout_ms.saturating_mul(1_000))
    }

    /// Gives back what was reserved; whatever of it is lost comes back by itself.
    pub(super) async fn refund(&self, reserved: &[(&Charge, Receipt)]) {
        let mut left = reserved.to_vec();
        while let Some((first, _)) = left.first().copied() {
            let tag = self.keys.tag(first);
            let (now, later): (Vec<_>, Vec<_>) = left
                .into_iter()
                .partition(|(charge, _)| !self.settings.cluster || self.keys.tag(charge) == tag);
            let mut call = self.refund.prepare_invoke();
            for (charge, receipt) in now {
                call.key(self.keys.of(charge));
                call.arg(interval_us(charge).saturating_mul(charge.cost));
                call.arg(receipt.at_us);
                call.arg(receipt.born_us);
            }
            if self.ask::<i64>(&call).await.is_err() {
                METRICS.limit_refunds_lost.inc();
            }
            left = later;
        }
    }

    /// How many gateways count in it, this one among them.
    pub(super) fn gateways(&self) -> u64 {
        self.known.count()
    }

    /// How this store knows what a request is charged for.
    pub(super) fn counter(&self, charge: &Charge) -> Counter {
        Counter {
            key: self.keys.of(charge).into(),
            gcra: charge.limit.gcra,
        }
    }

    /// By how many gateways limits are still divided, for a moment after an outage.
    pub(super) fn settles_with(&self) -> Option<u64> {
        let until = self.settles_until.load();
        let settles = until.as_ref().is_some_and(|until| Instant::now() < **until);
        settles.then(|| self.gateways()).filter(|parts| *parts > 1)
    }

    /// Tells what was granted while nobody could be asked.
    ///
    /// # Errors
    /// When that cannot be known. It is told again, then: what was told twice comes back by itself.
    async fn tell(&self, table: &Table, connection: &Connection) -> Result<(), String> {
        let limit = Duration::from_millis(self.settings.timeout_ms);
        let debts = table.debts(table.now_ns());
        // Counters of one call lie in one slot of a cluster.
        let most = if self.settings.cluster { 1 } else { TOLD_AT_ONCE };
        let mut left = debts.as_slice();
        while !left.is_empty() {
            let (told, others) = left.split_at_checked(most).unwrap_or((left, &[]));
            let call = self.telling(told);
            if let Err(failure) = connection.ask::<i64>(&call, limit).await {
                table.untell(left);
                return Err(failure);
            }
            left = others;
        }
        Ok(())
    }

    fn telling(&self, debts: &[Debt]) -> ScriptInvocation<'_> {
        let mut call = self.tell.prepare_invoke();
        for debt in debts {
            call.key(&*debt.counter.key);
            call.arg(debt.counter.gcra.interval_ns().div_ceil(1_000));
            call.arg(debt.counter.gcra.burst());
            call.arg(self.certain_us(debt.known_ns));
            call.arg(debt.lent_ns.div_ceil(1_000));
        }
        call
    }

    async fn ask<T: redis::FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Result<T, Unavailable> {
        let connection = self.connection.load_full().ok_or(Unavailable)?;
        let timer = METRICS.limit_store_seconds.start_timer();
        let limit = Duration::from_millis(self.settings.timeout_ms);
        let failure = match connection.ask(call, limit).await {
            Ok(answer) => {
                timer.observe_duration();
                return Ok(answer);
            }
            Err(failure) => failure,
        };
        timer.stop_and_discard();
        self.give_up(&connection, &failure);
        Err(Unavailable)
    }

    /// From here on the store is down, until a probe succeeds. A late failure of an older connection says nothing of
    /// the one in use.
    fn give_up(&self, connection: &Arc<Connection>, failure: &str) {
        let in_use = self.connection.compare_and_swap(connection, None);
        if in_use
            .as_ref()
            .is_some_and(|in_use| Arc::ptr_eq(in_use, connection))
        {
            note_whether_up(false);
            tracing::warn!(
                failure,
                "the limit store is down: limits do what `on_store_down` says"
            );
            self.has_failed.notify_one();
        }
    }

    /// Connects, watches and connects again until shutdown.
    pub(super) async fn keep(self: Arc<Self>, table: Arc<Table>, shutdown: Shutdown) {
        let mut ticks = interval(PROBE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut connected: Option<Instant> = None;
        let mut is_first = true;
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
                () = self.has_failed.notified() => {
                    // Most failures are short: the next probe comes at once, unless the last one did not hold for long.
                    if connected.is_some_and(|connected| connected.elapsed() < PROBE_INTERVAL) {
                        continue;
                    }
                }
            }
            match self.connection.load_full() {
                Some(connection) => {
                    if let Err(failure) = self.look_after(&table, &connection).await {
                        self.give_up(&connection, &failure);
                    }
                }
                None => {
                    self.connect(&table, is_first).await;
                    connected = Some(Instant::now());
                }
            }
            is_first = false;
        }
    }

    /// What is done once a second for a store that is up.
    async fn look_after(&self, table: &Table, connection: &Connection) -> Result<(), String> {
        self.probe(connection).await?;
        // Of requests that were under way when it came back.
        self.tell(table, connection).await?;
        if self.settles_with().is_none() {
            table.settle(table.now_ns());
        }
        Ok(())
    }

    async fn connect(&self, table: &Table, is_first: bool) {
        match self.try_connect(table).await {
            Ok(connection) => self.is_up(connection, is_first),
            Err(failure) if is_first => {
                tracing::warn!(
                    failure,
                    "the limit store is down: limits do what `on_store_down` says"
                );
            }
            Err(failure) => tracing::debug!(failure, "the limit store is still down"),
        }
    }

    /// Asks the store from now on; after an outage other gateways may not have told it yet what they granted.
    fn is_up(&self, connection: Connection, is_first: bool) {
        if !is_first {
            let until = Instant::now().checked_add(SETTLING);
            self.settles_until.store(until.map(Arc::new));
        }
        self.connection.store(Some(Arc::new(connection)));
        note_whether_up(true);
        tracing::info!("the limit store is up");
    }

    /// A connection that has answered a probe, and was told what it has to know.
    async fn try_connect(&self, table: &Table) -> Result<Connection, String> {
        let connection = timeout(CONNECT_TIMEOUT, Connection::open(&self.settings))
            .await
            .map_err(|_| format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()))?
            .map_err(|error| format!("{error:#}"))?;
        self.probe(&connection).await?;
        self.tell(table, &connection).await?;
        Ok(connection)
    }

    /// Loads the scripts on every node, charges a counter that nobody needs, and says that this gateway is there: a store that
    /// can be read but not written, because it is full or a replica, is down too.
    async fn probe(&self, connection: &Connection) -> Result<(), String> {
        let limit = Duration::from_millis(self.settings.timeout_ms);
        for script in [&self.charge, &self.refund, &self.tell, &self.members] {
            timeout(limit, connection.load(script))
                .await
                .map_err(|_| format!("no answer within {} ms", limit.as_millis()))?
                .map_err(|error| error.to_string())?;
        }
        let mut call = self.charge.prepare_invoke();
        call.key(self.keys.probe());
        // A unit of a millisecond, which refuses nobody.
        call.arg(1_000).arg(1).arg(1).arg(0).arg(0);
        connection.ask::<Vec<i64>>(&call, limit).await?;
        let mut call = self.members.prepare_invoke();
        call.key(self.keys.members());
        call.arg(&self.known.name).arg(MEMORY.as_secs());
        let count = connection.ask::<u64>(&call, limit).await?;
        self.known.hear(count, Instant::now());
        let known = i64::try_from(self.known.count()).unwrap_or(i64::MAX);
        METRICS.limit_store_gateways.set(known);
        Ok(())
    }
}

fn interval_us(charge: &Charge) -> u64 {
    charge.limit.gcra.interval_ns().div_ceil(1_000)
}

/// Reads an answer of `charge.lua`; `None` when it is none, or does not agree with our own algorithm.
fn decode(answer: &[i64], charges: &[&Charge]) -> Option<(bool, Vec<Charged>)> {
    let [is_taken, at_us, rest @ ..] = answer else {
        return None;
    };
    let (pairs, []) = rest.as_chunks::<2>() else {
        return None;
    };
    if pairs.len() != charges.len() {
        return None;
    }
    let charged = charges.iter().zip(pairs).map(|(charge, [backlog_us, born_us])| {
        let backlog_ns = u64::try_from(*backlog_us).ok()?.checked_mul(1_000)?;
        let decision = charge.limit.gcra.decide(backlog_ns, 0, charge.cost);
        Some(Charged {
            state: LimitState::after(charge.limit.clone(), decision),
            receipt: Receipt {
                at_us: *at_us,
                born_us: *born_us,
            },
        })
    });
    let charged: Vec<Charged> = charged.collect::<Option<_>>()?;
    let is_refused = charged.iter().any(|charged| charged.state.refuses());
    (is_refused == (*is_taken == 0)).then_some((!is_refused, charged))
}
