//! Passkeys (IDN-9, WebAuthn): keys of authenticators that sign in without a name and a password, and confirm operations.
//!
//! **Invariants:** what an authenticator is asked stands in a ceremony in the database, which the statement that reads it uses up.
//! Its user is verified by the authenticator, each time. A passkey is compared with an answer only where the gate admits one. No
//! answer before a log-in depends on who there is.

mod credential;
mod enrol;
mod log_in;
mod own;
mod settings;
mod step_up;
mod store;
mod verify;

use anyhow::Context as _;
use problem::{Problem, ProblemType, catalogue};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use webauthn_rs::prelude::{Url, Webauthn, WebauthnBuilder};

pub(in crate::identity) use self::credential::{Credential, NewCredential};
pub(in crate::identity) use self::enrol::{
    NewPasskeyAnswer, PasskeyOrder, begin as begin_passkey, confirm as confirm_passkey,
};
pub(in crate::identity) use self::log_in::{
    PasskeyAnswer, begin_log_in as begin_passkey_log_in, finish_log_in as finish_passkey_log_in,
};
pub(in crate::identity) use self::own::drop_passkey;
pub use self::settings::PasskeySettings;
pub(super) use self::step_up::answered;
pub(super) use self::store::own_passkeys;
use super::{INVALID_CHALLENGE, NO_SECOND_FACTOR, STEP_UP_REQUIRED};
use crate::documentation::problems;
use crate::identity::error::{AUTH_BUSY, WRONG_PASSWORD};
use crate::state::AppState;

/// Most passkeys of one person.
const MOST: i64 = 10;
/// How long a ceremony waits for its answer, seconds.
const CEREMONY_S: i32 = 300;

/// The settings name no origin for them.
const PASSKEYS_OFF: ProblemType = ProblemType::new("passkeys-off", 409, "There are no passkeys here");
/// The answer of an authenticator is not good for what was asked: why, nobody is told.
pub(super) const PASSKEY_REFUSED: ProblemType =
    ProblemType::new("passkey-refused", 403, "The passkey was not accepted");
/// The caller has as many as one person may have.
const TOO_MANY_PASSKEYS: ProblemType =
    ProblemType::new("too-many-passkeys", 409, "There are too many passkeys");

problems! {
    /// What the beginning of a registration may be refused with.
    RegistrationErrors: WRONG_PASSWORD, STEP_UP_REQUIRED, PASSKEYS_OFF, TOO_MANY_PASSKEYS, catalogue::TOO_MANY_ATTEMPTS, AUTH_BUSY,
        catalogue::VALIDATION_FAILED;
    /// What the answer of a new authenticator may be refused with.
    AnswerErrors: PASSKEY_REFUSED, INVALID_CHALLENGE, PASSKEYS_OFF, TOO_MANY_PASSKEYS, catalogue::VALIDATION_FAILED;
    /// What a log-in may be refused with.
    LogInErrors: PASSKEY_REFUSED, INVALID_CHALLENGE, PASSKEYS_OFF;
    /// What the beginning of a confirmation may be refused with.
    ChallengeErrors: PASSKEYS_OFF, NO_SECOND_FACTOR, catalogue::VALIDATION_FAILED;
    /// What there is none of may be refused with.
    OffErrors: PASSKEYS_OFF;
    /// What the removal of a passkey may be refused with.
    RemovalErrors: STEP_UP_REQUIRED;
}

/// Who asks authenticators, and on whose pages.
pub(super) struct Passkeys(Webauthn);

impl std::fmt::Debug for Passkeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Passkeys")
            .field(&self.0.get_allowed_origins())
            .finish()
    }
}

impl Passkeys {
    /// Passkeys for these origins.
    ///
    /// # Errors
    /// When an origin is no address, or of another domain; the settings were checked before.
    pub(super) fn new(settings: &PasskeySettings) -> anyhow::Result<Self> {
        let origins = settings.origins.iter().map(|origin| Url::parse(origin));
        let origins = origins.collect::<Result<Vec<_>, _>>()?;
        let (first, others) = origins.split_first().context("passkeys have no origin")?;
        let builder = WebauthnBuilder::new(&settings.rp_id, first)?.rp_name(&settings.name);
        let builder = others
            .iter()
            .fold(builder, WebauthnBuilder::append_allowed_origin);
        Ok(Self(builder.build()?))
    }
}

/// Those of this bank, where it has any.
fn passkeys(state: &AppState) -> Option<&Passkeys> {
    state.identity.factors.passkeys.as_ref()
}

fn passkeys_off() -> Problem {
    Problem::new(PASSKEYS_OFF).detail("sign in with the password")
}

/// What a ceremony is for, as a word of the database.
#[derive(Debug, Clone, Copy)]
enum Purpose {
    Registration,
    LogIn,
    StepUp,
}

impl Purpose {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Registration => "registration",
            Self::LogIn => "log_in",
            Self::StepUp => "step_up",
        }
    }
}

/// What an authenticator is asked.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "ceremony": "mZ1b0rWJ0kq3w1Vn4V0m8b7c6d5e4f3g2h1i0jKLMNO", "expires_in": 300,
    "public_key": {
        "challenge": "k3PyTbZqmYwhYqgqLwzYtaJUZJGcZ9jNzCHfFwmDnBA", "rpId": "bank.example", "timeout": 300_000,
        "userVerification": "required", "allowCredentials": []
    }
}))]
pub(in crate::identity) struct Ceremony {
    /// Send it with the answer, once.
    pub(in crate::identity) ceremony: String,
    /// For `PublicKeyCredential.parseCreationOptionsFromJSON` or `parseRequestOptionsFromJSON` of a browser (WebAuthn §5.1.9 and
    /// §5.1.10).
    #[schema(value_type = Object)]
    pub(in crate::identity) public_key: Value,
    /// How long it waits for the answer, seconds.
    expires_in: i32,
}

impl Ceremony {
    fn new(token: &str, public_key: Value) -> Self {
        Self {
            ceremony: token.to_owned(),
            public_key,
            expires_in: CEREMONY_S,
        }
    }
}

/// The ceremony is none of the caller, was used, or is over.
fn not_good() -> Problem {
    Problem::new(INVALID_CHALLENGE).detail("begin again")
}

/// The routes of passkeys.
pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(log_in::begin_passkey_login))
        .routes(routes!(log_in::complete_passkey_login))
        .routes(routes!(enrol::begin_passkey))
        .routes(routes!(enrol::confirm_passkey))
        .routes(routes!(own::name_passkey, own::remove_passkey))
        .routes(routes!(step_up::begin_passkey_step_up))
}
