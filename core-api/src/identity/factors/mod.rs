//! Second factors (IDN-8, IDN-9): TOTP, passkeys, recovery codes, log-ins in two steps, and the confirmation of one operation.
//!
//! **Invariants:** a code is used once, and so is a recovery code, a log-in and a confirmation: one UPDATE decides each. A code is
//! compared only in the turn that the gate gives, and nobody is told how that ended before it is counted. Whoever has a second
//! factor gets no session without it.

mod base32;
mod digest;
mod enrol;
mod log_in;
mod own;
mod passkeys;
mod recovery;
mod reset;
mod sealer;
mod step_up;
mod store;
#[cfg(test)]
mod tests;
mod totp;
mod verify;

use database::Pool;
use http::HeaderMap;
use problem::{FieldError, Problem, ProblemType, catalogue};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;
use zeroize::Zeroizing;

pub(super) use self::enrol::{Enrolment, FirstCode, PasswordProof, confirm_enrolment, enrol};
pub(super) use self::log_in::{HalfLogIn, SecondStep, challenge, finish_log_in};
pub(super) use self::own::{FactorsView, drop_totp, list_factors as own_factors};
pub use self::passkeys::PasskeySettings;
pub(super) use self::passkeys::{
    Ceremony, Credential, NewCredential, NewPasskeyAnswer, PasskeyAnswer, PasskeyOrder, begin_passkey,
    begin_passkey_log_in, confirm_passkey, drop_passkey, finish_passkey_log_in,
};
use self::passkeys::{PASSKEY_REFUSED, Passkeys};
pub use self::reset::FactorReset;
pub(crate) use self::reset::reset_factors;
use self::sealer::Sealer;
pub(super) use self::step_up::{Act, StepUpRequest, give as give_step_up};
pub(crate) use self::step_up::{Operation, StepUpErrors, StepUpToken};
use super::error::{AUTH_BUSY, WRONG_PASSWORD};
use crate::database_problem;
use crate::documentation::problems;
use crate::mail::{Addressee, Kind, Language, Mail};
use crate::money::Amount;
use crate::settings::Settings;
use crate::state::AppState;

/// The password was right, and a second factor is awaited.
pub(super) const MFA_REQUIRED: ProblemType =
    ProblemType::new("mfa-required", 401, "A second factor is required");
/// The log-in that awaits a second factor is none, was finished, is over, or saw too many wrong codes.
pub(super) const INVALID_CHALLENGE: ProblemType =
    ProblemType::new("invalid-challenge", 403, "The log-in cannot be finished any more");
/// The code or the recovery code is wrong, or was used before.
pub(super) const WRONG_CODE: ProblemType = ProblemType::new("wrong-code", 403, "The code is wrong");
/// The operation asks for a confirmation by a second factor.
pub(super) const STEP_UP_REQUIRED: ProblemType = ProblemType::new(
    "step-up-required",
    403,
    "This must be confirmed with a second factor",
);
/// The caller has one.
const FACTOR_EXISTS: ProblemType =
    ProblemType::new("factor-exists", 409, "There is a second factor of this kind");
/// The caller has none.
const NO_SECOND_FACTOR: ProblemType = ProblemType::new("no-second-factor", 409, "There is no second factor");
/// The second factor was added too recently to confirm anything but changes of factors.
const FACTOR_TOO_NEW: ProblemType = ProblemType::new(
    "factor-too-new",
    403,
    "The second factor is too new to confirm this",
)
.with_retry_after();
/// No secret of this session waits for its first code.
const ENROLMENT_OVER: ProblemType = ProblemType::new(
    "enrolment-over",
    409,
    "The enrolment is over, or was begun elsewhere",
);

problems! {
    /// What the second step of a log-in may be refused with.
    SecondStepErrors: INVALID_CHALLENGE, WRONG_CODE, catalogue::TOO_MANY_ATTEMPTS, catalogue::VALIDATION_FAILED;
    /// What the beginning of an enrolment may be refused with.
    EnrolmentErrors: WRONG_PASSWORD, STEP_UP_REQUIRED, FACTOR_EXISTS, catalogue::TOO_MANY_ATTEMPTS, AUTH_BUSY;
    /// What the first code of an enrolment may be refused with.
    ConfirmationErrors: WRONG_CODE, ENROLMENT_OVER;
    /// What a change of one's factors may be refused with.
    ChangeErrors: STEP_UP_REQUIRED, NO_SECOND_FACTOR;
    /// What the confirmation of an operation may be refused with.
    ProofErrors: WRONG_CODE, PASSKEY_REFUSED, INVALID_CHALLENGE, FACTOR_TOO_NEW, NO_SECOND_FACTOR, catalogue::TOO_MANY_ATTEMPTS, catalogue::VALIDATION_FAILED;
}

