//! Keeping the secrets of a service fresh: each is fetched again now and then, and its last value stays when that fails.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use prometheus::{IntCounterVec, IntGaugeVec, Opts};
use secrets::{Resolved, Secret, Source, SourceStatus, WrappingKey};

use futures::future::join_all;

use crate::clock::Clock;
use crate::metrics::registry;
use crate::shutdown::Shutdown;

/// How long a service that ends waits for providers to take back what they have lent.
const GIVING_BACK: Duration = Duration::from_secs(3);

/// The secrets of one service, each once.
#[derive(Debug, Clone, Default)]
pub struct ServiceSecrets(Vec<Arc<Source>>);

impl ServiceSecrets {
    /// With a secret, if it came from somewhere.
    #[must_use]
    pub fn with(self, secret: &Secret) -> Self {
        self.with_source(secret.source())
    }

    /// With a wrapping key, if its bytes came from somewhere.
    #[must_use]
    pub fn with_key(self, key: &WrappingKey) -> Self {
        match key {
            WrappingKey::Secret(secret) => self.with_source(secret.source()),
            WrappingKey::Remote(_) => self,
        }
    }

    /// All that was resolved, whatever it is for.
    pub(crate) fn resolved(resolved: &Resolved) -> Self {
        Self(resolved.sources().cloned().collect())
    }

    fn with_source(mut self, source: Option<&Arc<Source>>) -> Self {
        let is_known = |source: &Arc<Source>| self.0.iter().any(|known| Arc::ptr_eq(known, source));
        if let Some(source) = source.filter(|source| !is_known(source)) {
            self.0.push(source.clone());
        }
        self
    }

    /// What may be said of each.
    #[must_use]
    pub fn status(&self) -> Vec<SourceStatus> {
        self.0.iter().map(|source| source.status()).collect()
    }

    /// Fetches each again and again until `shutdown`, each on its own, so that a provider that hangs holds up no other.
    pub fn keep_fresh(&self, clock: &Clock, shutdown: &Shutdown) {
        for source in &self.0 {
            shutdown.spawn(keep_one_fresh(source.clone(), clock.clone(), shutdown.clone()));
        }
    }

    /// Gives back what was lent, when nothing uses it any more: a service that ends leaves no user in the database. It waits
    /// for three seconds; what was not taken back ends with its lease.
    pub async fn give_back(&self) {
        let all = join_all(self.0.iter().map(|source| give_one_back(source)));
        if tokio::time::timeout(GIVING_BACK, all).await.is_err() {
            tracing::warn!("what was lent was not taken back in time; it ends with its lease");
        }
    }
}

impl ServiceSecrets {
    /// [`ServiceSecrets::give_back`] for whoever is on no runtime, as when nothing could begin: a start that fails again and
    /// again would leave a user in the database each time. What was given back before is not given back again.
    pub fn give_back_now(&self) {
        let lent = |source: &Arc<Source>| source.status().lent_until.is_some();
        if !self.0.iter().any(lent) {
            return;
        }
        // On a thread of its own: whoever reads settings may be on a runtime nevertheless.
        let given_back = std::thread::scope(|scope| {
            let all = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                runtime.block_on(self.give_back());
                Ok::<_, std::io::Error>(())
            });
            all.join()
        });
        if !matches!(given_back, Ok(Ok(()))) {
            tracing::warn!("what was lent cannot be given back; it ends with its lease");
        }
    }
}

async fn give_one_back(source: &Source) {
    let reference = source.reference();
    match source.give_back().await {
        Ok(true) => tracing::info!(%reference, "what was lent was given back"),
        Ok(false) => {}
        Err(fault) => {
            tracing::warn!(%reference, %fault, "what was lent was not taken back; it ends with its lease");
        }
    }
}

