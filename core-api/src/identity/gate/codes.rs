//! Codes of second factors. They are counted for each person, in the transaction that looks at one: it is over in a moment, so
//! nothing is reserved, and those of one person take turns.

use database::Pool;
use http::{HeaderName, HeaderValue};
use lockout::OtpCounter;
use problem::Problem;
use sqlx::PgConnection;
use uuid::Uuid;

use super::counting::{read, write};
use super::keys::Key;
use super::{Gate, SignedIn, Visitor, store, too_many};
use crate::{database_problem, metrics};

const KIND: &str = "otp";

/// That it is the turn of this person's code. Whatever compares a code wants it, and only a gate gives it.
#[derive(Debug)]
pub(in crate::identity) struct CodeTurn {
    key: Key,
    counter: OtpCounter,
    now_ms: i64,
}

impl CodeTurn {
    /// The time of the database, milliseconds since 1970.
    pub(in crate::identity) const fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// 429 `too-many-attempts`, whatever the code is; None when one that can be guessed may be looked at.
    pub(in crate::identity) fn refusal(&self) -> Option<Problem> {
        let retry_after_s = self.counter.locked_for_s(self.now_ms)?;
        Some(too_many(KIND, retry_after_s))
    }
}

impl Gate {
    /// Waits for the turn of a person's code; it lasts until the transaction ends.
    ///
    /// # Errors
    /// 503 without the database: no code is looked at.
    pub(in crate::identity) async fn hold_codes(
        &self,
        tx: &mut PgConnection,
        user: Uuid,
    ) -> Result<CodeTurn, Problem> {
        let key = self.keys.codes(user);
        let rows = store::hold(tx, &[key.to_vec()], &[KIND.to_owned()])
            .await
            .map_err(database_problem)?;
        Ok(CodeTurn {
            counter: read(&rows, key).map_err(Problem::internal)?,
            now_ms: super::counting::now(&rows),
            key,
        })
    }

    /// The code was right. What was counted stays: a code that the owner knows gives nobody new guesses.
    ///
    /// # Errors
    /// 503 without the database.
    pub(in crate::identity) async fn pass_code(
        &self,
        tx: &mut PgConnection,
        turn: &CodeTurn,
    ) -> Result<(), Problem> {
        self.keep_codes(tx, turn.key, &turn.counter).await
    }

    /// The code was wrong. True when no other is looked at for now.
    ///
    /// # Errors
    /// 503 when that cannot be counted; nobody may be told that it was wrong then.
    pub(in crate::identity) async fn fail_code(
        &self,
        tx: &mut PgConnection,
        mut turn: CodeTurn,
    ) -> Result<bool, Problem> {
        let is_last = turn.counter.fail(turn.now_ms);
        self.keep_codes(tx, turn.key, &turn.counter).await?;
        if is_last {
            metrics::lockout("codes_locked");
            let event = "auth.otp.locked";
            tracing::warn!(event, "too many wrong codes after a right password");
        }
        Ok(is_last)
    }

    /// Forgets the wrong codes of a person.
    ///
    /// # Errors
    /// 503 without the database.
    pub(in crate::identity) async fn forget_codes(
        &self,
        tx: &mut PgConnection,
        user: Uuid,
    ) -> Result<(), Problem> {
        let turn = self.hold_codes(tx, user).await?;
        self.keep_codes(tx, turn.key, &OtpCounter::default()).await
    }

    async fn keep_codes(&self, tx: &mut PgConnection, key: Key, counter: &OtpCounter) -> Result<(), Problem> {
        let (state, kept_s) = write(counter, &self.rules.load()).map_err(Problem::internal)?;
        store::keep(tx, &[key.to_vec()], &[state], &[kept_s])
            .await
            .map_err(database_problem)
    }

    /// Trusts the device of whoever signed in with two factors, and gives the field that tells it so.
    ///
    /// # Errors
    /// 503 without the database.
    pub(in crate::identity) async fn trust_visitor(
        &self,
        db: &Pool,
        user: Uuid,
        visitor: Visitor,
    ) -> Result<Option<(HeaderName, HeaderValue)>, Problem> {
        let attempt = self.attempt(db, &visitor).await?;
        Ok(self.trust(db, user, &SignedIn { attempt, visitor }).await)
    }
}
