//! The services behind the gateway at run time: which of their addresses can serve, and which one gets a request.

mod answer_head;
mod breaker;
mod budget;
mod endpoint;
mod health;
mod lookup;
mod recent;
mod resting;
mod socket;

use std::path::Path;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use policy::{Upstream, UpstreamAddress, UpstreamTls};
use tokio::sync::Notify;

use breaker::{Admission, Breaker};
use budget::Budget;
pub(crate) use endpoint::{Endpoint, Io, NO_IDENTITY};
pub(crate) use resting::{Way, look_after as look_after_resting};
use socket::Location;

use crate::tls::{UpstreamTlsSlot, WantedUpstreamTls};

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds on a clock that is never set back; from 1, so that 0 can mean “never”.
fn now_ms() -> u64 {
    u64::try_from(STARTED.elapsed().as_millis())
        .unwrap_or(u64::MAX)
        .saturating_add(1)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What outlives a change of the policy.
struct State {
    breaker: Breaker,
    budget: Budget,
}

/// The rule of an upstream over TLS, and the set of files in force for it.
#[derive(Clone)]
pub(crate) struct PoolTls {
    rule: UpstreamTls,
    slot: Arc<UpstreamTlsSlot>,
}

/// One upstream of the policy in force.
pub(crate) struct Pool {
    upstream: Arc<Upstream>,
    /// Of addresses that are written; of those that a name has when it was last looked up.
    endpoints: ArcSwap<Vec<Arc<Endpoint>>>,
    state: Arc<State>,
    tls: Option<PoolTls>,
    is_watched: AtomicBool,
    looked_up: Notify,
}

/// Why no attempt is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The breaker is open for this long.
    Open(Duration),
    /// No name of the service has an address.
    Nowhere,
}

impl Pool {
    /// The pool of an upstream. What is known of addresses that stay is taken over from `previous`.
    ///
    /// # Errors
    /// When a socket path cannot be one (108 bytes is the limit of the system).
    pub(crate) fn new(
        upstream: &Arc<Upstream>,
        socket_dir: &Path,
        previous: Option<&Self>,
    ) -> anyhow::Result<Self> {
        let known = previous
            .map(|pool| pool.endpoints.load_full())
            .unwrap_or_default();
        let tls = upstream.tls.as_ref().map(|rule| {
            let known = previous.and_then(|pool| pool.tls.as_ref());
            known
                .filter(|known| known.rule == *rule)
                .cloned()
                .unwrap_or_else(|| PoolTls {
                    rule: rule.clone(),
                    slot: Arc::default(),
                })
        });
        let mut endpoints = Vec::new();
        for address in upstream.addresses() {
            let location = match address {
                UpstreamAddress::Unix(name) => Location::Unix(socket_dir.join(name)),
                UpstreamAddress::Http(address) | UpstreamAddress::Https(address) => Location::Tcp(*address),
                UpstreamAddress::Name { .. } => {
                    let found = |known: &&Arc<Endpoint>| {
                        known.written == *address && known.is_verified_by(tls.as_ref())
                    };
                    endpoints.extend(known.iter().filter(found).cloned());
                    continue;
                }
            };
            endpoints.push(Endpoint::known_or_new(
                &known,
                &upstream.name,
                address,
                location,
                tls.as_ref(),
            )?);
        }
        let state = previous.map_or_else(
            || {
                Arc::new(State {
                    breaker: Breaker::new(&upstream.name),
                    budget: Budget::new(),
                })
            },
            |pool| pool.state.clone(),
        );
        Ok(Self {
            upstream: upstream.clone(),
            endpoints: ArcSwap::from_pointee(endpoints),
            state,
            tls,
            is_watched: AtomicBool::new(false),
            looked_up: Notify::new(),
        })
    }

    /// Its addresses, and which of them get requests, for operators.
    pub(crate) fn status(&self) -> serde_json::Value {
        let now = now_ms();
        let endpoints = self.endpoints.load();
        let addresses = endpoints.iter().map(|endpoint| endpoint.status(now));
        serde_json::json!({
            "addresses": addresses.collect::<Vec<_>>(),
            "tls": self.tls.as_ref().map(|tls| match tls.slot.current() {
                Some(_) => "in force",
                None => "its files are missing, wrong or have ended",
            }),
        })
    }

