//! A secret's place and its last value: resolved with all others when a service starts, fetched again later, and kept
//! when its provider is down.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use futures::future::join_all;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::{Fault, Fetched, ProviderSettings, Providers, Reference};

/// A secret's place and its last value. Shared by all who use it.
#[derive(Debug)]
pub struct Source {
    reference: Reference,
    consumers: Vec<String>,
    providers: Arc<Providers>,
    is_followed: AtomicBool,
    known: Mutex<Known>,
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
}

/// What may be said of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceStatus {
    /// Where it is.
    pub reference: String,
    /// Who has it: `vault`, `awssm`, `file`, `env` or `age`.
    pub provider: &'static str,
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

    /// Says that whoever uses this secret takes newer values while it runs.
    pub fn follow(&self) {
        self.is_followed.store(true, Ordering::Relaxed);
    }

    /// Fetches it again, and returns whether it is another one now. When that fails, the last value stays.
    ///
    /// # Errors
    /// What the provider said.
    pub async fn refresh(&self, now: DateTime<Utc>) -> Result<bool, Fault> {
        let fetched = self.providers.get(&self.reference).await;
        let mut known = self.lock();
        match fetched {
            Ok(value) => {
                known.fetched_at = now;
                known.fault = None;
                let is_new = known.value.bytes != value.bytes;
                if is_new {
                    known.changed_at = Some(now);
                }
                known.value = value;
                Ok(is_new)
            }
            Err(fault) => {
                known.fault = Some(fault.clone());
                Err(fault)
            }
        }
    }

    /// Texts that may work in place of one that was refused, the likeliest first: what the provider has now, then what
    /// it has for before and after a rotation that is under way.
    pub async fn candidates(&self) -> Vec<Zeroizing<String>> {
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
            provider: self.reference.provider(),
            consumers: self.consumers.clone(),
            version: known.value.version.clone(),
            since: known.value.since,
            fetched_at: known.fetched_at,
            changed_at: known.changed_at,
            is_followed: self.is_followed.load(Ordering::Relaxed),
            fault: known.fault.as_ref().map(Fault::to_string),
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
pub struct Resolved(BTreeMap<String, Result<Arc<Source>, String>>);

thread_local! {
    /// What [`Resolved::within`] lends to the deserializers of secrets, which serde gives no other way to reach it.
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

    /// The references that did not resolve, each with the reason.
    pub fn faults(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .filter_map(|(text, source)| Some((text.as_str(), source.as_ref().err()?.as_str())))
    }
}

/// The source of a reference: the one that was resolved before, or a local one that is read now.
pub(crate) fn look_up(text: &str) -> Result<Arc<Source>, String> {
    let found = AT_HAND.with_borrow(|resolved| {
        resolved
            .as_ref()
            .and_then(|Resolved(known)| known.get(text).cloned())
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
        .0
        .into_values()
        .next()
        .unwrap_or_else(|| Err("the secret cannot be resolved".to_owned()))
}

/// Resolves every reference of a service in parallel: text of the reference → the settings that use it.
#[must_use]
pub fn resolve(
    references: &BTreeMap<String, Vec<String>>,
    settings: &ProviderSettings,
    now: DateTime<Utc>,
) -> Resolved {
    let providers = Arc::new(Providers::new(settings));
    let questions = references.iter().map(|(text, consumers)| {
        let providers = providers.clone();
        async move { (text.clone(), resolve_one(text, consumers, providers, now).await) }
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
    match outcome {
        Ok(Ok(found)) => Resolved(found.into_iter().collect()),
        Ok(Err(error)) => all_failed(references, &error.to_string()),
        Err(_) => all_failed(references, "a bug in a provider"),
    }
}

fn all_failed(references: &BTreeMap<String, Vec<String>>, why: &str) -> Resolved {
    let failed = |text: &String| (text.clone(), Err(format!("cannot be asked for: {why}")));
    Resolved(references.keys().map(failed).collect())
}

async fn resolve_one(
    text: &str,
    consumers: &[String],
    providers: Arc<Providers>,
    now: DateTime<Utc>,
) -> Result<Arc<Source>, String> {
    let reference: Reference = text
        .parse()
        .map_err(|error: crate::ReferenceError| error.to_string())?;
    match providers.get(&reference).await {
        Ok(value) => Ok(Arc::new(Source {
            reference,
            consumers: consumers.to_vec(),
            providers,
            is_followed: AtomicBool::new(false),
            known: Mutex::new(Known {
                value,
                fetched_at: now,
                changed_at: None,
                fault: None,
            }),
        })),
        Err(fault) => Err(format!("{reference}: {fault}")),
    }
}