/// What second factors need at run time.
#[derive(Debug)]
pub(crate) struct Factors {
    sealer: Sealer,
    /// None where the settings name no origin for them.
    passkeys: Option<Passkeys>,
    /// The bank's name in authenticators.
    bank: String,
    transfers_from_minor: i64,
    confirms_after_s: u32,
}

impl Factors {
    /// Derives the keys that secrets are sealed under.
    ///
    /// # Errors
    /// When passkeys have settings that no start has checked.
    pub(super) fn new(settings: &Settings) -> anyhow::Result<Self> {
        let password = &settings.password;
        let peppers = std::iter::once(&password.pepper).chain(&password.peppers);
        Ok(Self {
            sealer: Sealer::derive(peppers.map(|pepper| pepper.expose().as_bytes())),
            passkeys: settings.passkeys.as_ref().map(Passkeys::new).transpose()?,
            bank: settings.second_factor.bank.clone(),
            transfers_from_minor: settings.second_factor.transfers_from_minor,
            confirms_after_s: settings.second_factor.confirms_after_s,
        })
    }

    /// Whether there are passkeys here.
    pub(super) const fn has_passkeys(&self) -> bool {
        self.passkeys.is_some()
    }

    /// Whether a transfer of this amount must be confirmed.
    pub(crate) const fn confirm_transfers_of(&self, amount: Amount) -> bool {
        amount.minor() >= self.transfers_from_minor
    }
}

/// Whether somebody has a second factor.
///
/// # Errors
/// 503 without the database.
pub(super) async fn has_one(db: &Pool, user: Uuid) -> Result<bool, Problem> {
    store::has_second_factor(db, user).await.map_err(database_problem)
}

/// The routes of second factors.
pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(log_in::complete_login))
        .routes(routes!(own::list_factors))
        .routes(routes!(enrol::begin_totp, own::remove_totp))
        .routes(routes!(enrol::confirm_totp))
        .routes(routes!(own::renew_recovery_codes))
        .routes(routes!(step_up::step_up))
        .merge(passkeys::routes())
}

/// What a person shows as the second factor.
enum Presented {
    /// A code of an authenticator.
    Code(Zeroizing<String>),
    /// One of the codes for whoever has lost it.
    RecoveryCode(Zeroizing<String>),
}

impl Presented {
    /// One of the two, and not both.
    fn one_of(
        code: Option<Zeroizing<String>>,
        recovery_code: Option<Zeroizing<String>>,
    ) -> Result<Self, Vec<FieldError>> {
        match (code, recovery_code) {
            (Some(code), None) => Ok(Self::Code(code)),
            (None, Some(code)) => Ok(Self::RecoveryCode(code)),
            (None, None) => Err(vec![FieldError::new(
                "/code",
                "missing_field",
                "is required, unless there is a recovery_code",
            )]),
            (Some(_), Some(_)) => Err(vec![FieldError::new(
                "/recovery_code",
                "invalid_value",
                "must not be given beside a code",
            )]),
        }
    }
}

/// A mail that tells an owner what happened to the second factor. It is always sent.
fn notice(kind: Kind, email: String, user: Uuid, headers: &HeaderMap) -> Mail {
    Mail {
        kind,
        to: email,
        addressee: Addressee::User(user),
        language: Language::asked_for(headers).unwrap_or_default(),
        token: None,
        new_address: None,
    }
}

/// Nothing waits for a code here.
fn enrolment_over() -> Problem {
    Problem::new(ENROLMENT_OVER).detail("begin again, in the session that goes on with it")
}

/// For how many seconds an access token may be good after its last use was seen.
fn token_life_s(state: &AppState) -> i32 {
    i32::try_from(state.identity.terms.lifetime_s).unwrap_or(i32::MAX)
}
