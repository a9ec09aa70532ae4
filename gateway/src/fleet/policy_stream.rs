//! The policy of a fleet: put in force, and proven or given up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fleet::{Digest, Objection, Pointer, Stage, Statement, Stream};
use tokio_util::sync::CancellationToken;

use super::blobs::objection;
use super::boot::MAX_TIMES;
use super::compiled::{Compiled, compile};
use super::disk::{Begun, GivenUp, Slot};
use super::take::UNWRITTEN;
use super::traffic::Sample;
use super::{Fleet, InForce, lock};
use crate::metrics::METRICS;
use crate::policy_source::PolicySource;

/// How often a policy that is not proven is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// A policy in force that is not proven yet.
#[derive(Debug)]
pub(super) struct Trial {
    pointer: Pointer,
    before: Sample,
    began: Instant,
    /// Whether the disk did not take it that it is proven.
    is_unwritten: bool,
}

impl Trial {
    /// It goes on being tried; said once, and counted each time.
    fn stays_unwritten(&mut self, error: &anyhow::Error) {
        METRICS
            .fleet_unwritten
            .with_label_values(&[Stream::Policy.as_str()])
            .inc();
        if !self.is_unwritten {
            self.is_unwritten = true;
            tracing::error!(
                error = format!("{error:#}"),
                "THE POLICY DOES WELL AND CANNOT BE WRITTEN TO DISK AS PROVEN: a restart would begin with the one before"
            );
        }
    }
}

impl Fleet {
    /// Takes over a policy that a pointer names; in shadow, only tries it.
    ///
    /// # Errors
    /// Why not; then nothing has changed.
    pub(super) async fn take_policy(
        self: &Arc<Self>,
        pointer: &Pointer,
        bytes: Vec<u8>,
        statement: Statement,
    ) -> Result<(), Objection> {
        let compiled = self.beside(move |fleet| fleet.compile(&statement));
        let compiled = compiled
            .await
            .map_err(|error| objection("compile", format!("{error:#}")))??;
        self.tell(pointer, Stage::Verified);
        if pointer.shadow {
            self.shadow.begin(pointer.position, compiled.plan);
            self.tell(pointer, Stage::Active);
            return Ok(());
        }
        let pointer = pointer.clone();
        let committed = self.beside(move |fleet| fleet.commit(&pointer, &bytes, compiled));
        committed
            .await
            .map_err(|error| objection(UNWRITTEN, format!("{error:#}")))?
    }

    /// On the disk first, so that whatever happens in between a restart finds something signed; then in force. One that has waited
    /// for a disk until a newer one was in force comes too late.
    pub(super) fn commit(
        &self,
        pointer: &Pointer,
        bytes: &[u8],
        compiled: Compiled,
    ) -> Result<(), Objection> {
        let mut trial = lock(&self.trial);
        let digest = pointer.digest;
        if let Some(newer) = self
            .in_force(Stream::Policy)
            .filter(|it| it.position > pointer.position)
        {
            let message = format!("{} came in force meanwhile", newer.position);
            return Err(objection("replayed", message));
        }
        let state = self.disk.stream(Stream::Policy);
        if Begun::times(state.trials, digest) >= MAX_TIMES {
            let message = format!("the gateway failed {MAX_TIMES} times while it was tried");
            let failed = objection("failed_trials", message);
            self.give_up(digest, &failed);
            return Err(failed);
        }
        let unwritten = |error: anyhow::Error| objection(UNWRITTEN, format!("{error:#}"));
        self.disk
            .begin_probation(Stream::Policy, bytes)
            .map_err(unwritten)?;
        let reached = |state: &mut super::disk::StreamState| {
            state.reach(pointer.position);
            state.trials = Begun::once_more(state.trials, digest);
            // The start went well: it got as far as this.
            state.starts = None;
        };
        self.disk.change(Stream::Policy, reached).map_err(unwritten)?;
        let before = self.traffic.sample();
        if let Err(objection) = self.put_policy(compiled) {
            self.give_up(digest, &objection);
            return Err(objection);
        }
        self.shadow.end();
        self.is_in_force(
            Stream::Policy,
            InForce {
                position: pointer.position,
                digest,
                is_proven: false,
            },
        );
        self.tell(pointer, Stage::Active);
        *trial = Some(Trial {
            pointer: pointer.clone(),
            before,
            began: Instant::now(),
            is_unwritten: false,
        });
        Ok(())
    }

    /// Puts a policy in force, the first one too.
    pub(super) fn put_policy(&self, compiled: Compiled) -> Result<(), Objection> {
        let Compiled { plan, files } = compiled;
        let unusable = |error: anyhow::Error| objection("settings", format!("{error:#}"));
        if let Some(policies) = self.policies() {
            return policies.put(plan, &files).map_err(unusable);
        }
        let first = PolicySource::stated(
            &self.gateway,
            self.environment,
            self.clock.clone(),
            self.sources.clone(),
            (plan, &files),
        );
        let first = Arc::new(first.map_err(unusable)?);
        self.runs(&first);
        Ok(())
    }

    /// Not to be tried again, also after a restart.
    fn give_up(&self, digest: Digest, objection: &Objection) {
        let given_up = GivenUp {
            digest,
            objection: objection.clone(),
        };
        self.remember(|state| {
            state.given_up = Some(given_up);
            state.trials = None;
        });
        self.disk.end_probation(Stream::Policy);
    }

    /// A first policy that was in force before a restart goes on being tried.
    pub(super) fn begin_trial(&self) {
        let Some(in_force) = self.in_force(Stream::Policy) else {
            return;
        };
        let pointer = in_force.pointer(Stream::Policy);
        self.tell(&pointer, Stage::Active);
        *lock(&self.trial) = Some(Trial {
            pointer,
            before: self.traffic.sample(),
            began: Instant::now(),
            is_unwritten: false,
        });
    }

