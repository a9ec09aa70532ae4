//! Adding a passkey: the password or another second factor, what the authenticator is asked, and its answer.

use aws_lc_rs::error::Unspecified;
use axum::extract::State;
use axum::http::request::Parts;
use axum::response::Response;
use problem::{FieldError, Problem};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{PgConnection, Postgres, Transaction};
use utoipa::ToSchema;
use uuid::Uuid;
use webauthn_rs::prelude::{Credential as Kept, Passkey, PasskeyRegistration, RegisterPublicKeyCredential};
use zeroize::Zeroizing;

use super::credential::NewCredential;
use super::store::{self, Added, NewPasskey, OwnCeremony, OwnPasskey, Subject};
use super::verify::Asked;
use super::{
    AnswerErrors, Ceremony, MOST, PASSKEY_REFUSED, Passkeys, Purpose, RegistrationErrors, TOO_MANY_PASSKEYS,
    not_good, passkeys, passkeys_off,
};
use crate::database_problem;
use crate::extract::{Json, invalid};
use crate::hidden::shows;
use crate::identity::caller::{Caller, FactorsWrite, session_ended};
use crate::identity::factors::enrol::prove_password;
use crate::identity::factors::recovery::NewCodes;
use crate::identity::factors::step_up::{Operation, StepUpToken, step_up_required};
use crate::identity::factors::verify::no_randomness;
use crate::identity::factors::{has_one, notice, store as factor_store, token_life_s};
use crate::identity::login::answer;
use crate::identity::{sessions, store as identity_store};
use crate::ids::PasskeyId;
use crate::mail::{Kind, MailToken};
use crate::state::AppState;

/// Longest name, in characters.
const MAX_NAME_CHARS: usize = 64;

/// What a passkey is added with.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"password": "correct horse battery"}))]
pub(in crate::identity) struct PasskeyOrder {
    /// The caller's password, for whoever has no second factor yet. Others confirm the request.
    #[schema(format = Password, max_length = 1024, value_type = Option<String>, nullable = false)]
    #[serde(
        default,
        deserialize_with = "crate::identity::secret_text::deserialize_optional"
    )]
    pub(in crate::identity) password: Option<Zeroizing<String>>,
}

/// The answer of a new authenticator.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "ceremony": "mZ1b0rWJ0kq3w1Vn4V0m8b7c6d5e4f3g2h1i0jKLMNO", "name": "My phone",
    "credential": {
        "id": "gB3Xx0m2o1Qm5r6n3Yx0Nw", "rawId": "gB3Xx0m2o1Qm5r6n3Yx0Nw", "type": "public-key",
        "response": {"clientDataJSON": "eyJ0eXBlIjoid2ViYXV0aG4uY3JlYXRlIn0", "attestationObject": "o2NmbXRkbm9uZQ"}
    }
}))]
pub(in crate::identity) struct NewPasskeyAnswer {
    /// As the beginning gave it.
    #[schema(max_length = 128, value_type = String)]
    #[serde(deserialize_with = "crate::identity::secret_text::deserialize")]
    pub(in crate::identity) ceremony: Zeroizing<String>,
    /// What its owner calls it: 1 to 64 characters, all of which show.
    #[schema(min_length = 1, max_length = 64)]
    pub(in crate::identity) name: String,
    /// What `navigator.credentials.create()` gave, by its `toJSON()`.
    pub(in crate::identity) credential: NewCredential,
}

/// A passkey that counts, and the recovery codes of whoever had no second factor before.
#[derive(Serialize, ToSchema)]
pub(in crate::identity) struct AddedPasskey {
    /// The passkey.
    id: PasskeyId,
    /// Ten, each good once, shown here and never again; none for whoever has some already.
    #[schema(example = json!(["MFRGGZ-DFMZTW-Q2LKNN-WG23TP"]))]
    pub(in crate::identity) recovery_codes: Vec<String>,
}

/// Begin to add a passkey
///
/// Gives what a browser asks an authenticator for (WebAuthn). The answer goes to `/api/v1/me/factors/passkeys/confirm`, from the
/// same session, within five minutes. Whoever has no second factor yet sends the password: a wrong one is 403 and counts as a
/// failed log-in. Whoever has one confirms the request (`/api/v1/me/step-up`). A person has ten passkeys at most.
#[utoipa::path(
    post, path = "/api/v1/me/factors/passkeys", tag = "identity", operation_id = "begin_passkey",
    security(("bearer" = ["factors:write"])),
    params(StepUpToken),
    request_body = PasskeyOrder,
    responses((status = OK, description = "What the authenticator is asked", body = Ceremony), RegistrationErrors)
)]
pub(super) async fn begin_passkey(
    State(state): State<AppState>,
    caller: Caller<FactorsWrite>,
    parts: Parts,
    operation: Operation<PasskeyOrder>,
) -> Result<Response, Problem> {
    begin(&state, &caller, &parts, operation).await.map(answer)
}

