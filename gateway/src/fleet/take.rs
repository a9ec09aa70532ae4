//! Taking over what a pointer names, each stream at its own pace: fetched, checked, in force, on the disk.

use std::sync::Arc;
use std::time::Duration;

use fleet::{Digest, Objection, Pointer, Position, Refusal, Stage, Statement, Stream, admit};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::blobs::{Missing, Source, objection};
use super::disk::Slot;
use super::lists::List;
use super::pages::{self, HeldPage};
use super::{Fleet, InForce, lock, state};
use crate::metrics::METRICS;
use crate::pause::pause;

/// First and longest wait before bytes that were not there are asked for again, and what could not be written is written again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// Attempts after which the control plane is told that its bytes cannot be had.
const PATIENT_FOR: u32 = 3;
/// The code of a policy that the disk did not take.
pub(super) const UNWRITTEN: &str = "disk";

/// How often it is looked whether this process speaks for the gateway.
const LOOK: Duration = Duration::from_secs(1);

/// Takes over what the pointers of one stream name, until `stop`. A newer pointer ends the work for an older one.
pub(super) async fn follow(
    fleet: Arc<Fleet>,
    mut pointers: watch::Receiver<Option<Pointer>>,
    stop: CancellationToken,
) {
    loop {
        let pointer = pointers.borrow_and_update().clone();
        let work = async {
            if let Some(pointer) = pointer {
                fleet.take(&pointer).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = stop.cancelled() => return,
            changed = pointers.changed() => if changed.is_err() { return },
            () = work => {}
        }
    }
}

/// An envelope that may be taken over.
struct Obtained {
    bytes: Vec<u8>,
    statement: Statement,
}

/// A list or key set that is in force, and not on the disk yet.
#[derive(Debug, Clone)]
pub(super) struct Unwritten {
    pointer: Pointer,
    bytes: Arc<[u8]>,
    pages: Vec<HeldPage>,
}

/// Why nothing was taken over.
enum Failure {
    /// It may work later.
    NotYet(Objection),
    /// The disk did not take it, which is told at once: there may be room later.
    Unwritten(Objection),
    Refused(Objection),
}

impl From<Objection> for Failure {
    fn from(objection: Objection) -> Self {
        if objection.code == UNWRITTEN {
            Self::Unwritten(objection)
        } else {
            Self::Refused(objection)
        }
    }
}

impl From<Missing> for Failure {
    fn from(missing: Missing) -> Self {
        match missing {
            Missing::Unavailable(_) => Self::NotYet(missing.objection()),
            Missing::Wrong(objection) => Self::Refused(objection),
        }
    }
}

impl Fleet {
    async fn take(self: &Arc<Self>, pointer: &Pointer) {
        // A policy is tried by one process; what is revoked counts in both.
        while pointer.stream == Stream::Policy && !self.speaks().await {
            pause(LOOK).await;
        }
        let mut backoff = BACKOFF.0;
        for attempt in 1_u32.. {
            match self.try_to_take(pointer).await {
                Ok(()) => return,
                Err(Failure::Refused(objection)) => return self.refuse(pointer, objection),
                Err(Failure::Unwritten(objection)) => self.refuse(pointer, objection),
                Err(Failure::NotYet(objection)) if attempt == PATIENT_FOR => self.refuse(pointer, objection),
                Err(Failure::NotYet(objection)) => {
                    tracing::debug!(error = objection.message, "an envelope cannot be had yet");
                }
            }
            pause(backoff).await;
            backoff = backoff.saturating_mul(2).min(BACKOFF.1);
        }
    }

    async fn try_to_take(self: &Arc<Self>, pointer: &Pointer) -> Result<(), Failure> {
        let stream = pointer.stream;
        if let Some(in_force) = self.in_force(stream).filter(|it| it.digest == pointer.digest) {
            self.has_already(pointer, in_force);
            self.write_down(stream).await;
            return Ok(());
        }
        let mut source = Source::new(&self.dialler, &self.settings.mirrors, &self.mirrors);
        let Obtained { bytes, statement } = self.obtain(&mut source, pointer).await?;
        if stream == Stream::Policy {
            return Ok(self.take_policy(pointer, bytes, statement).await?);
        }
        let names = pages::names(&statement)?;
        self.fetch_pages(&mut source, stream, &names).await?;
        self.put_list(pointer, &statement)?;
        self.confirm_lists();
        let unwritten = Unwritten {
            pointer: pointer.clone(),
            bytes: bytes.into(),
            pages: self.pages.named(stream, &names)?,
        };
        lock(&self.unwritten).insert(stream, unwritten);
        self.write_down(stream).await;
        Ok(())
    }

    /// Writes down what is in force of a list, until that is done or something newer takes its turn: whoever has it in memory alone
    /// would start without what it revokes.
    async fn write_down(self: &Arc<Self>, stream: Stream) {
        let mut backoff = BACKOFF.0;
        loop {
            // A newer pointer does not wait for it: that ends this one's turn, unless it writes already.
            let turn = Arc::clone(&self.writes_next).lock_owned().await;
            let Some(unwritten) = lock(&self.unwritten).get(&stream).cloned() else {
                return;
            };
            let written = self.beside(move |fleet| {
                let written = fleet.write_list(&unwritten);
                drop(turn);
                written
            });
            let Err(error) = written.await.and_then(|written| written) else {
                lock(&self.unwritten).remove(&stream);
                return;
            };
            METRICS
                .fleet_unwritten
                .with_label_values(&[stream.as_str()])
                .inc();
            tracing::error!(
                stream = stream.as_str(),
                error = format!("{error:#}"),
                "A STATEMENT IN FORCE CANNOT BE WRITTEN TO DISK: a restart would begin with the one before"
            );
            pause(backoff).await;
            backoff = backoff.saturating_mul(2).min(BACKOFF.1);
        }
    }

    /// What is in force is what the control plane wants: whatever was tried beside it is over.
    fn has_already(&self, pointer: &Pointer, in_force: InForce) {
        if pointer.stream == Stream::Policy && !pointer.shadow {
            self.shadow.end();
        }
        self.tell(pointer, self.stage_of(in_force));
    }

    async fn obtain(
        self: &Arc<Self>,
        source: &mut Source<'_>,
        pointer: &Pointer,
    ) -> Result<Obtained, Failure> {
        if !self.disk.is_good() {
            return Err(state::damaged().into());
        }
        self.refuse_given_up(pointer)?;
        if let Some(held) = self.obtained_before(pointer).await? {
            return Ok(held);
        }
        if let Some(reached) = self
            .floor(pointer.stream)
            .filter(|floor| pointer.position <= *floor)
        {
            let refusal = Refusal::Replayed {
                offered: pointer.position,
                reached,
            };
            return Err(refused(&refusal).into());
        }
        let bytes = source.fetch(pointer.digest, pointer.bytes).await?;
        self.tell(pointer, Stage::Received);
        let statement = self.admitted(pointer, &bytes).await?;
        if statement.position != pointer.position {
            let message = format!("the statement has the position {}", statement.position);
            return Err(objection("other_position", message).into());
        }
        Ok(Obtained {
            bytes: bytes.to_vec(),
            statement,
        })
    }

    /// What was given up here is not tried again.
    pub(super) fn refuse_given_up(&self, pointer: &Pointer) -> Result<(), Objection> {
        let given_up = self.disk.stream(pointer.stream).given_up;
        match given_up.filter(|given_up| given_up.digest == pointer.digest) {
            Some(given_up) => Err(given_up.objection),
            None => Ok(()),
        }
    }

    /// What was on probation, or proven, before a restart or a lost trust document: taken over once, so no replay. What is beyond
    /// everything that was ever taken over is not looked for.
    async fn obtained_before(self: &Arc<Self>, pointer: &Pointer) -> Result<Option<Obtained>, Objection> {
        if self.disk.stream(pointer.stream).reached < Some(pointer.position) {
            return Ok(None);
        }
        let pointer = pointer.clone();
        let found = self.beside(move |fleet| fleet.find_on_disk(&pointer));
        found
            .await
            .map_err(|error| objection("unreadable", format!("{error:#}")))?
    }

    fn find_on_disk(&self, pointer: &Pointer) -> Result<Option<Obtained>, Objection> {
        for slot in [Slot::Probation, Slot::Healthy] {
            let bytes = self.disk.envelope(pointer.stream, slot).ok().flatten();
            if bytes.is_some_and(|bytes| Digest::of(&bytes) == pointer.digest)
                && let Some(held) = self.held(pointer.stream, slot)?
            {
                return Ok(Some(Obtained {
                    bytes: held.bytes,
                    statement: held.statement,
                }));
            }
        }
        Ok(None)
    }

    /// What a position must be beyond: the highest that was reached, which is in force before it is written. That one itself
    /// is taken again by a gateway which has lost it, and runs something older or nothing.
    fn floor(&self, stream: Stream) -> Option<Position> {
        let in_force = self.in_force(stream).map(|it| it.position);
        let reached = self.disk.stream(stream).reached.max(in_force)?;
        let is_lost = in_force < Some(reached);
        Some(Position {
            seq: reached.seq.saturating_sub(u64::from(is_lost)),
            ..reached
        })
    }

    /// Admits bytes; when nobody known has signed them, the trust document may be the one that is old.
    async fn admitted(self: &Arc<Self>, pointer: &Pointer, bytes: &[u8]) -> Result<Statement, Objection> {
        let refusal = match self.admit(pointer.stream, bytes) {
            Ok(statement) => return Ok(statement),
            Err(refusal) => refusal,
        };
        if !matches!(refusal.code.as_str(), "no_trust" | "unsigned" | "key_not_valid") {
            return Err(refusal);
        }
        let renewed = async {
            let mut link = self.dialler.control_plane().await?;
            self.renew_trust(&mut link).await
        };
        match renewed.await {
            // Another stream may have renewed it in the meantime.
            Ok(()) => self.admit(pointer.stream, bytes),
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "no newer trust document");
                Err(refusal)
            }
        }
    }

    pub(super) fn admit(&self, stream: Stream, bytes: &[u8]) -> Result<Statement, Objection> {
        let trust = self
            .trust()
            .ok_or_else(|| objection("no_trust", "there is no trust document"))?;
        let floor = self.floor(stream);
        admit(bytes, stream, &trust, &self.member(), floor, self.now()).map_err(|refusal| refused(&refusal))
    }

    /// Takes over a list or key set that the gateway was given to begin with, and writes it down.
    pub(super) fn take_list(
        &self,
        pointer: &Pointer,
        bytes: &[u8],
        statement: &Statement,
    ) -> Result<(), Objection> {
        self.put_list(pointer, statement)?;
        let unwritten = Unwritten {
            pointer: pointer.clone(),
            bytes: bytes.into(),
            pages: self.pages.named(pointer.stream, &pages::names(statement)?)?,
        };
        if let Err(error) = self.write_list(&unwritten) {
            tracing::error!(
                error = format!("{error:#}"),
                "a statement cannot be written to disk"
            );
        }
        Ok(())
    }

    /// In force first, then on the disk: what is revoked waits for no disk, not even for one that hangs. Whoever is killed in
    /// between starts with what it held before, as one that had not heard of this yet, and takes it over again.
    fn put_list(&self, pointer: &Pointer, statement: &Statement) -> Result<(), Objection> {
        let list = List::read(statement, &self.pages)?;
        self.tell(pointer, Stage::Verified);
        list.put(self)?;
        self.is_in_force(
            pointer.stream,
            InForce {
                position: pointer.position,
                digest: pointer.digest,
                is_proven: false,
            },
        );
        self.tell(pointer, Stage::Active);
        Ok(())
    }

    /// Writes down what is in force, unless something newer is by now, and tells it as healthy: a restart begins with it.
    ///
    /// # Errors
    /// When the disk does not take it.
    fn write_list(&self, unwritten: &Unwritten) -> anyhow::Result<()> {
        let Unwritten {
            pointer,
            bytes,
            pages,
        } = unwritten;
        let writing = lock(&self.writing);
        let stream = pointer.stream;
        let in_force = self.in_force(stream).filter(|it| it.digest == pointer.digest);
        let Some(in_force) = in_force else {
            return Ok(());
        };
        if stream == Stream::Keyset {
            // Before the statement: the next one may not say any more what this one has revoked.
            self.keys.write_down();
        }
        // The pages before the statement that names them; what no statement names any more goes last.
        self.disk.write_pages(stream, pages)?;
        self.disk.begin_probation(stream, bytes)?;
        self.disk.prove(stream)?;
        self.disk.change(stream, |state| state.reach(pointer.position))?;
        self.is_in_force(
            stream,
            InForce {
                is_proven: true,
                ..in_force
            },
        );
        self.tell(pointer, Stage::Healthy);
        let swept = self.disk.sweep_pages(stream);
        drop(writing);
        if let Err(error) = swept {
            tracing::warn!(
                error = format!("{error:#}"),
                "pages that no list names any more stay"
            );
        }
        Ok(())
    }
}

fn refused(refusal: &Refusal) -> Objection {
    objection(refusal.code(), refusal.to_string())
}
