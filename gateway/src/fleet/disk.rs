//! What a gateway of a fleet keeps over a restart: envelopes as they came, and how far each stream had come.
//!
//! **Invariant:** the highest position of a stream never goes back. A state file that is damaged, or gone while envelopes
//! are there, ends taking over anything: what is signed goes on, and an operator decides.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, bail};
use fleet::{Digest, MAX_ENVELOPE_BYTES, Objection, Position, Stream};
use serde::{Deserialize, Serialize};

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

/// The folder of a gateway's state that belongs to the fleet.
#[derive(Debug)]
pub(super) struct Disk {
    folder: PathBuf,
    /// `None` when it is damaged.
    state: Mutex<Option<State>>,
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
    /// When the folder cannot be made or read.
    pub(super) fn open(state_dir: &Path) -> anyhow::Result<Self> {
        let folder = state_dir.join("fleet");
        for stream in Stream::ALL {
            let folder = folder.join(stream.as_str());
            fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        }
        let state = match read_state(&folder) {
            Ok(state) => Some(state),
            Err(error) => {
                let error = format!("{error:#}");
                let folder = folder.display();
                tracing::error!(
                    error,
                    %folder,
                    "HOW FAR THE STREAMS HAD COME IS NOT KNOWN: nothing new is taken over; if the disk alone is to blame, remove this folder and restart"
                );
                None
            }
        };
        Ok(Self {
            folder,
            state: Mutex::new(state),
        })
    }

    /// Whether anything may be taken over.
    pub(super) fn is_good(&self) -> bool {
        self.lock().is_some()
    }

    /// What is remembered of a stream; nothing when the state is damaged.
    pub(super) fn stream(&self, stream: Stream) -> StreamState {
        let state = self.lock();
        let of_stream = state.as_ref().and_then(|state| state.streams.get(&stream));
        of_stream.cloned().unwrap_or_default()
    }

    /// Changes what is remembered of a stream, on the disk first.
    ///
    /// # Errors
    /// When it cannot be written, or the state is damaged; then nothing has changed.
    pub(super) fn change(&self, stream: Stream, change: impl FnOnce(&mut StreamState)) -> anyhow::Result<()> {
        self.write(|state| change(state.streams.entry(stream).or_default()))
    }

    fn write(&self, change: impl FnOnce(&mut State)) -> anyhow::Result<()> {
        let mut state = self.lock();
        let Some(known) = state.as_ref() else {
            bail!("the state of the fleet is damaged");
        };
        let mut changed = known.clone();
        change(&mut changed);
        if changed != *known {
            write_state(&self.folder, &changed)?;
            *state = Some(changed);
        }
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
        self.lock().as_ref().map(|state| state.trust_version)
    }

    /// Keeps a trust document.
    ///
    /// # Errors
    /// When it cannot be written, or the state is damaged.
    pub(super) fn keep_trust(&self, bytes: &[u8], version: u64) -> anyhow::Result<()> {
        write_atomically(&self.trust_file(), bytes)?;
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
        write_atomically(&self.file(stream, Slot::Probation), bytes)
    }

    /// Takes the envelope on probation away.
    pub(super) fn end_probation(&self, stream: Stream) {
        drop(fs::remove_file(self.file(stream, Slot::Probation)));
    }

    /// The envelope on probation is proven: a restart begins with it. At no moment is there none.
    ///
    /// # Errors
    /// When the files cannot be renamed.
    pub(super) fn prove(&self, stream: Stream) -> anyhow::Result<()> {
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

    fn file(&self, stream: Stream, slot: Slot) -> PathBuf {
        self.folder.join(stream.as_str()).join(slot.file())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<State>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
