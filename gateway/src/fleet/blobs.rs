//! Fetching envelopes and pages by their digest: from mirrors first, from the control plane else. Who hands it on need not be
//! trusted.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use fleet::{Digest, MAX_ENVELOPE_BYTES, Objection};

use super::address::Mirror;
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

/// Until when mirrors are left alone.
#[derive(Debug, Default)]
pub(super) struct Resting(Mutex<BTreeMap<String, Instant>>);

impl Resting {
    fn is(&self, mirror: &str) -> bool {
        lock(&self.0)
            .get(mirror)
            .is_some_and(|until| Instant::now() < *until)
    }

    fn begin(&self, mirror: &str) {
        lock(&self.0).insert(mirror.to_owned(), Instant::now() + REST);
    }
}

/// Where bytes come from: one for all that is fetched in one go.
pub(super) struct Source<'f> {
    dialler: &'f Dialler,
    mirrors: &'f [String],
    resting: &'f Resting,
    /// The connection to the control plane, once there is one.
    link: Option<Link>,
}

impl<'f> Source<'f> {
    pub(super) const fn new(dialler: &'f Dialler, mirrors: &'f [String], resting: &'f Resting) -> Self {
        Self {
            dialler,
            mirrors,
            resting,
            link: None,
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
        for mirror in self.mirrors.iter().filter(|mirror| !self.resting.is(mirror)) {
            match from_mirror(self.dialler, mirror, &digest, length).await {
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
                    self.resting.begin(mirror);
                }
            }
        }
        let found = self.ask_control_plane(digest, length).await;
        let found = found.map_err(|error| Missing::Unavailable(format!("{error:#}")))?;
        let found =
            found.ok_or_else(|| Missing::Unavailable("the control plane does not have it".to_owned()))?;
        check(found, digest, length)
    }

    async fn ask_control_plane(&mut self, digest: Digest, max: usize) -> anyhow::Result<Option<Bytes>> {
        let mut link = match self.link.take() {
            Some(link) => link,
            None => self.dialler.control_plane().await?,
        };
        let found = link.get(&format!("/fleet/v1/blobs/{digest}"), max).await?;
        self.link = Some(link);
        Ok(found)
    }
}

async fn from_mirror(
    dialler: &Dialler,
    mirror: &str,
    digest: &Digest,
    max: usize,
) -> anyhow::Result<Option<Bytes>> {
    match Mirror::parse(mirror).map_err(anyhow::Error::msg)? {
        Mirror::Folder(folder) => from_folder(&folder, digest, max).await,
        Mirror::Tls { address, path } => {
            let mut link = dialler.dial(&address).await?;
            let target = format!("{}/{digest}", path.trim_end_matches('/'));
            link.get(&target, max).await
        }
    }
}

async fn from_folder(folder: &Path, digest: &Digest, max: usize) -> anyhow::Result<Option<Bytes>> {
    let file = folder.join(digest.to_string());
    let max = u64::try_from(max)?;
    let read = tokio::task::spawn_blocking(move || match file.exists() {
        true => read_bounded(&file, max).map(|bytes| Some(Bytes::from(bytes))),
        false => Ok(None),
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
