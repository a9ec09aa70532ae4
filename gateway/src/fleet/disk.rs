//! What a gateway of a fleet keeps over a restart: envelopes as they came, and how far each stream had come.
//!
//! **Invariant:** the highest position of a stream never goes back. A state file that is damaged, or gone while envelopes
//! are there, ends taking over anything: what is signed goes on, and an operator decides. One process writes here: the one
//! that holds the lock of the folder, and so speaks for the gateway while another one takes over from it.
//!
//! What is remembered is in memory, and whoever asks for it waits for no disk. All that reads or writes files is for threads that
//! may wait: a disk may hang.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context as _, bail};
use fleet::{Digest, Envelope, MAX_ENVELOPE_BYTES, Objection, Position, Statement, Stream};
use serde::{Deserialize, Serialize};

use super::lock;
use super::pages::{self, HeldPage};
use crate::durable_file::{read_bounded, write_atomically};

/// A state of four streams is far smaller than this.
const MAX_STATE_BYTES: u64 = 64 * 1024;

/// Where an envelope of a stream lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    /// In force and not proven yet; of the policy alone.
    Probation,
    /// The last one that was proven: what a restart begins with.
    Healthy,
    /// The one that was proven before it.
    Previous,
}

impl Slot {
    const ALL: [Self; 3] = [Self::Healthy, Self::Previous, Self::Probation];

    const fn file(self) -> &'static str {
        match self {
            Self::Probation => "probation.json",
            Self::Healthy => "healthy.json",
            Self::Previous => "previous.json",
        }
    }
}

/// What is remembered beside the envelopes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    /// The highest version of a trust document that was believed.
    trust_version: u64,
    streams: BTreeMap<Stream, StreamState>,
}

/// What is remembered of one stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamState {
    /// The highest position that was ever taken over.
    pub(super) reached: Option<Position>,
    /// The envelope that the last starts began with, none of which has gone well yet.
    pub(super) starts: Option<Begun>,
    /// The envelope that was put on probation last, and how often without an end of it.
    pub(super) trials: Option<Begun>,
    /// The envelope that was given up last, and why.
    pub(super) given_up: Option<GivenUp>,
}

/// An envelope, and how often something was begun with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Begun {
    digest: Digest,
    times: u32,
}

impl Begun {
    /// How often it was begun with this envelope.
    pub(super) fn times(begun: Option<Self>, digest: Digest) -> u32 {
        begun
            .filter(|begun| begun.digest == digest)
            .map_or(0, |begun| begun.times)
    }

    /// It is begun with this envelope once more.
    pub(super) fn once_more(begun: Option<Self>, digest: Digest) -> Option<Self> {
        let times = Self::times(begun, digest).saturating_add(1);
        Some(Self { digest, times })
    }
}

/// An envelope that is not tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GivenUp {
    pub(super) digest: Digest,
    pub(super) objection: Objection,
}

/// Whose the folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// Of the process that this one takes over from.
    Another,
    This,
    /// Of the process that takes over from this one.
    Next,
}

/// The folder of a gateway's state that belongs to the fleet.
#[derive(Debug)]
pub(super) struct Disk {
    folder: PathBuf,
    lock: File,
    owner: Mutex<Owner>,
    /// `None` when it is damaged. Locked for a moment, and never while a file is written.
    state: Mutex<Option<State>>,
    /// Locked while the state is written, one after the other.
    writes: Mutex<()>,
    /// The pages that were written by this process, or read and found good.
    good_pages: Mutex<BTreeSet<(Stream, Digest)>>,
}

impl StreamState {
    /// A position was reached; a lower one than before changes nothing.
    pub(super) fn reach(&mut self, position: Position) {
        self.reached = self.reached.max(Some(position));
    }
}

impl Disk {
    /// Opens the folder, and makes it where it is missing. A damaged state is reported, and changes nothing.
    ///
    /// # Errors
    /// When the folder cannot be made, read or locked.
    pub(super) fn open(state_dir: &Path) -> anyhow::Result<Self> {
        let folder = state_dir.join("fleet");
        for stream in Stream::ALL {
            let folder = folder.join(stream.as_str());
            fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        }
        let locking = || format!("locking {}", folder.display());
        let lock = File::create(folder.join("lock")).with_context(locking)?;
        let owner = match lock.try_lock() {
            Ok(()) => Owner::This,
            Err(TryLockError::WouldBlock) => Owner::Another,
            Err(TryLockError::Error(error)) => return Err(error).with_context(locking),
        };
        Ok(Self {
            state: Mutex::new(known_state(&folder)),
            writes: Mutex::default(),
            good_pages: Mutex::default(),
            owner: Mutex::new(owner),
            lock,
            folder,
        })
    }

