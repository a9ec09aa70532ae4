//! The keys of other issuers, fetched from where they publish them (J35 to J38).
//!
//! **Invariant:** no request waits for a fetch. A set in force was accepted whole, not longer ago than the policy allows;
//! what cannot be fetched changes nothing before that time, and afterwards opens nothing.

mod fetch;
mod follow;
mod state_file;
#[cfg(test)]
mod tests;
mod unknown;

pub(crate) use follow::follow;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use keyring::{Expectations, TokenRefusal, Verifier, key_name};
use policy::{KeySource, KeyUrl, Plan};
use service_runtime::clock::Clock;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::unknown::UnknownKeys;
use super::issuer::{Examined, IssuerKeys};
use super::{VerificationFailure, seconds};
use crate::metrics::METRICS;

/// A token with an unknown key brings a fetch forward at most this often (J37).
const ASK_INTERVAL_S: u64 = 30;

/// The sets of all issuers that the policy names by URL.
pub(crate) struct KeyUrls {
    state_dir: PathBuf,
    trust_file: PathBuf,
    clock: Clock,
    sets: ArcSwap<Vec<Arc<RemoteSet>>>,
    /// The policy names others than before.
    changed: Notify,
}

/// What is known of one issuer's set.
struct RemoteSet {
    url: Arc<KeyUrl>,
    label: String,
    file: PathBuf,
    held: ArcSwapOption<Held>,
    /// Unix seconds.
    fetched_at: AtomicI64,
    /// Unix seconds.
    attempted_at: AtomicI64,
    /// Whether an answer of the issuer is on its way.
    is_asking: AtomicBool,
    /// Whether the last attempt brought nothing that can be used.
    is_failing: AtomicBool,
    fault: Mutex<Option<String>>,
    unknown: UnknownKeys,
    wanted: Notify,
    /// The policy no longer names it.
    retired: CancellationToken,
}

/// A set that was accepted.
struct Held {
    document: Vec<u8>,
    keys: IssuerKeys,
}

impl KeyUrls {
    /// Knows no issuer yet: [`KeyUrls::look`] reads those of a policy.
    pub(crate) fn new(state_dir: &Path, trust_file: &Path, clock: Clock) -> Self {
        Self {
            state_dir: state_dir.to_owned(),
            trust_file: trust_file.to_owned(),
            clock,
            sets: ArcSwap::default(),
            changed: Notify::new(),
        }
    }

    /// Takes over the issuers that this policy names, with their last good sets from disk.
    pub(crate) fn look(&self, plan: &Plan) {
        let old = self.sets.load_full();
        let mut sets: Vec<Arc<RemoteSet>> = Vec::new();
        for url in urls(plan) {
            if sets.iter().any(|set| *set.url == **url) {
                continue;
            }
            let known = old.iter().find(|set| *set.url == **url).cloned();
            sets.push(known.unwrap_or_else(|| {
                let set = RemoteSet::new(url, &self.state_dir);
                set.read_last_copy(self.clock.now().timestamp());
                Arc::new(set)
            }));
        }
        let gone = old
            .iter()
            .filter(|old| !sets.iter().any(|set| Arc::ptr_eq(set, old)));
        for set in gone {
            set.retired.cancel();
            // Fails when there is none.
            drop(METRICS.key_url_ok.remove_label_values(&[set.label.as_str()]));
        }
        for set in &sets {
            set.report();
        }
        self.sets.store(Arc::new(sets));
        self.changed.notify_one();
    }

    fn set(&self, url: &Arc<KeyUrl>) -> Option<Arc<RemoteSet>> {
        let sets = self.sets.load();
        let found = sets
            .iter()
            .find(|set| Arc::ptr_eq(&set.url, url) || *set.url == **url);
        found.cloned()
    }

    pub(crate) fn generation(&self, url: &Arc<KeyUrl>, now_unix: i64) -> Option<u64> {
        self.set(url)?.with_keys(now_unix, IssuerKeys::generation)
    }

    /// Whether tokens of this key are good; `None` without a set that counts.
    pub(crate) fn knows(&self, url: &Arc<KeyUrl>, kid: &str, now_unix: i64) -> Option<bool> {
        self.set(url)?.with_keys(now_unix, |keys| keys.knows(kid))
    }

    /// Verifies a token with the keys of one issuer, at `now_unix` (Unix seconds).
    ///
    /// # Errors
    /// The rule the token breaks, [`VerificationFailure::NoKeys`] without a set that counts, or
    /// [`VerificationFailure::KeysPending`] while it may be signed by a key that is newer than the set.
    pub(crate) fn examine(
        &self,
        url: &Arc<KeyUrl>,
        token: &str,
        expectations: &Expectations,
        now_unix: i64,
    ) -> Result<Examined, VerificationFailure> {
        let set = self.set(url).ok_or(VerificationFailure::NoKeys)?;
        let examined = set
            .with_keys(now_unix, |keys| keys.examine(token, expectations, now_unix))
            .ok_or(VerificationFailure::NoKeys)?;
        examined.map_err(|refusal| match refusal {
            TokenRefusal::UnknownKey => set.judge_unknown(key_name(token).as_deref(), now_unix),
            refusal => VerificationFailure::Refused(refusal),
        })
    }

