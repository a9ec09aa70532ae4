//! Somebody who has the key-encryption key and reads the database: steals private keys, forges tokens, searches dumps.

use std::ops::RangeInclusive;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use database::cluster;
use keyring::{Claims, KeyEncryptionKeys, SealedFor, SealedPrivateKey, SigningKey};
use sqlx::{Connection as _, PgConnection};
use tokio::process::Command;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::clients::Client;
use super::clock::now;
use super::evidence::{Dump, Key, Origin, Request, SECOND, Target};
use super::pool::{Live, Pool, claims};
use super::store;

/// The ring whose keys are stolen.
const ACCESS: &str = "access";
/// Between two rounds of forging.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a forged token says that it lives: as long as the policy lets it, longer than its key.
const FORGED_S: i64 = 60;
/// Keys are forged with for this long after they have stopped verifying.
const AFTERLIFE_S: i64 = 8;

/// A wrapped data key is 60 bytes, a sealed private key hardly more than a hundred.
const SEALED_BYTES: RangeInclusive<usize> = 60..=400;

/// Stolen keys, and what is made of them.
#[derive(Clone)]
pub(super) struct Thief {
    /// None where they stay elsewhere: nothing can be stolen then.
    keks: Option<KeyEncryptionKeys>,
    database_url: String,
    pool: Arc<Pool>,
    stolen: Arc<Mutex<Vec<Arc<Stolen>>>>,
}

struct Stolen {
    key: SigningKey,
    /// A real token of it, to look like.
    model: Claims,
    /// A token dated back to when the key signed, which lives longer than the key: made at first use.
    backdated: Mutex<Option<Live>>,
}

impl Thief {
    pub(super) fn new(
        keks: &[(i32, Vec<u8>)],
        database_url: String,
        pool: Arc<Pool>,
    ) -> anyhow::Result<Self> {
        let texts = keks.iter().map(|(version, kek)| (*version, kek.as_slice()));
        let keks = (!keks.is_empty()).then(|| KeyEncryptionKeys::parse(texts));
        Ok(Self {
            keks: keks.transpose()?,
            database_url,
            pool,
            stolen: Arc::default(),
        })
    }

    /// Steals the key that signs now.
    pub(super) async fn steal(&self) -> anyhow::Result<()> {
        let Some(keks) = &self.keks else {
            return Ok(());
        };
        let mut superuser = PgConnection::connect(&self.database_url).await?;
        let row = store::active_key(&mut superuser).await?;
        let key = row.open(keks, ACCESS)?;
        let model = self.pool.pick(0).context("no token to look like")?;
        let stolen = Stolen {
            key,
            model: claims(&model.text)?,
            backdated: Mutex::default(),
        };
        let mut all = self.stolen.lock().unwrap_or_else(PoisonError::into_inner);
        if all.iter().all(|known| known.key.kid() != stolen.key.kid()) {
            all.push(Arc::new(stolen));
        }
        Ok(())
    }

