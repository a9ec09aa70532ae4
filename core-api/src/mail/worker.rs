//! Takes mails from the queue, decides what each says by how things stand now, and sends them.

use std::sync::Arc;
use std::time::Duration;

use database::Pool;
use service_runtime::shutdown::Shutdown;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::message::{Draft, Writer};
use super::store::{self, Job};
use super::texts::Template;
use super::transport::{Refusal, Transport};
use super::{Addressee, Kind, Language, Mail, MailSettings, Post};
use crate::metrics;

/// What a lease outlasts the deadline of a try by: the statements around it, and their own deadlines.
const MARGIN_S: i32 = 60;
/// No try waits for longer than this for the next.
const MAX_BACKOFF: Duration = Duration::from_secs(3_600);

/// Everything a try needs.
#[derive(Debug)]
struct Worker {
    db: Pool,
    post: Post,
    writer: Writer,
    transport: Transport,
    lease_s: i32,
    max_tries: i32,
    backoff: Duration,
}

/// How a try went.
enum Outcome {
    Sent,
    /// There is nobody any more who needs it.
    Dropped,
    Later(String),
    Dead(String),
}

/// Sends what is in the queue until `shutdown`; tries under way end. Any number of processes may do it at once.
///
/// # Errors
/// When what sending needs cannot be had: the texts, the certificate authorities, the directory.
pub(crate) fn send_all(
    settings: &MailSettings,
    db: &Pool,
    post: &Post,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let Some(transport) = Transport::new(settings)? else {
        tracing::warn!("no mail is sent: the settings name no mail server and no directory");
        return Ok(());
    };
    let worker = Worker {
        db: db.clone(),
        post: post.clone(),
        writer: Writer::new(settings)?,
        transport,
        lease_s: i32::from(settings.deadline_s.min(600)).saturating_add(MARGIN_S),
        max_tries: settings.max_tries,
        backoff: Duration::from_millis(settings.backoff_ms),
    };
    let (places, poll) = (settings.parallel, Duration::from_millis(settings.poll_ms));
    shutdown.spawn(hand_out(Arc::new(worker), places, poll, shutdown.clone()));
    Ok(())
}

/// Takes one mail for each free place.
async fn hand_out(worker: Arc<Worker>, places: usize, poll: Duration, shutdown: Shutdown) {
    let places = Arc::new(Semaphore::new(places));
    let mut ticks = tokio::time::interval(poll);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !shutdown.is_triggered() {
        let free = tokio::select! {
            () = shutdown.cancelled() => return,
            free = places.clone().acquire_owned() => free,
        };
        let Ok(place) = free else { return };
        match worker.take().await {
            Ok(Some((job, lease))) => {
                let worker = Arc::clone(&worker);
                shutdown.spawn(async move {
                    worker.deliver(&job, lease).await;
                    drop(place);
                });
                continue;
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the mail queue cannot be read"),
        }
        drop(place);
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
            () = worker.post.news.notified() => {}
        }
    }
}

impl Outcome {
    /// The state and the fault, as the database and the metrics name them.
    fn as_noted(&self) -> (&'static str, Option<&str>) {
        match self {
            Self::Sent => ("sent", None),
            Self::Dropped => ("dropped", None),
            Self::Later(fault) => ("failed", Some(fault.as_str())),
            Self::Dead(fault) => ("dead", Some(fault.as_str())),
        }
    }

    fn log(&self, job: &Job) {
        let (id, kind, tries) = (job.id, job.kind.as_str(), job.tries);
        match self {
            Self::Sent => tracing::info!(job = %id, kind, tries, "mail sent"),
            Self::Dropped => tracing::info!(job = %id, kind, "mail dropped: nobody needs it"),
            Self::Later(fault) | Self::Dead(fault) => log_fault(job, fault, matches!(self, Self::Dead(_))),
        }
    }
}

fn log_fault(job: &Job, fault: &str, is_dead: bool) {
    let (id, kind, tries) = (job.id, job.kind.as_str(), job.tries);
    if is_dead {
        tracing::error!(job = %id, kind, tries, fault, "mail not sent; it is a dead letter");
    } else {
        tracing::warn!(job = %id, kind, tries, fault, "mail not sent; it is tried again");
    }
}

fn log_note(job: &Job, noted: sqlx::Result<bool>) {
    match noted {
        Ok(true) => {}
        Ok(false) => tracing::warn!(job = %job.id, "the lease of a mail was over before its try"),
        Err(error) => tracing::warn!(job = %job.id, %error, "how a mail went cannot be noted"),
    }
}

impl Worker {
    async fn take(&self) -> sqlx::Result<Option<(Job, Uuid)>> {
        let lease = Uuid::new_v4();
        let job = store::take(&self.db, lease, self.lease_s, self.max_tries).await?;
        Ok(job.map(|job| (job, lease)))
    }

