//! Mail: a queue in PostgreSQL, workers that send from it, and what mails say.
//!
//! A mail is put into the queue by the transaction that it speaks of, with [`Post::enqueue`]; it is written, and whom it
//! is for looked up, when it is sent. So a request for a known address and one for an unknown do the same work.
//!
//! **Invariant:** a mail whose transaction was committed is sent, dropped because nobody needs it any more, or a dead
//! letter that an operator sees. Nobody sends it twice, but for a process that dies between the mail server's "accepted"
//! and its own note of it: the copy has the same `Message-ID`.

mod file;
mod message;
mod sealed;
mod settings;
mod smtp;
mod store;
#[cfg(test)]
pub(crate) mod tests;
mod texts;
mod token;
mod transport;
mod upkeep;
mod worker;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use tokio::sync::Notify;
use uuid::{NoContext, Timestamp, Uuid};

use self::sealed::Envelopes;
pub(crate) use self::sealed::SealFailure;
pub use self::settings::{MailSettings, SmtpSettings, SmtpTls};
pub(crate) use self::token::MailToken;
pub(crate) use self::upkeep::{count, purge};
pub(crate) use self::worker::send_all;
use crate::database_problem;
pub(crate) use crate::languages::Language;

/// What a mail is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Somebody registered with this address: verify it, or hear that there is an account already.
    Registration,
    /// The link to verify the address, once more.
    Verification,
    /// A link to set a new password.
    PasswordReset,
    /// A link to lift the lock after failed log-ins.
    Unlock,
    /// Log-ins are locked after failed ones; with a link to lift that.
    Locked,
    /// A link to set a new password, for the old one is good no more: the address was kept.
    PasswordEnded,
    /// The password was set anew, or changed.
    PasswordChanged,
    /// To the new address: say that it is yours.
    EmailChange,
    /// To the old address: it is to be replaced, and this is how to stop it.
    EmailChangeNotice,
    /// A second factor was added.
    FactorAdded,
    /// The second factor was removed.
    FactorRemoved,
    /// A second factor was removed, and others are there.
    OneFactorRemoved,
    /// A passkey was added.
    PasskeyAdded,
    /// Too many wrong codes after the right password: somebody else may know it.
    FactorLocked,
    /// There are new recovery codes.
    RecoveryCodesRenewed,
    /// A recovery code was used.
    RecoveryCodeUsed,
}

/// The ticket that a mail carries: whoever has its token reads the mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// As `core.ticket` names it.
    pub(crate) kind: &'static str,
    /// How long it is good from when the mail was sent, seconds.
    pub(crate) lifetime_s: i32,
}

const HOUR_S: i32 = 3_600;
const DAY_S: i32 = 24 * HOUR_S;

impl Kind {
    pub(crate) const ALL: [Self; 16] = [
        Self::Registration,
        Self::Verification,
        Self::PasswordReset,
        Self::Unlock,
        Self::Locked,
        Self::PasswordEnded,
        Self::PasswordChanged,
        Self::EmailChange,
        Self::EmailChangeNotice,
        Self::FactorAdded,
        Self::FactorRemoved,
        Self::OneFactorRemoved,
        Self::PasskeyAdded,
        Self::FactorLocked,
        Self::RecoveryCodesRenewed,
        Self::RecoveryCodeUsed,
    ];

    /// As the queue and the metrics name it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Registration => "registration",
            Self::Verification => "verification",
            Self::PasswordReset => "password_reset",
            Self::Unlock => "unlock",
            Self::Locked => "locked",
            Self::PasswordEnded => "password_ended",
            Self::PasswordChanged => "password_changed",
            Self::EmailChange => "email_change",
            Self::EmailChangeNotice => "email_change_notice",
            Self::FactorAdded => "factor_added",
            Self::FactorRemoved => "factor_removed",
            Self::OneFactorRemoved => "one_factor_removed",
            Self::PasskeyAdded => "passkey_added",
            Self::FactorLocked => "factor_locked",
            Self::RecoveryCodesRenewed => "recovery_codes_renewed",
            Self::RecoveryCodeUsed => "recovery_code_used",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The ticket of a mail of this kind.
    pub(crate) const fn ticket(self) -> Option<Ticket> {
        let (kind, lifetime_s) = match self {
            Self::Registration | Self::Verification => ("verify_email", DAY_S),
            Self::PasswordReset => ("reset_password", HOUR_S),
            Self::Unlock | Self::Locked => ("unlock", HOUR_S),
            Self::PasswordEnded => ("reset_password", DAY_S),
            Self::EmailChange => ("change_email", DAY_S),
            Self::EmailChangeNotice => ("keep_email", 7 * DAY_S),
            Self::PasswordChanged
            | Self::FactorAdded
            | Self::FactorRemoved
            | Self::OneFactorRemoved
            | Self::PasskeyAdded
            | Self::FactorLocked
            | Self::RecoveryCodesRenewed
            | Self::RecoveryCodeUsed => return None,
        };
        Some(Ticket { kind, lifetime_s })
    }

