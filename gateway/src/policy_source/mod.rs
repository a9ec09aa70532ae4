//! The policy in force: read from a directory, compiled as a whole, swapped in one step.
//!
//! **Invariant:** what is in force compiled without an error. A directory that does not compile changes nothing, and a
//! gateway that has nothing good to start from does not start.

mod bundle;
mod file_events;
mod last_good;
mod snapshot;
mod watch;

pub use bundle::{Role, read_cases, read_directory, role};
pub use last_good::load_last_good;
pub(crate) use snapshot::Snapshot;
pub use snapshot::expectations;
pub(crate) use watch::{watch, watch_stated};

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, bail};
use arc_swap::ArcSwap;
use policy::{Date, Plan, SourceFile, render};
use service_runtime::clock::Clock;
use service_runtime::settings::Environment;
use tokio::sync::Notify;

use crate::keys::KeySources;
use crate::metrics::METRICS;
use crate::settings::Settings;
use crate::tls::{UpstreamTlsFiles, WantedUpstreamTls};

/// Most of an error that one line of the log holds, in bytes.
const LOGGED_BYTES: usize = 4 * 1024;

/// What became of an attempt to load the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reload {
    /// The directory says what it said before.
    Unchanged,
    /// A new policy is in force.
    Loaded,
    /// The directory is wrong; the old policy stays.
    Refused,
}

/// An attempt to load the directory.
#[derive(Debug, Default)]
struct Seen {
    /// What the directory was.
    fingerprint: Vec<u8>,
    /// Why it was refused, when that was for files which may still come: it is tried again until they do.
    lacks: Option<String>,
}

/// Loads policies and holds the one in force.
pub(crate) struct PolicySource {
    settings: Settings,
    environment: Environment,
    keys: Arc<KeySources>,
    clock: Clock,
    upstream_tls: Mutex<UpstreamTlsFiles>,
    current: ArcSwap<Snapshot>,
    /// The last attempt.
    seen: Mutex<Seen>,
    /// Something was put in force that no directory says.
    stated: Notify,
}

impl PolicySource {
    /// Loads the directory, or, if that is broken, the last good bundle.
    ///
    /// # Errors
    /// When neither can be used; the message holds the diagnostics.
    pub(crate) async fn open(
        settings: &Settings,
        environment: Environment,
        clock: Clock,
        keys: Arc<KeySources>,
    ) -> anyhow::Result<Self> {
        let make = |files: &[SourceFile]| snapshot(files, environment, settings, None);
        let read = watch::read_settled(&settings.policies_dir).await;
        let seen = read
            .as_ref()
            .map(|files| bundle::fingerprint(files))
            .unwrap_or_default();
        let loaded = read.and_then(|files| Ok((make(&files)?, files)));
        let (snapshot, from_directory) = match loaded {
            Ok((snapshot, files)) => {
                keep(&settings.state_dir, &files);
                (snapshot, true)
            }
            Err(error) => {
                let last_good = match load_last_good(&settings.state_dir) {
                    Ok(Some(files)) => make(&files).context("the last good copy cannot be used either"),
                    Ok(None) => Err(anyhow::anyhow!("there is no last good copy")),
                    Err(damaged) => Err(damaged.context("the last good copy is damaged")),
                };
                let last_good = match last_good {
                    Ok(last_good) => last_good,
                    Err(none) => {
                        let why = format!("the policy cannot be loaded, and {none:#}");
                        return Err(error.context(why));
                    }
                };
                let error = bounded(&error);
                tracing::warn!(
                    error,
                    "THE POLICY DIRECTORY IS BROKEN: starting with the last good copy"
                );
                (last_good, false)
            }
        };
        let source = Self::begin(settings, environment, clock, keys, snapshot);
        source.sees(Seen {
            fingerprint: seen,
            lacks: None,
        });
        source.report(from_directory);
        Ok(source)
    }

    /// Begins with a plan that a signed statement holds, and keeps its files for whoever asks what runs.
    ///
    /// # Errors
    /// When the path of an upstream's socket cannot be one.
    pub(crate) fn stated(
        settings: &Settings,
        environment: Environment,
        clock: Clock,
        keys: Arc<KeySources>,
        (plan, files): (Plan, &[SourceFile]),
    ) -> anyhow::Result<Self> {
        let snapshot = Snapshot::new(plan, &settings.socket_dir, None)?;
        keep(&settings.state_dir, files);
        let source = Self::begin(settings, environment, clock, keys, snapshot);
        source.report(true);
        Ok(source)
    }

