//! Limits: a table of this gateway, and in front of several gateways a store that they share.
//!
//! The policy decides with what the table knows ([`RateLimiter::charge`]); what a shared limit says is asked once for
//! the whole request, behind the decision ([`RateLimiter::confirm`]), and can only take a permit away.

mod handshakes;
mod store;
mod table;

pub(crate) use handshakes::Handshakes;
pub(crate) use store::LimitStore;

use std::sync::Arc;
use std::time::{Duration, Instant};

use policy::{
    Charge, Count, CountIn, Decision, DenialKind, LimitState, LimitStates, Mode, OnStoreDown, Outcome,
};
use service_runtime::shutdown::Shutdown;

use crate::metrics::METRICS;
use store::{Charged, PROBE_INTERVAL, Receipt};
use table::{Counter, Table};

/// Every counter of this gateway.
pub(crate) struct RateLimiter {
    table: Arc<Table>,
    store: Option<Arc<LimitStore>>,
}

/// Failures of shared limits that are reserved for a request, until it is known whether they happen.
#[derive(Default)]
pub(crate) struct Reserved {
    in_store: Vec<(Charge, Receipt)>,
    /// What was charged while the store was down.
    here: Vec<Charge>,
    /// By how many gateways that was divided then.
    parts: u64,
}

impl RateLimiter {
    /// A table of at most about `max_keys` keys.
    pub(crate) fn new(max_keys: usize, store: Option<Arc<LimitStore>>) -> Self {
        Self {
            table: Arc::new(Table::new(max_keys)),
            store,
        }
    }

    /// Connects to the store, watches it, and tells it what was granted without it; `None` when there is none.
    pub(crate) fn keep_store(&self, shutdown: Shutdown) -> Option<impl Future<Output = ()> + use<>> {
        let store = self.store.clone()?;
        Some(store.keep(self.table.clone(), shutdown))
    }

    /// Charges what this gateway counts, and refuses what the store would refuse, as far as this gateway knows. For a moment
    /// after an outage it grants no more than its part, too: others may not have told the store yet what they granted.
    pub(crate) fn charge(&self, charges: &[Charge]) -> LimitStates {
        match self.store.as_ref().and_then(|store| store.settles_with()) {
            None => self.table.charge(charges),
            Some(parts) => {
                let refusing = charges.iter().filter(|charge| charge.limit.mode == Mode::Enforce);
                self.table.charge_both(charges, parts, &self.counters(refusing))
            }
        }
    }

