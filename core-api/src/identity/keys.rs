//! The `access` signing keys: public ones to verify with, the active private one to sign with.
//!
//! **Invariant:** without a key set nothing verifies. A set that cannot be read leaves the last good one in place, and
//! its keys still end at their own `verify_until`.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use custody::{CustodyError, Keks, PrivateKey};
use database::Pool;
use keyring::{
    Algorithm, Claims, Expectations, KeySet, KeyState, PublicKey, SealError, SealedFor, TokenRefusal,
    Verifier,
};
use service_runtime::settings::Providers;

use super::store;

const RING: &str = "access";
/// Between two reads that unknown kids ask for: unsigned tokens with random kids must not become database load.
const COOLDOWN: Duration = Duration::from_secs(1);
/// Unsealed keys kept: the active one and those of repeated answers.
const MAX_SIGNERS: usize = 4;

/// Why a key is not at hand.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// The database did not answer.
    #[error("the key ring cannot be read")]
    Database(#[from] sqlx::Error),
    /// The published set breaks a rule of key sets.
    #[error("the key ring is not valid")]
    Set(#[from] keyring::KeySetError),
    /// The sealed key does not open with our key-encryption key, or does not sign.
    #[error("the signing key cannot be used: {0}")]
    Custody(#[from] CustodyError),
    /// A word in the table that this version does not know.
    #[error("the key ring has an unknown algorithm or state")]
    Unknown,
    /// No key may sign, or the wanted one does not any more.
    #[error("there is no active signing key")]
    NoActive,
}

/// Why a token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verification {
    /// It breaks a rule.
    Refused(TokenRefusal),
    /// We have no key set, or one that may be too old to know its key: nobody can tell whether it is good.
    NoKeys,
}

/// The keys of this process.
#[derive(Debug)]
pub(crate) struct Keys {
    db: Pool,
    /// Of this process, until it ends.
    name: String,
    keks: Keks,
    /// Who keeps private keys that are not here.
    providers: Arc<Providers>,
    verifier: RwLock<Option<Arc<Verifier>>>,
    signers: RwLock<HashMap<String, Arc<PrivateKey>>>,
    /// When an unknown key was looked up last, and whether the ring could be read then.
    last_read: tokio::sync::Mutex<Option<(Instant, bool)>>,
    /// When the read of the ring that counts began.
    reload_began: tokio::sync::Mutex<Option<Instant>>,
}

impl Keys {
    /// Keys of the ring in this database. Nothing is read yet.
    pub(crate) fn new(db: Pool, keks: Keks, providers: Arc<Providers>) -> Self {
        Self {
            db,
            name: format!("core-{}", uuid::Uuid::now_v7()),
            keks,
            providers,
            verifier: RwLock::new(None),
            signers: RwLock::new(HashMap::new()),
            last_read: tokio::sync::Mutex::new(None),
            reload_began: tokio::sync::Mutex::new(None),
        }
    }

    /// Reads the ring again, and says what this process has read of the rings that it verifies with, and which key-encryption
    /// keys it has: for so many seconds a rotation waits for it where it is behind. 0 says that it ends.
    pub(crate) async fn reload_and_say(&self, live_s: i32) -> Result<(), KeyError> {
        let seqs = store::ring_seqs(&self.db).await?;
        self.reload().await?;
        for (ring, seq) in seqs {
            store::note_verifier(&self.db, &self.name, &ring, seq, live_s).await?;
        }
        store::note_kek_holder(&self.db, &self.name, &self.keks.versions(), live_s).await?;
        Ok(())
    }

    /// Reads the ring again, one read after the other: an answer that comes late must not take the place of a newer one. The
    /// `seq` of the ring would not do, for it goes back with a restored database. Whoever waited for a read that began after
    /// it asked has what it wants.
    pub(crate) async fn reload(&self) -> Result<(), KeyError> {
        let asked = Instant::now();
        let mut reload_began = self.reload_began.lock().await;
        if reload_began.is_some_and(|began| began >= asked) {
            return Ok(());
        }
        let began = Instant::now();
        self.read_ring().await?;
        *reload_began = Some(began);
        Ok(())
    }

    async fn read_ring(&self) -> Result<(), KeyError> {
        let seq = store::ring_seq(&self.db).await?.unwrap_or_default();
        let mut set = KeySet {
            seq: seq.unsigned_abs(),
            keys: Vec::new(),
            revoked_kids: Vec::new(),
        };
        for row in store::published_keys(&self.db).await? {
            let algorithm: Algorithm = row.algorithm.parse().map_err(|_| KeyError::Unknown)?;
            let state: KeyState = row.state.parse().map_err(|_| KeyError::Unknown)?;
            if state == KeyState::Revoked {
                set.revoked_kids.push(row.kid);
                continue;
            }
            let mut key = PublicKey::new(algorithm, &row.public_key, state);
            key.kid = row.kid; // validated against the thumbprint below
            key.sign_until = row.sign_until.map(|at| at.timestamp());
            key.verify_until = row.verify_until.map(|at| at.timestamp());
            set.keys.push(key);
        }
        let verifier = Verifier::new(set)?;
        *self.verifier.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(verifier));
        Ok(())
    }

    /// Verifies an access token (RFC 9068 §4). An unknown key is looked up once, not more often than the cool-down allows. While
    /// the ring cannot be read, nobody can tell whether there is such a key.
    pub(crate) async fn verify(
        &self,
        token: &str,
        expectations: &Expectations,
        now_unix: i64,
    ) -> Result<Claims, Verification> {
        let first = self.verify_now(token, expectations, now_unix);
        if !matches!(
            first,
            Err(Verification::NoKeys | Verification::Refused(TokenRefusal::UnknownKey))
        ) {
            return first;
        }
        let mut last_read = self.last_read.lock().await;
        if last_read.is_none_or(|(at, _)| at.elapsed() >= COOLDOWN) {
            let read = self.reload().await;
            if let Err(error) = &read {
                tracing::warn!(%error, "the signing keys cannot be read");
            }
            *last_read = Some((Instant::now(), read.is_ok()));
        }
        let is_current = last_read.is_some_and(|(_, is_read)| is_read);
        drop(last_read);
        match self.verify_now(token, expectations, now_unix) {
            Err(Verification::Refused(TokenRefusal::UnknownKey)) if !is_current => Err(Verification::NoKeys),
            verified => verified,
        }
    }

    fn verify_now(
        &self,
        token: &str,
        expectations: &Expectations,
        now_unix: i64,
    ) -> Result<Claims, Verification> {
        let verifier = self
            .verifier
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let verifier = verifier.ok_or(Verification::NoKeys)?;
        verifier
            .verify(token, expectations, now_unix)
            .map_err(Verification::Refused)
    }

    /// The private key with this kid, unsealed. Only the active one can be read; earlier ones may still be in memory.
    pub(crate) async fn signer(&self, kid: &str) -> Result<Arc<PrivateKey>, KeyError> {
        if let Some(signer) = self.known_signer(kid) {
            return Ok(signer);
        }
        let row = store::active_key(&self.db).await?.ok_or(KeyError::NoActive)?;
        if row.kid != kid {
            return Err(KeyError::NoActive);
        }
        let algorithm: Algorithm = row.algorithm.parse().map_err(|_| KeyError::Unknown)?;
        let sealed_for = SealedFor {
            ring: RING,
            kid: &row.kid,
            algorithm,
        };
        let document = self.keks.open(sealed_for, &row.sealed).await?;
        let signer = Arc::new(PrivateKey::read(algorithm, &document, &self.providers).await?);
        if signer.kid() != kid {
            return Err(KeyError::Unknown);
        }
        // What this process is about to issue it must accept, without waiting for the next look at the ring.
        self.reload().await?;
        let mut signers = self.signers.write().unwrap_or_else(PoisonError::into_inner);
        if signers.len() >= MAX_SIGNERS {
            signers.clear();
        }
        signers.insert(row.kid, Arc::clone(&signer));
        Ok(signer)
    }

    fn known_signer(&self, kid: &str) -> Option<Arc<PrivateKey>> {
        self.signers
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(kid)
            .cloned()
    }

    /// Refuses to start with key-encryption keys that are not the ring's, or without the one that seals: the process could
    /// never sign, or not with the next key. A database or a provider that is away and a ring that is not there yet are no
    /// reason, for they come.
    pub(crate) async fn refuse_wrong_kek(&self) -> Result<(), KeyError> {
        for kek in store::keks(&self.db).await.unwrap_or_default() {
            if !self.keks.has(kek.version) {
                if kek.is_active {
                    return Err(CustodyError::from(SealError::UnknownVersion(kek.version)).into());
                }
                continue;
            }
            if let Some(check_value) = kek.check_value {
                refusal(self.keks.check(kek.version, &check_value).await)?;
            }
        }
        let Ok(Some(active)) = store::active_key(&self.db).await else {
            return Ok(());
        };
        match self.signer(&active.kid).await {
            Err(KeyError::Custody(error)) => refusal(Err(error)),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Whether this process can issue and verify tokens now; the error is for operators.
    pub(crate) async fn check(&self) -> Result<(), String> {
        let active = store::active_key(&self.db)
            .await
            .map_err(|_| "the key ring cannot be read".to_owned())?;
        let active = active.ok_or_else(|| "there is no active signing key".to_owned())?;
        self.signer(&active.kid)
            .await
            .map_err(|error| error.to_string())?;
        if self
            .verifier
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .is_none()
        {
            self.reload().await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// What says that a key-encryption key is the wrong one: anything but silence.
fn refusal(outcome: Result<(), CustodyError>) -> Result<(), KeyError> {
    match outcome {
        Err(error) if !error.is_unavailable() => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::bank::{TestBank, keks};
    use crate::tests::store;

    #[tokio::test]
    async fn an_answer_that_comes_late_does_not_take_the_place_of_a_newer_one() {
        let bank = TestBank::new().await;
        let keys = Keys::new(bank.db.pool_as("portico_core").into(), keks(), Arc::default());
        // Whoever reads the keys first hears what it has seen when the lock is free.
        for sql in [
            "CREATE SEQUENCE control.reads",
            "CREATE FUNCTION control.is_read() RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$
             BEGIN
                 IF nextval('control.reads') = 1 THEN PERFORM pg_advisory_xact_lock_shared(1); END IF;
                 RETURN true;
             END $$",
            "GRANT EXECUTE ON FUNCTION control.is_read() TO portico_core",
            "CREATE POLICY slow ON control.signing_key USING (control.is_read())",
            "ALTER TABLE control.signing_key ENABLE ROW LEVEL SECURITY",
        ] {
            store::execute(&bank.owner, sql).await.unwrap();
        }
        let mut held = bank.owner.acquire().await.unwrap();
        store::execute_on(&mut held, "SELECT pg_advisory_lock(1)")
            .await
            .unwrap();
        let goes_on = async {
            let waiting = "SELECT count(*) FROM pg_stat_activity
                            WHERE datname = current_database() AND wait_event = 'advisory'";
            while store::number(&bank.owner, waiting).await == 0 {}
            let turn = "UPDATE control.key_ring SET seq = seq + 1 WHERE ring = 'access'";
            store::execute(&bank.owner, turn).await.unwrap();
            let newer = keys.reload();
            tokio::pin!(newer);
            // Time for it to pass the other one, where it could.
            let passed = tokio::time::timeout(Duration::from_millis(300), &mut newer).await;
            store::execute_on(&mut held, "SELECT pg_advisory_unlock(1)")
                .await
                .unwrap();
            match passed {
                Ok(read) => read,
                Err(_) => newer.await,
            }
        };
        let (older, newer) = tokio::join!(keys.reload(), goes_on);
        older.and(newer).unwrap();
        let held = keys.verifier.read().unwrap().as_ref().unwrap().seq();
        let seq = store::number(
            &bank.owner,
            "SELECT seq FROM control.key_ring WHERE ring = 'access'",
        )
        .await;
        assert_eq!(i64::try_from(held).unwrap(), seq);
    }
}
