//! A secret's place and its last value: resolved with all others when a service starts, fetched again later, and kept
//! when its provider is down.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::lease::Held;
use crate::{Fault, Fetched, ProviderSettings, Providers, Reference};

/// A lease that is refused although it has not ended is replaced no more often: each is a user of the database.
const LENT_ANEW: TimeDelta = TimeDelta::seconds(5);

/// A secret's place and its last value. Shared by all who use it.
#[derive(Debug)]
pub struct Source {
    reference: Reference,
    consumers: Vec<String>,
    providers: Arc<Providers>,
    freshness: Freshness,
    is_followed: AtomicBool,
    known: Mutex<Known>,
    /// How often a newer value was found.
    changes: watch::Sender<u64>,
}

/// How old a value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freshness {
    /// How often it is fetched again, seconds.
    pub refresh_every_s: u32,
    /// How long the last value may be used while its provider does not answer before that is an alarm, seconds.
    pub max_stale_s: u32,
    /// A version that is older should be rotated, days.
    pub max_age_days: u32,
}

#[derive(Debug)]
struct Known {
    value: Fetched,
    /// When the provider last answered.
    fetched_at: DateTime<Utc>,
    /// When a newer value was last found.
    changed_at: Option<DateTime<Utc>>,
    /// Why the last attempt failed, if it did.
    fault: Option<Fault>,
    /// Until when it was lent; none where it has no end.
    held: Option<Held>,
}

impl Known {
    fn new(value: Fetched, now: DateTime<Utc>) -> Self {
        Self {
            held: value.lease.clone().map(|lease| Held::new(lease, now)),
            value,
            fetched_at: now,
            changed_at: None,
            fault: None,
        }
    }
}

/// What may be said of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// Where it is.
    pub reference: String,
    /// Who has it: `vault`, `awssm`, `file`, `env` or `age`.
    pub provider: String,
    /// The settings that use it.
    pub consumers: Vec<String>,
    /// The provider's name for the version in use.
    pub version: Option<String>,
    /// Since when there has been this version.
    pub since: Option<DateTime<Utc>>,
    /// When the provider last answered.
    pub fetched_at: DateTime<Utc>,
    /// When a newer value was last found, since the service started.
    pub changed_at: Option<DateTime<Utc>>,
    /// Whether a newer value is used without a restart.
    pub is_followed: bool,
    /// Why the last attempt failed, if it did.
    pub fault: Option<String>,
    /// How old it may be.
    pub freshness: Freshness,
    /// Until when it was lent; none where it has no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lent_until: Option<DateTime<Utc>>,
}

impl SourceStatus {
    /// Whether its provider has not answered for longer than the last value may be used.
    #[must_use]
    pub fn is_stale(&self, now: DateTime<Utc>) -> bool {
        if let Some(end) = self.lent_until {
            return now > end;
        }
        now.signed_duration_since(self.fetched_at).num_seconds() > i64::from(self.freshness.max_stale_s)
    }

    /// What somebody has to do about it, if anything.
    #[must_use]
    pub fn next_action(&self, now: DateTime<Utc>) -> Option<&'static str> {
        let age_days = self
            .since
            .map(|since| now.signed_duration_since(since).num_days());
        if self.is_stale(now) {
            Some("bring its provider back: the last value is older than max_stale_s, or its lease has ended")
        } else if self.fault.is_some() {
            Some("look at its provider: the last value stays in use")
        } else if self.changed_at.is_some() && !self.is_followed {
            Some("restart the service: it uses the value of its start")
        } else if age_days.is_some_and(|days| days > i64::from(self.freshness.max_age_days)) {
            Some("rotate it: it is older than max_age_days")
        } else {
            None
        }
    }
}

impl Source {
    /// Where it is.
    #[must_use]
    pub const fn reference(&self) -> &Reference {
        &self.reference
    }

    /// The last value.
    #[must_use]
    pub fn bytes(&self) -> Zeroizing<Vec<u8>> {
        self.lock().value.bytes.clone()
    }

    /// The last value as a text, without the line end that editors put there.
    ///
    /// # Errors
    /// When it is no text.
    pub fn text(&self) -> Result<Zeroizing<String>, Fault> {
        text_of(&self.lock().value)
    }

    /// Follows this secret: whoever does takes newer values while it runs. The receiver changes with the value.
    pub fn follow(&self) -> watch::Receiver<u64> {
        let changes = self.changes.subscribe();
        // Said last: who has seen it may count on the next change being noticed.
        self.is_followed.store(true, Ordering::Release);
        changes
    }

    /// How old it may be.
    #[must_use]
    pub const fn freshness(&self) -> Freshness {
        self.freshness
    }