    /// What this gateway may grant while the store is down, and has to tell it afterwards.
    fn counters<'c>(&self, charges: impl Iterator<Item = &'c Charge>) -> Vec<(&'c str, Counter)> {
        let local = charges
            .filter(|charge| matches!(charge.limit.count_in, CountIn::Store(OnStoreDown::Local)))
            .filter(|charge| charge.limit.count == Count::Requests);
        let counter = |charge: &'c Charge| {
            let store = self.store.as_ref()?;
            Some((charge.limit.name.as_str(), store.counter(charge)))
        };
        local.filter_map(counter).collect()
    }

    /// Charges all of it here, what the store counts too: for requests that are not worth a question to the store.
    pub(crate) fn charge_here(&self, charges: &[Charge]) -> LimitStates {
        self.table.charge_here(charges, 1, &[])
    }

    /// Makes the outcome of a request final: asks the store for all of its shared limits in one call, or does what the
    /// policy says without it. `charged` is when the others were charged.
    pub(crate) async fn confirm(&self, outcome: &mut Outcome, charged: Instant) -> Reserved {
        if outcome.unconfirmed().is_empty() {
            return Reserved::default();
        }
        let charges = outcome.unconfirmed().to_vec();
        let shared: Vec<&Charge> = charges.iter().filter(|charge| charge.limit.is_shared()).collect();
        let sent_ns = self.table.now_ns();
        let answer = match &self.store {
            Some(store) => {
                let known_ns = shared.iter().map(|charge| self.table.known_ns(charge));
                store.charge(&shared, &known_ns.collect::<Vec<_>>()).await.ok()
            }
            None => None,
        };
        let reserved = match answer {
            Some(answer) => self.confirmed(outcome, &shared, answer, sent_ns),
            None => self.without_store(outcome, &shared),
        };
        if is_limited(outcome) {
            for charge in charges.iter().filter(|charge| !charge.limit.is_shared()) {
                self.table.refund(charge, 1, charged.elapsed());
            }
            outcome.failure_charges.clear();
            return Reserved::default();
        }
        reserved
    }

    fn confirmed(
        &self,
        outcome: &mut Outcome,
        shared: &[&Charge],
        answer: Vec<Charged>,
        sent_ns: u64,
    ) -> Reserved {
        let is_refused = answer.iter().any(|charged| charged.state.refuses());
        let mut reserved = Reserved::default();
        for (charge, charged) in shared.iter().zip(&answer) {
            count(&charged.state, "shared");
            // Of a refused request nothing was taken, whatever its other limits would have granted.
            if !is_refused || !charged.state.granted {
                self.table.learn(charge, &charged.state, sent_ns);
            }
            if charge.limit.count == Count::Failures && charged.state.granted {
                reserved.in_store.push(((*charge).clone(), charged.receipt));
            }
        }
        let states: Vec<LimitState> = answer.into_iter().map(|charged| charged.state).collect();
        outcome.confirm(&states);
        reserved
    }

    fn without_store(&self, outcome: &mut Outcome, shared: &[&Charge]) -> Reserved {
        // All gateways are without it, most likely, and each of them counts for itself: together they grant one limit.
        let parts = self.store.as_ref().map_or(1, |store| store.gateways());
        let mut here = Vec::new();
        outcome.without_store(PROBE_INTERVAL, |charges| {
            let counters = self.counters(charges.iter());
            let states = self.table.charge_here(charges, parts, &counters);
            let granted = charges.iter().zip(&states).filter(|(_, state)| state.granted);
            here.extend(granted.map(|(charge, _)| charge.clone()));
            states
        });
        for charge in shared {
            let outcome = match (charge.limit.count_in, charge.limit.mode) {
                (CountIn::Store(OnStoreDown::Deny), Mode::Enforce) => "unavailable",
                (CountIn::Store(OnStoreDown::Deny | OnStoreDown::Allow), _) => "uncounted",
                (CountIn::Store(OnStoreDown::Local) | CountIn::Gateway, _) => continue,
            };
            METRICS
                .limit_decisions
                .with_label_values(&[charge.limit.name.as_str(), outcome, "none"])
                .inc();
        }
        here.retain(|charge| charge.limit.count == Count::Failures);
        Reserved {
            in_store: Vec::new(),
            here,
            parts,
        }
    }

    /// Gives back what was reserved, `held` ago, for failures that did not happen.
    pub(crate) async fn refund(&self, charges: &[Charge], reserved: Reserved, held: Duration) {
        for charge in charges.iter().filter(|charge| !charge.limit.is_shared()) {
            self.table.refund(charge, 1, held);
        }
        for charge in &reserved.here {
            self.table.refund(charge, reserved.parts, held);
        }
        if let (Some(store), false) = (&self.store, reserved.in_store.is_empty()) {
            for (charge, _) in &reserved.in_store {
                self.table.refund(charge, 1, held);
            }
            let reserved: Vec<_> = reserved
                .in_store
                .iter()
                .map(|(charge, receipt)| (charge, *receipt))
                .collect();
            // Boxed: most requests have nothing in the store, and the future of all of them would hold it.
            Box::pin(store.refund(&reserved)).await;
        }
    }
}

/// Whether limits refused the request.
const fn is_limited(outcome: &Outcome) -> bool {
    matches!(
        &outcome.decision,
        Decision::Deny(denial) if matches!(denial.kind, DenialKind::RateLimited | DenialKind::ReducedCapacity)
    )
}

/// Counts a decision, and which tier made it.
fn count(state: &LimitState, store: &str) {
    let outcome = match (state.granted, state.limit.mode) {
        (true, _) => "granted",
        (false, Mode::Enforce) => "denied",
        (false, Mode::Shadow) => "would_deny",
    };
    METRICS
        .limit_decisions
        .with_label_values(&[state.limit.name.as_str(), outcome, store])
        .inc();
}
