//! The keys that verify tokens: Portico's own set, which the fleet states; in `files` and `urls`, the sets of other
//! issuers.
//!
//! **Invariant:** a revoked key never verifies again, whatever the control plane or the disk says later. Without a key set
//! nothing is verified, so nothing that needs a token is let through.

mod files;
mod issuer;
mod sources;
mod state_file;
mod urls;

pub(crate) use files::KeyFiles;
pub(crate) use issuer::{Examined, IssuerKeys};
pub(crate) use sources::KeySources;
pub(crate) use urls::{KeyUrls, follow as follow_urls};

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use keyring::{Expectations, KeySet, KeySetError, TokenRefusal, Verifier};
use std::sync::Arc;
use tokio::sync::Notify;

use crate::fleet;
use crate::last_heard::LastHeard;
use crate::metrics::METRICS;

/// After this long without a word from the control plane, an unknown key may be a new one that we have not heard of.
const STALE_AFTER: Duration = Duration::from_secs(90);
/// An unknown key asks for news at most this often (J37): random `kid`s must not become requests.
const ASK_INTERVAL_MS: u64 = 5_000;

/// One key set, ready for use.
#[derive(Debug)]
pub(crate) struct Keys {
    set: KeySet,
    verifier: IssuerKeys,
    jwks: Bytes,
    etag: String,
    fingerprint: String,
}

impl Keys {
    fn new(set: KeySet) -> Result<Self, KeySetError> {
        let verifier = IssuerKeys::new(Verifier::new(set.clone())?);
        let jwks = set.to_jwks().to_string();
        let hash = digest(&SHA256, jwks.as_bytes());
        let etag = hash
            .as_ref()
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>();
        Ok(Self {
            fingerprint: fleet::fingerprint(&set),
            set,
            verifier,
            jwks: Bytes::from(jwks),
            etag: format!("\"{etag}\""),
        })
    }

    /// The JWK Set document (RFC 7517 §5).
    pub(crate) fn jwks(&self) -> Bytes {
        self.jwks.clone()
    }

    /// Tells this set from every other.
    pub(crate) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The strong entity tag of the document (RFC 9110 §8.8.3).
    pub(crate) fn etag(&self) -> &str {
        &self.etag
    }
}

/// Why a token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VerificationFailure {
    /// The token breaks a rule.
    Refused(TokenRefusal),
    /// There is no key set, or it is too old to say that a key does not exist: try again later (J38).
    NoKeys,
    /// The key may be newer than the set, which is being fetched: try again in a moment (J37).
    KeysPending,
}

/// Holds Portico's own key set in force.
pub(crate) struct KeyStore {
    current: ArcSwapOption<Keys>,
    /// Of the copy on disk; they stay revoked also when no set that is taken over says so.
    revoked_before: Vec<String>,
    file: PathBuf,
    last_heard: LastHeard,
    asked_ms: AtomicU64,
    news_wanted: Notify,
}

impl KeyStore {
    /// Opens the store. What is in force comes by signed statements; the copy on disk is signed by nobody, and only what it
    /// has as revoked counts.
    pub(crate) fn open(state_dir: &Path) -> Self {
        let file = state_dir.join("keyset.json");
        let copy = state_file::read_key_set(&file).unwrap_or_else(|error| {
            tracing::error!(
                error = format!("{error:#}"),
                "the last copy of the key set is damaged: which keys were revoked before is not known from it"
            );
            None
        });
        Self {
            current: ArcSwapOption::empty(),
            revoked_before: copy.map(|set| set.revoked_kids).unwrap_or_default(),
            file,
            last_heard: LastHeard::never(),
            asked_ms: AtomicU64::new(0),
            news_wanted: Notify::new(),
        }
    }

    /// The key set in force, if there is one.
    pub(crate) fn current(&self) -> Option<Arc<Keys>> {
        self.current.load_full()
    }

