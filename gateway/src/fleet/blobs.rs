//! Fetching an envelope by its digest: from mirrors first, from the control plane else. Who hands it on need not be
//! trusted.

use std::path::Path;

use anyhow::Context as _;
use bytes::Bytes;
use fleet::{Digest, MAX_ENVELOPE_BYTES, Objection, Pointer};

use super::address::Mirror;
use super::link::Dialler;
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

/// Fetches the envelope that a pointer names.
///
/// # Errors
/// [`Missing`]; of several sources, what the last one said.
pub(super) async fn fetch(
    dialler: &Dialler,
    mirrors: &[String],
    pointer: &Pointer,
) -> Result<Bytes, Missing> {
    let length = usize::try_from(pointer.bytes).unwrap_or(usize::MAX);
    if length > MAX_ENVELOPE_BYTES {
        let message = format!("an envelope has at most {MAX_ENVELOPE_BYTES} bytes, this one {length}");
        return Err(Missing::Wrong(objection("too_large", message)));
    }
    for mirror in mirrors {
        match from_mirror(dialler, mirror, &pointer.digest, length).await {
            Ok(Some(bytes)) => match check(bytes, pointer) {
                Ok(bytes) => return Ok(bytes),
                Err(wrong) => {
                    let error = wrong.objection().message;
                    tracing::warn!(mirror, digest = %pointer.digest, error, "a mirror hands on something else");
                }
            },
            Ok(None) => {}
            Err(error) => {
                let error = format!("{error:#}");
                tracing::debug!(mirror, error, "a mirror cannot be asked");
            }
        }
    }
    from_control_plane(dialler, pointer, length).await
}

async fn from_control_plane(dialler: &Dialler, pointer: &Pointer, length: usize) -> Result<Bytes, Missing> {
    let unavailable = |error: anyhow::Error| Missing::Unavailable(format!("{error:#}"));
    let mut link = dialler.control_plane().await.map_err(unavailable)?;
    let target = format!("/fleet/v1/blobs/{}", pointer.digest);
    let found = link.get(&target, length).await.map_err(unavailable)?;
    let bytes = found.ok_or_else(|| Missing::Unavailable("the control plane does not have it".to_owned()))?;
    check(bytes, pointer)
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
fn check(bytes: Bytes, pointer: &Pointer) -> Result<Bytes, Missing> {
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if length != pointer.bytes {
        let message = format!("{length} bytes came in the place of {}", pointer.bytes);
        return Err(Missing::Wrong(objection("truncated", message)));
    }
    let digest = Digest::of(&bytes);
    if digest != pointer.digest {
        let message = format!("the bytes that came are called {digest}");
        return Err(Missing::Wrong(objection("wrong_digest", message)));
    }
    Ok(bytes)
}
