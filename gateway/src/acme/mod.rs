//! Certificates from an authority, by ACME (RFC 8555): fetched, renewed in time, and left to the certificate files to
//! be checked and put into force.
//!
//! **Invariant:** whatever the authority must not see twice is on disk before it is sent: the account's key before the
//! account, an order's key with the order, an attempt before the first request of it. So a gateway that is killed at
//! any moment goes on where it was, and never asks in a loop: neither when it fails, nor when what it gets is due again.
//!
//! Certificates do not wait for each other: a name that hangs holds up none of the others.

mod account;
mod attempts;
mod challenges;
mod names;
mod order;
mod renewal;
#[cfg(test)]
mod tests;

pub(crate) use challenges::Challenges;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use instant_acme::Account;
use policy::Certificate;
use tokio::sync::{OnceCell, Semaphore};
use tokio::task::{Id, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

use crate::durable_file::{read_bounded, write_atomically};
use crate::metrics::METRICS;
use crate::server::Shared;
use crate::settings::Settings;
use attempts::Attempts;
use names::Names;
use renewal::Renewal;

/// Largest file of our own.
const MAX_BYTES: u64 = 256 * 1024;
/// Certificates that are looked after at the same time.
const AT_ONCE: usize = 8;

/// Where everything about ACME lies.
pub(crate) fn directory(state: &Path) -> PathBuf {
    state.join("acme")
}

/// A certificate with its key in one file, so that no crash can part them.
pub(crate) fn pair_file(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.pem"))
}

/// What fetching works with.
struct Fetcher {
    settings: Settings,
    shared: Arc<Shared>,
    directory: PathBuf,
    /// Opened at its first use.
    account: OnceCell<Account>,
    /// When each certificate is due, as far as it was asked.
    renewals: Mutex<BTreeMap<String, Renewal>>,
    /// Names that an order is under way for.
    names: Names,
    places: Semaphore,
}

/// Certificates that are looked after now, by their tasks.
#[derive(Default)]
struct UnderWay {
    tasks: JoinSet<()>,
    certificates: HashMap<Id, String>,
}

/// Fetches what is due until shutdown.
pub(crate) async fn run(settings: Settings, shared: Arc<Shared>) {
    let mut ticks = interval(Duration::from_millis(settings.policy_poll_ms));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // One process asks the authority: with the sockets goes the right to.
    let drain = shared.drain.clone();
    let fetcher = Arc::new(Fetcher {
        directory: directory(&settings.state_dir),
        settings,
        shared,
        account: OnceCell::new(),
        renewals: Mutex::default(),
        names: Names::default(),
        places: Semaphore::new(AT_ONCE),
    });
    let fetching = async {
        // Ends with this future, and all that is under way with it.
        let mut under_way = UnderWay::default();
        loop {
            ticks.tick().await;
            fetcher.look(&mut under_way);
        }
    };
    tokio::select! {
        () = drain.begun() => {}
        () = fetching => {}
    }
    METRICS.acme_waiting.reset();
}

impl Fetcher {
    /// Begins to look after every certificate that nobody looks after yet.
    fn look(self: &Arc<Self>, under_way: &mut UnderWay) {
        while let Some(ended) = under_way.tasks.try_join_next_with_id() {
            let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
            under_way.certificates.remove(&id);
        }
        let snapshot = self.shared.policies.current();
        for certificate in snapshot.plan.certificates() {
            let is_under_way = under_way
                .certificates
                .values()
                .any(|name| *name == certificate.name);
            if certificate.acme.is_none() || is_under_way {
                continue;
            }
            let name = certificate.name.clone();
            let task = under_way
                .tasks
                .spawn(self.clone().look_after(certificate.clone()));
            under_way.certificates.insert(task.id(), name);
        }
    }

    async fn look_after(self: Arc<Self>, certificate: Arc<Certificate>) {
        // Places are given in turn, and never taken away.
        let Ok(_place) = self.places.acquire().await else {
            return;
        };
        if self.is_due(&certificate).await {
            let _names = self.names.hold(&certificate.hosts).await;
            self.attempt(&certificate).await;
        }
    }

    /// Whether the certificate is wanted, and the last attempt is not too fresh.
    async fn is_due(&self, certificate: &Certificate) -> bool {
        let now = self.shared.clock.now();
        let may_begin = Attempts::read(&self.directory, &certificate.name).may_begin(now);
        METRICS
            .acme_waiting
            .with_label_values(&[certificate.name.as_str()])
            .set(i64::from(!may_begin));
        may_begin && self.is_wanted(certificate).await
    }

    /// Whether the certificate is missing, is not for its names any more, or is to be renewed.
    async fn is_wanted(&self, certificate: &Certificate) -> bool {
        let now = self.shared.clock.now();
        let Ok(pair) = read_bounded(&pair_file(&self.directory, &certificate.name), MAX_BYTES) else {
            return true;
        };
        let Some(held) = renewal::Held::read(&pair, certificate) else {
            return true;
        };
        let old = self.renewals().remove(&certificate.name);
        let renewal = match old.filter(|old| old.is_of(&held) && old.is_fresh(now)) {
            Some(renewal) => renewal,
            None => Renewal::plan(&held, self.suggested(&held).await, now),
        };
        let is_due = renewal.is_due(now);
        self.renewals().insert(certificate.name.clone(), renewal);
        is_due
    }

    fn renewals(&self) -> MutexGuard<'_, BTreeMap<String, Renewal>> {
        self.renewals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the authority says of when to renew (RFC 9773); `None` when it does not say.
    async fn suggested(&self, held: &renewal::Held) -> Option<renewal::Window> {
        let identifier = held.identifier.clone()?;
        let account = self.account().await.ok()?;
        match account.renewal_info(&identifier).await {
            Ok((info, asked_again_after)) => renewal::Window::new(&info, asked_again_after),
            Err(error) => {
                tracing::debug!(%error, "no renewal information");
                None
            }
        }
    }

    async fn attempt(&self, certificate: &Certificate) {
        let name = certificate.name.as_str();
        let count = |outcome| METRICS.acme_attempts.with_label_values(&[name, outcome]).inc();
        match self.fetch(certificate).await {
            Ok(()) => {
                count("fetched");
                tracing::info!(certificate = name, "fetched by ACME");
            }
            Err(error) => {
                count("failed");
                let error = format!("{error:#}");
                tracing::error!(
                    certificate = name,
                    error,
                    "not fetched by ACME: it is tried again later"
                );
            }
        }
    }

    async fn fetch(&self, certificate: &Certificate) -> anyhow::Result<()> {
        let attempts = Attempts::read(&self.directory, &certificate.name);
        make_directory(&self.directory)?;
        attempts.begin(self.shared.clock.now())?;
        let account = self.account().await?;
        let pair = order::fetch(self, account, certificate).await?;
        write_atomically(&pair_file(&self.directory, &certificate.name), pair.as_bytes())?;
        order::forget(&self.directory, &certificate.name)?;
        if !self.is_wanted(certificate).await {
            return attempts.forget();
        }
        tracing::error!(
            certificate = certificate.name,
            "what the authority has issued is due again at once: is the clock right? the next one is fetched later"
        );
        attempts.hold(self.shared.clock.now())
    }

    async fn account(&self) -> anyhow::Result<&Account> {
        let opened = async || {
            make_directory(&self.directory)?;
            account::open(&self.directory, &self.settings.acme)
                .await
                .context("the account at the authority")
        };
        self.account.get_or_try_init(opened).await
    }
}

fn make_directory(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.with_context(|| format!("making {}", path.display()))
}