    /// One try, and the note of how it went. Where that note cannot be made, the lease ends and another try is made.
    async fn deliver(&self, job: &Job, lease: Uuid) {
        let outcome = match self.attempt(job).await {
            Ok(outcome) => outcome,
            Err(error) => {
                tracing::warn!(job = %job.id, kind = job.kind, %error, "a mail cannot be prepared");
                Outcome::Later("database".to_owned())
            }
        };
        let outcome = match outcome {
            Outcome::Later(fault) if job.tries >= self.max_tries => Outcome::Dead(fault),
            outcome => outcome,
        };
        let (state, fault) = outcome.as_noted();
        metrics::mail(state);
        let noted = if let Outcome::Later(fault) = &outcome {
            let delay_ms = i64::try_from(self.delay(job.tries).as_millis()).unwrap_or(i64::MAX);
            store::defer(&self.db, job.id, lease, delay_ms, fault).await
        } else {
            store::settle(&self.db, job.id, lease, state, fault).await
        };
        outcome.log(job);
        log_note(job, noted);
    }

    async fn attempt(&self, job: &Job) -> sqlx::Result<Outcome> {
        // What another version queued, or under a secret that is gone: an operator has to look.
        let Some(kind) = Kind::parse(&job.kind) else {
            return Ok(Outcome::Later("unknown_kind".to_owned()));
        };
        let Ok(mail) = self.post.envelopes.open(job.id, kind, &job.sealed) else {
            return Ok(Outcome::Later("sealed".to_owned()));
        };
        let Some((template, reader)) = self.reader(&mail, job).await? else {
            return Ok(Outcome::Dropped);
        };
        let draft = Draft {
            id: job.id,
            mail: &mail,
            template,
            language: reader
                .language
                .as_deref()
                .and_then(Language::parse)
                .unwrap_or(mail.language),
            full_name: &reader.full_name,
            created_at: job.created_at,
        };
        let letter = match self.writer.write(&draft) {
            Ok(letter) => letter,
            Err(error) => {
                tracing::error!(job = %job.id, kind = job.kind, %error, "a mail cannot be written");
                return Ok(Outcome::Later("text".to_owned()));
            }
        };
        Ok(match self.transport.send(&letter).await {
            Ok(()) => Outcome::Sent,
            Err(Refusal::Later(fault)) => Outcome::Later(fault),
            Err(Refusal::Never(fault)) => Outcome::Dead(fault),
        })
    }

    /// Who reads the mail and what it says to him; None when it is not needed any more. Its ticket becomes good now.
    async fn reader(&self, mail: &Mail, job: &Job) -> sqlx::Result<Option<(Template, store::Reader)>> {
        let reader = match (&mail.addressee, mail.kind.ticket(), &mail.token) {
            (Addressee::User(user), ..) => store::addressee(&self.db, *user).await?,
            (Addressee::Address, Some(ticket), Some(token)) => {
                let ticket = (ticket, mail.kind == Kind::Verification);
                store::ticket_by_mail(&self.db, &mail.to, ticket, &token.hash(), job.created_at).await?
            }
            (Addressee::Address, ..) => None,
        };
        let Some(reader) = reader else { return Ok(None) };
        let template = match (mail.kind, reader.is_known) {
            _ if reader.is_contested => Template::PasswordNeeded,
            (Kind::Registration, true) => Template::AlreadyRegistered,
            (Kind::Verification, true) => return Ok(None),
            (Kind::Registration | Kind::Verification, false) => Template::VerifyEmail,
            (Kind::PasswordReset, _) => Template::PasswordReset,
            (Kind::Unlock, _) => Template::Unlock,
            (Kind::Locked, _) => Template::Locked,
            (Kind::PasswordEnded, _) => Template::PasswordNeeded,
            (Kind::PasswordChanged, _) => Template::PasswordChanged,
            (Kind::EmailChange, _) => Template::EmailChange,
            (Kind::EmailChangeNotice, _) => Template::EmailChangeNotice,
            (Kind::FactorAdded, _) => Template::FactorAdded,
            (Kind::OneFactorRemoved, _) => Template::OneFactorRemoved,
            (Kind::PasskeyAdded, _) => Template::PasskeyAdded,
            (Kind::FactorRemoved, _) => Template::FactorRemoved,
            (Kind::FactorLocked, _) => Template::FactorLocked,
            (Kind::RecoveryCodesRenewed, _) => Template::RecoveryCodesRenewed,
            (Kind::RecoveryCodeUsed, _) => Template::RecoveryCodeUsed,
        };
        Ok(Some((template, reader)))
    }

    /// Twice as long after each try, and up to half of it longer, so that mails that failed together do not come back together.
    fn delay(&self, tries: i32) -> Duration {
        let doublings = u32::try_from(tries.saturating_sub(1)).unwrap_or_default().min(20);
        let delay = self.backoff.saturating_mul(1_u32 << doublings).min(MAX_BACKOFF);
        let most_ms = u64::try_from(delay.as_millis() / 2).unwrap_or(u64::MAX).max(1);
        let (random, _) = Uuid::new_v4().as_u64_pair();
        delay.saturating_add(Duration::from_millis(random % most_ms))
    }
}
