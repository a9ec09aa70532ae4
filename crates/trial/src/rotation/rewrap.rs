//! Very many private keys that are brought from one key-encryption key to the next, under load, by a control plane that dies.
//!
//! No ring has more than a few keys, so the many are of a ring that the harness makes: nobody signs with it, and rewrapping
//! looks at every row, of whatever ring.

use std::pin::pin;

use anyhow::{Context as _, ensure};
use keyring::{Algorithm, KeyEncryptionKeys, SealedFor, SealedPrivateKey};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::clock::now;
use super::operator::{self, Outcome};
use super::run::Run;
use super::store::{self, ArchivedRows};
use crate::edge::eventually;

/// The ring of the many.
pub(super) const ARCHIVE: &str = "archive";
/// Keys that are made, and rewrapped, at once: a tenth of all, and at most these.
const LARGEST_BATCH: usize = 5_000;
/// How many are opened in the end, from different places.
const OPENED: usize = 200;
/// The number of the lock at which a batch stands still.
const LOCK: i64 = 7_401;

impl Run {
    /// Makes so many keys, lets the next version seal, rewraps all, and retires the old version; a control plane is killed in
    /// the middle of a batch.
    pub(super) async fn rewrap(&mut self, control_plane: usize, rows: usize) -> anyhow::Result<String> {
        let mut superuser = self.stage.superuser().await?;
        let keks = KeyEncryptionKeys::parse(
            self.stage
                .keks
                .iter()
                .map(|(version, kek)| (*version, kek.as_slice())),
        )?;
        // Tables that change under running control planes may meet them in a deadlock; then nothing of it has happened.
        eventually("a ring for the many is there", async || {
            store::make_archive(&mut superuser).await.is_ok()
        })
        .await?;
        let (mut left, batch_size) = (rows, (rows / 10).clamp(1, LARGEST_BATCH));
        while left > 0 {
            let batch = sealed(&keks, left.min(batch_size))?;
            left -= batch.kids.len();
            store::archive(&mut superuser, &batch).await?;
        }
        let from = now();
        let socket = self.stage.socket(control_plane);
        done(operator::rotate_kek(&socket).await)?;
        let middle = store::archived(&mut superuser, i64::try_from(rows / 2)?, 1).await?;
        let middle = middle.into_iter().next().context("no key in the middle")?;
        eventually("a batch will stand still", async || {
            store::stop_at(&mut superuser, &middle.kid, LOCK).await.is_ok()
        })
        .await?;
        store::hold(&mut superuser, LOCK).await?;
        let before_the_kill = self
            .rewrap_until_killed(control_plane, batch_size, &mut superuser)
            .await?;
        let batches = self.rewrap_the_rest(control_plane, batch_size).await?;
        let after_the_kill: u64 = batches
            .iter()
            .filter_map(|batch| batch.get("rewrapped")?.as_u64())
            .sum();
        done(operator::retire_kek(&socket, 1).await)?;
        self.note_spell("T-X4", from);
        ensure!(
            before_the_kill > 0 && after_the_kill > 0,
            "it was not killed in the middle"
        );

        let (_, newest) = self.stage.keks.last().context("no key-encryption key")?;
        let newest = KeyEncryptionKeys::parse([(2, newest.as_slice())])?;
        for number in 0..OPENED.min(rows) {
            let place = i64::try_from(rows * number / OPENED.min(rows))?;
            for row in store::archived(&mut superuser, place, 1).await? {
                ensure!(
                    row.kek_version == 2,
                    "{} is of version {}",
                    row.kid,
                    row.kek_version
                );
                let (kid, opened) = (row.kid.clone(), row.open_bytes(&newest, ARCHIVE)?);
                ensure!(opened == kid.as_bytes(), "{kid} is another key now");
            }
        }
        eventually("the many are gone", async || {
            store::clear_archive(&mut superuser).await.is_ok()
        })
        .await?;
        Ok(format!(
            "{rows} keys were rewrapped, {before_the_kill} of them before a control plane was killed in the middle of a batch"
        ))
    }

    /// Batch after batch, until one stands still; the control plane dies there. How many were told to be done before.
    async fn rewrap_until_killed(
        &mut self,
        control_plane: usize,
        batch_size: usize,
        holder: &mut PgConnection,
    ) -> anyhow::Result<u64> {
        let socket = self.stage.socket(control_plane);
        let mut watcher = self.stage.superuser().await?;
        let (mut after, mut told) = (String::new(), 0);
        loop {
            let from_here = after.clone();
            let mut batch = pin!(operator::rewrap(&socket, &from_here, batch_size));
            let is_held = eventually("a batch is done, or stands still", async || {
                store::is_waited_for(&mut watcher, LOCK).await.unwrap_or(false)
            });
            let outcome = tokio::select! {
                outcome = &mut batch => outcome,
                held = is_held => {
                    held?;
                    let service = self.stage.control_planes.get_mut(control_plane);
                    let service = service.context("no such control plane")?;
                    service.kill().await?;
                    store::let_go(holder, LOCK).await?;
                    ensure!(matches!(batch.await, Outcome::Silence(_)), "an answer came from a process that was killed");
                    service.again().await?;
                    return Ok(told);
                }
            };
            let body = done(outcome)?;
            told += body.get("rewrapped").and_then(Value::as_u64).unwrap_or_default();
            let next = body.get("next").and_then(Value::as_str);
            next.context("the batches ended before the middle")?
                .clone_into(&mut after);
        }
    }

    /// Begins anew, as somebody does who knows nothing of what was done, until nothing is left.
    async fn rewrap_the_rest(&self, control_plane: usize, batch_size: usize) -> anyhow::Result<Vec<Value>> {
        let socket = self.stage.socket(control_plane);
        let (mut after, mut batches) = (String::new(), Vec::new());
        loop {
            let body = done(operator::rewrap(&socket, &after, batch_size).await)?;
            let failed = body.get("failed").and_then(Value::as_array).map_or(0, Vec::len);
            ensure!(failed == 0, "{body}");
            let next = body.get("next").and_then(Value::as_str).map(str::to_owned);
            batches.push(body);
            match next {
                Some(next) => after = next,
                None => break,
            }
        }
        let left = batches.last().and_then(|last| last.get("remaining")?.as_u64());
        ensure!(left == Some(0), "{left:?} are left");
        Ok(batches)
    }
}

fn done(outcome: Outcome) -> anyhow::Result<Value> {
    match outcome {
        Outcome::Done(body) => Ok(body),
        other => anyhow::bail!("{other:?}"),
    }
}

/// Keys with private parts of the right length: each is its own name.
fn sealed(keks: &KeyEncryptionKeys, count: usize) -> anyhow::Result<ArchivedRows> {
    let mut rows = ArchivedRows::default();
    for _ in 0..count {
        // 43 characters, as a thumbprint has.
        let kid = format!("{}{:011}", Uuid::new_v4().simple(), 0);
        let place = SealedFor {
            ring: ARCHIVE,
            kid: &kid,
            algorithm: Algorithm::EdDSA,
        };
        let SealedPrivateKey {
            wrapped_data_key,
            ciphertext,
            ..
        } = keks.seal(1, place, kid.as_bytes())?;
        rows.sealed.push(ciphertext);
        rows.wrapped
            .push(wrapped_data_key.context("a row without a data key")?);
        rows.kids.push(kid);
    }
    Ok(rows)
}