    /// Fewest seconds between two mails of this kind to one address, and most of them in a day.
    const fn limits(self) -> (Option<i32>, Option<i32>) {
        match self {
            Self::Verification | Self::PasswordReset | Self::Unlock => (Some(600), Some(5)),
            Self::Registration | Self::EmailChange => (None, Some(5)),
            // Whoever guesses must not fill a mailbox.
            Self::Locked => (None, Some(1)),
            // What warns an owner is always sent, and what follows the use of a ticket.
            Self::PasswordChanged
            | Self::PasswordEnded
            | Self::EmailChangeNotice
            | Self::FactorAdded
            | Self::FactorRemoved
            | Self::OneFactorRemoved
            | Self::PasskeyAdded
            | Self::FactorLocked
            | Self::RecoveryCodesRenewed
            | Self::RecoveryCodeUsed => (None, None),
        }
    }
}

/// Whom a mail is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Addressee {
    /// Whoever has the address when the mail is sent; nobody may have it.
    Address,
    /// A user, whatever his address is by then.
    User(Uuid),
}

/// A mail that is to be sent.
pub(crate) struct Mail {
    /// What it is about.
    pub(crate) kind: Kind,
    /// The mailbox: an address in its one spelling.
    pub(crate) to: String,
    /// Whose mail it is. A ticket for an [`Addressee::Address`] is given when the mail is sent.
    pub(crate) addressee: Addressee,
    /// For somebody who has not said which language he prefers.
    pub(crate) language: Language,
    /// The token of its ticket.
    pub(crate) token: Option<MailToken>,
    /// The new address, where the mail is about one.
    pub(crate) new_address: Option<String>,
}

/// A mail cannot be put into the queue.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PostError {
    /// The database refused.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// It cannot be sealed.
    #[error(transparent)]
    Seal(#[from] SealFailure),
}

impl From<PostError> for problem::Problem {
    fn from(error: PostError) -> Self {
        match error {
            PostError::Database(error) => database_problem(error),
            PostError::Seal(error) => Self::internal(error),
        }
    }
}

/// The way into the queue; a clone is the same way.
#[derive(Debug, Clone)]
pub(crate) struct Post {
    envelopes: Arc<Envelopes>,
    /// Wakes this process's workers; those of others look by themselves.
    news: Arc<Notify>,
}

impl Post {
    /// The secrets that mails are sealed under: the first seals, all of them open.
    pub(crate) fn new<'s>(secrets: impl IntoIterator<Item = &'s [u8]>) -> Self {
        Self {
            envelopes: Arc::new(Envelopes::derive(secrets)),
            news: Arc::default(),
        }
    }

    /// Puts a mail into the queue, within the transaction of `conn`: both happen, or neither. False, and nothing is in the
    /// queue, when the address had too many of this kind.
    ///
    /// # Errors
    /// When the database refuses; the transaction is over then.
    pub(crate) async fn enqueue(
        &self,
        conn: &mut PgConnection,
        mail: &Mail,
        now: DateTime<Utc>,
    ) -> Result<bool, PostError> {
        let seconds = u64::try_from(now.timestamp()).unwrap_or_default();
        let id = Uuid::new_v7(Timestamp::from_unix(
            NoContext,
            seconds,
            now.timestamp_subsec_nanos(),
        ));
        let (gap_s, per_day) = mail.kind.limits();
        let job = store::NewJob {
            id,
            kind: mail.kind.as_str(),
            recipient_key: &self.envelopes.recipient_key(&mail.to)?,
            sealed: &self.envelopes.seal(id, mail)?,
            gap_s,
            per_day,
        };
        Ok(store::enqueue(conn, job).await?)
    }

    /// Tells the workers of this process that a transaction with a mail was committed. Without it the mail waits for their
    /// next look.
    pub(crate) fn wake(&self) {
        self.news.notify_one();
    }
}
