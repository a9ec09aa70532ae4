//! The gate: every verification of a password, of a second factor's code or of a passkey passes it (CTL-2, IDN-7, IDN-8, IDN-9).
//!
//! An attempt is reserved, the password is verified, the attempt is settled. How it is counted stands in the pure crate
//! `lockout`; the counters are PostgreSQL's, each step is one short transaction, and its clock is the database's.
//!
//! **Invariants:** a name that nobody has is treated as any other, in every answer. No password is verified without a
//! reservation, and nobody is told how a verification ended that is not settled: without the database there are no guesses.

mod codes;
mod counting;
mod devices;
mod keys;
mod passkeys;
mod places;
mod purge;
mod rules;
mod store;
mod suspicion;
#[cfg(test)]
mod tests;
mod unlock;
mod visitor;

use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::error::Unspecified;
use database::Pool;
use http::{HeaderName, HeaderValue};
use lockout::{Event, Rules, Verdict};
use problem::{Problem, catalogue};
use tokio::time::Instant;
use uuid::Uuid;

pub(super) use self::codes::CodeTurn;
use self::counting::{Attempt, Shown};
pub(crate) use self::devices::routes;
pub(super) use self::devices::{DeviceView, list_devices, remove_device};
use self::keys::KeyMaker;
pub(super) use self::passkeys::PasskeyAdmitted;
use self::places::{Place, Places};
pub(crate) use self::purge::purge_gate;
pub use self::rules::PolicyReader;
pub(crate) use self::rules::{PolicyFolder, follow_policy};
use self::store::Signed;
pub(super) use self::suspicion::PasswordMark;
use self::suspicion::Suspicions;
pub(crate) use self::unlock::unlock;
pub(super) use self::unlock::{DistrustedBy, UnlockedBy, use_unlock};
pub(crate) use self::visitor::Visitor;
use super::error::hashing_busy;
use super::hash_pool::PoolError;
use super::hash_queue::Priority;
use super::profile::Email;
use crate::mail::Post;
use crate::{database_problem, metrics};

/// How long an attempt waits for others at the same name, in other processes.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it looks meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Counts attempts, and says which passwords may be verified.
#[derive(Debug)]
pub(crate) struct Gate {
    keys: KeyMaker,
    rules: ArcSwap<Rules>,
    places: Places,
    suspicions: Suspicions,
    post: Post,
}

/// An attempt that was let in. Settle it: one that is not settled holds its place for ten seconds.
#[derive(Debug)]
pub(crate) struct Pass {
    attempt: Attempt,
    visitor: Visitor,
    _place: Place,
}

/// That a gate let an attempt in. Whatever compares a password with a stored one wants it, and only a gate gives it: a path
/// past the gate does not compile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Admitted(());

#[cfg(test)]
impl Admitted {
    /// For tests of what is behind the gate.
    pub(super) const fn without_a_gate() -> Self {
        Self(())
    }
}

/// Somebody whose password was right.
#[derive(Debug)]
pub(crate) struct SignedIn {
    attempt: Attempt,
    visitor: Visitor,
}

impl Pass {
    /// Allows one comparison.
    pub(super) const fn admitted(&self) -> Admitted {
        Admitted(())
    }

    /// The id of the request that makes the attempt.
    pub(crate) fn request_id(&self) -> &str {
        &self.attempt.request_id
    }
}

impl SignedIn {
    /// The id of the request that signed in.
    pub(crate) fn request_id(&self) -> &str {
        &self.attempt.request_id
    }
}

impl Gate {
    /// A gate with the rules that Portico ships, until a policy says something else.
    pub(super) fn new(pepper: &[u8], post: Post) -> Self {
        Self {
            keys: KeyMaker::derive(pepper),
            rules: ArcSwap::from_pointee(Rules::default()),
            places: Places::default(),
            suspicions: Suspicions::default(),
            post,
        }
    }