/// [`begin_passkey`], for any answer.
///
/// # Errors
/// As there.
pub(in crate::identity) async fn begin(
    state: &AppState,
    caller: &Caller<FactorsWrite>,
    parts: &Parts,
    operation: Operation<PasskeyOrder>,
) -> Result<Ceremony, Problem> {
    let passkeys = passkeys(state).ok_or_else(passkeys_off)?;
    let (mut tx, email) = proven(state, caller, parts, operation).await?;
    let own = store::own_passkeys(&mut tx).await.map_err(database_problem)?;
    if i64::try_from(own.len()).unwrap_or(i64::MAX) >= MOST {
        return Err(too_many());
    }
    let asked = passkeys
        .ask_new(caller.user.uuid(), &email, &own)
        .map_err(Problem::internal)?;
    let new = OwnCeremony {
        session: caller.session.uuid(),
        purpose: Purpose::Registration,
        token_hash: &asked.token.hash(),
        digest: None,
        state: &asked.state,
    };
    store::begin_own(&mut tx, new).await.map_err(database_problem)?;
    tx.commit().await.map_err(database_problem)?;
    Ok(Ceremony::new(&asked.token.to_text(), asked.public_key))
}

/// A transaction in which the caller has proven who he is, by the password or by another factor, with his factors held; and his
/// address.
async fn proven(
    state: &AppState,
    caller: &Caller<FactorsWrite>,
    parts: &Parts,
    operation: Operation<PasskeyOrder>,
) -> Result<(Transaction<'static, Postgres>, String), Problem> {
    let user = caller.user.uuid();
    let owner = match operation.body.password {
        Some(password) if !has_one(&state.db, user).await? => {
            Some(prove_password(state, caller, parts, password).await?)
        }
        Some(_) | None => None,
    };
    let mut tx = caller.begin_read(&state.db).await?;
    let email = factor_store::hold_own_factors(&mut tx, caller.session.uuid())
        .await
        .map_err(database_problem)?
        .ok_or_else(session_ended)?;
    // Behind the lock: what is said here holds until the ceremony is there.
    let has_factor = factor_store::has_second_factor(&mut *tx, user)
        .await
        .map_err(database_problem)?;
    if has_factor {
        if operation.act.use_up(&mut tx, caller, Uuid::new_v4()).await? {
            return Ok((tx, email));
        }
        tx.commit().await.map_err(database_problem)?; // the trace of it
        return Err(step_up_required());
    }
    let owner = owner.ok_or_else(password_missing)?;
    let is_held = identity_store::hold_password(&mut *tx, user, owner.password_version)
        .await
        .map_err(database_problem)?;
    if is_held {
        Ok((tx, email))
    } else {
        Err(session_ended())
    }
}

/// Confirm a passkey
///
/// Sends the answer of the new authenticator, which must have verified its user. The passkey counts from then on: it signs in
/// without the password, and a log-in with the password asks for a second factor. Every other session of the caller ends at once,
/// and the owner is told by mail. With the first second factor come ten recovery codes.
#[utoipa::path(
    post, path = "/api/v1/me/factors/passkeys/confirm", tag = "identity", operation_id = "confirm_passkey",
    security(("bearer" = ["factors:write"])),
    request_body = NewPasskeyAnswer,
    responses((status = OK, description = "It counts", body = AddedPasskey), AnswerErrors)
)]
pub(super) async fn confirm_passkey(
    State(state): State<AppState>,
    caller: Caller<FactorsWrite>,
    parts: Parts,
    Json(new): Json<NewPasskeyAnswer>,
) -> Result<Response, Problem> {
    confirm(&state, &caller, &parts, new).await.map(answer)
}

/// [`confirm_passkey`], for any answer.
///
/// # Errors
/// As there.
pub(in crate::identity) async fn confirm(
    state: &AppState,
    caller: &Caller<FactorsWrite>,
    parts: &Parts,
    new: NewPasskeyAnswer,
) -> Result<AddedPasskey, Problem> {
    let passkeys = passkeys(state).ok_or_else(passkeys_off)?;
    let name = name_of(&new.name).ok_or_else(no_name)?;
    let token_hash = MailToken::parse(&new.ceremony).ok_or_else(not_good)?.hash();
    let (user, session) = (caller.user.uuid(), caller.session.uuid());
    let mut tx = caller.begin_read(&state.db).await?;
    let email = factor_store::hold_own_factors(&mut tx, session)
        .await
        .map_err(database_problem)?
        .ok_or_else(session_ended)?;
    let used = store::use_ceremony(&mut tx, &token_hash, Purpose::Registration, Some(session));
    let used = used.await.map_err(database_problem)?.ok_or_else(not_good)?;
    let credential = new.credential.read();
    let Some(kept) = credential.and_then(|credential| passkeys.register(used.state, &credential)) else {
        return refuse(tx, caller).await;
    };
    let has_factor = factor_store::has_second_factor(&mut *tx, user)
        .await
        .map_err(database_problem)?;
    let codes = if has_factor {
        None
    } else {
        Some(NewCodes::generate().ok_or_else(no_randomness)?)
    };
    let id = PasskeyId::new(state.now());
    let code_hashes = codes.as_ref().map(|codes| codes.hashes.as_slice());
    let added = add(
        &mut tx,
        state,
        caller,
        (id, name),
        &kept,
        code_hashes.unwrap_or_default(),
    )
    .await?;
    let ended = match added {
        Added::Done(ended) => ended,
        Added::TooMany => return Err(too_many()),
        Added::Known => return refuse(tx, caller).await,
    };
    sessions::tell_gateways(state, &mut tx, ended)
        .await
        .map_err(database_problem)?;
    let mail = notice(Kind::PasskeyAdded, email, user, &parts.headers);
    state.post.enqueue(&mut tx, &mail, state.now()).await?;
    tx.commit().await.map_err(database_problem)?;
    state.post.wake();
    Ok(AddedPasskey {
        id,
        recovery_codes: codes.map(|codes| codes.texts).unwrap_or_default(),
    })
}