    /// Looks at how the policy on trial does: proves it when its time is over, gives it up when the gateway fails.
    fn look_at_trial(&self) {
        let mut trial = lock(&self.trial);
        let Some(tried) = trial.as_mut() else { return };
        if let Some(fault) = self.traffic.sample().fault_since(tried.before) {
            if let Some(tried) = trial.take() {
                self.revert(&tried.pointer, fault);
            }
        } else if tried.began.elapsed() >= self.settings.probation() {
            match self.disk.prove(Stream::Policy) {
                Ok(()) => {
                    if let Some(tried) = trial.take() {
                        self.tell_proven(&tried.pointer);
                    }
                }
                Err(error) => tried.stays_unwritten(&error),
            }
        }
    }

    /// The disk has it as proven.
    fn tell_proven(&self, pointer: &Pointer) {
        self.remember(|state| {
            state.trials = None;
            state.starts = None;
        });
        if let Some(in_force) = self.in_force(Stream::Policy) {
            let is_proven = true;
            self.is_in_force(
                Stream::Policy,
                InForce {
                    is_proven,
                    ..in_force
                },
            );
        }
        let waiting = self.waiting();
        tracing::info!(position = %pointer.position, ?waiting, "the policy is proven");
        if waiting.is_empty() {
            self.tell(pointer, Stage::Healthy);
        }
    }

    /// Tells again how far the policy that the control plane wants is: its listeners were opened.
    pub(super) fn tell_stage(&self) {
        let told = lock(&self.told).get(&Stream::Policy).cloned();
        let in_force = self.in_force(Stream::Policy).filter(|it| it.is_proven);
        if let (Some(told), Some(in_force)) = (told, in_force)
            && told.digest == in_force.digest
            && !told.shadow
        {
            self.tell(&told, self.stage_of(in_force));
        }
    }

    /// How far a policy in force is: nothing is healthy of which a listener is not open, whatever a restart begins with.
    pub(super) fn stage_of(&self, in_force: InForce) -> Stage {
        if in_force.is_proven && self.waiting().is_empty() {
            Stage::Healthy
        } else {
            Stage::Active
        }
    }

    /// Goes back to the last policy that was proven. Without one there is nothing to go back to.
    fn revert(&self, pointer: &Pointer, fault: String) {
        let back = self.held(Stream::Policy, Slot::Healthy).and_then(|held| {
            let held = held.ok_or_else(|| objection("first", "there is no policy before it"))?;
            let compiled = compile(&held.statement, self.environment, &self.gateway)?;
            Ok((held, compiled))
        });
        let (held, compiled) = match back {
            Ok(back) => back,
            Err(objection) => {
                let error = objection.message;
                tracing::error!(
                    fault,
                    error,
                    "THE POLICY DOES NOT DO WELL, and there is none to go back to"
                );
                return;
            }
        };
        let objection = objection("probation", fault);
        self.give_up(pointer.digest, &objection);
        if let Err(error) = self.put_policy(compiled) {
            let message = format!(
                "{}; and the policy before it cannot be put in force again: {}",
                objection.message, error.message
            );
            // It goes on with this one, and nobody may think otherwise.
            return self.refuse(pointer, super::blobs::objection("probation", message));
        }
        self.is_in_force(
            Stream::Policy,
            InForce {
                position: held.statement.position,
                digest: held.digest,
                is_proven: true,
            },
        );
        self.refuse(pointer, objection);
    }

    /// Whether a policy is on trial. While one is being put in force or given up, which may take as long as a disk does, there is
    /// none to look at.
    fn tries_one(&self) -> bool {
        self.trial.try_lock().is_ok_and(|trial| trial.is_some())
    }

    /// Nothing is written any more, and whatever was being written is.
    fn hand_over(&self) {
        self.has_started();
        let (trial, writing) = (lock(&self.trial), lock(&self.writing));
        self.disk.hand_over();
        drop((trial, writing));
    }

    /// The start went well: the process lived for a while, or was told to stop.
    fn has_started(&self) {
        self.remember(|state| state.starts = None);
    }
}

/// Looks at the policy on trial until another process speaks for the gateway, or it ends; then hands the disk over.
pub(super) async fn watch_trial(fleet: Arc<Fleet>, handed_over: CancellationToken) {
    let probation = fleet.settings.probation();
    let began = Instant::now();
    let mut has_started = false;
    let mut looks = tokio::time::interval(LOOK.min(probation));
    // The policy of a directory is never on trial.
    let is_stated = fleet.gateway.follows(Stream::Policy);
    loop {
        tokio::select! {
            () = handed_over.cancelled() => break,
            _ = looks.tick(), if is_stated => {}
        }
        let is_over = !has_started && began.elapsed() >= probation;
        has_started |= is_over;
        let look = async {
            if is_over {
                fleet.beside(|fleet| fleet.has_started()).await?;
            }
            if fleet.speaks().await && fleet.tries_one() {
                fleet.beside(|fleet| fleet.look_at_trial()).await?;
            }
            anyhow::Ok(())
        };
        tokio::select! {
            () = handed_over.cancelled() => break,
            looked = look => report(looked),
        }
    }
    report(fleet.beside(|fleet| fleet.hand_over()).await);
}

fn report(done: anyhow::Result<()>) {
    if let Err(error) = done {
        tracing::error!(
            error = format!("{error:#}"),
            "the policy on trial is not looked at"
        );
    }
}
