//! Comparing the answer of an authenticator with what it was asked.

use aws_lc_rs::error::Unspecified;
use problem::Problem;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;
use webauthn_rs::prelude::{
    Credential as Kept, DiscoverableAuthentication, Passkey, PublicKeyCredential, RequestChallengeResponse,
};

use super::Passkeys;
use super::store::{self, Held, Subject, Use};
use crate::identity::gate::PasskeyAdmitted;
use crate::mail::MailToken;
use crate::{database_problem, metrics};

/// What an authenticator is asked, and what is remembered of it.
pub(super) struct Asked {
    pub(super) token: MailToken,
    pub(super) public_key: Value,
    pub(super) state: Value,
}

impl Passkeys {
    /// Asks whatever authenticator has a passkey of this bank.
    ///
    /// # Errors
    /// When there is no randomness, or the library refuses.
    pub(super) fn ask(&self) -> anyhow::Result<Asked> {
        let token = MailToken::generate().ok_or(Unspecified)?;
        let (asked, state): (RequestChallengeResponse, _) = self.0.start_discoverable_authentication()?;
        Ok(Asked {
            token,
            public_key: serde_json::to_value(asked.public_key)?,
            state: serde_json::to_value(state)?,
        })
    }

    /// Whose credential an authenticator shows, by its own word.
    pub(super) fn owner(&self, answer: &PublicKeyCredential) -> Option<Uuid> {
        let owner = self.0.identify_discoverable_authentication(answer).ok();
        owner.map(|(user, _)| user)
    }

    /// What a right answer says of the passkey; None when it is wrong: another challenge, another page, another signature, or a
    /// user that the authenticator did not verify.
    ///
    /// # Errors
    /// When what is kept cannot be read.
    pub(super) fn compare(
        &self,
        _: PasskeyAdmitted,
        state: Value,
        answer: &PublicKeyCredential,
        held: &Held,
    ) -> anyhow::Result<Option<Right>> {
        let asked: DiscoverableAuthentication = serde_json::from_value(state)?;
        let passkey: Passkey = serde_json::from_value(held.credential.clone())?;
        let mut kept: Kept = passkey.into();
        // Whether the count went back is told here: the library would refuse it, and synchronised passkeys count nothing.
        kept.counter = 0;
        let result = match self.0.finish_discoverable_authentication_v2(answer, asked, &kept) {
            Ok(result) if result.user_verified() => result,
            Ok(_) => return Ok(None),
            Err(error) => {
                tracing::debug!(%error, "a passkey was not accepted");
                return Ok(None);
            }
        };
        let sign_count = i64::from(result.counter());
        kept.backup_state = result.backup_state();
        let is_synchronised = result.backup_eligible();
        let is_backed_up = kept.backup_state;
        Ok(Some(Right {
            passkey: held.passkey_id,
            credential: serde_json::to_value(Passkey::from(kept))?,
            sign_count,
            went_back: (sign_count > 0 || held.sign_count > 0) && sign_count <= held.sign_count,
            is_backed_up,
            is_synchronised,
        }))
    }
}

/// A right answer.
pub(super) struct Right {
    passkey: Uuid,
    credential: Value,
    sign_count: i64,
    /// Perhaps there are two of the authenticator.
    went_back: bool,
    is_backed_up: bool,
    is_synchronised: bool,
}

impl Right {
    /// How its user showed who he is (RFC 8176): with a key in hardware, or one that is synchronised, and by being there and
    /// showing the authenticator that it was he. No attestation is asked for: it is the authenticator that says so.
    pub(super) const fn amr(&self) -> [&'static str; 3] {
        let key = if self.is_synchronised { "swk" } else { "hwk" };
        [key, "user", "mfa"]
    }

    /// Notes that the passkey was used, and tells when its count went back, which refuses nobody.
    ///
    /// # Errors
    /// 503 without the database.
    pub(super) async fn note(
        &self,
        tx: &mut PgConnection,
        user: Uuid,
        session: Option<Uuid>,
        request_id: &str,
    ) -> Result<(), Problem> {
        metrics::factor("passkey", "right");
        let used = Use {
            passkey: self.passkey,
            credential: &self.credential,
            sign_count: self.sign_count,
            is_backed_up: self.is_backed_up,
        };
        store::use_passkey(tx, used).await.map_err(database_problem)?;
        if !self.went_back {
            return Ok(());
        }
        metrics::factor("passkey", "counter_went_back");
        let event = "auth.passkey.counter_went_back";
        tracing::warn!(event, "the count of a passkey went back: there may be two of it");
        let subject = Subject {
            user,
            session,
            passkey: Some(self.passkey),
        };
        store::record(tx, subject, ("passkey.counter_went_back", "done"), request_id)
            .await
            .map_err(database_problem)
    }
}