    fn begin(
        settings: &Settings,
        environment: Environment,
        clock: Clock,
        keys: Arc<KeySources>,
        snapshot: Snapshot,
    ) -> Self {
        keys.look(&snapshot.plan);
        let mut upstream_tls = UpstreamTlsFiles::new(&settings.certificate_dir, clock.clone());
        upstream_tls.look(&wanted_tls([&snapshot]));
        upstream_tls.tell();
        Self {
            settings: settings.clone(),
            environment,
            keys,
            clock,
            upstream_tls: Mutex::new(upstream_tls),
            seen: Mutex::default(),
            current: ArcSwap::from_pointee(snapshot),
            stated: Notify::new(),
        }
    }

    /// Puts a plan in force that a signed statement holds.
    ///
    /// # Errors
    /// When a file that it needs is missing; the old one stays.
    pub(crate) fn put(&self, plan: Plan, files: &[SourceFile]) -> anyhow::Result<()> {
        let previous = self.current.load();
        let snapshot = Snapshot::new(plan, &self.settings.socket_dir, Some(&previous))?;
        self.take_upstream_tls(&snapshot, &previous)?;
        keep(&self.settings.state_dir, files);
        self.swap(snapshot);
        self.stated.notify_one();
        Ok(())
    }

    fn swap(&self, snapshot: Snapshot) {
        // First the keys: no request may meet the new policy without them.
        self.keys.look(&snapshot.plan);
        self.current.store(Arc::new(snapshot));
        self.report(true);
    }

    /// The policy in force.
    pub(crate) fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Puts what the directory says in force, if it changed and compiles.
    pub(crate) fn reload(&self, read: anyhow::Result<Vec<SourceFile>>) -> Reload {
        let fingerprint = match &read {
            Ok(files) => bundle::fingerprint(files),
            Err(error) => format!("{error:#}").into_bytes(),
        };
        let mut seen = self.sees(Seen {
            fingerprint: fingerprint.clone(),
            lacks: None,
        });
        let known = seen.lacks.take().filter(|_| seen.fingerprint == fingerprint);
        if known.is_none() && seen.fingerprint == fingerprint {
            self.report_waivers(false);
            return Reload::Unchanged;
        }
        let made = read.and_then(|files| {
            let previous = self.current.load();
            let snapshot = snapshot(&files, self.environment, &self.settings, Some(&previous))?;
            if let Err(error) = self.take_upstream_tls(&snapshot, &previous) {
                let lacks = Some(format!("{error:#}"));
                self.sees(Seen { fingerprint, lacks });
                return Err(error);
            }
            Ok((files, snapshot))
        });
        match made {
            Ok((files, snapshot)) => {
                keep(&self.settings.state_dir, &files);
                self.swap(snapshot);
                Reload::Loaded
            }
            // It still waits for the same file.
            Err(error) if known.is_some_and(|known| known == format!("{error:#}")) => Reload::Unchanged,
            Err(error) => {
                METRICS.policy_reloads.with_label_values(&["refused"]).inc();
                METRICS.policy_ok.set(0);
                let error = bounded(&error);
                let in_force = self.current.load();
                tracing::warn!(
                    error,
                    hash = in_force.plan.hash(),
                    "the policy is wrong: the old one stays in force"
                );
                Reload::Refused
            }
        }
    }