    /// What its TLS is made of, where there is any.
    pub(crate) fn wanted_tls(&self) -> Option<WantedUpstreamTls<'_>> {
        self.tls.as_ref().map(|tls| WantedUpstreamTls {
            upstream: &self.upstream.name,
            tls: &tls.rule,
            slot: &tls.slot,
        })
    }

    /// Whether it asks for files that the pool before it did not.
    pub(crate) fn has_new_tls(&self, previous: Option<&Self>) -> bool {
        let known = previous.and_then(|pool| pool.tls.as_ref());
        self.tls
            .as_ref()
            .is_some_and(|tls| known.is_none_or(|known| !Arc::ptr_eq(&known.slot, &tls.slot)))
    }

    /// The upstream of the policy.
    pub(crate) fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// Chooses an address that this request has not failed on. The attempt ends with its outcome, or by being dropped.
    ///
    /// # Errors
    /// When there is none, or when the service is left alone.
    pub(crate) fn begin(self: &Arc<Self>, failed: &[Arc<Endpoint>]) -> Result<Attempt, Refused> {
        let is_probe = match &self.upstream.breaker {
            None => false,
            Some(_) => match self.state.breaker.admit() {
                Admission::Closed => false,
                Admission::Probe => true,
                Admission::Open(left) => return Err(Refused::Open(left)),
            },
        };
        let endpoints = self.endpoints.load();
        let Some(endpoint) = choose(&endpoints, failed) else {
            if is_probe {
                self.state.breaker.give_up_probe();
            }
            return Err(Refused::Nowhere);
        };
        endpoint.in_flight.inc();
        Ok(Attempt {
            pool: self.clone(),
            endpoint: endpoint.clone(),
            is_probe,
            answers_before: endpoint.answers.load(Ordering::Relaxed),
            has_answered: false,
        })
    }

    /// Waits, once after the start, for the first lookup of a name; whether it had to.
    pub(crate) async fn wait_for_addresses(&self, at_most: Duration) -> bool {
        let looked_up = self.looked_up.notified();
        let waits = self.endpoints.load().is_empty();
        if waits {
            // Whether it came in time or not is seen by `begin`.
            let _ = tokio::time::timeout(at_most, looked_up).await;
        }
        waits
    }

    /// Whether one more attempt is allowed to a request that has had so many further ones; takes it from the budget.
    pub(crate) fn may_retry(&self, further: u32) -> bool {
        self.upstream
            .retries
            .is_some_and(|retries| further < retries.most && self.state.budget.withdraw())
    }

    /// A request has come: what it adds to the budget of retries.
    pub(crate) fn count_request(&self) {
        if let Some(retries) = &self.upstream.retries {
            self.state.budget.deposit(retries.budget_percent);
        }
    }

    /// Whether any address takes connections.
    ///
    /// # Errors
    /// Why the last one does not.
    pub(crate) async fn accepts(&self, at_most: Duration) -> Result<(), String> {
        let mut reason = "it has no address yet".to_owned();
        let endpoints = self.endpoints.load_full();
        for endpoint in endpoints.iter() {
            match health::accepts(endpoint, at_most).await {
                Ok(()) => return Ok(()),
                Err(error) => reason = error,
            }
        }
        Err(reason)
    }

    /// Whether so many requests of late failed, and no address answered more than it failed: one that is well keeps the
    /// service open, and another one that is dead is for [`Self::eject`].
    fn fails_mostly(&self, failures: u32, now: u64) -> bool {
        let endpoints = self.endpoints.load();
        let mut failed = 0_u32;
        for counts in endpoints.iter().map(|endpoint| endpoint.recent.counts(now)) {
            if counts.are_mostly_good() {
                return false;
            }
            failed = failed.saturating_add(counts.failed);
        }
        failed >= failures
    }

    /// Takes an address out for a while, unless it is the last one that can serve. Then those that are out get another
    /// chance: they may be well by now, and this one is not.
    fn eject(&self, endpoint: &Endpoint) {
        let Some(eject) = &self.upstream.eject else { return };
        let now = now_ms();
        let endpoints = self.endpoints.load();
        let others = || {
            endpoints
                .iter()
                .filter(|other| !std::ptr::eq(other.as_ref(), endpoint))
        };
        if others().any(|other| other.can_serve(now))
            || others().filter(|other| other.pardon(now)).count() > 0
        {
            endpoint.eject(now, eject.time);
        }
    }
}

/// The less busy of two that are drawn among those that can serve; among all of them when none can.
fn choose<'e>(endpoints: &'e [Arc<Endpoint>], failed: &[Arc<Endpoint>]) -> Option<&'e Arc<Endpoint>> {
    if let [only] = endpoints {
        return Some(only);
    }
    let now = now_ms();
    let is_new = |endpoint: &Endpoint| {
        !failed
            .iter()
            .any(|failed| std::ptr::eq(failed.as_ref(), endpoint))
    };
    less_busy(endpoints, |endpoint| endpoint.can_serve(now) && is_new(endpoint))
        .or_else(|| less_busy(endpoints, is_new))
        .or_else(|| less_busy(endpoints, |_| true))
}