    /// Why there are no keys of this issuer; `None` when there are.
    pub(crate) fn missing(&self, url: &Arc<KeyUrl>, now_unix: i64) -> Option<String> {
        match self.set(url) {
            None => Some(format!("{url}: not asked yet")),
            Some(set) if set.with_keys(now_unix, |_| ()).is_some() => None,
            Some(set) => {
                let fault = set.fault.lock().unwrap_or_else(PoisonError::into_inner);
                let fault = fault.as_deref().unwrap_or("not fetched yet");
                Some(format!("{url}: {fault}"))
            }
        }
    }
}

impl RemoteSet {
    fn new(url: &Arc<KeyUrl>, state_dir: &Path) -> Self {
        Self {
            url: url.clone(),
            label: url.to_string(),
            file: state_file::path(state_dir, url),
            held: ArcSwapOption::empty(),
            fetched_at: AtomicI64::new(0),
            attempted_at: AtomicI64::new(i64::MIN),
            is_asking: AtomicBool::new(false),
            is_failing: AtomicBool::new(false),
            fault: Mutex::default(),
            unknown: UnknownKeys::default(),
            wanted: Notify::new(),
            retired: CancellationToken::new(),
        }
    }

    /// A copy that is too old or damaged is as good as none: the issuer is asked first of all.
    fn read_last_copy(&self, now_unix: i64) {
        match state_file::read(&self.file, &self.url) {
            Ok(Some((document, fetched_at))) => {
                self.fetched_at.store(fetched_at, Ordering::Relaxed);
                if let Err(error) = self.put(document) {
                    tracing::error!(url = self.label, %error, "the last copy of an issuer's keys is damaged");
                } else if self.with_keys(now_unix, |_| ()).is_none() {
                    tracing::warn!(url = self.label, "the last copy of an issuer's keys is too old");
                }
            }
            Ok(None) => {}
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(
                    url = self.label,
                    error,
                    "the last copy of an issuer's keys is damaged"
                );
            }
        }
    }

    /// Puts a set in force; whether it is another one.
    fn put(&self, document: Vec<u8>) -> Result<bool, keyring::KeySetError> {
        if self
            .held
            .load()
            .as_ref()
            .is_some_and(|held| held.document == document)
        {
            return Ok(false);
        }
        let (verifier, skipped) = Verifier::from_jwks(&document)?;
        let keys = IssuerKeys::new(verifier);
        let count = keys.count();
        tracing::info!(
            url = self.label,
            keys = count,
            ?skipped,
            "keys of another issuer in force"
        );
        self.held.store(Some(Arc::new(Held { document, keys })));
        self.unknown.forget();
        Ok(true)
    }

    /// Asks the keys in force; `None` when there are none that still count. Then the follower is woken: the clock may have
    /// been set, and its next turn be far.
    fn with_keys<T>(&self, now_unix: i64, ask: impl FnOnce(&IssuerKeys) -> T) -> Option<T> {
        let held = self.held.load();
        let held = held.as_ref()?;
        let age = now_unix.saturating_sub(self.fetched_at.load(Ordering::Relaxed));
        if age > seconds(self.url.stale_for) {
            self.want(now_unix);
            return None;
        }
        Some(ask(&held.keys))
    }

    /// What a token with a key that is not in the set gets: “invalid” would be a lie when the key may be newer.
    fn judge_unknown(&self, kid: Option<&str>, now_unix: i64) -> VerificationFailure {
        let refused = VerificationFailure::Refused(TokenRefusal::UnknownKey);
        let Some(kid) = kid else { return refused };
        if self.is_failing.load(Ordering::Relaxed) {
            return VerificationFailure::NoKeys;
        }
        if self.unknown.contains(kid, now_unix) {
            return refused;
        }
        // Or it came between the question and this.
        if self.is_asking.load(Ordering::Acquire)
            || self.with_keys(now_unix, |keys| keys.knows(kid)) == Some(true)
        {
            return VerificationFailure::KeysPending;
        }
        if self.may_ask(now_unix) {
            self.wanted.notify_one();
            return VerificationFailure::KeysPending;
        }
        self.unknown.insert(kid, now_unix);
        refused
    }

    fn want(&self, now_unix: i64) {
        if self.may_ask(now_unix) {
            self.wanted.notify_one();
        }
    }

    /// Whether the last attempt is long enough ago, also when the clock was set back.
    fn may_ask(&self, now_unix: i64) -> bool {
        now_unix.abs_diff(self.attempted_at.load(Ordering::Relaxed)) >= ASK_INTERVAL_S
    }

    fn report(&self) {
        let is_ok = self.held.load().is_some() && !self.is_failing.load(Ordering::Relaxed);
        METRICS
            .key_url_ok
            .with_label_values(&[self.label.as_str()])
            .set(i64::from(is_ok));
    }
}

/// Where the providers of a policy publish their keys.
fn urls(plan: &Plan) -> impl Iterator<Item = &Arc<KeyUrl>> {
    let providers = plan.identity_providers().iter();
    providers.filter_map(|provider| match &provider.keys {
        KeySource::Url(url) => Some(url),
        KeySource::Portico | KeySource::File(_) => None,
    })
}