    /// Whose hash comes first: of whoever shows a device token that was made for this name. Whether the device is still
    /// trusted, the database knows; without it, the token is worth a place in line and nothing else.
    pub(super) fn priority(&self, visitor: &Visitor) -> Priority {
        let name = self.keys.name(&visitor.name);
        let token = visitor.device_token.as_deref();
        match token.and_then(|token| self.keys.read_device_token(token, name)) {
            Some(_) => Priority::Trusted,
            None => Priority::LogIn,
        }
    }

    /// Lets an attempt in, when it may be made now.
    ///
    /// # Errors
    /// 429 `too-many-attempts`, the same whether or not anybody has the name; 503 without the database.
    pub(crate) async fn enter(&self, db: &Pool, visitor: Visitor) -> Result<Pass, Problem> {
        let attempt = self.attempt(db, &visitor).await?;
        // A trusted device waits for itself alone: however many others try, it takes its turn.
        let turn = match attempt.shown {
            Shown::Trusted(_, device) => device,
            Shown::Nothing => attempt.keys.name,
        };
        let place = match self.places.try_take(turn) {
            Some(place) => place,
            None => {
                // Whoever is refused need not wait for that.
                let looked = self.look(db, &attempt).await?;
                if let Verdict::Refuse { cause, retry_after_s } = looked.verdict {
                    return Err(too_many(cause.as_str(), retry_after_s));
                }
                let waited = self.places.take(turn).await;
                waited.ok_or_else(|| too_many("waiting", 1))?
            }
        };
        let until = Instant::now() + PATIENCE;
        loop {
            match self.reserve(db, &attempt).await? {
                Verdict::Verify => break,
                Verdict::Wait if Instant::now() < until => look_later().await,
                Verdict::Refuse { cause, retry_after_s } => {
                    return Err(too_many(cause.as_str(), retry_after_s));
                }
                Verdict::Wait | Verdict::Settled | Verdict::Late => return Err(too_many("waiting", 1)),
            }
        }
        Ok(Pass {
            attempt,
            visitor,
            _place: place,
        })
    }

    async fn attempt(&self, db: &Pool, visitor: &Visitor) -> Result<Attempt, Problem> {
        let keys = self.keys.of(&visitor.name, visitor.client);
        let token = visitor.device_token.as_deref();
        let device = token.and_then(|token| self.keys.read_device_token(token, keys.name));
        let shown = match device {
            Some(device)
                if store::is_device_trusted(db, device)
                    .await
                    .map_err(database_problem)? =>
            {
                Shown::Trusted(device, self.keys.device(device))
            }
            Some(_) | None => Shown::Nothing,
        };
        Ok(Attempt {
            keys,
            shown,
            id: random_id().map_err(Problem::internal)?,
            email: Email::parse(&visitor.name),
            request_id: visitor.request_id.clone(),
        })
    }

    /// The password was wrong, or the name is nobody's, or not active. Only afterwards may the client be told.
    ///
    /// # Errors
    /// 503 when that cannot be counted, or came too late.
    pub(crate) async fn fail(&self, db: &Pool, pass: Pass) -> Result<(), Problem> {
        let attempt = &pass.attempt;
        let event = Event::Fail {
            id: attempt.id,
            client: attempt.shown.client(),
            name: attempt.keys.name.tag(),
        };
        self.settle(db, attempt, event).await
    }

    /// The password was right. Only afterwards may the client be told.
    ///
    /// # Errors
    /// 503 when that cannot be counted, or came too late.
    pub(crate) async fn succeed(&self, db: &Pool, pass: Pass) -> Result<SignedIn, Problem> {
        let Pass { attempt, visitor, .. } = pass;
        let event = Event::Succeed {
            id: attempt.id,
            client: attempt.shown.client(),
        };
        self.settle(db, &attempt, event).await?;
        Ok(SignedIn { attempt, visitor })
    }

    /// Tells the password of a log-in from others for a while.
    pub(super) fn mark(&self, password: &str) -> Option<PasswordMark> {
        self.suspicions.mark(password)
    }