    /// In how long it is to be asked for again, where it was lent: never all the time, and long before its lease ends. None
    /// where it has no end, and is fetched as the settings say.
    pub fn is_due_in(&self, now: DateTime<Utc>) -> Option<std::time::Duration> {
        let held = self.lock().held.clone()?;
        let least = i64::from(held.lease.seconds)
            .checked_div(20)
            .unwrap_or(0)
            .clamp(1, 30);
        let left = held.is_due_at().signed_duration_since(now);
        left.max(TimeDelta::seconds(least)).to_std().ok()
    }

    /// Whether it was lent for a time.
    pub fn is_lent(&self) -> bool {
        self.lock().held.is_some()
    }

    /// Fetches it again, and returns whether it is another one now. When that fails, the last value stays. What was lent is
    /// left alone until its lease is due, and then renewed; another one is asked for where it cannot be, or not for long.
    ///
    /// # Errors
    /// What the provider said.
    pub async fn refresh(&self, now: DateTime<Utc>) -> Result<bool, Fault> {
        let held = self.lock().held.clone();
        let Some(held) = held else {
            return self.fetch_again(now).await;
        };
        if now < held.is_due_at() {
            return Ok(false);
        }
        if held.lease.is_renewable {
            match self.providers.renew(&held.lease).await {
                Ok(lease) => {
                    if let Some(renewed) = held.renewed(lease, now) {
                        let mut known = self.lock();
                        (known.held, known.fetched_at, known.fault) = (Some(renewed), now, None);
                        return Ok(false);
                    }
                }
                Err(fault) if fault.is_transient() => {
                    self.lock().fault = Some(fault.clone());
                    return Err(fault);
                }
                // Somebody has ended it.
                Err(_) => {}
            }
        }
        self.fetch_again(now).await
    }

    /// Has another one lent in place of one that does not work although its lease has not ended. Returns whether there is one.
    pub async fn lend_anew(&self, now: DateTime<Utc>) -> bool {
        let since = self.lock().held.as_ref().map(|held| held.since);
        let is_old = since.is_some_and(|since| now.signed_duration_since(since).abs() >= LENT_ANEW);
        is_old && self.fetch_again(now).await.is_ok()
    }

    /// Gives back what was lent, once: its value is good for nothing then. Whether there was anything to give back.
    ///
    /// # Errors
    /// What the provider said; the lease ends by itself then.
    pub async fn give_back(&self) -> Result<bool, Fault> {
        let held = self.lock().held.take();
        match held {
            Some(held) => self.providers.end(&held.lease).await.map(|()| true),
            None => Ok(false),
        }
    }

    async fn fetch_again(&self, now: DateTime<Utc>) -> Result<bool, Fault> {
        let fetched = self.providers.get(&self.reference).await;
        let mut known = self.lock();
        match fetched {
            Ok(value) => {
                let is_new = known.value.bytes != value.bytes;
                let changed_at = if is_new { Some(now) } else { known.changed_at };
                *known = Known {
                    changed_at,
                    ..Known::new(value, now)
                };
                drop(known);
                if is_new {
                    self.changes.send_modify(|count| *count = count.wrapping_add(1));
                }
                Ok(is_new)
            }
            Err(fault) => {
                known.fault = Some(fault.clone());
                Err(fault)
            }
        }
    }

