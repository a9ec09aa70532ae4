//! Fetching envelopes and pages by their digest: from mirrors first, from the control plane else. Who hands it on need not be
//! trusted.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use fleet::{Digest, MAX_ENVELOPE_BYTES, Objection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio::time::timeout;

use super::address::{Address, Mirror};
use super::link::{Dialler, Link};
use super::lock;
use crate::durable_file::read_bounded;

/// Why there are no bytes.
#[derive(Debug)]
pub(super) enum Missing {
    /// Nobody could be asked, or nobody has it: it may come.
    Unavailable(String),
    /// What came is not what was named.
    Wrong(Objection),
}

impl Missing {
    /// What the control plane is told.
    pub(super) fn objection(self) -> Objection {
        match self {
            Self::Unavailable(message) => objection("unavailable", message),
            Self::Wrong(objection) => objection,
        }
    }
}

pub(super) fn objection(code: &str, message: impl Into<String>) -> Objection {
    Objection {
        code: code.to_owned(),
        path: None,
        message: message.into(),
    }
}

/// How long a mirror that could not be asked is left alone: finding out again costs as long as a dial may take.
const REST: Duration = Duration::from_secs(30);
/// How long a folder may take for one file: what is revoked waits for it.
const FOLDER_PATIENCE: Duration = Duration::from_secs(1);
/// Files that are read from one folder at once. Each holds a thread, as long as a disk that hangs will have it.
const READS: usize = 4;

/// What is known of the mirrors.
#[derive(Debug, Default)]
pub(super) struct Mirrors(Mutex<BTreeMap<String, Known>>);

#[derive(Debug)]
struct Known {
    /// It is left alone until then.
    rests_until: Option<Instant>,
    reads: Arc<Semaphore>,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            rests_until: None,
            reads: Arc::new(Semaphore::new(READS)),
        }
    }
}

impl Mirrors {
    fn rests(&self, mirror: &str) -> bool {
        let known = lock(&self.0);
        let until = known.get(mirror).and_then(|known| known.rests_until);
        until.is_some_and(|until| Instant::now() < until)
    }

    fn leave_alone(&self, mirror: &str) {
        let mut known = lock(&self.0);
        known.entry(mirror.to_owned()).or_default().rests_until = Some(Instant::now() + REST);
    }

    /// The right to read a file of a folder.
    ///
    /// # Errors
    /// When as many as may be are being read: it hangs.
    fn read(&self, mirror: &str) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        let mut known = lock(&self.0);
        let reads = &known.entry(mirror.to_owned()).or_default().reads;
        Arc::clone(reads).try_acquire_owned()
    }
}

/// Where bytes come from: one for all that is fetched in one go.
pub(super) struct Source<'f> {
    dialler: &'f Dialler,
    /// In the order in which they are asked.
    mirrors: &'f [String],
    known: &'f Mirrors,
    /// The connections that are open, by whom they lead to.
    links: BTreeMap<String, Link>,
}

impl<'f> Source<'f> {
    pub(super) const fn new(dialler: &'f Dialler, mirrors: &'f [String], known: &'f Mirrors) -> Self {
        Self {
            dialler,
            mirrors,
            known,
            links: BTreeMap::new(),
        }
    }

