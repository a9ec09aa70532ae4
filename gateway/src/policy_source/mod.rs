//! The policy in force: read from a directory, compiled as a whole, swapped in one step.
//!
//! **Invariant:** what is in force compiled without an error. A directory that does not compile changes nothing, and a
//! gateway that has nothing good to start from does not start.

mod bundle;
mod snapshot;
mod watch;

pub use bundle::{Role, load_last_good, read_cases, read_directory, role};
pub(crate) use snapshot::Snapshot;
pub use snapshot::expectations;
pub(crate) use watch::watch;

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, bail};
use arc_swap::ArcSwap;
use policy::{Date, SourceFile, render};
use service_runtime::clock::Clock;
use service_runtime::settings::Environment;

use crate::keys::KeySources;
use crate::metrics::METRICS;
use crate::settings::Settings;

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

/// Loads policies and holds the one in force.
pub(crate) struct PolicySource {
    settings: Settings,
    environment: Environment,
    keys: Arc<KeySources>,
    clock: Clock,
    current: ArcSwap<Snapshot>,
    /// Fingerprint of the directory at the last attempt.
    seen: Mutex<Vec<u8>>,
}

impl PolicySource {
    /// Loads the directory, or, if that is broken, the last good bundle.
    ///
    /// # Errors
    /// When neither can be used; the message holds the diagnostics.
    pub(crate) fn open(
        settings: &Settings,
        environment: Environment,
        clock: Clock,
        keys: Arc<KeySources>,
    ) -> anyhow::Result<Self> {
        let make = |files: &[SourceFile]| snapshot(files, environment, settings);
        let read = read_directory(&settings.policies_dir);
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
                let files = load_last_good(&settings.state_dir).ok().flatten();
                let Some(last_good) = files.and_then(|files| make(&files).ok()) else {
                    return Err(error.context("the policy cannot be loaded, and there is no last good copy"));
                };
                let error = format!("{error:#}");
                tracing::error!(
                    error,
                    "THE POLICY DIRECTORY IS BROKEN: starting with the last good copy"
                );
                (last_good, false)
            }
        };
        keys.look(&snapshot.plan);
        let source = Self {
            settings: settings.clone(),
            environment,
            keys,
            clock,
            seen: Mutex::new(seen),
            current: ArcSwap::from_pointee(snapshot),
        };
        source.report(from_directory);
        Ok(source)
    }

    /// The policy in force.
    pub(crate) fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Reads the directory. An unreadable directory counts as wrong.
    fn read(&self) -> anyhow::Result<Vec<SourceFile>> {
        read_directory(&self.settings.policies_dir)
    }

    /// Puts what the directory says in force, if it changed and compiles.
    pub(crate) fn reload(&self, read: anyhow::Result<Vec<SourceFile>>) -> Reload {
        let fingerprint = match &read {
            Ok(files) => bundle::fingerprint(files),
            Err(error) => format!("{error:#}").into_bytes(),
        };
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen == fingerprint {
                self.report_waivers(false);
                return Reload::Unchanged;
            }
            *seen = fingerprint;
        }
        let made = read.and_then(|files| {
            let snapshot = snapshot(&files, self.environment, &self.settings)?;
            Ok((files, snapshot))
        });
        match made {
            Ok((files, snapshot)) => {
                keep(&self.settings.state_dir, &files);
                // First the keys: no request may meet the new policy without them.
                self.keys.look(&snapshot.plan);
                self.current.store(Arc::new(snapshot));
                self.report(true);
                Reload::Loaded
            }
            Err(error) => {
                METRICS.policy_reloads.with_label_values(&["refused"]).inc();
                METRICS.policy_ok.set(0);
                let error = format!("{error:#}");
                let in_force = self.current.load();
                tracing::error!(
                    error,
                    hash = in_force.plan.hash(),
                    "the policy is wrong: the old one stays in force"
                );
                Reload::Refused
            }
        }
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

fn snapshot(files: &[SourceFile], environment: Environment, settings: &Settings) -> anyhow::Result<Snapshot> {
    if files.is_empty() {
        bail!("the directory holds no policy file");
    }
    let plan = policy::compile(files, environment.as_str())
        .map_err(|diagnostics| anyhow::anyhow!(render::human(&diagnostics, files)))?;
    let missing = settings.missing_for(&plan);
    if !missing.is_empty() {
        bail!("{}", missing.join("\n"));
    }
    Snapshot::new(plan, &settings.socket_dir)
}

fn keep(state_dir: &std::path::Path, files: &[SourceFile]) {
    let stored = bundle::store_last_good(state_dir, files).context("keeping the last good policy");
    if let Err(error) = stored {
        // Serving goes on: only a restart with a broken directory would miss this copy.
        tracing::error!(
            error = format!("{error:#}"),
            "the policy cannot be written to disk"
        );
    }
}