    /// [`Self::fail`] for a log-in, which may be one of many.
    ///
    /// # Errors
    /// As there.
    pub(super) async fn fail_log_in(
        &self,
        db: &Pool,
        pass: Pass,
        mark: Option<PasswordMark>,
    ) -> Result<(), Problem> {
        let name = pass.attempt.keys.name;
        self.fail(db, pass).await?;
        self.suspicions.failed(mark, name);
        Ok(())
    }

    /// [`Self::succeed`] for a log-in.
    ///
    /// # Errors
    /// As there.
    pub(super) async fn succeed_log_in(&self, db: &Pool, pass: Pass) -> Result<SignedIn, Problem> {
        let signed_in = self.succeed(db, pass).await?;
        self.suspicions.succeeded();
        Ok(signed_in)
    }

    /// Counts how a verification ended: right, wrong, or not at all. Only afterwards may the client be told.
    ///
    /// # Errors
    /// 503 when it was not verified, cannot be counted, or came too late.
    pub(super) async fn end<T>(
        &self,
        db: &Pool,
        pass: Pass,
        verified: Result<T, PoolError>,
        is_right: impl FnOnce(&T) -> bool,
    ) -> Result<T, Problem> {
        match verified {
            Ok(found) if is_right(&found) => self.succeed(db, pass).await.map(|_| found),
            Ok(found) => self.fail(db, pass).await.map(|()| found),
            Err(error) => {
                self.release(db, pass).await;
                Err(hashing_busy(error))
            }
        }
    }

    /// The password was not verified after all: nothing is counted.
    pub(crate) async fn release(&self, db: &Pool, pass: Pass) {
        let event = Event::Release { id: pass.attempt.id };
        if let Err(problem) = self.settle(db, &pass.attempt, event).await {
            // It holds its place until it has taken too long.
            tracing::warn!(problem = problem.kind().slug(), "an attempt cannot be given back");
        }
    }

    /// Trusts the device of whoever signed in, and gives the field that tells it so. Without it the log-in stands: a device
    /// that is not trusted is only easier to lock out.
    pub(crate) async fn trust(
        &self,
        db: &Pool,
        user: Uuid,
        signed_in: &SignedIn,
    ) -> Option<(HeaderName, HeaderValue)> {
        let SignedIn { attempt, visitor } = signed_in;
        let rules = self.rules.load_full();
        let device = match attempt.shown {
            Shown::Trusted(device, _) => device,
            Shown::Nothing => Uuid::new_v4(),
        };
        let signed = Signed {
            user,
            device,
            description: &visitor.description,
            for_s: rules.device.trusted_for_s,
            most: rules.device.most,
        };
        match store::trust_device(db, &signed, &attempt.request_id).await {
            Ok(issued) => {
                let token = self.keys.device_token(device, issued, attempt.keys.name);
                visitor::field(&token, visitor.wants_header, signed.for_s)
            }
            Err(error) => {
                tracing::warn!(%error, "a device cannot be trusted");
                None
            }
        }
    }
}

fn too_many(cause: &'static str, retry_after_s: u32) -> Problem {
    metrics::throttled(cause);
    tracing::info!(event = "auth.login.throttled", cause, "too many attempts");
    Problem::new(catalogue::TOO_MANY_ATTEMPTS)
        .member("code", "too_many_attempts")
        .retry_after(u64::from(retry_after_s))
}

#[expect(
    clippy::disallowed_methods,
    reason = "another process holds the place, and tells nobody"
)]
async fn look_later() {
    tokio::time::sleep(LOOK_EVERY).await;
}

fn random_id() -> Result<u64, Unspecified> {
    let mut bytes = [0_u8; 8];
    aws_lc_rs::rand::fill(&mut bytes)?;
    Ok(u64::from_be_bytes(bytes) >> 11) // what JSON readers hold exactly
}
