//! The batcher: bounded queues, natural batches, one statement per batch, one answer per movement.
//!
//! While a statement is under way the next movements gather behind it; with no load a movement goes alone and at once.
//! No timer is involved.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use database::{Failure, Pool};
use problem::{Problem, catalogue};
use service_runtime::shutdown::Shutdown;
use tokio::sync::{mpsc, oneshot};

use super::batch::{Columns, RefusalTexts};
use super::movement::{Kind, Movement, Refusal};
use super::store::{self, Verdict};
use crate::idempotency::{KeptAnswer, already_processed, key_reused};
use crate::identity::session_ended;
use crate::metrics;
use crate::settings::PostingSettings;

/// How often one batch is tried before its movements are given back.
const MAX_TRIES: u32 = 5;
const FIRST_BACKOFF: Duration = Duration::from_millis(5);

/// A handle on the queues. The lanes end when the last handle is dropped and their queues are empty.
#[derive(Debug, Clone)]
pub(crate) struct Poster {
    lanes: Arc<[mpsc::Sender<Job>]>,
    deadline: Duration,
    ttl_s: i32,
}

#[derive(Debug)]
struct Job {
    movement: Movement,
    reply: oneshot::Sender<Result<Verdict, NoVerdict>>,
}

/// Why there is no verdict on a movement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NoVerdict {
    /// The database did not answer; the same key will tell what became of it.
    Unavailable,
    /// The database refuses this very movement with an error that nobody expected.
    Poison,
}

impl Poster {
    /// Starts the lanes.
    pub(crate) fn start(db: &Pool, settings: &PostingSettings, ttl_s: i32, shutdown: &Shutdown) -> Self {
        let lanes = (0..settings.lanes)
            .map(|_| {
                let (sender, receiver) = mpsc::channel(settings.queue);
                let lane = Lane {
                    db: db.clone(),
                    receiver,
                    deferred: VecDeque::new(),
                    max_batch: settings.max_batch,
                    refusals: RefusalTexts::new(),
                    ttl_s,
                };
                shutdown.spawn(lane.run());
                sender
            })
            .collect();
        Self {
            lanes,
            deadline: Duration::from_millis(settings.deadline_ms),
            ttl_s,
        }
    }

    /// How long an answer is kept for its key, seconds.
    pub(crate) const fn kept_for_s(&self) -> i32 {
        self.ttl_s
    }

    /// Posts a movement and gives the answer for the client: its own, or the one that was kept for its key.
    ///
    /// # Errors
    /// What is not kept: the session is over (401), the key belongs to another request (422) or to one whose answer has
    /// expired (409, at `location`), the queue is full or the database away (503, safe to repeat with the same key).
    pub(crate) async fn post(&self, movement: Movement, location: &str) -> Result<KeptAnswer, Problem> {
        let kind = movement.kind;
        // Twins meet in one lane, which knows what to do with them.
        let lane = self.lane(&movement).ok_or_else(busy)?;
        let (reply, answer) = oneshot::channel();
        lane.try_send(Job { movement, reply }).map_err(|_| {
            metrics::queue_refusal();
            busy()
        })?;
        match tokio::time::timeout(self.deadline, answer).await {
            Ok(Ok(Ok(verdict))) => conclude(kind, verdict).map_err(|unkept| match unkept {
                Unkept::AlreadyProcessed => already_processed(location),
                Unkept::SessionEnded => session_ended(),
                Unkept::KeyReused => key_reused(),
                Unkept::Unknown(code) => Problem::internal(format!(
                    "the posting statement gave code {code} without an answer"
                )),
            }),
            Ok(Ok(Err(NoVerdict::Poison))) => {
                metrics::movement(kind.as_str(), "error");
                Err(Problem::internal("a movement cannot be posted"))
            }
            Ok(Ok(Err(NoVerdict::Unavailable)) | Err(_)) | Err(_) => {
                metrics::movement(kind.as_str(), "unavailable");
                Err(Problem::new(catalogue::UNAVAILABLE)
                    .detail(
                        "the ledger did not answer in time; repeat the request with the same Idempotency-Key",
                    )
                    .retry_after(1))
            }
        }
    }

    fn lane(&self, movement: &Movement) -> Option<&mpsc::Sender<Job>> {
        let lanes = u128::try_from(self.lanes.len()).ok()?;
        let place = movement.id.uuid().as_u128().checked_rem(lanes)?;
        self.lanes.get(usize::try_from(place).ok()?)
    }
}

fn busy() -> Problem {
    Problem::new(catalogue::UNAVAILABLE)
        .detail("too many movements are waiting; nothing was done")
        .retry_after(1)
}

/// What the posting statement says without keeping an answer for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unkept {
    AlreadyProcessed,
    SessionEnded,
    KeyReused,
    /// A code that this version does not know.
    Unknown(i16),
}