    /// Shows forged tokens of every stolen key that has stopped signing, at every gateway, until it is told to stop.
    pub(super) async fn forge(self, mut clients: Vec<Client>, stop: CancellationToken) -> Vec<Request> {
        let mut seen = Vec::new();
        let mut ticks = interval(PAUSE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return seen,
                _ = ticks.tick() => {}
            }
            // The database may be down for a moment.
            let Ok(keys) = self.keys().await else { continue };
            for live in keys.iter().flat_map(|key| self.forged(key)) {
                for client in &mut clients {
                    seen.push(client.show(&live, Target::Gateway).await);
                }
            }
        }
    }

    async fn keys(&self) -> anyhow::Result<Vec<Key>> {
        let mut connection = PgConnection::connect(&self.database_url).await?;
        Ok(store::keys(&mut connection).await?)
    }

    /// What is forged with a key now: a token of this moment, and one dated back to when the key signed.
    fn forged(&self, key: &Key) -> Vec<Live> {
        let now_s = now() / SECOND;
        let ends_s = key
            .verify_until_s
            .or_else(|| Some(key.revoked? / SECOND + AFTERLIFE_S));
        let is_late = ends_s.is_none_or(|ends| now_s > ends + AFTERLIFE_S);
        let all = self.stolen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(stolen) = all
            .iter()
            .find(|stolen| stolen.key.kid() == key.kid)
            .filter(|_| !is_late)
        else {
            return Vec::new();
        };
        let stolen = stolen.clone();
        drop(all);
        let fresh = self.sign(&stolen, now_s);
        let mut backdated = stolen.backdated.lock().unwrap_or_else(PoisonError::into_inner);
        if backdated.is_none() {
            let signed_s = key.sign_until_s.map_or(now_s, |last| last - 2);
            *backdated = self.sign(&stolen, signed_s).ok();
        }
        fresh.into_iter().chain(backdated.clone()).collect()
    }

    fn sign(&self, stolen: &Stolen, issued_at_s: i64) -> anyhow::Result<Live> {
        let forged = Claims {
            iat: issued_at_s,
            exp: issued_at_s + FORGED_S,
            jti: Some(format!("forged-{}", now())),
            ..stolen.model.clone()
        };
        let text = stolen.key.sign(&forged)?;
        Ok(Live {
            place: self.pool.enter(&text, Origin::Forged)?,
            text: text.into(),
        })
    }

    /// Takes a dump, and tries to open everything in it that might be a private key.
    pub(super) async fn search_dump(&self) -> anyhow::Result<Option<Dump>> {
        let Some(keks) = &self.keks else {
            return Ok(None);
        };
        let binaries = cluster::find_binaries()?;
        let program = binaries.first().context("no PostgreSQL")?.program("pg_dump");
        let at = now();
        let output = Command::new(program)
            .arg("--dbname")
            .arg(&self.database_url)
            .stdin(Stdio::null())
            .output()
            .await
            .context("pg_dump")?;
        ensure!(
            output.status.success(),
            "pg_dump: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8_lossy(&output.stdout);
        let blobs: Vec<Vec<u8>> = text.split(r"\\x").skip(1).filter_map(bytes).collect();
        let mut superuser = PgConnection::connect(&self.database_url).await?;
        let bindings = store::bindings(&mut superuser).await?;
        let mut opened = Vec::new();
        for (kid, ring, algorithm, kek_version) in bindings {
            let place = SealedFor {
                ring: &ring,
                kid: &kid,
                algorithm: algorithm.parse()?,
            };
            if opens(keks, place, kek_version, &blobs) {
                opened.push(kid);
            }
        }
        Ok(Some(Dump { at, opened }))
    }
}

/// Whether any two of these are the data key and the private part of a key, or any one of them its private part.
fn opens(keks: &KeyEncryptionKeys, place: SealedFor<'_>, kek_version: i32, blobs: &[Vec<u8>]) -> bool {
    let opens = |wrapped_data_key: Option<&Vec<u8>>, ciphertext: &Vec<u8>| {
        let sealed = SealedPrivateKey {
            kek_version,
            wrapped_data_key: wrapped_data_key.cloned(),
            ciphertext: ciphertext.clone(),
        };
        keks.open(place, &sealed).is_ok()
    };
    let wrapped = || std::iter::once(None).chain(blobs.iter().map(Some));
    blobs
        .iter()
        .any(|blob| wrapped().any(|wrapped| opens(wrapped, blob)))
}

/// The bytes that a text begins with in hexadecimal, if they may be a sealed key or a wrapped data key.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> = text.chars().map_while(|digit| digit.to_digit(16)).collect();
    let bytes: Vec<u8> = digits
        .chunks_exact(2)
        .filter_map(|pair| match pair {
            [high, low] => u8::try_from(high * 16 + low).ok(),
            _ => None,
        })
        .collect();
    SEALED_BYTES.contains(&bytes.len()).then_some(bytes)
}