    /// Texts that may work in place of one that was refused, the likeliest first: what the provider has now, then what
    /// it has for before and after a rotation that is under way. Of what was lent, the last: each question has another lent.
    pub async fn candidates(&self) -> Vec<Zeroizing<String>> {
        if self.is_lent() {
            return self.text().into_iter().collect();
        }
        let current = self.providers.get(&self.reference).await.ok();
        let version = current.as_ref().and_then(|fetched| fetched.version.clone());
        let neighbours = self
            .providers
            .neighbours(&self.reference, version.as_deref())
            .await;
        let mut texts = Vec::new();
        for text in current
            .iter()
            .chain(&neighbours)
            .filter_map(|fetched| text_of(fetched).ok())
        {
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        texts
    }

    /// What may be said of it.
    #[must_use]
    pub fn status(&self) -> SourceStatus {
        let known = self.lock();
        SourceStatus {
            reference: self.reference.to_string(),
            provider: self.reference.provider().to_owned(),
            consumers: self.consumers.clone(),
            version: known.value.version.clone(),
            since: known.value.since,
            fetched_at: known.fetched_at,
            changed_at: known.changed_at,
            is_followed: self.is_followed.load(Ordering::Acquire),
            fault: known.fault.as_ref().map(Fault::to_string),
            freshness: self.freshness,
            lent_until: known.held.as_ref().map(Held::ends_at),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn text_of(value: &Fetched) -> Result<Zeroizing<String>, Fault> {
    std::str::from_utf8(&value.bytes)
        .map(|text| Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
        .map_err(|_| Fault::Malformed("is no text".to_owned()))
        .and_then(|text| {
            if text.is_empty() {
                Err(Fault::Missing("is empty".to_owned()))
            } else {
                Ok(text)
            }
        })
}

/// The secrets of one service: each reference with its source, or why there is none.
#[derive(Debug, Default)]
pub struct Resolved {
    sources: BTreeMap<String, Result<Arc<Source>, String>>,
    /// Who was asked; keys that stay there are used through the same.
    providers: Arc<Providers>,
}

thread_local! {
    /// What [`Resolved::within`] lends to the deserializers of secrets and keys, which serde gives no other way to reach it.
    static AT_HAND: RefCell<Option<Resolved>> = const { RefCell::new(None) };
}

impl Resolved {
    /// Runs `read` with these secrets at hand for every `Secret` that it deserializes on this thread.
    pub fn within<T>(self, read: impl FnOnce() -> T) -> T {
        AT_HAND.set(Some(self));
        let outcome = read();
        AT_HAND.set(None);
        outcome
    }

    /// The sources that did resolve.
    pub fn sources(&self) -> impl Iterator<Item = &Arc<Source>> {
        self.sources.values().filter_map(|source| source.as_ref().ok())
    }

    /// The references that did not resolve, each with the reason.
    pub fn faults(&self) -> impl Iterator<Item = (&str, &str)> {
        self.sources
            .iter()
            .filter_map(|(text, source)| Some((text.as_str(), source.as_ref().err()?.as_str())))
    }
}

/// The source of a reference: the one that was resolved before, or a local one that is read now.
pub(crate) fn look_up(text: &str) -> Result<Arc<Source>, String> {
    let found = AT_HAND.with_borrow(|resolved| {
        resolved
            .as_ref()
            .and_then(|resolved| resolved.sources.get(text).cloned())
    });
    if let Some(known) = found {
        return known;
    }
    let resolved = resolve(
        &BTreeMap::from([(text.to_owned(), Vec::new())]),
        &ProviderSettings::default(),
        DateTime::default(),
    );
    resolved
        .sources
        .into_values()
        .next()
        .unwrap_or_else(|| Err("the secret cannot be resolved".to_owned()))
}

/// The providers of the settings that are being read; none where nothing is.
#[must_use]
pub fn providers_at_hand() -> Arc<Providers> {
    AT_HAND.with_borrow(|resolved| {
        resolved
            .as_ref()
            .map(|resolved| resolved.providers.clone())
            .unwrap_or_default()
    })
}

/// Resolves every reference of a service in parallel: text of the reference → the settings that use it.
#[must_use]
pub fn resolve(
    references: &BTreeMap<String, Vec<String>>,
    settings: &ProviderSettings,
    now: DateTime<Utc>,
) -> Resolved {
    let providers = Arc::new(Providers::new(settings));
    let freshness = Freshness {
        refresh_every_s: settings.refresh_every_s,
        max_stale_s: settings.max_stale_s,
        max_age_days: settings.max_age_days,
    };
    let shared = &providers;
    let questions = references.iter().map(|(text, consumers)| {
        let (providers, consumers) = (shared.clone(), consumers.clone());
        async move {
            let source = fetch(text, &providers).await.map(|(reference, value)| {
                Arc::new(Source {
                    reference,
                    consumers,
                    providers,
                    freshness,
                    is_followed: AtomicBool::new(false),
                    known: Mutex::new(Known::new(value, now)),
                    changes: watch::Sender::new(0),
                })
            });
            (text.clone(), source)
        }
    });
    // On a thread of its own: whoever reads settings may be on a runtime already.
    let outcome = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                Ok::<_, std::io::Error>(runtime.block_on(join_all(questions)))
            })
            .join()
    });
    let all_failed = |why: &str| {
        let failed = |text: &String| (text.clone(), Err(format!("cannot be asked for: {why}")));
        references.keys().map(failed).collect()
    };
    let sources = match outcome {
        Ok(Ok(found)) => found.into_iter().collect(),
        Ok(Err(error)) => all_failed(&error.to_string()),
        Err(_) => all_failed("a bug in a provider"),
    };
    Resolved { sources, providers }
}

async fn fetch(text: &str, providers: &Providers) -> Result<(Reference, Fetched), String> {
    let reference: Reference = text
        .parse()
        .map_err(|error: crate::ReferenceError| error.to_string())?;
    match providers.get(&reference).await {
        Ok(value) => Ok((reference, value)),
        Err(fault) => Err(format!("{reference}: {fault}")),
    }
}