fn conclude(kind: Kind, verdict: Verdict) -> Result<KeptAnswer, Unkept> {
    let code = verdict.code;
    let refusal = Refusal::ALL
        .into_iter()
        .find(|refusal| usize::try_from(code).is_ok_and(|code| refusal.code() == code));
    let outcome = match (code, refusal) {
        (_, Some(refusal)) => refusal.as_str(),
        (0, None) => "posted",
        (1, None) => "already_processed",
        (10, None) => "session_ended",
        (20, None) => "replayed",
        (21, None) => "key_reused",
        _ => "error",
    };
    metrics::movement(kind.as_str(), outcome);
    match (code, verdict.status, verdict.body) {
        (1, ..) => Err(Unkept::AlreadyProcessed),
        (10, ..) => Err(Unkept::SessionEnded),
        (21, ..) => Err(Unkept::KeyReused),
        (_, Some(status), Some(body)) => u16::try_from(status)
            .map(|status| KeptAnswer {
                status,
                body,
                replayed: code == 20,
            })
            .map_err(|_| Unkept::Unknown(code)),
        _ => Err(Unkept::Unknown(code)),
    }
}

struct Lane {
    db: Pool,
    receiver: mpsc::Receiver<Job>,
    /// Twins of a movement under way: they go with the next batch, and find its record.
    deferred: VecDeque<Job>,
    max_batch: usize,
    refusals: RefusalTexts,
    ttl_s: i32,
}

impl Lane {
    async fn run(mut self) {
        while let Some(batch) = self.next_batch().await {
            self.settle(batch).await;
        }
    }

    async fn next_batch(&mut self) -> Option<Vec<Job>> {
        let mut waiting = std::mem::take(&mut self.deferred);
        let mut batch: Vec<Job> = Vec::new();
        if waiting.is_empty() {
            batch.push(self.receiver.recv().await?);
        }
        while batch.len() < self.max_batch {
            let Some(job) = waiting.pop_front().or_else(|| self.receiver.try_recv().ok()) else {
                break;
            };
            if batch.iter().any(|other| other.movement.is_twin_of(&job.movement)) {
                self.deferred.push_back(job);
            } else {
                batch.push(job);
            }
        }
        self.deferred.append(&mut waiting);
        Some(batch)
    }

    /// Gives every movement of a batch its verdict, in as few statements as the database allows.
    async fn settle(&self, batch: Vec<Job>) {
        let mut parts = vec![batch];
        while let Some(mut part) = parts.pop() {
            match self.commit(&part).await {
                Ok(verdicts) => {
                    for (job, verdict) in part.into_iter().zip(verdicts) {
                        drop(job.reply.send(Ok(verdict))); // nobody may be waiting any more
                    }
                }
                // Another statement stood in the way of one of them, or one cannot be posted: find it.
                Err(Failure::Contended | Failure::Wrong) if part.len() > 1 => {
                    let rest = part.split_off(part.len() / 2);
                    parts.push(rest);
                    parts.push(part);
                }
                Err(Failure::Wrong) => fail(part, NoVerdict::Poison),
                Err(Failure::Contended | Failure::Away | Failure::Lost) => fail(part, NoVerdict::Unavailable),
            }
        }
    }

    /// Runs one statement, again when that is safe and may help. It is always safe: the entry ids are fixed.
    async fn commit(&self, batch: &[Job]) -> Result<Vec<Verdict>, Failure> {
        let columns = Columns::of(batch.iter().map(|job| &job.movement));
        let mut tries = 0;
        loop {
            let started = Instant::now();
            let result = store::commit(&self.db, &columns, &self.refusals, self.ttl_s).await;
            metrics::batch(batch.len(), started.elapsed());
            tries += 1;
            match result {
                Ok(verdicts) if verdicts.len() == batch.len() => {
                    return Ok(if tries > 1 {
                        own_work(batch, verdicts)
                    } else {
                        verdicts
                    });
                }
                Ok(_) => {
                    tracing::error!("the posting statement answered for another number of movements");
                    return Err(Failure::Wrong);
                }
                Err(error) => {
                    let failure = Failure::of(&error);
                    if !failure.passes() {
                        tracing::error!(%error, size = batch.len(), "a posting statement failed");
                        return Err(failure);
                    }
                    tracing::warn!(%error, size = batch.len(), tries, "a posting statement is tried again");
                    if tries >= MAX_TRIES {
                        return Err(failure);
                    }
                    metrics::batch_retry();
                    back_off(tries).await;
                }
            }
        }
    }
}

fn fail(part: Vec<Job>, why: NoVerdict) {
    for job in part {
        drop(job.reply.send(Err(why)));
    }
}

/// After an unknown outcome the record found may be the one that this batch wrote: then the answer is the first one.
/// The bytes tell: they hold the time at which this very request was read.
fn own_work(batch: &[Job], verdicts: Vec<Verdict>) -> Vec<Verdict> {
    let own = |(job, verdict): (&Job, Verdict)| {
        let is_own = verdict.code == 20 && verdict.body.as_ref() == Some(&job.movement.body);
        if is_own {
            Verdict { code: 0, ..verdict }
        } else {
            verdict
        }
    };
    batch.iter().zip(verdicts).map(own).collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the database is busy or away: trying again at once would not help it"
)]
async fn back_off(tries: u32) {
    let mut random = [0_u8; 1];
    // Without randomness there is no jitter, and nothing else changes.
    let _ = aws_lc_rs::rand::fill(&mut random);
    let [random] = random;
    let base = FIRST_BACKOFF.saturating_mul(1_u32.checked_shl(tries).unwrap_or(u32::MAX));
    let jitter = base.saturating_mul(u32::from(random)) / 255;
    tokio::time::sleep(base.saturating_add(jitter)).await;
}