    /// Whether this process speaks for the gateway.
    pub(super) fn is_ours(&self) -> bool {
        *lock(&self.owner) == Owner::This
    }

    /// Whether another process still does, from which this one takes over.
    pub(super) fn is_anothers(&self) -> bool {
        *lock(&self.owner) == Owner::Another
    }

    /// Speaks for the gateway from now on, if the process before this one has handed over.
    pub(super) fn claim(&self) {
        let writing = lock(&self.writes);
        if self.is_anothers() && self.lock.try_lock().is_ok() {
            self.read_again();
            // The process before may have taken some away.
            lock(&self.good_pages).clear();
            *lock(&self.owner) = Owner::This;
        }
        drop(writing);
    }

    /// Nothing is written any more: another process speaks for the gateway.
    pub(super) fn hand_over(&self) {
        let writing = lock(&self.writes);
        *lock(&self.owner) = Owner::Next;
        drop(writing);
        if let Err(error) = self.lock.unlock() {
            tracing::error!(%error, "the state of the fleet stays locked until this process ends");
        }
    }

    /// What the process before this one had written last; what was heard of meanwhile counts as well.
    fn read_again(&self) {
        let mut written = known_state(&self.folder);
        let mut state = lock(&self.state);
        let heard = state.take().unwrap_or_default();
        if let Some(written) = &mut written {
            written.trust_version = written.trust_version.max(heard.trust_version);
            for (stream, of_stream) in heard.streams {
                if let Some(reached) = of_stream.reached {
                    written.streams.entry(stream).or_default().reach(reached);
                }
            }
        }
        *state = written;
    }

    /// Whether anything may be taken over.
    pub(super) fn is_good(&self) -> bool {
        lock(&self.state).is_some()
    }

    /// What is remembered of a stream; nothing when the state is damaged.
    pub(super) fn stream(&self, stream: Stream) -> StreamState {
        let state = lock(&self.state);
        let of_stream = state.as_ref().and_then(|state| state.streams.get(&stream));
        of_stream.cloned().unwrap_or_default()
    }

    /// Changes what is remembered of a stream, on the disk first if that is ours.
    ///
    /// # Errors
    /// When it cannot be written, or the state is damaged; then nothing has changed.
    pub(super) fn change(&self, stream: Stream, change: impl FnOnce(&mut StreamState)) -> anyhow::Result<()> {
        self.write(|state| change(state.streams.entry(stream).or_default()))
    }

    fn write(&self, change: impl FnOnce(&mut State)) -> anyhow::Result<()> {
        let writing = lock(&self.writes);
        let known = lock(&self.state).clone();
        let Some(known) = known else {
            bail!("the state of the fleet is damaged");
        };
        let mut changed = known.clone();
        change(&mut changed);
        if changed != known {
            if self.is_ours() {
                write_state(&self.folder, &changed)?;
            }
            *lock(&self.state) = Some(changed);
        }
        drop(writing);
        Ok(())
    }

