//! Starting from the disk, before the control plane is dialled: what was proven last, if it is still signed as it must be.

use fleet::{Digest, Objection, Statement, Stream, readmit};

use super::blobs::objection;
use super::compiled::compile;
use super::disk::{Begun, GivenUp, Slot};
use super::lists::List;
use super::{Fleet, InForce, lock, pages};

/// Starts in a row that may fail with one statement before the one before it is taken, and trials of one.
pub(super) const MAX_TIMES: u32 = 3;

/// A statement from the disk.
pub(super) struct Held {
    pub(super) statement: Statement,
    pub(super) digest: Digest,
    pub(super) bytes: Vec<u8>,
}

impl Fleet {
    /// Puts in force what is on the disk.
    pub(super) fn boot(&self, is_start: bool) {
        for stream in self.streams() {
            if stream == Stream::Policy {
                self.boot_policy(is_start);
            } else {
                self.boot_list(stream);
            }
        }
    }

    /// Reads an envelope that was taken over before, and checks it again.
    ///
    /// # Errors
    /// Why it is not believed any more.
    pub(super) fn held(&self, stream: Stream, slot: Slot) -> Result<Option<Held>, Objection> {
        let read = self.disk.envelope(stream, slot);
        let read = read.map_err(|error| objection("unreadable", format!("{error:#}")))?;
        let Some(bytes) = read else { return Ok(None) };
        let trust = self
            .trust()
            .ok_or_else(|| objection("no_trust", "there is no trust document"))?;
        let statement = readmit(&bytes, stream, &trust, &self.member());
        let statement = statement.map_err(|refusal| objection(refusal.code(), refusal.to_string()))?;
        Ok(Some(Held {
            digest: Digest::of(&bytes),
            statement,
            bytes,
        }))
    }

    /// The same for a start: what is not believed is reported, and is as good as not there.
    fn held_at_start(&self, stream: Stream, slot: Slot) -> Option<Held> {
        self.held(stream, slot).unwrap_or_else(|objection| {
            report(stream, slot, &objection);
            None
        })
    }

    fn boot_list(&self, stream: Stream) {
        for slot in [Slot::Healthy, Slot::Previous] {
            let Some(held) = self.held_at_start(stream, slot) else {
                continue;
            };
            let put = pages::names(&held.statement).and_then(|names| {
                self.read_pages(stream, &names);
                List::read(&held.statement, &self.pages)?.put(self)
            });
            match put {
                Ok(()) => return self.starts_with(&held, true),
                Err(objection) => report(stream, slot, &objection),
            }
        }
    }

    /// Only what was proven is begun with; a first policy, before which there was none, is tried again, until it has failed too
    /// often. What was given up is begun with no more, unless nothing else is there that was proven.
    fn boot_policy(&self, is_start: bool) {
        let begins = |slot: Slot| {
            let held = self.held_at_start(Stream::Policy, slot);
            held.is_some_and(|held| self.begin_with(slot, &held, is_start))
        };
        let healthy = self.held_at_start(Stream::Policy, Slot::Healthy);
        if let Some(healthy) = healthy.filter(|healthy| self.has_failed(healthy))
            && begins(Slot::Previous)
        {
            self.give_up_start(&healthy, "the one before it is in force");
            return self.disk.go_back(Stream::Policy);
        }
        if begins(Slot::Healthy) || begins(Slot::Previous) {
            return;
        }
        let first = self.held_at_start(Stream::Policy, Slot::Probation);
        if let Some(first) = first.filter(|first| self.has_failed(first)) {
            self.give_up_start(&first, "there is none before it, and another one is waited for");
            self.disk.end_probation(Stream::Policy);
        } else if begins(Slot::Probation) {
            self.begin_trial();
        }
    }

    /// Whether the gateway has failed to start with it too often, or has given it up before.
    fn has_failed(&self, held: &Held) -> bool {
        let state = self.disk.stream(Stream::Policy);
        let is_given_up = state
            .given_up
            .is_some_and(|given_up| given_up.digest == held.digest);
        is_given_up || Begun::times(state.starts, held.digest) >= MAX_TIMES
    }

    fn give_up_start(&self, held: &Held, instead: &str) {
        let message = format!("the gateway failed {MAX_TIMES} times after it had started with it");
        let position = held.statement.position;
        tracing::error!(%position, "THE POLICY IS GIVEN UP: {message}; {instead}");
        self.remember(|state| {
            if state
                .given_up
                .as_ref()
                .is_none_or(|known| known.digest != held.digest)
            {
                state.given_up = Some(GivenUp {
                    digest: held.digest,
                    objection: objection("failed_starts", message),
                });
            }
        });
    }

    fn begin_with(&self, slot: Slot, held: &Held, is_start: bool) -> bool {
        let compiled = compile(&held.statement, self.environment, &self.gateway);
        let mut can_listen = true;
        let begun = compiled.and_then(|compiled| {
            can_listen = lock(&self.tls_files).lacks(&compiled.plan).is_empty();
            self.put_policy(compiled)
        });
        if let Err(objection) = begun {
            report(Stream::Policy, slot, &objection);
            return false;
        }
        // A start that fails because a certificate is gone says nothing of the policy: no older one would do better.
        if is_start && can_listen {
            self.remember(|state| state.starts = Begun::once_more(state.starts, held.digest));
        }
        self.starts_with(held, slot != Slot::Probation);
        true
    }

    fn starts_with(&self, held: &Held, is_proven: bool) {
        let stream = held.statement.stream;
        let position = held.statement.position;
        tracing::info!(stream = stream.as_str(), %position, "a signed statement is in force from the disk");
        let in_force = InForce {
            position,
            digest: held.digest,
            is_proven,
        };
        self.is_in_force(stream, in_force);
        if let Err(error) = self.disk.change(stream, |state| state.reach(position)) {
            tracing::debug!(
                error = format!("{error:#}"),
                "how far the stream has come is not written"
            );
        }
    }

    /// Changes what is remembered of the policy; a disk that cannot be written to is no reason not to serve.
    pub(super) fn remember(&self, change: impl FnOnce(&mut super::disk::StreamState)) {
        if let Err(error) = self.disk.change(Stream::Policy, change) {
            tracing::error!(
                error = format!("{error:#}"),
                "the state of the fleet cannot be written"
            );
        }
    }
}

fn report(stream: Stream, slot: Slot, objection: &Objection) {
    tracing::error!(
        stream = stream.as_str(),
        slot = ?slot,
        code = objection.code,
        error = objection.message,
        "a statement on the disk is not believed"
    );
}