async fn add(
    tx: &mut PgConnection,
    state: &AppState,
    caller: &Caller<FactorsWrite>,
    (id, name): (PasskeyId, &str),
    kept: &Kept,
    code_hashes: &[Vec<u8>],
) -> Result<Added, Problem> {
    let credential = serde_json::to_value(Passkey::from(kept.clone())).map_err(Problem::internal)?;
    let new = NewPasskey {
        session: caller.session.uuid(),
        passkey: id.uuid(),
        credential_id: kept.cred_id.as_slice(),
        credential: &credential,
        sign_count: i64::from(kept.counter),
        is_backed_up: kept.backup_state,
        name,
        most: MOST,
        code_hashes,
        used_s: token_life_s(state),
    };
    store::add_passkey(tx, new, &caller.request_id)
        .await
        .map_err(database_problem)
}

/// The ceremony is used up by an answer that is not good; what is wrong with it, or who has the credential, nobody is told.
async fn refuse(
    mut tx: Transaction<'static, Postgres>,
    caller: &Caller<FactorsWrite>,
) -> Result<AddedPasskey, Problem> {
    let subject = Subject {
        user: caller.user.uuid(),
        session: Some(caller.session.uuid()),
        passkey: None,
    };
    store::record(&mut tx, subject, ("passkey.added", "refused"), &caller.request_id)
        .await
        .map_err(database_problem)?;
    tx.commit().await.map_err(database_problem)?;
    Err(Problem::new(PASSKEY_REFUSED).detail("begin again"))
}

impl Passkeys {
    /// Asks for a credential that an authenticator finds without a name, and that it makes for somebody it has verified.
    fn ask_new(&self, user: Uuid, email: &str, own: &[OwnPasskey]) -> anyhow::Result<Asked> {
        let token = MailToken::generate().ok_or(Unspecified)?;
        let known = own.iter().map(|passkey| passkey.credential_id.clone()).collect();
        let (asked, state) = self
            .0
            .start_passkey_registration(user, email, email, Some(known))?;
        let mut public_key = serde_json::to_value(asked.public_key)?;
        if let Some(selection) = public_key
            .get_mut("authenticatorSelection")
            .and_then(Value::as_object_mut)
        {
            selection.insert("residentKey".to_owned(), json!("required"));
            selection.insert("requireResidentKey".to_owned(), json!(true));
        }
        Ok(Asked {
            token,
            public_key,
            state: serde_json::to_value(state)?,
        })
    }

    /// The credential of a right answer; None when it is wrong, or its user was not verified.
    fn register(&self, state: Value, answer: &RegisterPublicKeyCredential) -> Option<Kept> {
        let state: PasskeyRegistration = serde_json::from_value(state)
            .inspect_err(|error| tracing::error!(%error, "a ceremony cannot be read"))
            .ok()?;
        match self.0.finish_passkey_registration(answer, &state) {
            Ok(passkey) => Some(passkey.into()),
            Err(error) => {
                tracing::debug!(%error, "a new passkey was not accepted");
                None
            }
        }
    }
}

/// The name that an owner gives a passkey; None when it is too long, or not all of it shows.
pub(super) fn name_of(text: &str) -> Option<&str> {
    let name = text.trim();
    let is_name = (1..=MAX_NAME_CHARS).contains(&name.chars().count()) && shows(name);
    is_name.then_some(name)
}

/// 422 for what is no name.
pub(super) fn no_name() -> Problem {
    invalid(vec![FieldError::new(
        "/name",
        "invalid_value",
        format!("must have 1 to {MAX_NAME_CHARS} characters, all of which show"),
    )])
}

fn password_missing() -> Problem {
    invalid(vec![FieldError::new(
        "/password",
        "missing_field",
        "is required, unless there is a second factor",
    )])
}

fn too_many() -> Problem {
    Problem::new(TOO_MANY_PASSKEYS).detail(format!("a person has {MOST} at most: remove one first"))
}