    /// The trust document, when there is one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn trust(&self) -> anyhow::Result<Option<Vec<u8>>> {
        read(&self.trust_file())
    }

    /// The lowest version of a trust document that may be believed; `None` when the state is damaged.
    pub(super) fn trust_version(&self) -> Option<u64> {
        lock(&self.state).as_ref().map(|state| state.trust_version)
    }

    /// Keeps a trust document.
    ///
    /// # Errors
    /// When it cannot be written, or the state is damaged.
    pub(super) fn keep_trust(&self, bytes: &[u8], version: u64) -> anyhow::Result<()> {
        if self.is_ours() {
            write_atomically(&self.trust_file(), bytes)?;
        }
        self.write(|state| state.trust_version = state.trust_version.max(version))
    }

    fn trust_file(&self) -> PathBuf {
        self.folder.join("trust.json")
    }

    /// The envelope of a slot, when there is one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn envelope(&self, stream: Stream, slot: Slot) -> anyhow::Result<Option<Vec<u8>>> {
        read(&self.file(stream, slot))
    }

    /// Puts an envelope on probation.
    ///
    /// # Errors
    /// When it cannot be written; the one before it may be gone.
    pub(super) fn begin_probation(&self, stream: Stream, bytes: &[u8]) -> anyhow::Result<()> {
        if self.is_ours() {
            write_atomically(&self.file(stream, Slot::Probation), bytes)?;
        }
        Ok(())
    }

    /// Takes the envelope on probation away.
    pub(super) fn end_probation(&self, stream: Stream) {
        if self.is_ours() {
            drop(fs::remove_file(self.file(stream, Slot::Probation)));
        }
    }

    /// The envelope on probation is proven: a restart begins with it. At no moment is there none.
    ///
    /// # Errors
    /// When the files cannot be renamed.
    pub(super) fn prove(&self, stream: Stream) -> anyhow::Result<()> {
        if !self.is_ours() {
            return Ok(());
        }
        let [probation, healthy, previous] =
            [Slot::Probation, Slot::Healthy, Slot::Previous].map(|slot| self.file(stream, slot));
        let second_name = healthy.with_extension("second");
        let proven = || -> std::io::Result<()> {
            if healthy.exists() {
                remove(&second_name)?;
                fs::hard_link(&healthy, &second_name)?;
                fs::rename(&second_name, &previous)?;
            }
            fs::rename(&probation, &healthy)?;
            File::open(self.folder.join(stream.as_str()))?.sync_all()
        };
        proven().with_context(|| format!("{} is proven", probation.display()))
    }

    /// The envelope that was proven last was given up: a restart begins with the one before it, and what is proven next keeps
    /// that one as the one before. At no moment is there none.
    pub(super) fn go_back(&self, stream: Stream) {
        if !self.is_ours() {
            return;
        }
        let [previous, healthy] = [Slot::Previous, Slot::Healthy].map(|slot| self.file(stream, slot));
        let gone_back = || -> std::io::Result<()> {
            fs::rename(&previous, &healthy)?;
            File::open(self.folder.join(stream.as_str()))?.sync_all()
        };
        // What was given up is remembered, so the next start does the same again.
        if let Err(error) = gone_back() {
            tracing::error!(%error, "what was given up stays on the disk");
        }
    }

    /// A page of a list, when it is there.
    ///
    /// # Errors
    /// When it cannot be read, or is not what it is called: then it is taken away.
    pub(super) fn page(&self, stream: Stream, digest: Digest) -> anyhow::Result<Option<Vec<u8>>> {
        let file = self.pages_of(stream).join(digest.to_string());
        let Some(bytes) = read(&file)? else {
            return Ok(None);
        };
        if Digest::of(&bytes) != digest {
            if self.is_ours() {
                remove(&file)?;
            }
            bail!("{} is not what was written", file.display());
        }
        lock(&self.good_pages).insert((stream, digest));
        Ok(Some(bytes))
    }

    /// Writes the pages that are not known to be there and good.
    ///
    /// # Errors
    /// When one cannot be written.
    pub(super) fn write_pages(&self, stream: Stream, pages: &[HeldPage]) -> anyhow::Result<()> {
        if !self.is_ours() || pages.is_empty() {
            return Ok(());
        }
        let folder = self.pages_of(stream);
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        for HeldPage { digest, bytes, .. } in pages {
            if !lock(&self.good_pages).contains(&(stream, *digest))
                && self.page(stream, *digest).ok().flatten().is_none()
            {
                write_atomically(&folder.join(digest.to_string()), bytes)?;
                lock(&self.good_pages).insert((stream, *digest));
            }
        }
        Ok(())
    }

    /// Takes away the pages that no envelope names any more.
    ///
    /// # Errors
    /// When an envelope cannot be read, or a page cannot be taken away.
    pub(super) fn sweep_pages(&self, stream: Stream) -> anyhow::Result<()> {
        let folder = self.pages_of(stream);
        if !self.is_ours() || !folder.exists() {
            return Ok(());
        }
        let mut named = BTreeSet::new();
        for slot in Slot::ALL {
            if let Some(envelope) = self.envelope(stream, slot)? {
                let statement: Statement = serde_json::from_slice(&Envelope::parse(&envelope)?.payload)?;
                let names =
                    pages::names(&statement).map_err(|objection| anyhow::anyhow!(objection.message))?;
                named.extend(names.iter().map(|name| name.digest));
            }
        }
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let page = entry.file_name().to_str().and_then(|name| name.parse().ok());
            if page.is_none_or(|page| !named.contains(&page)) {
                remove(&entry.path())?;
            }
        }
        lock(&self.good_pages).retain(|(of, page)| *of != stream || named.contains(page));
        Ok(())
    }

    fn pages_of(&self, stream: Stream) -> PathBuf {
        self.folder.join(stream.as_str()).join("pages")
    }

    fn file(&self, stream: Stream, slot: Slot) -> PathBuf {
        self.folder.join(stream.as_str()).join(slot.file())
    }
}