    /// Fetches what has this digest and this many bytes.
    ///
    /// # Errors
    /// [`Missing`]; of several sources, what the last one said.
    pub(super) async fn fetch(&mut self, digest: Digest, bytes: u64) -> Result<Bytes, Missing> {
        let length = usize::try_from(bytes).unwrap_or(usize::MAX);
        if length > MAX_ENVELOPE_BYTES {
            let message = format!("at most {MAX_ENVELOPE_BYTES} bytes are fetched, this has {length}");
            return Err(Missing::Wrong(objection("too_large", message)));
        }
        for mirror in self.mirrors {
            if self.known.rests(mirror) {
                continue;
            }
            match self.ask_mirror(mirror, &digest, length).await {
                Ok(Some(found)) => match check(found, digest, length) {
                    Ok(found) => return Ok(found),
                    Err(wrong) => {
                        let error = wrong.objection().message;
                        tracing::warn!(mirror, %digest, error, "a mirror hands on something else");
                    }
                },
                Ok(None) => {}
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::debug!(mirror, error, "a mirror cannot be asked");
                    self.known.leave_alone(mirror);
                }
            }
        }
        let found = self.ask_control_plane(&digest, length).await;
        let found = found.map_err(|error| Missing::Unavailable(format!("{error:#}")))?;
        let found =
            found.ok_or_else(|| Missing::Unavailable("the control plane does not have it".to_owned()))?;
        check(found, digest, length)
    }

    async fn ask_control_plane(&mut self, digest: &Digest, max: usize) -> anyhow::Result<Option<Bytes>> {
        let address = self.dialler.control_plane_address()?;
        self.ask(&address, &format!("/fleet/v1/blobs/{digest}"), max)
            .await
    }

    async fn ask_mirror(
        &mut self,
        mirror: &str,
        digest: &Digest,
        max: usize,
    ) -> anyhow::Result<Option<Bytes>> {
        match Mirror::parse(mirror).map_err(anyhow::Error::msg)? {
            Mirror::Folder(folder) => {
                let permit = self.known.read(mirror).context("earlier reads hang")?;
                let read = from_folder(folder.join(digest.to_string()), max, permit);
                timeout(FOLDER_PATIENCE, read)
                    .await
                    .context("the folder does not answer in time")?
            }
            Mirror::Tls { address, path } => {
                let target = format!("{}/{digest}", path.trim_end_matches('/'));
                self.ask(&address, &target, max).await
            }
        }
    }

    /// Asks over the connection that is open, or over a new one where there is none or it has ended.
    async fn ask(&mut self, address: &Address, target: &str, max: usize) -> anyhow::Result<Option<Bytes>> {
        let authority = address.authority();
        if let Some(mut open) = self.links.remove(&authority) {
            match open.get(target, max).await {
                Ok(found) => {
                    self.links.insert(authority, open);
                    return Ok(found);
                }
                // Whoever is silent, or says no, is not asked a second time.
                Err(error) if !open.has_ended() => return Err(error),
                Err(error) => tracing::debug!(authority, %error, "a connection for blobs has ended"),
            }
        }
        let mut link = self.dialler.dial(address).await?;
        let found = link.get(target, max).await?;
        self.links.insert(authority, link);
        Ok(found)
    }
}

async fn from_folder(
    file: PathBuf,
    max: usize,
    permit: OwnedSemaphorePermit,
) -> anyhow::Result<Option<Bytes>> {
    let max = u64::try_from(max)?;
    let read = tokio::task::spawn_blocking(move || {
        let read = match file.exists() {
            true => read_bounded(&file, max).map(|bytes| Some(Bytes::from(bytes))),
            false => Ok(None),
        };
        drop(permit);
        read
    });
    read.await.context("reading a mirror")?
}

/// Whether these are the bytes that were named.
fn check(bytes: Bytes, digest: Digest, length: usize) -> Result<Bytes, Missing> {
    if bytes.len() != length {
        let message = format!("{} bytes came in the place of {length}", bytes.len());
        return Err(Missing::Wrong(objection("truncated", message)));
    }
    let found = Digest::of(&bytes);
    if found != digest {
        let message = format!("the bytes that came are called {found}");
        return Err(Missing::Wrong(objection("wrong_digest", message)));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_hangs_holds_a_few_threads_and_no_other_folder_up() {
        let mirrors = Mirrors::default();
        let mut hanging: Vec<_> = (0..READS).map(|_| mirrors.read("/hangs").unwrap()).collect();
        mirrors.read("/hangs").unwrap_err();
        drop(mirrors.read("/answers").unwrap());
        hanging.pop();
        hanging.push(mirrors.read("/hangs").unwrap());
        assert_eq!(hanging.len(), READS);
    }

    #[test]
    fn a_mirror_that_cannot_be_asked_rests_and_no_other() {
        let mirrors = Mirrors::default();
        mirrors.leave_alone("https://away.example");
        assert!(mirrors.rests("https://away.example"));
        assert!(!mirrors.rests("https://here.example"));
    }
}