fn less_busy(endpoints: &[Arc<Endpoint>], fits: impl Fn(&Endpoint) -> bool) -> Option<&Arc<Endpoint>> {
    let fitting = || endpoints.iter().filter(|endpoint| fits(endpoint));
    let count = fitting().count();
    if count <= 1 {
        return fitting().next();
    }
    let first = random_below(count);
    // Any of the others, each as likely.
    let second = (first
        .wrapping_add(1)
        .wrapping_add(random_below(count.wrapping_sub(1))))
        % count;
    let (first, second) = (fitting().nth(first)?, fitting().nth(second)?);
    Some(if second.in_flight.get() < first.in_flight.get() {
        second
    } else {
        first
    })
}

/// A number below `bound`, which is not 0; for spreading load, not for secrets.
fn random_below(bound: usize) -> usize {
    let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
    usize::try_from(random() % bound).unwrap_or(0)
}

/// Part of a span of time, drawn at random.
pub(crate) fn jittered(most: Duration) -> Duration {
    Duration::from_millis(random() % millis(most).max(1))
}

/// SplitMix64, from a seed of its own on each thread.
fn random() -> u64 {
    use std::cell::Cell;
    use std::hash::{BuildHasher as _, RandomState};

    thread_local! {
        static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(0_u8));
    }
    STATE.with(|state| {
        let next = state.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        state.set(next);
        let mixed = (next ^ (next >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    })
}

/// One request on its way to one address.
pub(crate) struct Attempt {
    pool: Arc<Pool>,
    endpoint: Arc<Endpoint>,
    /// Whether an open breaker waits for its outcome.
    is_probe: bool,
    /// How many requests the address had answered when it began.
    answers_before: u64,
    has_answered: bool,
}

impl Attempt {
    /// Where it goes.
    pub(crate) const fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// The pool that it was begun on.
    pub(crate) const fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// The service has begun to answer: that is enough for a breaker that waits.
    pub(crate) fn answered(&mut self) {
        if !std::mem::replace(&mut self.has_answered, true) {
            self.endpoint.answers.fetch_add(1, Ordering::Relaxed);
        }
        if std::mem::take(&mut self.is_probe) {
            // What it failed before is over, or the next failure would open it again.
            for endpoint in self.pool.endpoints.load().iter() {
                endpoint.recent.forget();
            }
            self.pool.state.breaker.close();
        }
    }

    /// The whole answer came.
    pub(crate) fn succeeded(mut self) {
        self.answered();
        self.endpoint.succeeded();
        if self.pool.upstream.breaker.is_some() {
            self.endpoint.recent.count(now_ms(), false);
            self.pool.state.breaker.succeeded();
        }
    }

    /// The service lives, and asks for time; returns the address, which this request avoids from now on.
    pub(crate) fn declined(mut self) -> Arc<Endpoint> {
        self.answered();
        self.endpoint.clone()
    }

    /// The answer, or the rest of it, did not come in time; returns the address. Of an address that answered others
    /// meanwhile that says nothing: this request took long, and whoever knows one that does must not be able to take the
    /// service away from others.
    pub(crate) fn timed_out(self) -> Arc<Endpoint> {
        let own = u64::from(self.has_answered);
        let known = self.answers_before.saturating_add(own);
        if self.endpoint.answers.load(Ordering::Relaxed) > known {
            return self.endpoint.clone();
        }
        self.failed()
    }

    /// The service failed the request; returns the address, which this request avoids from now on.
    pub(crate) fn failed(mut self) -> Arc<Endpoint> {
        let upstream = &self.pool.upstream;
        let in_a_row = self.endpoint.failed();
        if upstream.eject.is_some_and(|eject| in_a_row >= eject.failures) {
            self.pool.eject(&self.endpoint);
        }
        if let Some(breaker) = &upstream.breaker {
            let is_probe = std::mem::take(&mut self.is_probe);
            let now = now_ms();
            self.endpoint.recent.count(now, true);
            let fails_mostly = || self.pool.fails_mostly(breaker.failures, now);
            let state = &self.pool.state.breaker;
            state.failed(is_probe, breaker.failures, breaker.time, fails_mostly);
        }
        self.endpoint.clone()
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.endpoint.in_flight.dec();
        if self.is_probe {
            self.pool.state.breaker.give_up_probe();
        }
    }
}

#[cfg(test)]
mod tests;