fn remove(file: &Path) -> std::io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn read(file: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    if !file.exists() {
        return Ok(None);
    }
    read_bounded(file, u64::try_from(MAX_ENVELOPE_BYTES)?).map(Some)
}

/// A damaged state is reported, and is none.
fn known_state(folder: &Path) -> Option<State> {
    let report = |error: &anyhow::Error| {
        let error = format!("{error:#}");
        let folder = folder.display();
        tracing::error!(
            error,
            %folder,
            "HOW FAR THE STREAMS HAD COME IS NOT KNOWN: nothing new is taken over; if the disk alone is to blame, remove this folder and restart"
        );
    };
    read_state(folder).inspect_err(report).ok()
}

fn state_file(folder: &Path) -> PathBuf {
    folder.join("state.json")
}

/// The digest of what follows stands in the first line: a flipped bit in a number would be another number.
fn read_state(folder: &Path) -> anyhow::Result<State> {
    let file = state_file(folder);
    if !file.exists() {
        let holds_any = |stream: Stream| {
            let folder = folder.join(stream.as_str());
            Slot::ALL
                .into_iter()
                .any(|slot| folder.join(slot.file()).exists())
        };
        if Stream::ALL.into_iter().any(holds_any) {
            bail!("{} is gone", file.display());
        }
        return Ok(State::default());
    }
    let bytes = read_bounded(&file, MAX_STATE_BYTES)?;
    let text = std::str::from_utf8(&bytes).context("not text")?;
    let (digest, json) = text.split_once('\n').context("half a file")?;
    if digest != Digest::of(json.as_bytes()).to_string() {
        bail!("{} is not what was written", file.display());
    }
    serde_json::from_str(json).with_context(|| format!("parsing {}", file.display()))
}

fn write_state(folder: &Path, state: &State) -> anyhow::Result<()> {
    let json = serde_json::to_string(state)?;
    let text = format!("{}\n{json}", Digest::of(json.as_bytes()));
    write_atomically(&state_file(folder), text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seq: u64) -> Position {
        Position { epoch: 1, seq }
    }

    fn reach(disk: &Disk, stream: Stream, seq: u64) {
        disk.change(stream, |state| state.reach(at(seq))).unwrap();
    }

    #[test]
    fn one_process_writes_until_it_hands_over_and_no_position_goes_back_by_that() {
        let folder = tempfile::tempdir().unwrap();
        let old = Disk::open(folder.path()).unwrap();
        reach(&old, Stream::Keyset, 1);
        let new = Disk::open(folder.path()).unwrap();
        assert!(old.is_ours() && !new.is_ours());

        // Both take the same over, not at the same time; what the second writes meanwhile stays in its memory.
        reach(&new, Stream::Revocations, 7);
        new.begin_probation(Stream::Revocations, b"seven").unwrap();
        new.prove(Stream::Revocations).unwrap();
        reach(&old, Stream::Keyset, 2);
        let read = |stream| {
            read_state(&folder.path().join("fleet"))
                .unwrap()
                .streams
                .remove(&stream)
        };
        assert_eq!(read(Stream::Revocations), None);
        assert_eq!(new.envelope(Stream::Revocations, Slot::Healthy).unwrap(), None);

        old.hand_over();
        new.claim();
        assert!(new.is_ours() && !old.is_ours());
        assert_eq!(new.stream(Stream::Keyset).reached, Some(at(2)));
        assert_eq!(new.stream(Stream::Revocations).reached, Some(at(7)));
        reach(&new, Stream::Blocks, 3);
        reach(&old, Stream::Keyset, 9);
        let reached = |stream| read(stream).and_then(|state| state.reached);
        assert_eq!(reached(Stream::Keyset), Some(at(2)), "it is another's now");
        assert_eq!(reached(Stream::Revocations), Some(at(7)));
        assert_eq!(reached(Stream::Blocks), Some(at(3)));

        drop(new);
        assert!(
            Disk::open(folder.path()).unwrap().is_ours(),
            "killed: the lock is free"
        );
    }
}