async fn keep_one_fresh(source: Arc<Source>, clock: Clock, shutdown: Shutdown) {
    let mut was_stale = false;
    loop {
        let every = || spread(source.freshness().refresh_every_s);
        let pause = source.is_due_in(clock.now()).unwrap_or_else(every);
        if tokio::time::timeout(pause, shutdown.cancelled()).await.is_ok() {
            return;
        }
        tokio::select! {
            () = refresh(&source, &clock, &mut was_stale) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

/// Fetches once, counts it, and says in the log what changed since the last time.
async fn refresh(source: &Source, clock: &Clock, was_stale: &mut bool) {
    let was_failing = source.status().fault.is_some();
    let outcome = source.refresh(clock.now()).await;
    let status = source.status();
    let is_stale = status.is_stale(clock.now());
    tell(&status, &outcome, was_failing);
    if is_stale && !*was_stale {
        tracing::error!(
            reference = %status.reference,
            "a secret could not be fetched for longer than max_stale_s; its last value is still in use"
        );
    }
    count(&status.provider, &outcome, was_failing, (*was_stale, is_stale));
    *was_stale = is_stale;
}

/// One line when something changed, and none when nothing did.
fn tell(status: &SourceStatus, outcome: &Result<bool, secrets::Fault>, was_failing: bool) {
    let reference = &status.reference;
    match outcome {
        Ok(true) => {
            let consumers = status.consumers.join(", ");
            tracing::info!(%reference, %consumers, in_use = status.is_followed, "a secret has a new value");
        }
        Ok(false) if was_failing => tracing::info!(%reference, "a secret can be fetched again"),
        Err(fault) if !was_failing => {
            tracing::warn!(%reference, %fault, "a secret cannot be fetched; its last value stays in use");
        }
        Ok(false) | Err(_) => {}
    }
}

/// The pause of a source: a tenth more or less than its interval.
fn spread(every_s: u32) -> Duration {
    let whole = u64::from(every_s).saturating_mul(1000);
    let width = whole.checked_div(5).unwrap_or(0).max(1);
    let random = getrandom::u64().unwrap_or(0).checked_rem(width).unwrap_or(0);
    Duration::from_millis(
        whole
            .saturating_sub(width.checked_div(2).unwrap_or(0))
            .saturating_add(random),
    )
}

struct SecretMetrics {
    changes: IntCounterVec,
    failures: IntCounterVec,
    failing: IntGaugeVec,
    stale: IntGaugeVec,
}

static METRICS: LazyLock<Option<SecretMetrics>> = LazyLock::new(|| match register() {
    Ok(metrics) => Some(metrics),
    Err(error) => {
        tracing::error!(%error, "the metrics of secrets cannot be registered");
        None
    }
});

fn register() -> prometheus::Result<SecretMetrics> {
    let counter = |name: &str, help: &str| -> prometheus::Result<IntCounterVec> {
        let counter = IntCounterVec::new(Opts::new(name, help), &["provider"])?;
        registry().register(Box::new(counter.clone()))?;
        Ok(counter)
    };
    let gauge = |name: &str, help: &str| -> prometheus::Result<IntGaugeVec> {
        let gauge = IntGaugeVec::new(Opts::new(name, help), &["provider"])?;
        registry().register(Box::new(gauge.clone()))?;
        Ok(gauge)
    };
    Ok(SecretMetrics {
        changes: counter(
            "portico_secret_changes_total",
            "Secrets that were found to have a new value.",
        )?,
        failures: counter(
            "portico_secret_failures_total",
            "Attempts to fetch a secret that failed.",
        )?,
        failing: gauge("portico_secrets_failing", "Secrets whose last attempt failed.")?,
        stale: gauge(
            "portico_secrets_stale",
            "Secrets whose last value is in use for longer than max_stale_s.",
        )?,
    })
}

fn count(
    provider: &str,
    outcome: &Result<bool, secrets::Fault>,
    was_failing: bool,
    (was_stale, is_stale): (bool, bool),
) {
    let Some(metrics) = METRICS.as_ref() else { return };
    let labels = &[provider];
    let moved = |before: bool, after: bool| i64::from(after).saturating_sub(i64::from(before));
    metrics
        .failures
        .with_label_values(labels)
        .inc_by(u64::from(outcome.is_err()));
    metrics
        .changes
        .with_label_values(labels)
        .inc_by(u64::from(matches!(outcome, Ok(true))));
    metrics
        .failing
        .with_label_values(labels)
        .add(moved(was_failing, outcome.is_err()));
    metrics
        .stale
        .with_label_values(labels)
        .add(moved(was_stale, is_stale));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use chrono::{DateTime, TimeDelta};
    use secrets::ProviderSettings;

    use super::*;

    /// A file secret that may be one day old and is fetched every second.
    fn source(file: &std::path::Path, clock: &Clock) -> ServiceSecrets {
        let wanted = BTreeMap::from([(
            format!("file:{}", file.display()),
            vec!["core-api: pepper".to_owned()],
        )]);
        let settings = ProviderSettings {
            refresh_every_s: 1,
            ..ProviderSettings::default()
        };
        let resolved = secrets::resolve(&wanted, &settings, clock.now());
        ServiceSecrets(resolved.sources().cloned().collect())
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_value_is_found_and_the_last_one_outlives_its_provider() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "first").unwrap();
        let clock = Clock::manual(DateTime::from_timestamp(1_800_000_000, 0).unwrap());
        let secrets = source(file.path(), &clock);
        let shutdown = Shutdown::new();
        let mut changes = secrets.0[0].follow();
        secrets.keep_fresh(&clock, &shutdown);

        std::fs::write(file.path(), "second").unwrap();
        changes.changed().await.unwrap();
        assert_eq!(secrets.0[0].text().unwrap().as_str(), "second");
        assert_eq!(secrets.status()[0].next_action(clock.now()), None);

        std::fs::remove_file(file.path()).unwrap();
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        while secrets.status()[0].fault.is_none() {
            tick.tick().await;
        }
        assert_eq!(secrets.0[0].text().unwrap().as_str(), "second");
        let action = secrets.status()[0].next_action(clock.now()).unwrap();
        assert!(action.contains("last value stays"), "{action}");
        clock.advance(TimeDelta::hours(25));
        let action = secrets.status()[0].next_action(clock.now()).unwrap();
        assert!(action.contains("max_stale_s"), "{action}");

        std::fs::write(file.path(), "third").unwrap();
        changes.changed().await.unwrap();
        assert_eq!(secrets.status()[0].fault, None);
        shutdown.trigger();
        assert!(shutdown.wait_for_tasks(Duration::from_secs(60)).await);
    }

    #[test]
    fn pauses_are_spread_around_the_interval() {
        for _ in 0..100 {
            let pause = spread(300).as_millis();
            assert!((270_000..330_000).contains(&pause), "{pause}");
        }
    }
}