    /// Notes an attempt; the one before it.
    fn sees(&self, attempt: Seen) -> Seen {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut seen, attempt)
    }

    /// Reads again what the TLS of upstreams is made of.
    pub(crate) fn look_at_upstream_tls(&self) {
        let current = self.current.load();
        let mut files = self.upstream_tls.lock().unwrap_or_else(PoisonError::into_inner);
        files.look(&wanted_tls([&current]));
        files.tell();
    }

    /// No request may meet a new policy without the files that it names; those of the policy in force stay.
    fn take_upstream_tls(&self, fresh: &Snapshot, in_force: &Snapshot) -> anyhow::Result<()> {
        let mut files = self.upstream_tls.lock().unwrap_or_else(PoisonError::into_inner);
        files.look(&wanted_tls([in_force, fresh]));
        let unusable = fresh.pools().find_map(|pool| {
            let is_new = pool.has_new_tls(in_force.pool(pool.upstream()).map(AsRef::as_ref));
            let fault = files.fault(&pool.upstream().name).filter(|_| is_new)?;
            Some(format!("upstreams.{}.tls: {fault}", pool.upstream().name))
        });
        unusable.map_or(Ok(()), |fault| Err(anyhow::anyhow!(fault)))
    }

    fn report(&self, from_directory: bool) {
        let snapshot = self.current.load();
        let hash = snapshot.plan.hash();
        METRICS.policy_reloads.with_label_values(&["loaded"]).inc();
        METRICS.policy_ok.set(i64::from(from_directory));
        METRICS.policy_info.reset();
        METRICS.policy_info.with_label_values(&[hash]).set(1);
        METRICS.policy_loaded_at.set(self.clock.now().timestamp());
        self.report_waivers(true);
        tracing::info!(hash, routes = snapshot.plan.routes().len(), "policy in force");
    }

    /// A day ends without any edit, so this is asked with each look. Serving goes on: a bank must not close its doors
    /// because nobody renewed an exception; `portico policy check` fails instead.
    fn report_waivers(&self, is_new_policy: bool) {
        let snapshot = self.current.load();
        let today = Date::of_unix_time(self.clock.now().timestamp());
        let expired: Vec<_> = snapshot.plan.expired_waivers(today).collect();
        let count = i64::try_from(expired.len()).unwrap_or(i64::MAX);
        if is_new_policy || count > METRICS.policy_waivers_expired.get() {
            for waiver in expired {
                tracing::warn!(
                    waiver = waiver.name,
                    code = waiver.code,
                    key = waiver.key,
                    until = %waiver.until,
                    "a waiver of the policy in force has expired: it still holds, and somebody must decide"
                );
            }
        }
        METRICS.policy_waivers_expired.set(count);
    }
}

fn wanted_tls<const N: usize>(snapshots: [&Snapshot; N]) -> Vec<WantedUpstreamTls<'_>> {
    let pools = snapshots.into_iter().flat_map(Snapshot::pools);
    pools.filter_map(|pool| pool.wanted_tls()).collect()
}

/// An error for the log: the findings of a broken bundle can be many, and `portico policy check` shows them all.
fn bounded(error: &anyhow::Error) -> String {
    let mut text = format!("{error:#}");
    if text.len() > LOGGED_BYTES {
        text.truncate(text.floor_char_boundary(LOGGED_BYTES));
        text.push_str("… (cut off: `portico policy check` shows everything)");
    }
    text
}

fn snapshot(
    files: &[SourceFile],
    environment: Environment,
    settings: &Settings,
    previous: Option<&Snapshot>,
) -> anyhow::Result<Snapshot> {
    if files.is_empty() {
        bail!("the directory holds no policy file");
    }
    let plan = policy::compile(files, environment.as_str())
        .map_err(|diagnostics| anyhow::anyhow!(render::human(&diagnostics, files)))?;
    let missing = settings.missing_for(&plan);
    if !missing.is_empty() {
        bail!("{}", missing.join("\n"));
    }
    Snapshot::new(plan, &settings.socket_dir, previous)
}

fn keep(state_dir: &std::path::Path, files: &[SourceFile]) {
    let stored = last_good::store_last_good(state_dir, files).context("keeping the last good policy");
    if let Err(error) = stored {
        // Serving goes on: only a restart with a broken directory would miss this copy.
        tracing::error!(
            error = format!("{error:#}"),
            "the policy cannot be written to disk"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_line_of_the_log_says_of_a_broken_bundle_is_bounded() {
        let short = anyhow::anyhow!("floor.yaml:3: no").context("the policy cannot be loaded");
        assert_eq!(bounded(&short), "the policy cannot be loaded: floor.yaml:3: no");
        let long = bounded(&anyhow::anyhow!("é".repeat(100 * 1024)));
        assert!(
            long.starts_with('é') && long.ends_with("shows everything)"),
            "{long}"
        );
        assert!(long.len() < LOGGED_BYTES + 100);
    }
}