    /// Takes over the key set of a signed statement. What was revoked stays so, over a restart when it was
    /// [written down](Self::write_down).
    ///
    /// # Errors
    /// When the set is not valid; the old one stays (J16).
    pub(crate) fn take_over(&self, mut set: KeySet) -> Result<(), KeySetError> {
        set.remember_revoked(self.revoked_before.iter().cloned());
        if let Some(old) = self.current.load_full() {
            set.remember_revoked(old.set.revoked_kids.iter().cloned());
        }
        let keys = Keys::new(set)?;
        tracing::info!(seq = keys.set.seq, keys = keys.set.keys.len(), "key set in force");
        METRICS
            .keyset_seq
            .set(i64::try_from(keys.set.seq).unwrap_or(i64::MAX));
        self.current.store(Some(Arc::new(keys)));
        Ok(())
    }

    /// Writes down the key set in force, for the keys that were ever revoked. A disk that fails is reported: serving goes on,
    /// and the statement is on the disk as well.
    pub(crate) fn write_down(&self) {
        let Some(keys) = self.current() else { return };
        if let Err(error) = state_file::write_key_set(&self.file, &keys.set) {
            tracing::error!(
                error = format!("{error:#}"),
                "which keys are revoked cannot be written to disk"
            );
        }
    }

    /// The number of the keys in force; `None` when there are none.
    pub(crate) fn generation(&self) -> Option<u64> {
        Some(self.current.load().as_ref()?.verifier.generation())
    }

    /// Whether tokens of this key are good; `None` when there are no keys.
    pub(crate) fn knows(&self, kid: &str) -> Option<bool> {
        Some(self.current.load().as_ref()?.verifier.knows(kid))
    }

    /// Why nothing can be verified; `None` when it can.
    pub(crate) fn missing(&self) -> Option<String> {
        let is_missing = self.current.load().is_none();
        is_missing.then(|| "no key set yet".to_owned())
    }

    /// Verifies a token at `now_unix` (Unix seconds).
    ///
    /// # Errors
    /// The rule the token breaks, or [`VerificationFailure::NoKeys`] when we cannot know.
    pub(crate) fn examine(
        &self,
        token: &str,
        expectations: &Expectations,
        now_unix: i64,
    ) -> Result<Examined, VerificationFailure> {
        let current = self.current.load();
        let Some(keys) = current.as_ref() else {
            return Err(VerificationFailure::NoKeys);
        };
        match keys.verifier.examine(token, expectations, now_unix) {
            Err(TokenRefusal::UnknownKey) => {
                self.want_news();
                // “Invalid” would be a lie when a rotation may have passed us by (control-plane rules, §2.4).
                let stale = self.silence().is_none_or(|silence| silence > STALE_AFTER);
                Err(if stale {
                    VerificationFailure::NoKeys
                } else {
                    VerificationFailure::Refused(TokenRefusal::UnknownKey)
                })
            }
            Err(refusal) => Err(VerificationFailure::Refused(refusal)),
            Ok(examined) => Ok(examined),
        }
    }

    /// How long ago the control plane last answered; `None` when it has not since the start.
    pub(crate) fn silence(&self) -> Option<Duration> {
        self.last_heard.silence()
    }

    /// Sets the metric of [`KeyStore::silence`].
    pub(crate) fn report_age(&self) {
        self.last_heard.report(&METRICS.keyset_heard_seconds);
    }

    /// The control plane says that this is the set.
    pub(crate) fn heard(&self) {
        self.last_heard.now();
    }

    /// Completes when a token names a key that is not known: whoever waits between two attempts to reach the control plane
    /// need not wait longer.
    pub(crate) async fn news_wanted(&self) {
        self.news_wanted.notified().await;
    }

    /// Asks for news, at most once per [`ASK_INTERVAL_MS`].
    fn want_news(&self) {
        let now = self.last_heard.elapsed_ms();
        let last = self.asked_ms.load(Ordering::Relaxed);
        if now.saturating_sub(last) >= ASK_INTERVAL_MS
            && self
                .asked_ms
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            self.news_wanted.notify_one();
        }
    }
}

/// Whole seconds, to compare with Unix time.
fn seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
