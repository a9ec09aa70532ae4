//! The file of breached passwords: read whole, believed only whole, and read again when it changes.
//!
//! **Invariant:** a file that cannot be read or is damaged changes nothing: the last good one stays in use.

use std::fs::File;
use std::io::{self, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use passwords::{BreachFilter, FilterFault};
use service_runtime::shutdown::Shutdown;

use crate::metrics;
use crate::state::AppState;

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Read at a time.
const BUFFER_BYTES: usize = 1024 * 1024;

/// What a file is known by: another one, or another content, has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: (u64, u64),
    length: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            inode: (metadata.dev(), metadata.ino()),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

/// The filter in use, and the file it comes from.
pub(super) struct BreachedFile {
    path: PathBuf,
    current: ArcSwap<BreachFilter>,
    /// What was looked at last, good or not; None when there was nothing.
    seen: Mutex<Option<Stamp>>,
}

impl std::fmt::Debug for BreachedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BreachedFile")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl BreachedFile {
    /// Reads the file for the first time.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let whole = File::open(path).map_err(FilterFault::from).and_then(|file| {
            let stamp = Stamp::of(&file)?;
            Ok((stamp, read(file, stamp)?))
        });
        let (stamp, filter) = whole.with_context(|| format!("password.breach_filter: {}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            current: ArcSwap::from_pointee(filter),
            seen: Mutex::new(Some(stamp)),
        })
    }

    /// The filter in use.
    pub(super) fn current(&self) -> Arc<BreachFilter> {
        self.current.load_full()
    }

    /// Reads the file again if it is another one by now.
    pub(super) fn look_again(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let file = File::open(&self.path);
        let stamp = file.as_ref().ok().and_then(|file| Stamp::of(file).ok());
        if *seen == stamp {
            return;
        }
        *seen = stamp;
        let whole = match (file, stamp) {
            (Ok(file), Some(stamp)) => read(file, stamp),
            (Err(error), _) => Err(error.into()),
            (Ok(_), None) => Err(io::Error::other("its length is not known").into()),
        };
        match whole {
            Ok(filter) => self.current.store(Arc::new(filter)),
            Err(error) => {
                metrics::breached_file_refused();
                tracing::error!(
                    file = %self.path.display(), %error,
                    "the file of breached passwords is not taken over; the last good one stays in use"
                );
            }
        }
    }
}

fn read(file: File, stamp: Stamp) -> Result<BreachFilter, FilterFault> {
    let filter = BreachFilter::read(BufReader::with_capacity(BUFFER_BYTES, file), stamp.length)?;
    metrics::breached_file_loaded(filter.entries());
    tracing::info!(
        entries = filter.entries(),
        sha256 = filter.digest(),
        "breached passwords are known"
    );
    Ok(filter)
}

/// Looks at the file of breached passwords again and again.
pub(crate) async fn follow_breached_file(state: AppState, shutdown: Shutdown) {
    let Some(file) = state.identity.passwords.breached_file() else {
        return;
    };
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let file = Arc::clone(&file);
        // A large file takes seconds; requests must not wait for it.
        drop(tokio::task::spawn_blocking(move || file.look_again()).await);
    }
}
